//! SIP over WebSocket (RFC 7118) by a telephone that is a web page: JsSIP in Chromium.

use std::time::Duration;

use tests::browser::Browser;
use tests::process::free_port;
use tests::server::Server;
use tests::wait_for;

const PATIENCE: Duration = Duration::from_secs(60);

/// Ids of the sources.
const TELEPHONE: u8 = 1;
const BROWSER: u8 = 2;

#[test]
fn a_web_page_that_is_a_telephone_hears_the_room_and_is_heard() {
    let port = free_port();
    let server = Server::configured(&format!(
        "demo = true\n[[sip.listeners]]\nprotocol = \"wss\"\nlisten = \"127.0.0.1:{port}\"\n\
         srtp = \"required\"\n"
    ));
    let log = |id: u8| server.dir().join(format!("browser-{id}.log"));
    let browser = Browser::join(&server.url("/room/3000"), BROWSER, &log(BROWSER));
    let socket = format!("wss://127.0.0.1:{port}/");
    let page = server.url("/health");
    let telephone = Browser::call(&page, &socket, "3000", TELEPHONE, &log(TELEPHONE));
    let heard = |at: &Browser, id: u8| {
        let (_, report) = at.report();
        report.tones.contains_key(&id).then_some(())
    };
    wait_for("the telephone hears the browser", PATIENCE, || {
        heard(&telephone, BROWSER)
    });
    wait_for("the browser hears the telephone", PATIENCE, || {
        heard(&browser, TELEPHONE)
    });
}
