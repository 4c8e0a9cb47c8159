//! An entry of the record as an Audit Message of DICOM (PS3.15 §A.5), which audit record repositories of
//! hospitals take (IHE ITI TF-2 §3.20, ATNA; WS/T 545: PRV-07).
//!
//! Which event an entry is: logins are User Authentication, looking at the record is Audit Log Used, and
//! what changes who may do what or how the server works is a Security Alert, by type. Looking at people
//! and messages, and what happens in a meeting, have no code there (a Query is one of DICOM objects); they
//! have codes of our own.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use quick_xml::Writer;
use quick_xml::events::{BytesEnd, BytesStart, Event};

use super::Entry;

/// Code, its system, its meaning.
type Code = (&'static str, &'static str, &'static str);

const DICOM: &str = "DCM";
const OWN: &str = "Consilium";
const AUDIT_LOG_USED: Code = ("110101", DICOM, "Audit Log Used");
const SECURITY_ALERT: Code = ("110113", DICOM, "Security Alert");
const USER_AUTHENTICATION: Code = ("110114", DICOM, "User Authentication");
const MEETING: Code = ("meeting", OWN, "Meeting");
const LOOK: Code = ("look", OWN, "Look");
const LOGIN: Code = ("110122", DICOM, "Login");
const LOGOUT: Code = ("110123", DICOM, "Logout");
const SECURITY_CONFIGURATION: Code = ("110129", DICOM, "Security Configuration");
const ROLES_CHANGED: Code = ("110136", DICOM, "Security Roles Changed");
const USER_CHANGED: Code = ("110137", DICOM, "User security Attributes Changed");
const APPLICATION: Code = ("110150", DICOM, "Application");
const URI: Code = ("12", "RFC-3881", "URI");

/// Application Server process or thread (PS3.15 §A.5.1.2.1).
const SOURCE_TYPE: &str = "4";

/// The message, in one line, from the machine of this name.
pub(crate) fn message(host: &str, time: &str, entry: &Entry) -> String {
    let mut out = Message(Writer::new(Vec::new()));
    out.begin("AuditMessage", &[]);
    out.event(time, entry);
    out.participants(host, entry);
    out.begin("AuditSourceIdentification", &[("AuditSourceID", host)]);
    out.empty("AuditSourceTypeCode", &[("csd-code", SOURCE_TYPE)]);
    out.end("AuditSourceIdentification");
    out.object(entry);
    out.end("AuditMessage");
    String::from_utf8(out.0.into_inner()).expect("made of text alone")
}

/// Which event it is, of which type, and what kind of act. A Security Alert is executed, whatever was
/// done (PS3.15 §A.5.3.11).
fn event(entry: &Entry) -> (Code, Option<Code>, &'static str) {
    let kind = entry.object_kind.as_str();
    match (entry.action.as_str(), kind) {
        ("login" | "login_failed", _) => (USER_AUTHENTICATION, Some(LOGIN), "E"),
        ("logout", _) => (USER_AUTHENTICATION, Some(LOGOUT), "E"),
        (_, "audit") => (AUDIT_LOG_USED, None, "R"),
        (_, "meeting") => (MEETING, None, "E"),
        ("view" | "export", _) => (LOOK, None, "R"),
        (_, "role") | ("grant" | "revoke", "person") => (SECURITY_ALERT, Some(ROLES_CHANGED), "E"),
        (_, "person" | "people" | "password" | "authenticator" | "token" | "session") => {
            (SECURITY_ALERT, Some(USER_CHANGED), "E")
        }
        _ => (SECURITY_ALERT, Some(SECURITY_CONFIGURATION), "E"),
    }
}

struct Message(Writer<Vec<u8>>);

impl Message {
    fn event(&mut self, time: &str, entry: &Entry) {
        let (id, kind, act) = event(entry);
        // Minor failure, and success.
        let outcome = match entry.action.as_str() {
            "login_failed" => "4",
            _ => "0",
        };
        self.begin(
            "EventIdentification",
            &[
                ("EventActionCode", act),
                ("EventDateTime", time),
                ("EventOutcomeIndicator", outcome),
            ],
        );
        self.coded("EventID", id);
        if let Some(kind) = kind {
            self.coded("EventTypeCode", kind);
        }
        self.end("EventIdentification");
    }

    /// Who did it, from where, and this program.
    fn participants(&mut self, host: &str, entry: &Entry) {
        let id = entry.actor.as_deref().unwrap_or(&entry.actor_name);
        let mut who = vec![
            ("UserID", id),
            ("UserName", entry.actor_name.as_str()),
            ("UserIsRequestor", "true"),
        ];
        if let Some(source) = &entry.source {
            // By which token besides.
            let (address, token) = source.split_once(" by token ").unwrap_or((source, ""));
            who.push(("NetworkAccessPointID", address));
            who.push(("NetworkAccessPointTypeCode", "2"));
            if !token.is_empty() {
                who.push(("AlternativeUserID", token));
            }
        }
        self.empty("ActiveParticipant", &who);
        self.begin(
            "ActiveParticipant",
            &[
                ("UserID", "consilium"),
                ("UserIsRequestor", "false"),
                ("NetworkAccessPointID", host),
                ("NetworkAccessPointTypeCode", "1"),
            ],
        );
        self.coded("RoleIDCode", APPLICATION);
        self.end("ActiveParticipant");
    }

    /// What it was done to, before and after, with its place in the chain.
    fn object(&mut self, entry: &Entry) {
        let kind = entry.object_kind.as_str();
        let is_record = kind == "audit";
        let id = match is_record {
            true => "/api/v1/audit",
            false => entry.object.as_deref().unwrap_or(kind),
        };
        // Person, organisation, or a thing of the system.
        let of = match kind {
            "person" => "1",
            "organisation" => "3",
            _ => "2",
        };
        let mut attributes = vec![
            ("ParticipantObjectID", id),
            ("ParticipantObjectTypeCode", of),
        ];
        if is_record {
            // Security Resource.
            attributes.push(("ParticipantObjectTypeCodeRole", "13"));
        }
        self.begin("ParticipantObjectIdentification", &attributes);
        match is_record {
            true => self.coded("ParticipantObjectIDTypeCode", URI),
            false => self.kind(kind),
        }
        let name = if is_record {
            "Security Audit Log"
        } else {
            kind
        };
        self.begin("ParticipantObjectName", &[]);
        let text = quick_xml::events::BytesText::new(name);
        self.put(Event::Text(text));
        self.end("ParticipantObjectName");
        let seq = entry.seq.to_string();
        let alert = format!("{} of {kind}", entry.action);
        for (what, value) in [
            // PS3.15 §A.5.3.11.
            (
                "Alert Description",
                (event(entry).0 == SECURITY_ALERT).then_some(&alert),
            ),
            ("seq", Some(&seq)),
            ("hash", Some(&entry.hash)),
            ("action", Some(&entry.action)),
            ("organisation", entry.organisation.as_ref()),
            ("before", entry.before.as_ref()),
            ("after", entry.after.as_ref()),
        ] {
            if let Some(value) = value {
                let value = BASE64.encode(value);
                self.empty(
                    "ParticipantObjectDetail",
                    &[("type", what), ("value", &value)],
                );
            }
        }
        self.end("ParticipantObjectIdentification");
    }

    fn coded(&mut self, name: &str, (code, system, meaning): Code) {
        self.empty(
            name,
            &[
                ("csd-code", code),
                ("codeSystemName", system),
                ("originalText", meaning),
            ],
        );
    }

    fn kind(&mut self, kind: &str) {
        self.empty(
            "ParticipantObjectIDTypeCode",
            &[
                ("csd-code", kind),
                ("codeSystemName", OWN),
                ("originalText", kind),
            ],
        );
    }

    fn begin(&mut self, name: &str, attributes: &[(&str, &str)]) {
        let start = element(name, attributes);
        self.put(Event::Start(start));
    }

    fn empty(&mut self, name: &str, attributes: &[(&str, &str)]) {
        let element = element(name, attributes);
        self.put(Event::Empty(element));
    }

    fn end(&mut self, name: &str) {
        self.put(Event::End(BytesEnd::new(name)));
    }

    fn put(&mut self, event: Event<'_>) {
        self.0
            .write_event(event)
            .expect("memory takes what is written");
    }
}

fn element<'a>(name: &'a str, attributes: &[(&str, &str)]) -> BytesStart<'a> {
    let mut element = BytesStart::new(name);
    for (name, value) in attributes {
        element.push_attribute((*name, clean(value).as_str()));
    }
    element
}

