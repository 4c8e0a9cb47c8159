//! SIP over WebSocket (RFC 7118) by a telephone that is a web page: JsSIP in Chromium.

use std::time::Duration;

use mcu_api::manager::SiteKind;
use tests::browser::Browser;
use tests::meeting::expect_call;
use tests::process::free_port;
use tests::server::Server;
use tests::wait_for;

const PATIENCE: Duration = Duration::from_secs(60);

/// Ids of the sources.
const TELEPHONE: u8 = 1;
const BROWSER: u8 = 2;

#[test]
fn a_web_page_that_is_a_telephone_sees_and_hears_the_room_and_is_seen_and_heard() {
    let port = free_port();
    let server = Server::configured(&format!(
        "demo = true\n[[sip.listeners]]\nprotocol = \"wss\"\nlisten = \"127.0.0.1:{port}\"\n\
         srtp = \"required\"\n"
    ));
    let browser = server.join(BROWSER);
    let socket = format!("wss://127.0.0.1:{port}/");
    let log = server.dir().join("telephone.log");
    let telephone = Browser::call(&server.url("/health"), &socket, "3000", TELEPHONE, &log);
    let (at_telephone, _) = expect_call((TELEPHONE, &telephone), (BROWSER, &browser));
    assert_eq!(at_telephone.connection, "connected");
    wait_for(
        "its picture shows the telephone itself, too",
        Duration::from_secs(20),
        || {
            let report = telephone.next_report();
            let mut ids: Vec<u8> = report.markers.values().map(|marker| marker.id).collect();
            ids.sort_unstable();
            (ids == [TELEPHONE, BROWSER]).then_some(())
        },
    );
    drop(telephone);
    let left = server.wait_for_legs(1);
    assert_eq!(left[0].site.kind, SiteKind::Browser, "{left:#?}");
}

/// The page's name and port are others than those of SIP: the listener names it.
#[test]
fn a_page_under_another_name_calls_where_the_listener_names_it() {
    let page = Server::demo();
    let port = free_port();
    let own = format!("https://localhost:{}", page.http);
    let server = Server::configured(&format!(
        "demo = true\n[[sip.listeners]]\nprotocol = \"wss\"\nlisten = \"127.0.0.1:{port}\"\n\
         origins = [\"{own}\"]\n"
    ));
    let log = server.dir().join("telephone.log");
    let socket = format!("wss://127.0.0.1:{port}/");
    let _telephone = Browser::call(&format!("{own}/health"), &socket, "3000", TELEPHONE, &log);
    server.wait_for_legs(1);
}

/// It names the URI that it was given as its Contact (RFC 5627): it is reached by its WebSocket all the
/// same, and goes to another room when it is sent there (RFC 3515).
#[test]
fn a_web_page_that_has_registered_is_reached_and_sent_to_another_room() {
    let port = free_port();
    let server = Server::configured(&format!(
        "demo = true\n[[rooms]]\nnumber = \"4000\"\n\
         [[sip.accounts]]\nuser = \"page-1\"\npassword = \"correct-horse\"\n\
         [[sip.listeners]]\nprotocol = \"wss\"\nlisten = \"127.0.0.1:{port}\"\n"
    ));
    let browser = server.join(BROWSER);
    let socket = format!("wss://127.0.0.1:{port}/");
    let (page, password) = (server.url("/health"), "correct-horse");
    let log = server.dir().join("telephone.log");
    let telephone = Browser::call_registered(&page, &socket, "4000", TELEPHONE, password, &log);
    let name = format!("Telephone {TELEPHONE}");
    wait_for("the telephone is in the other room", PATIENCE, || {
        let moved = server.transfer("4000", &name, "3000");
        let waits = |text: &String| text.contains("nobody in") || text.contains("not in");
        match moved {
            Err(complaint) if waits(&complaint) => None,
            moved => Some(moved.unwrap()),
        }
    });
    for (at, id) in [(&telephone, BROWSER), (&browser, TELEPHONE)] {
        wait_for("they hear each other", PATIENCE, || {
            at.report().1.tones.contains_key(&id).then_some(())
        });
    }
}
