//! What the server can take, measured at its start and shared out while calls go on: smaller pictures
//! before none, and who is in stays (MCU-05).

use std::time::Duration;

use benches::load::{Load, LoadError, LoadLeg};
use serde_json::{Value, json};
use tests::administrator::Administrator;
use tests::server::Server;
use tests::terminal::watching;
use tests::wait_for;

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn ports_are_shared_out_while_calls_go_on() {
    let server = Server::configured("demo = true\n[limits]\nprocessors = 1.0\n");
    let admin = Administrator::first(&server);
    let load = Load::start().expect("a generator");
    let ports = wait_for("it has measured itself", PATIENCE, || {
        let ports = ports(&admin);
        ports
            .as_array()
            .is_some_and(|all| all.len() == 5)
            .then_some(ports)
    });
    let pids = ["control", "media"].map(|name| server.pid_of(name));

    share(&admin, &[("hd", &ports, 1), ("sd", &ports, 2)]);
    expect_counts(&admin, "hd", (0, 1));
    expect_counts(&admin, "sd", (0, 2));
    let first = server.call(&load, watching(1));
    expect_lines(&first, |lines| lines == 720);
    let second = server.call(&load, watching(2));
    let third = server.call(&load, watching(3));
    for small in [&second, &third] {
        expect_lines(small, |lines| (180..=576).contains(&lines));
    }
    expect_counts(&admin, "hd", (1, 0));
    expect_counts(&admin, "sd", (2, 0));
    let refused = server.call_number(&load, "3000", watching(4));
    let why = refused.err().map(|why| why.to_string()).unwrap_or_default();
    assert!(why.contains("486"), "{why}");

    first.reset().expect("a leg");
    share(&admin, &[("hd", &ports, 2), ("sd", &ports, 1)]);
    let fourth = server.call(&load, watching(4));
    expect_lines(&fourth, |lines| lines == 720);
    expect_counts(&admin, "hd", (2, 0));
    let kept = first.report().expect("a report");
    assert!(
        kept.ended.is_none() && kept.video.height == 720,
        "{kept:#?}"
    );
    assert_eq!(pids, ["control", "media"].map(|name| server.pid_of(name)));
}

fn ports(admin: &Administrator<'_>) -> Value {
    admin.get("/system")["capacity"]["ports"].clone()
}

fn of_class<'v>(ports: &'v Value, class: &str) -> &'v Value {
    let mut all = ports.as_array().expect("ports").iter();
    all.find(|one| one["class"] == class).expect("the class")
}

/// So many are used and free, as soon as the controller is asked again.
fn expect_counts(admin: &Administrator<'_>, class: &str, wanted: (u64, u64)) {
    wait_for(&format!("{wanted:?} of {class}"), PATIENCE, || {
        let ports = ports(admin);
        let one = of_class(&ports, class);
        let count = |name: &str| one[name].as_u64().expect("a count");
        ((count("used"), count("free")) == wanted).then_some(())
    });
}

/// Keeps so many ports for each class, and all the rest for browsers, of whom none comes.
fn share(admin: &Administrator<'_>, wanted: &[(&str, &Value, u32)]) {
    let mut shares = json!({});
    let mut rest = 100;
    for (class, ports, count) in wanted {
        let cost = of_class(ports, class)["millicores"]
            .as_f64()
            .expect("a cost");
        let percent = ((f64::from(*count) + 0.5) * cost / 10.0).round() as u32;
        shares[*class] = percent.into();
        rest = u32::checked_sub(rest, percent).expect("a processor is enough for them");
    }
    shares["browser"] = rest.into();
    let done = admin.ask("PUT", "/system/ports", &shares);
    assert_eq!(done.status, 200, "{done:?}");
}

fn expect_lines(leg: &LoadLeg, wanted: impl Fn(usize) -> bool) {
    let seen = leg.wait_until(PATIENCE, |report| {
        report.video.decoded > 30 && wanted(report.video.height)
    });
    let seen: Result<_, LoadError> = seen;
    seen.expect("a leg")
        .unwrap_or_else(|last| panic!("{last:#?}"));
}