/// Without what XML has no place for (XML 1.0 §2.2), nor what would end the line.
fn clean(text: &str) -> String {
    let sign = |c: char| match c {
        '\0'..='\u{1f}'
        | '\u{7f}'..='\u{9f}'
        | '\u{2028}'
        | '\u{2029}'
        | '\u{fffe}'
        | '\u{ffff}' => '\u{fffd}',
        _ => c,
    };
    text.chars().map(sign).collect()
}

#[cfg(test)]
mod tests {
    use quick_xml::Reader;

    use super::*;

    fn entry(action: &str, kind: &str) -> Entry {
        let text = |value: &str| Some(value.to_owned());
        Entry {
            seq: 9,
            at_ms: 0,
            actor: text("id"),
            actor_name: "a<\"&'>\n\0\u{2028}李".into(),
            source: text("192.0.2.7 by token t-1"),
            action: action.into(),
            object_kind: kind.into(),
            object: text("o<>&\""),
            organisation: None,
            before: None,
            after: text("{\"name\":\"李春\"}"),
            hash: "ab".repeat(32),
        }
    }

    /// Each element's name with what this attribute of it holds.
    fn attributes(message: &str, wanted: &str) -> Vec<(String, String)> {
        let mut reader = Reader::from_str(message);
        let mut found = Vec::new();
        loop {
            match reader.read_event().unwrap() {
                Event::Eof => return found,
                Event::Start(element) | Event::Empty(element) => {
                    let name = String::from_utf8(element.name().as_ref().to_vec()).unwrap();
                    let attribute = element.try_get_attribute(wanted).unwrap();
                    found.extend(attribute.map(|a| (name, a.unescape_value().unwrap().into())));
                }
                _ => {}
            }
        }
    }

