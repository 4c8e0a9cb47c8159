//! What pictures a room has, and how many sites: at once, for all that are in it (MGT-01, MCU-04).

use mcu_api::call::{CallCommand, CallEvent, RejectReason};
use mcu_api::directory::{Directory, MadeRoom, Shape};
use mcu_api::ids::{CallId, LegId};
use mcu_api::layout::Layout;
use mcu_api::manager::{Refusal, ServerMessage, ToControl};
use mcu_api::media::MediaEvent;
use mcu_api::plan::VideoSource;
use mcu_api::secret::Redacted;

use super::bench::{Bench, MANAGER, TERMINAL_OFFER, incoming, join};
use crate::config::Config;
use crate::controller::Input;

const CALL: CallId = CallId(1);

/// The room 5000 is like this from now on.
fn shape(bench: &mut Bench, generation: u64, shape: Shape) {
    let room = MadeRoom {
        number: "5000".into(),
        guests: true,
        shape,
        ..MadeRoom::default()
    };
    let directory = Directory {
        generation,
        rooms: vec![room],
        ..Directory::default()
    };
    bench.forget();
    bench.input(Input::Manager(MANAGER, ToControl::Directory(directory)));
}

fn at_most(lines: u16) -> Shape {
    Shape {
        max_height: Some(lines),
        ..Shape::default()
    }
}

/// Height of what a terminal is sent.
fn height(bench: &Bench, leg: LegId) -> u16 {
    match &bench.leg_plan(leg).video_send[0].source {
        Some(VideoSource::Composition { class, .. }) => class.height,
        other => panic!("a terminal is sent {other:?}"),
    }
}

/// The ceiling of what a page is forwarded.
fn ceiling(bench: &Bench, leg: LegId) -> Option<u16> {
    let sends = &bench.leg_plan(leg).video_send;
    sends.iter().find_map(|send| match send.source {
        Some(VideoSource::Forward { ceiling, .. }) => ceiling,
        _ => None,
    })
}

/// How tall a page is to send, as it was told last.
fn told(bench: &Bench, conn: u64) -> Option<u16> {
    let told = bench.said_to(conn).into_iter().rev();
    let mut rosters = told.filter_map(|message| match message {
        ServerMessage::Roster { max_height, .. } => Some(*max_height),
        _ => None,
    });
    rosters.next().expect("a roster")
}

/// What the terminal was offered.
fn offers(bench: &Bench) -> Vec<String> {
    let commands = bench.commands.iter();
    let offers = commands.filter_map(|command| match command {
        CallCommand::Offer { call: CALL, sdp } => Some(sdp.0.clone()),
        _ => None,
    });
    offers.collect()
}

#[test]
fn a_ceiling_bounds_what_is_sent_and_asked_for_and_moves_without_a_hang_up() {
    let mut bench = Bench::new(Config::default());
    shape(&mut bench, 1, at_most(360));
    let (terminal, answer) = bench.dial(1, "5000").unwrap();
    assert!(answer.contains("profile-level-id=42e01e"), "{answer}");
    assert!(answer.contains("b=TIAS:1000000"), "{answer}");
    bench.join_with(1, join("5000", "page")).unwrap();
    let page = bench.plan().legs[1].id;
    assert_eq!(height(&bench, terminal), 360);
    assert_eq!(ceiling(&bench, page), Some(360));
    assert_eq!(told(&bench, 1), Some(360));

    // Lower: what is sent obeys before the terminal has agreed.
    shape(&mut bench, 2, at_most(180));
    assert_eq!(height(&bench, terminal), 180);
    assert_eq!(ceiling(&bench, page), Some(180));
    assert_eq!(told(&bench, 1), Some(180));
    assert_eq!(offers(&bench).len(), 1, "{:?}", bench.commands);
    bench.input(Input::Call(CallEvent::OfferFailed { call: CALL }));
    assert_eq!(offers(&bench).len(), 1, "who refuses is not asked for ever");

    // Higher: as soon as the terminal agrees.
    shape(&mut bench, 3, Shape::default());
    assert!(offers(&bench)[0].contains("42e01f"), "{:?}", offers(&bench));
    let sdp = Redacted(TERMINAL_OFFER.to_owned());
    bench.input(Input::Call(CallEvent::Answered { call: CALL, sdp }));
    assert_eq!(height(&bench, terminal), 720);
    assert_eq!((ceiling(&bench, page), told(&bench, 1)), (None, None));
    assert_eq!(bench.legs_planned(), [terminal, page]);
}

