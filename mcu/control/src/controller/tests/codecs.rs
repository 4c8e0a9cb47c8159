//! Codecs that only some media processors have (MCU-12).

use super::bench::{Bench, demo, incoming};

const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
    m=audio 4000 RTP/AVP 18\r\nm=video 4002 RTP/AVP 34\r\na=fmtp:34 CIF=1\r\n";

/// Defect: after a return to an older version its media process read no plan that named a codec which it
/// did not know, and served no room.
#[test]
fn no_plan_names_a_codec_that_the_processor_did_not() {
    let mut bench = Bench::without_media(demo());
    bench.codecs = &["g729", "h263"];
    bench.connect_media();
    let (leg, _) = bench.dial_with(incoming(1, "3000", Some(OFFER))).unwrap();
    let plan = bench.leg_plan(leg);
    assert!(plan.video_receive.is_some() && plan.video_send.len() == 1);
    assert_eq!(plan.audio.as_ref().unwrap().receive.len(), 1);

    bench.codecs = &[];
    bench.restart_media();
    let plan = bench.leg_plan(leg);
    assert!(plan.video_receive.is_none() && plan.video_send.is_empty());
    let audio = plan.audio.as_ref().unwrap();
    assert!(audio.receive.is_empty() && audio.send.is_none());
}
