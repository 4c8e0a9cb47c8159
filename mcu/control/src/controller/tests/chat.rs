//! What people write to each other, and sound that comes as it is.

use std::time::Duration;

use mcu_api::ids::ConnId;
use mcu_api::manager::{BrowserMessage, ChatLine, ServerMessage, ToControl};
use mcu_api::secret::Redacted;

use super::bench::{Bench, MANAGER, demo, go_on, join};
use crate::controller::Input;

fn write(bench: &mut Bench, conn: u64, text: &str) {
    let text = Redacted(text.to_owned());
    bench.say(conn, BrowserMessage::Chat { text });
}

fn lines(bench: &Bench, conn: u64) -> Vec<ChatLine> {
    let said = bench.said_to(conn).into_iter();
    let lines = said.filter_map(|message| match message {
        ServerMessage::Chat { lines } => Some(lines.clone()),
        _ => None,
    });
    lines.flatten().collect()
}

fn texts(bench: &Bench, conn: u64) -> Vec<String> {
    lines(bench, conn).into_iter().map(|l| l.text.0).collect()
}

fn refused(bench: &Bench, conn: u64) -> usize {
    let said = bench.said_to(conn).into_iter();
    said.filter(|m| **m == ServerMessage::ChatRefused).count()
}

#[test]
fn a_line_reaches_everybody_under_the_name_that_the_room_knows() {
    let mut bench = Bench::new(demo());
    let (li, _) = bench.join(1, "Dr. Li\u{202e}");
    bench.join(2, "Wang");
    write(&mut bench, 1, "<img src=x onerror=alert(1)>\u{202e}");
    for conn in [1, 2] {
        let [line] = &lines(&bench, conn)[..] else {
            panic!("one line");
        };
        assert_eq!((line.leg, line.name.0.as_str()), (li, "Dr. Li"));
        assert_eq!(line.text.0, "<img src=x onerror=alert(1)>");
    }
    let logged = format!("{:?}", lines(&bench, 1));
    assert!(
        !logged.contains("onerror") && !logged.contains("Dr."),
        "{logged}"
    );
}

#[test]
fn who_comes_back_reads_what_was_written_since_it_came_and_nothing_older() {
    let mut bench = Bench::new(demo());
    bench.join(1, "A");
    write(&mut bench, 1, "before");
    let (late, token) = bench.join(2, "late");
    assert_eq!(texts(&bench, 2), [""; 0]);
    write(&mut bench, 1, "after");
    let ufrag = bench.ufrag(late);
    bench.input(Input::Manager(
        MANAGER,
        ToControl::BrowserGone { conn: ConnId(2) },
    ));
    bench.forget();
    bench.join_with(3, go_on("late", &token, &ufrag)).unwrap();
    assert_eq!(texts(&bench, 3), ["after"]);
}

#[test]
fn nothing_is_left_of_what_was_written_when_the_meeting_is_over() {
    let mut bench = Bench::new(demo());
    bench.join(1, "A");
    write(&mut bench, 1, "x");
    bench.say(1, BrowserMessage::Leave);
    bench.join(2, "A");
    bench.forget();
    write(&mut bench, 2, "y");
    assert_eq!(texts(&bench, 2), ["y"]);
    let kept = serde_json::to_string(&bench.state).unwrap();
    assert!(!kept.contains("\"y\""), "what is written is not kept");
}

#[test]
fn lines_are_bounded_in_length_and_rate_and_the_room_in_their_number() {
    let mut bench = Bench::new(demo());
    bench.join(1, "A");
    write(&mut bench, 1, &"x".repeat(2_001));
    assert_eq!(refused(&bench, 1), 1);
    for _ in 0..20 {
        write(&mut bench, 1, "x");
    }
    assert_eq!((texts(&bench, 1).len(), refused(&bench, 1)), (8, 13));
    bench.pass(Duration::from_secs(4));
    bench.forget();
    for _ in 0..4 {
        write(&mut bench, 1, "x");
    }
    assert_eq!((texts(&bench, 1).len(), refused(&bench, 1)), (2, 2));
}

#[test]
fn lines_have_numbers_that_grow_also_within_a_moment() {
    let mut bench = Bench::new(demo());
    bench.join(1, "A");
    for text in ["a", "b", "c"] {
        write(&mut bench, 1, text);
    }
    let ids: Vec<u64> = lines(&bench, 1).iter().map(|line| line.id).collect();
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
}

#[test]
fn who_is_not_in_writes_nothing() {
    let mut bench = Bench::new(demo());
    bench.join(1, "A");
    write(&mut bench, 2, "x");
    assert_eq!(texts(&bench, 1), [""; 0]);
}

#[test]
fn original_sound_is_shown_to_others_and_all_encoders_keep_low_tones_meanwhile() {
    let mut bench = Bench::new(demo());
    let (a, token) = bench.join(1, "A");
    let (b, _) = bench.join(2, "B");
    let faithful =
        |bench: &Bench| [a, b].map(|leg| bench.leg_plan(leg).audio.as_ref().unwrap().faithful);
    assert_eq!(faithful(&bench), [false; 2]);
    bench.say(1, BrowserMessage::Sound { original: true });
    assert_eq!(faithful(&bench), [true; 2]);
    let care = |bench: &Bench| [a, b].map(|leg| bench.leg_plan(leg).audio.as_ref().unwrap().care);
    let levelled = care(&bench).map(|care| care.level);
    assert_eq!(levelled, [false, true], "nothing is done to original sound");
    assert!(care(&bench).iter().all(|care| !care.noise && !care.echo));
    let marks = |bench: &Bench, conn| {
        let (sites, ..) = bench.roster(conn);
        let marks = sites.iter().map(|site| site.original_sound);
        marks.collect::<Vec<_>>()
    };
    assert_eq!(marks(&bench, 2), [true, false]);
    bench.restart_controller();
    bench.connect_media();
    let ufrag = bench.ufrag(a);
    bench.join_with(3, go_on("A", &token, &ufrag)).unwrap();
    assert_eq!(marks(&bench, 3), [true, false]);
    bench.say(3, BrowserMessage::Sound { original: false });
    assert_eq!(faithful(&bench), [false; 2]);
    assert!(care(&bench)[0].level);
    assert!(bench.join_with(4, join("3000", "C")).is_ok());
}