/// One whose pictures stay as they are is not asked: some terminals break over it.
#[test]
fn only_who_could_have_other_pictures_is_made_an_offer() {
    let sound = TERMINAL_OFFER.split("m=video").next().expect("sound");
    let old = |sizes: &str| {
        format!("{sound}m=video 6002 RTP/AVP 34\r\na=rtpmap:34 H263/90000\r\na=fmtp:34 {sizes}\r\n")
    };
    for (offer, asked, sent) in [
        (sound.to_owned(), [false; 4], None),
        // What it sends may be taller than what it takes.
        (
            old("CIF=1;QCIF=1"),
            [false, true, true, true],
            Some([288, 288, 144, 288]),
        ),
        (
            old("CIF4=1;CIF=1"),
            [false, true, true, true],
            Some([576, 288, 144, 288]),
        ),
        (
            old("CIF4=1;QCIF=1"),
            [false, true, true, true],
            Some([576, 144, 144, 144]),
        ),
        (
            TERMINAL_OFFER.to_owned(),
            [true; 4],
            Some([720, 540, 180, 540]),
        ),
    ] {
        let mut bench = Bench::without_media(Config::default());
        bench.codecs = &["h263"];
        bench.connect_media();
        shape(&mut bench, 1, Shape::default());
        let (leg, _) = bench.dial_with(incoming(1, "5000", Some(&offer))).unwrap();
        for (n, lines) in [1_080, 540, 180, 540].into_iter().enumerate() {
            shape(&mut bench, 2 + n as u64, at_most(lines));
            assert_eq!(
                offers(&bench).len(),
                usize::from(asked[n]),
                "{offer} at {lines}"
            );
            if asked[n] {
                let sdp = Redacted(offer.clone());
                bench.input(Input::Call(CallEvent::Answered { call: CALL, sdp }));
            }
            if let Some(sent) = sent {
                assert_eq!(height(&bench, leg), sent[n], "{offer} at {lines}");
            }
        }
        if sent.is_some_and(|sent| sent[0] == 576) {
            shape(&mut bench, 6, at_most(720));
            assert_eq!(offers(&bench).len(), 1, "{offer}");
            let sdp = Redacted(offer.clone());
            bench.input(Input::Call(CallEvent::Answered { call: CALL, sdp }));
            assert_eq!(height(&bench, leg), 576, "as tall as ever: {offer}");
        }
    }
}

#[test]
fn while_an_offer_is_open_another_ceiling_waits_for_its_answer() {
    let mut bench = Bench::new(Config::default());
    shape(&mut bench, 1, at_most(360));
    let (terminal, _) = bench.dial(1, "5000").unwrap();
    shape(&mut bench, 2, at_most(180));
    assert_eq!(offers(&bench).len(), 1);
    shape(&mut bench, 3, at_most(720));
    assert_eq!(offers(&bench).len(), 0);
    let sdp = Redacted(TERMINAL_OFFER.to_owned());
    bench.input(Input::Call(CallEvent::Answered { call: CALL, sdp }));
    assert_eq!(height(&bench, terminal), 180);
    let offered = offers(&bench);
    assert!(offered[0].contains("42e01f"), "{offered:?}");
}

#[test]
fn who_spoke_last_leads_where_the_layout_says_so() {
    let mut bench = Bench::new(Config::default());
    let speaker = Shape {
        layout: Layout::named("speaker").unwrap(),
        ..Shape::default()
    };
    shape(&mut bench, 1, speaker);
    for conn in 1..=9 {
        bench.join_with(conn, join("5000", "X")).unwrap();
    }
    let legs = bench.legs_planned();
    assert_eq!(bench.plan().composition.layout.name(), "speaker");
    assert_eq!(bench.plan().composition.tiles, legs[..8]);
    bench.event(MediaEvent::ActiveSpeaker { leg: Some(legs[2]) });
    let [a, b, c, d, e, f, g, h] = legs[..8] else {
        panic!("{legs:?}");
    };
    assert_eq!(bench.plan().composition.tiles, [c, b, a, d, e, f, g, h]);
    bench.event(MediaEvent::ActiveSpeaker { leg: None });
    assert_eq!(bench.plan().composition.tiles[0], c);
    bench.event(MediaEvent::ActiveSpeaker { leg: Some(legs[8]) });
    assert_eq!(bench.plan().composition.tiles[0], legs[8]);
    assert!(bench.plan().composition.tiles.contains(&c));
    shape(&mut bench, 2, Shape::default());
    assert_eq!(bench.plan().composition.layout.name(), "equal");
    assert_eq!(bench.plan().composition.tiles, legs);
}

#[test]
fn a_room_takes_as_many_sites_as_it_says_and_no_more_than_all_may() {
    let mut bench = Bench::new(Config {
        max_legs_per_room: 3,
        ..Config::default()
    });
    let sites = |max_legs| Shape {
        max_legs: Some(max_legs),
        ..Shape::default()
    };
    shape(&mut bench, 1, sites(2));
    bench.dial(1, "5000").unwrap();
    bench.join_with(1, join("5000", "A")).unwrap();
    assert_eq!(
        bench.join_with(2, join("5000", "B")),
        Err(Refusal::RoomFull)
    );
    assert_eq!(bench.dial(2, "5000"), Err(RejectReason::Busy));
    shape(&mut bench, 2, sites(100));
    bench.join_with(3, join("5000", "C")).unwrap();
    assert_eq!(
        bench.join_with(4, join("5000", "D")),
        Err(Refusal::RoomFull)
    );
    // Who is in stays.
    shape(&mut bench, 3, sites(2));
    assert_eq!(bench.legs_planned().len(), 3);
}
