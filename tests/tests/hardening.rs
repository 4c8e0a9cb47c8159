//! What a stranger may send to the page and its interface (WS/T 545: SEC-02, SW-04, PRV-05): whatever
//! schemathesis makes of the description, and the basics of OWASP's Web Security Testing Guide.

use std::fs;
use std::io::Read;
use std::process::{Command, Output, Stdio};

use benches::process::resident_kb;
use serde_json::{Value, json};
use tests::client::{Client, PASSWORD};
use tests::server::Server;
use tests::{python, root};

/// Cases of each operation, so that the whole takes less than a minute.
const CASES: &str = "30";

#[test]
fn whatever_is_made_of_the_description_is_answered_as_it_says() {
    // Every case is to be answered for itself.
    let server = Server::configured(
        "[limits]\nrequests_per_session_per_min = 1000000\nrequests_per_source_per_min = 1000000\n",
    );
    let root = Client::first(&server);
    valid(&server);
    let folder = server.dir().join("schemathesis");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("schemathesis.toml"), known_things(&root)).unwrap();
    let token = format!("Authorization: Bearer {}", root.token());
    fuzz(&server, &token, "--exclude-path-regex");
    // Nobody is logged in there, so that no case ends the session of the others.
    fuzz(&server, "X-Nobody: 1", "--include-path-regex");
    let log = server.log();
    for bad in ["ERROR", "panicked"] {
        assert!(!log.contains(bad), "{log}");
    }
}

/// What the server tells of itself is OpenAPI 3.1, as the schema of the standard has it (ARC-16).
fn valid(server: &Server) {
    let (status, document) = server.get("/api/openapi.json").expect("the description");
    assert_eq!(status, 200);
    let file = server.dir().join("openapi.json");
    let validator = python::installed("openapi-spec-validator").join("openapi-spec-validator");
    let check = |document: &Value| {
        fs::write(&file, document.to_string()).unwrap();
        let mut command = Command::new(&validator);
        command
            .args(["--schema", "3.1"])
            .arg(&file)
            .output()
            .unwrap()
    };
    let document: Value = serde_json::from_str(&document).unwrap();
    let output = check(&document);
    let told = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}{complaint}");
    // It would say so if it were not.
    let mut wrong = document;
    wrong["paths"]["/api/v1/rooms"]["get"]["responses"] = json!([]);
    assert!(!check(&wrong).status.success());
}

/// Makes one of each, and names them for what asks for an id.
fn known_things(root: &Client<'_>) -> String {
    let home = root.get("/session")["organisation"].clone();
    let body = json!({ "parent": home, "kind": "hospital", "name": "仁济" });
    let organisation = root.make("/organisations", &body);
    let made = |path: &str, field: &str, value: Value| {
        let body = json!({ "organisation": organisation, "name": "仁济", field: value });
        root.make(path, &body)
    };
    let known = [
        ("people", "id", made("/people", "login", json!("chun"))),
        (
            "roles",
            "id",
            made("/roles", "rights", json!(["rooms.view"])),
        ),
        ("accounts", "id", made("/accounts", "user", json!("ward"))),
        ("organisations", "id", organisation.clone()),
        ("rooms", "number", "4200".to_owned()),
    ];
    made("/rooms", "number", json!("4200"));
    let parts = known.map(|(kind, name, value)| {
        format!(
            "[[operations]]\ninclude-path-regex = \"^/api/v1/{kind}/.\"\n\
             parameters = {{ \"path.{name}\" = \"{value}\" }}\n"
        )
    });
    parts.concat()
}

/// Has schemathesis ask, with this header, for what is about sessions or for all but that.
fn fuzz(server: &Server, proof: &str, which: &str) {
    let origin = format!("Origin: {}", server.url("").trim_end_matches('/'));
    let output = Command::new(python::installed("schemathesis").join("schemathesis"))
        .current_dir(server.dir().join("schemathesis"))
        .args(["run", &server.url("/api/openapi.json"), "--tls-verify"])
        .args(["false", "--header", proof, "--header", &origin])
        .args([which, "/(session|login|setup)", "--max-examples", CASES])
        // It has no end to wait for.
        .args(["--exclude-path", "/api/v1/events"])
        .args(["--seed", "545", "--continue-on-failure"])
        .args(["--phases", "examples,coverage,fuzzing"])
        .args(["--checks", CHECKS])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}{complaint}");
    assert!(cases(&told) >= 300, "{told}");
}

const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
    response_schema_conformance,unsupported_method";

/// How many cases schemathesis tells of.
fn cases(told: &str) -> usize {
    let line = told.lines().find(|line| line.contains(" generated, "));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[test]
fn no_page_of_another_origin_and_no_name_does_anything_in_an_administrators_browser() {
    let server = Server::start(&[]);
    drop(Client::first(&server));
    let output = Command::new("node")
        .arg(root().join("tests/browser/intruder.mjs"))
        .arg(server.url("").trim_end_matches('/'))
        .arg(server.dir().join("data/tls"))
        .output()
        .expect("run Node");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}\n{}", server.log());
}

/// By curl, with the address as it is given.
fn curl(server: &Server, path: &str, more: &[&str]) -> (u16, String) {
    let output = Command::new("curl")
        .args([
            "-ski",
            "--max-time",
            "20",
            "--path-as-is",
            "-w",
            "\n%{http_code}",
        ])
        .args(more)
        .arg(server.url(path))
        .stdin(Stdio::null())
        .output()
        .expect("run curl");
    said(&output)
}