    #[test]
    fn whatever_a_name_holds_a_message_is_one_line_that_tells_it() {
        let message = message(
            "mcu",
            "1970-01-01T00:00:00.000Z",
            &entry("change", "person"),
        );
        assert!(!message.contains(['\n', '\0', '\u{2028}']), "{message}");
        let told = |of: &str, attribute: &str| {
            let all = attributes(&message, attribute);
            all.into_iter().find(|(name, _)| name == of).unwrap().1
        };
        let clean = "a<\"&'>\u{fffd}\u{fffd}\u{fffd}李";
        assert_eq!(told("ActiveParticipant", "UserName"), clean);
        assert_eq!(
            told("ActiveParticipant", "NetworkAccessPointID"),
            "192.0.2.7"
        );
        assert_eq!(told("ActiveParticipant", "AlternativeUserID"), "t-1");
        let object = "ParticipantObjectIdentification";
        assert_eq!(told(object, "ParticipantObjectID"), "o<>&\"");
        let details = attributes(&message, "type").into_iter();
        let values = attributes(&message, "value").into_iter();
        let details: Vec<_> = details.zip(values).map(|(of, is)| (of.1, is.1)).collect();
        let after = BASE64.encode("{\"name\":\"李春\"}");
        assert!(details.contains(&("after".into(), after)), "{details:?}");
        let alert = BASE64.encode("change of person");
        assert_eq!(details[0], ("Alert Description".into(), alert));
    }

    #[test]
    fn each_entry_is_the_event_that_a_repository_knows() {
        for (action, kind, id, of, act) in [
            ("login", "session", "110114", "110122", "E"),
            ("login_failed", "person", "110114", "110122", "E"),
            ("logout", "session", "110114", "110123", "E"),
            ("view", "audit", "110101", "", "R"),
            ("export", "audit", "110101", "", "R"),
            ("view", "people", "look", "", "R"),
            ("view", "meeting", "meeting", "", "E"),
            ("change", "meeting", "meeting", "", "E"),
            ("create", "role", "110113", "110136", "E"),
            ("grant", "person", "110113", "110136", "E"),
            ("revoke", "person", "110113", "110136", "E"),
            ("revoke", "token", "110113", "110137", "E"),
            ("change", "password", "110113", "110137", "E"),
            ("revoke", "guest_link", "110113", "110129", "E"),
            ("remove", "room", "110113", "110129", "E"),
        ] {
            let told = event(&entry(action, kind));
            let is = (told.0.0, told.1.map_or("", |code| code.0), told.2);
            assert_eq!(is, (id, of, act), "{action} of {kind}");
        }
    }
}
