//! Live events as a program hears them by curl, over the death of what tells of them (ARC-16).

use std::time::Duration;

use benches::load::Load;
use serde_json::{Value, json};
use tests::administrator::Administrator;
use tests::listener::Listener;
use tests::server::Server;
use tests::terminal::sending;
use tests::wait_for;

const PATIENCE: Duration = Duration::from_secs(40);
const ROOM: &str = "4000";
const CONFIGURATION: &str = r#"
[[rooms]]
number = "4000"
guests = true
"#;

/// Waits until these were heard, each as often as it is named and in this order, others between them.
fn hears(listener: &Listener, wanted: &[&str]) {
    let what = format!("{wanted:?} are heard");
    wait_for(&what, PATIENCE, || {
        let kinds = listener.kinds();
        let kinds = kinds.iter().filter(|kind| wanted.contains(&kind.as_str()));
        (kinds.collect::<Vec<_>>() == wanted).then_some(())
    });
}

#[test]
fn a_meeting_is_heard_as_it_happens_and_whole_by_who_comes_back_after_the_manager_died() {
    let server = Server::configured(CONFIGURATION);
    let admin = Administrator::first(&server);
    let all = admin.listen("", None);
    let number = format!("?room={ROOM}");
    let one = admin.listen(&number, None);
    let room = json!({ "organisation": admin.root(), "number": "5100", "name": "会诊" });
    admin.make("/rooms", &room);
    hears(&all, &["room.created"]);
    let load = Load::start().unwrap();
    let call = server.call_number(&load, ROOM, sending(1)).unwrap();
    let joined = ["meeting.began", "leg.joined", "leg.quality"];
    hears(&one, &joined);
    let leg = one.heard()[1].data["data"]["leg"].clone();
    assert_eq!(one.heard()[1].data["data"]["number"], ROOM);
    assert_eq!(one.heard()[2].data["data"]["quality"], "good");
    let path = format!("/rooms/{ROOM}/legs/{leg}");
    let done = admin.ask("PATCH", &path, &json!({ "audio_silenced": true }));
    assert_eq!(done.status, 204, "{done:?}");
    wait_for("that it is muted is heard", PATIENCE, || {
        let last = one.heard().pop()?;
        (last.kind == "leg.muted" && last.data["data"]["audio_muted"] == true).then_some(())
    });
    let file = std::fs::read_to_string(server.dir().join("events-0")).unwrap();
    assert!(!file.contains("会诊"), "no names");

    // The call ends while nobody is there who could tell.
    let last = wait_for("an id", PATIENCE, || one.last_id());
    server.kill("manager");
    drop(call);
    wait_for("the manager is back", PATIENCE, || {
        (server.get("/health")?.0 == 200).then_some(())
    });
    let again = admin.listen(&number, Some(&last));
    hears(&again, &["leg.left", "meeting.ended"]);
    assert_eq!(again.kinds().len(), 2, "nothing twice: {:?}", again.kinds());
    drop(all);

    let all = admin.listen("?types=process.away,process.back", None);
    server.kill("control");
    hears(&all, &["process.away", "process.back"]);
    server.kill("media");
    let both = ["process.away", "process.back"];
    hears(&all, &[both, both].concat());
    let heard = all.heard();
    let names: Vec<&Value> = heard.iter().map(|e| &e.data["data"]["process"]).collect();
    assert_eq!(names, ["control", "control", "media", "media"]);
}

#[test]
fn a_stream_ends_with_the_session_that_opened_it() {
    let server = Server::configured("");
    let admin = Administrator::first(&server);
    admin.person("li.chun", "李春", "clinician");
    let clinician = Administrator::log_in(&server, "li.chun");
    let mut listener = clinician.listen("", None);
    let done = clinician.ask("DELETE", "/session", &Value::Null);
    assert_eq!(done.status, 204, "{done:?}");
    wait_for("the stream ends", PATIENCE, || {
        listener.has_ended().then_some(())
    });
}
