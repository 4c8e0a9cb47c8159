//! The conference event package with sipp as subscriber (RFC 4575, RFC 6665): the whole, what
//! changes, and who is told nothing. The documents are read by a parser that is not ours.

use std::path::{Path, PathBuf};
use std::time::Duration;

use benches::load::Load;
use quick_xml::Reader;
use quick_xml::events::Event;
use tests::process::{Process, free_port};
use tests::server::Server;
use tests::terminal::sending;
use tests::{sipp, wait_for};

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_subscriber_is_told_who_is_in_and_who_comes() {
    let server = Server::demo();
    let load = Load::start().unwrap();
    let first = server.call(&load, sending(1));
    let messages = server.dir().join("messages");
    let mut watcher = watcher(&server, &messages);
    wait_for("the subscriber has the whole", PATIENCE, || {
        (notifications(&messages).len() == 1).then_some(())
    });
    let second = server.call(&load, sending(2));
    wait_for(
        "the subscriber has been told of the change",
        PATIENCE,
        || (!watcher.is_running()).then_some(()),
    );
    let told = notifications(&messages);
    let [whole, part] = &told[..] else {
        panic!("{told:#?}")
    };
    assert_eq!(attribute(whole, "conference-info", "state"), ["full"]);
    assert_eq!(texts(whole, "user-count"), ["2"]);
    assert_eq!(texts(whole, "display-text")[1..], ["load", "watcher"]);
    assert_eq!(attribute(part, "conference-info", "state"), ["partial"]);
    assert_eq!(texts(part, "user-count"), ["3"]);
    assert_eq!(texts(part, "display-text"), ["load"]);
    assert_eq!(
        texts(part, "status").first().map(String::as_str),
        Some("connected")
    );
    for document in [whole, part] {
        let entity = attribute(document, "conference-info", "entity");
        assert_eq!(entity, [format!("sip:3000@127.0.0.1:{}", server.sip)]);
    }
    assert!(!server.log().contains("watcher"), "a name is in the log");
    drop((first, second));
}

#[test]
fn a_stranger_is_told_nothing() {
    let server = Server::demo();
    let load = Load::start().unwrap();
    let leg = server.call(&load, sending(1));
    let ask = |event: &str| {
        let request = format!(
            "SUBSCRIBE sip:3000@127.0.0.1:{} SIP/2.0\r\n\
             Via: SIP/2.0/TCP 127.0.0.1:9;branch=z9hG4bK{event}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:x@127.0.0.1>;tag=1\r\n\
             To: <sip:3000@127.0.0.1>\r\nCall-ID: {event}@test\r\nCSeq: 1 SUBSCRIBE\r\n\
             Contact: <sip:x@127.0.0.1:9>\r\nEvent: {event}\r\nContent-Length: 0\r\n\r\n",
            server.sip
        );
        server.sip_tcp(request.as_bytes())
    };
    let refused = ask("conference");
    assert!(refused.starts_with("SIP/2.0 403"), "{refused}");
    let other = ask("presence");
    assert!(other.starts_with("SIP/2.0 489"), "{other}");
    leg.hang_up();
}

fn watcher(server: &Server, messages: &Path) -> Process {
    let mut command = sipp::scenario(server.dir(), "conference_watcher.xml", free_port());
    command
        .args(["-s", "3000", "-m", "1", "-trace_msg", "-message_file"])
        .arg(messages)
        .arg(server.sip_address().to_string());
    Process::start(&mut command, &server.dir().join("sipp.log"))
}

/// Documents of all NOTIFYs that sipp has received, without those that came again.
fn notifications(messages: &PathBuf) -> Vec<String> {
    let text = std::fs::read_to_string(messages).unwrap_or_default();
    let documents = text.split("<?xml").skip(1);
    let whole = documents.filter_map(|rest| Some(rest.split_once("</conference-info>")?.0));
    let mut documents: Vec<String> = whole
        .map(|inner| format!("<?xml{inner}</conference-info>"))
        .collect();
    documents.dedup();
    documents
}

fn attribute(document: &str, element: &str, name: &str) -> Vec<String> {
    let mut reader = Reader::from_str(document);
    let mut found = Vec::new();
    loop {
        match reader.read_event().expect("well-formed XML") {
            Event::Start(start) | Event::Empty(start)
                if start.name().as_ref() == element.as_bytes() =>
            {
                let attribute = start.try_get_attribute(name).expect("attributes");
                let value = attribute.map(|a| String::from_utf8_lossy(&a.value).into_owned());
                found.extend(value);
            }
            Event::Eof => return found,
            _ => {}
        }
    }
}

fn texts(document: &str, element: &str) -> Vec<String> {
    let mut reader = Reader::from_str(document);
    let (mut found, mut inside) = (Vec::new(), false);
    loop {
        match reader.read_event().expect("well-formed XML") {
            Event::Start(start) => inside = start.name().as_ref() == element.as_bytes(),
            Event::Text(text) if inside => found.push(String::from_utf8_lossy(&text).into_owned()),
            Event::End(_) => inside = false,
            Event::Eof => return found,
            _ => {}
        }
    }
}
