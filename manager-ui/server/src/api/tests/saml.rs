//! Logins by a SAML identity provider (WS/T 545: SW-10): pysaml2, a program of the Python Package Index.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use axum::body::to_bytes;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;
use url::form_urlencoded;

use super::bench::Api;
use super::oidc::{held, location, problem_of, reasons, session};
use super::python;
use crate::provider;
use crate::saml::Config;
use crate::store::now_ms;

const SERVICE: &str = "https://mcu.example";

/// It ends with this value.
struct Provider {
    dir: TempDir,
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Provider {
    fn start(entity: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        make_key(dir.path());
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let script = here.join("../../tests/peers/saml_idp.py");
        let mut process = Command::new(python::installed("saml").join("python"))
            .args([&script, dir.path()])
            .args([entity, "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = process.stdin.take().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let mut provider = Self {
            dir,
            process,
            input,
            output,
        };
        assert_eq!(provider.line(), "ready");
        provider
    }

    /// The API as a server has it that knows this provider, which knows the server.
    async fn known(&mut self, api: Api) -> Api {
        let api = api.with_identity_provider(self.config());
        let told = api.visit("/login/saml/metadata", "").await;
        assert_eq!(
            told.headers()["content-type"],
            "application/samlmetadata+xml"
        );
        let told = to_bytes(told.into_body(), 1 << 20).await.unwrap();
        let told = String::from_utf8(told.to_vec()).unwrap();
        writeln!(self.input, "{}", json!({ "service": told })).unwrap();
        assert_eq!(self.line(), "known");
        api
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    fn metadata(&self) -> PathBuf {
        self.dir.path().join("metadata.xml")
    }

    fn config(&self) -> Config {
        Config {
            metadata: self.metadata().display().to_string(),
            ca: None,
            entity_id: SERVICE.into(),
            id: None,
            // `uid` (RFC 4519 §2.39), as SAML names it.
            login: Some("urn:oid:0.9.2342.19200300.100.1.1".into()),
            name: "displayName".into(),
            organisation: None,
        }
    }

    /// What a browser is to post that was sent to this address: that `chun` is there, but for what differs.
    fn answer(&mut self, url: &str, differs: Value) -> Answer {
        let mut wanted =
            json!({ "url": url, "subject": "persistent-1", "login": "chun", "name": "李春" });
        for (key, value) in differs.as_object().unwrap() {
            wanted[key] = value.clone();
        }
        writeln!(self.input, "{wanted}").unwrap();
        let told: Value = serde_json::from_str(&self.line()).unwrap();
        Answer {
            xml: told["SAMLResponse"].as_str().unwrap().to_owned(),
            state: told["RelayState"].as_str().unwrap().to_owned(),
            force: told["force"].clone(),
        }
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Answer {
    xml: String,
    state: String,
    /// Whether whoever is there was to prove it anew.
    force: Value,
}

impl Answer {
    fn form(&self) -> String {
        form_urlencoded::Serializer::new(String::new())
            .append_pair("SAMLResponse", &STANDARD.encode(&self.xml))
            .append_pair("RelayState", &self.state)
            .finish()
    }
}

/// A key of RSA and a certificate of its own, as identity providers have them.
fn make_key(dir: &Path) {
    let file = |name: &str| dir.join(name).display().to_string();
    let made = Command::new("openssl")
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        ])
        .args([
            "-subj",
            "/CN=idp",
            "-keyout",
            &file("key.pem"),
            "-out",
            &file("cert.pem"),
        ])
        .stderr(Stdio::null())
        .status();
    assert!(made.unwrap().success());
}

/// A browser goes to the provider, which answers with what differs.
async fn come_back(api: &Api, provider: &mut Provider, differs: Value) -> Response {
    let gone = api.visit("/login/saml", "").await;
    let answer = provider.answer(&location(&gone), differs);
    api.post_form("/login/saml/acs", &held(&gone), answer.form())
        .await
}

async fn refused(api: &Api, provider: &mut Provider, differs: Value) {
    let told = differs.to_string();
    let answer = come_back(api, provider, differs).await;
    assert_eq!(problem_of(&answer), "provider_refused", "{told}");
}

async fn me(api: &Api, there: &Response) -> Value {
    api.get(&session(there), "/session").await
}

pub(crate) async fn an_identity_provider_proves_who_somebody_is(api: Api) {
    let root = api.first().await;
    assert_eq!(api.visit("/login/saml", "").await.status(), 404);
    let mut provider = Provider::start("https://idp.example");
    let api = provider.known(api).await;
    assert_eq!(api.get("", "/login-methods").await["saml"], true);
    let gone = api.visit("/login/saml", "").await;
    assert!(location(&gone).starts_with("https://idp.example/sso?SAMLRequest="));
    let there = come_back(&api, &mut provider, json!({})).await;
    let first = me(&api, &there).await;
    assert_eq!(
        (&first["login"], &first["name"]),
        (&json!("chun"), &json!("李春"))
    );
    assert_eq!(first["source"], "saml");
    // Signed as a whole, or both; and under another login it is the same person.
    for signed in [[true, false], [true, true]] {
        let differs =
            json!({ "sign_response": signed[0], "sign_assertion": signed[1], "login": "li" });
        let there = come_back(&api, &mut provider, differs).await;
        assert_eq!(me(&api, &there).await["person"], first["person"]);
    }
    let second = come_back(
        &api,
        &mut provider,
        json!({ "subject": "2", "login": "wang" }),
    )
    .await;
    assert_ne!(me(&api, &second).await["person"], first["person"]);
    // Another provider says the same of somebody else, and takes nobody's login.
    let mut other = Provider::start("https://other.example");
    let api = other.known(api).await;
    refused(&api, &mut other, json!({})).await;
    let there = come_back(&api, &mut other, json!({ "login": "chun2" })).await;
    assert_ne!(me(&api, &there).await["person"], first["person"]);
    refused(&api, &mut other, json!({ "subject": "3", "login": "root" })).await;
    let none = "the provider's claims make no person";
    assert_eq!(reasons(&api, &root).await, [none, none]);
    let path = format!("/people/{}", first["person"].as_str().unwrap());
    api.ask(&root, "PATCH", &path, json!({ "disabled": true }))
        .await;
    let api = provider.known(api).await;
    refused(&api, &mut provider, json!({})).await;
    assert_eq!(reasons(&api, &root).await[0], "disabled");
}

/// Defect: a session with the provider, which asks nobody anything, was enough for a token.
pub(crate) async fn a_token_wants_a_proof_to_the_identity_provider_that_is_just_now(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let mut provider = Provider::start("https://idp.example");
    let api = provider.known(api).await;
    let mut come = async |query: &str, proved_s_ago: i64| {
        let gone = api.visit(&format!("/login/saml{query}"), "").await;
        let differs = json!({ "authn_ago": proved_s_ago });
        let answer = provider.answer(&location(&gone), differs);
        assert_eq!(answer.force, json!(!query.is_empty()), "{query}");
        api.post_form("/login/saml/acs", &held(&gone), answer.form())
            .await
    };
    let there = come("", 0).await;
    let me = me(&api, &there).await;
    let person = me["person"].as_str().unwrap();
    let grant = json!({ "role": "organisation_administrator", "organisation": home });
    api.make(&root, &format!("/people/{person}/grants"), grant)
        .await;
    let token = json!({ "name": "x", "rights": ["rooms.view"], "expires_ms": now_ms() + 60_000 });
    let make = async |there: &Response| {
        let (session, token) = (session(there), token.clone());
        let made = api.ask(&session, "POST", "/session/tokens", token).await;
        made.body["code"].clone()
    };
    assert_eq!(make(&there).await, "login_too_old");
    let there = come("?anew", 0).await;
    assert_eq!(make(&there).await, Value::Null);
    // An hour ago somebody was there, and has left the browser since.
    let there = come("?anew", 3600).await;
    assert_eq!(problem_of(&there), "provider_refused");
    assert_eq!(reasons(&api, &root).await, ["token proves nothing"]);
    let there = come("", 3600).await;
    assert_eq!(make(&there).await, "login_too_old");
}

pub(crate) async fn what_proves_nothing_is_refused(api: Api) {
    let root = api.first().await;
    let mut provider = Provider::start("https://idp.example");
    let api = provider.known(api).await;
    for differs in [
        json!({ "sign_assertion": false }),
        json!({ "algorithm": "http://www.w3.org/2000/09/xmldsig#rsa-sha1" }),
        json!({ "transient": true }),
    ] {
        refused(&api, &mut provider, differs).await;
    }
    // What cannot be read.
    for (response, status) in [
        (STANDARD.encode("<a/>"), 303),
        (STANDARD.encode(b"\xff\xfe"), 303),
        (
            STANDARD.encode("<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>"),
            303,
        ),
        ("%".to_owned(), 303),
        (String::new(), 303),
        ("A".repeat(600 * 1024), 413),
    ] {
        let gone = api.visit("/login/saml", "").await;
        let mut answer = provider.answer(&location(&gone), json!({}));
        answer.xml = String::new();
        let form = answer.form().replace(
            "SAMLResponse=",
            &format!(
                "SAMLResponse={}",
                form_urlencoded::byte_serialize(response.as_bytes()).collect::<String>()
            ),
        );
        let answer = api.post_form("/login/saml/acs", &held(&gone), form).await;
        assert_eq!(answer.status(), status, "{} bytes", response.len());
        assert!(!held(&answer).contains("__Host-consilium="));
    }
    let told = reasons(&api, &root).await;
    assert!(
        told.iter().all(|reason| reason == "token proves nothing"),
        "{told:?}"
    );
    let people = api.get(&root, "/people").await;
    assert_eq!(
        people["items"].as_array().unwrap().len(),
        1,
        "nobody was made"
    );
}

/// Defect that this guards against: a signature that proved nothing had the server open files and addresses,
/// and compute without end.
pub(crate) async fn what_a_signature_refers_to_elsewhere_is_not_opened(api: Api) {
    let root = api.first().await;
    let mut provider = Provider::start("https://idp.example");
    let api = provider.known(api).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let elsewhere = format!("http://127.0.0.1:{port}/x");
    for uri in [
        elsewhere.as_str(),
        "file:///dev/zero",
        "fil&#101;:///dev/zero",
    ] {
        let gone = api.visit("/login/saml", "").await;
        let mut answer = provider.answer(&location(&gone), json!({}));
        let (before, rest) = answer.xml.split_once("Reference URI=\"").unwrap();
        let (_, after) = rest.split_once('"').unwrap();
        answer.xml = format!("{before}Reference URI=\"{uri}\"{after}");
        let there = api
            .post_form("/login/saml/acs", &held(&gone), answer.form())
            .await;
        assert_eq!(problem_of(&there), "provider_refused", "{uri}");
    }
    let nobody = listener.accept().unwrap_err();
    assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock);
    let slow = "http://www.w3.org/TR/1999/REC-xslt-19991116";
    let gone = api.visit("/login/saml", "").await;
    let mut answer = provider.answer(&location(&gone), json!({}));
    answer.xml = answer
        .xml
        .replacen("http://www.w3.org/2001/10/xml-exc-c14n#", slow, 2);
    let there = api
        .post_form("/login/saml/acs", &held(&gone), answer.form())
        .await;
    assert_eq!(problem_of(&there), "provider_refused");
    assert_eq!(reasons(&api, &root).await, ["token proves nothing"; 4]);
}

pub(crate) async fn what_was_signed_for_somebody_else_is_refused(api: Api) {
    let root = api.first().await;
    let mut provider = Provider::start("https://idp.example");
    let api = provider.known(api).await;
    for differs in [
        json!({ "audience": "https://another.example" }),
        json!({ "destination": "https://another.example/acs" }),
        json!({ "in_response_to": "_another" }),
    ] {
        refused(&api, &mut provider, differs).await;
    }
    // Once more, of another browser, of another login of the same browser.
    let gone = api.visit("/login/saml", "").await;
    let answer = provider.answer(&location(&gone), json!({}));
    let stolen = api.post_form("/login/saml/acs", "", answer.form()).await;
    assert_eq!(problem_of(&stolen), "provider_refused");
    let gone = api.visit("/login/saml", "").await;
    let answer = provider.answer(&location(&gone), json!({}));
    let there = api
        .post_form("/login/saml/acs", &held(&gone), answer.form())
        .await;
    assert_eq!(location(&there), "/");
    let again = api
        .post_form("/login/saml/acs", &held(&gone), answer.form())
        .await;
    assert_eq!(problem_of(&again), "provider_refused");
    let next = api.visit("/login/saml", "").await;
    let mut mixed = provider.answer(&location(&next), json!({}));
    mixed.xml = answer.xml;
    let mixed = api
        .post_form("/login/saml/acs", &held(&next), mixed.form())
        .await;
    assert_eq!(problem_of(&mixed), "provider_refused");
    let (none, nothing) = ("no login under way", "token proves nothing");
    assert_eq!(
        reasons(&api, &root).await,
        [nothing, none, none, nothing, nothing, nothing]
    );
}

type Change = fn(&str) -> String;

/// Signature wrapping: what is signed stays in the document, and another assertion stands where it is read.
pub(crate) async fn a_signature_is_not_moved_to_another_assertion(api: Api) {
    let root = api.first().await;
    let mut provider = Provider::start("https://idp.example");
    let api = provider.known(api).await;
    let changes: [Change; 6] = [
        // Another login or subject under the signature.
        |xml| xml.replace(">chun<", ">root<"),
        |xml| xml.replace("persistent-1", "persistent-2"),
        // A comment that a reader might stop at.
        |xml| xml.replace(">persistent-1<", ">persistent<!-- -->-1<"),
        // An unsigned assertion before the signed one, and one behind it.
        |xml| wrapped(xml, |forged, signed| format!("{forged}{signed}")),
        |xml| wrapped(xml, |forged, signed| format!("{signed}{forged}")),
        // The signed one inside an extension of the forged one.
        |xml| {
            wrapped(xml, |forged, signed| {
                let (head, tail) = forged.rsplit_once("</").unwrap();
                format!("{head}<x>{signed}</x></{tail}")
            })
        },
    ];
    let mut told = Vec::new();
    for (n, change) in changes.into_iter().enumerate() {
        let gone = api.visit("/login/saml", "").await;
        let mut answer = provider.answer(&location(&gone), json!({}));
        let changed = change(&answer.xml);
        assert_ne!(changed, answer.xml, "{n}");
        answer.xml = changed;
        let there = api
            .post_form("/login/saml/acs", &held(&gone), answer.form())
            .await;
        if location(&there) == "/" {
            // The signed one alone may have been read.
            assert_eq!(me(&api, &there).await["login"], "chun", "{n}");
        }
        told.push(what_is_read(&api, &mut provider, change).await);
    }
    // Where the signed one is whole, it alone is read, wherever the other one stands.
    let unsigned = "SAML Response and all assertions must be signed";
    let signed = "saml https://idp.example persistent-1";
    let comment = "declarations, comments or instructions";
    assert_eq!(told, [unsigned, unsigned, comment, signed, signed, signed]);
    let people = api.get(&root, "/people?limit=200").await;
    let items = people["items"].as_array().unwrap().iter();
    let logins: Vec<&str> = items
        .map(|person| person["login"].as_str().unwrap())
        .collect();
    assert!(
        !logins.contains(&"mallory") && logins.len() <= 2,
        "{logins:?}"
    );
    assert_eq!(api.get(&root, "/session").await["login"], "root");
}

/// Who an answer proves that was changed, or why nobody.
async fn what_is_read(api: &Api, provider: &mut Provider, change: Change) -> String {
    let gone = api.visit("/login/saml", "").await;
    let answer = provider.answer(&location(&gone), json!({}));
    let cookie = held(&gone);
    let (_, browser) = cookie.split_once("-saml=").unwrap();
    let response = STANDARD.encode(change(&answer.xml));
    let saml = api.state.saml.as_deref().unwrap();
    match saml.finish(&answer.state, browser, response).await {
        Ok(proved) => proved.subject,
        Err(provider::Error::Token(why)) => why,
        Err(other) => panic!("{other}"),
    }
}

/// A document with the signed assertion and an unsigned one of `mallory`, arranged.
fn wrapped(xml: &str, arrange: fn(&str, &str) -> String) -> String {
    let from = xml
        .find(":Assertion ")
        .and_then(|at| xml[..at].rfind('<'))
        .unwrap();
    let to = xml.rfind(":Assertion>").unwrap() + ":Assertion>".len();
    let signed = &xml[from..to];
    let signature = signed
        .find("Signature ")
        .and_then(|at| signed[..at].rfind('<'))
        .unwrap();
    let end = signed.find(":Signature>").unwrap();
    let end = signed[end + 1..]
        .find(":Signature>")
        .map_or(end, |at| end + 1 + at)
        + ":Signature>".len();
    let forged = format!("{}{}", &signed[..signature], &signed[end..]);
    let forged = forged
        .replace(">chun<", ">mallory<")
        .replace("persistent-1", "mallory");
    let id = forged
        .split_once(" ID=\"")
        .unwrap()
        .1
        .split('"')
        .next()
        .unwrap();
    let forged = forged.replace(id, "_forged");
    format!("{}{}{}", &xml[..from], arrange(&forged, signed), &xml[to..])
}

pub(crate) async fn keys_come_from_the_metadata_alone(api: Api) {
    let root = api.first().await;
    let mut provider = Provider::start("https://idp.example");
    // It names itself as the one that we trust, and has another key.
    let mut impostor = Provider::start("https://idp.example");
    let api = impostor.known(api).await;
    let api = provider.known(api).await;
    refused(&api, &mut impostor, json!({})).await;
    assert_eq!(reasons(&api, &root).await, ["token proves nothing"]);
    // Without keys, or without metadata, there is no provider.
    let text = fs::read_to_string(provider.metadata()).unwrap();
    let (before, rest) = text.split_once("KeyDescriptor").unwrap();
    let (_, after) = rest.rsplit_once("KeyDescriptor>").unwrap();
    let (before, after) = (before.rsplit_once('<').unwrap().0, after);
    for metadata in [
        format!("{before}{after}"),
        "<x/>".into(),
        "<!DOCTYPE x><x/>".into(),
        String::new(),
    ] {
        fs::write(provider.metadata(), metadata).unwrap();
        let gone = api.visit("/login/saml", "").await;
        assert_eq!(problem_of(&gone), "provider_away");
    }
    // The next keys need no restart.
    fs::copy(impostor.metadata(), provider.metadata()).unwrap();
    let there = come_back(&api, &mut impostor, json!({})).await;
    assert_eq!(me(&api, &there).await["login"], "chun");
}