fn said(output: &Output) -> (u16, String) {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    let (answer, status) = text.rsplit_once('\n').expect(&complaint);
    (status.parse().expect("a number"), answer.to_owned())
}

#[test]
fn no_address_leads_to_a_file_or_to_another_host() {
    let server = Server::start(&[]);
    let up = [
        "../",
        "..%2f",
        "%2e%2e/",
        "%2e%2e%2f",
        "..\\",
        "..%5c",
        "..%252f",
        "....//",
    ];
    let mut paths = vec![
        "/assets//etc/passwd".to_owned(),
        "/assets/%2fetc%2fpasswd".into(),
    ];
    for step in up {
        for root in ["/assets/", "/", "/admin/", "/room/"] {
            for file in ["etc/passwd", "data/seal.key", "data/tls/key.pem"] {
                paths.push(format!("{root}{}{file}", step.repeat(8)));
            }
        }
    }
    for path in &paths {
        let (status, answer) = curl(&server, path, &[]);
        // The page itself reads addresses below /admin and /room.
        let is_page = status == 200 && answer.contains("<div id=\"root\">");
        assert!(is_page || (400..500).contains(&status), "{path}: {answer}");
        for secret in ["root:x:", "PRIVATE KEY"] {
            assert!(!answer.contains(secret), "{path}: {answer}");
        }
    }
    let away = [
        "//evil.example/",
        "/\\evil.example",
        "/login?from=//evil.example/",
        "/%2f%2fevil.example",
    ];
    for path in away {
        let (status, answer) = curl(&server, path, &[]);
        assert!(!(300..400).contains(&status), "{path}: {answer}");
        assert!(
            !answer.to_lowercase().contains("\nlocation:"),
            "{path}: {answer}"
        );
    }
}

#[test]
fn nothing_that_is_typed_becomes_a_header() {
    let server = Server::start(&[]);
    for path in [
        "/%0d%0aX-Injected:%20yes",
        "/room/%0d%0aX-Injected:%20yes",
        "/assets/%0d%0aX-Injected:%20yes",
        "/login/oidc/callback?state=%0d%0aX-Injected:%20yes&code=x",
        "/api/v1/rooms/%0d%0aX-Injected:%20yes",
    ] {
        let (_, answer) = curl(&server, path, &[]);
        assert!(
            !answer.to_lowercase().contains("\nx-injected"),
            "{path}: {answer}"
        );
    }
    // A host that is not ours is told to nobody.
    for path in ["/", "/health", "/api/v1/session", "/login"] {
        let (_, answer) = curl(&server, path, &["-H", "Host: evil.example"]);
        assert!(!answer.contains("evil.example"), "{path}: {answer}");
    }
    let (status, answer) = curl(&server, "/", &[]);
    assert_eq!(status, 200);
    let headers = answer.to_lowercase();
    for header in [
        "content-security-policy: default-src 'self'",
        "x-content-type-options: nosniff",
        "x-frame-options: deny",
        "referrer-policy: no-referrer",
    ] {
        assert!(headers.contains(header), "{header}: {answer}");
    }
    assert!(!headers.contains("access-control-"), "{answer}");
}

#[test]
fn a_body_that_is_too_large_is_refused_without_being_kept() {
    let server = Server::start(&[]);
    let page = server.url("");
    let origin = format!("Origin: {}", page.trim_end_matches('/'));
    let json = ["-H", "Content-Type: application/json", "-H", &origin];
    let post = |len: u64, more: &[&str]| {
        let mut curl = Command::new("curl")
            .args(["-ski", "--max-time", "60", "--data-binary", "@-"])
            .args(json)
            .args(["-X", "POST", "-w", "\n%{http_code}"])
            .args(more)
            .arg(server.url("/api/v1/session"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("run curl");
        let mut stdin = curl.stdin.take().expect("its input");
        // Where the server reads no more, neither does curl.
        let _ = std::io::copy(&mut std::io::repeat(b' ').take(len), &mut stdin);
        drop(stdin);
        said(&curl.wait_with_output().expect("its end"))
    };
    assert_eq!(post(70_000, &[]).0, 413);
    let before = resident_kb(server.pid_of("manager").unsigned_abs());
    // The connection may be gone before all of it was sent, and the answer with it.
    for more in [
        &["-H", "Expect:"][..],
        &["-H", "Expect:", "-H", "Transfer-Encoding: chunked"],
    ] {
        let (status, answer) = post(100 << 20, more);
        assert!([0, 413].contains(&status), "{status}: {answer}");
    }
    let grown = resident_kb(server.pid_of("manager").unsigned_abs()).saturating_sub(before);
    assert!(grown < 16_000, "the manager grew by {grown} kB");
    let deep = json!({ "login": "root", "password": PASSWORD }).to_string();
    let deep = format!("{}{deep}{}", "[".repeat(30_000), "]".repeat(30_000));
    let body = ["-d", &deep];
    let (status, answer) = curl(&server, "/api/v1/session", &[&json[..], &body].concat());
    assert_eq!(status, 422, "{answer}");
    assert_eq!(server.get("/health").map(|(status, _)| status), Some(200));
}
