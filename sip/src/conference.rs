//! What subscribers are told of a conference (RFC 4575), and how it is written.

use std::io;

use mcu_api::directory::{Audience, Home};
use mcu_api::ids::CallId;
use mcu_api::secret::Redacted;
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

/// Type of the document.
pub(crate) const CONFERENCE_INFO: &str = "application/conference-info+xml";

const NAMESPACE: &str = "urn:ietf:params:xml:ns:conference-info";

/// A conference as its subscribers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conference {
    /// User part of its URI.
    pub number: String,
    /// Whose accounts may watch it without taking part; `None`: nobody's.
    pub open_to: Option<Audience>,
    /// Most users.
    pub max_users: usize,
    /// Who takes part, oldest first.
    pub users: Vec<ConferenceUser>,
}

/// One participant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConferenceUser {
    /// Unique in this server.
    pub id: u64,
    /// Its call, if it is one of SIP.
    pub call: Option<CallId>,
    /// Name to show.
    pub name: Redacted<String>,
    /// We called it.
    pub dialled_out: bool,
    /// Its sound; `None` without.
    pub audio: Option<MediaStatus>,
    /// Its picture; `None` without.
    pub video: Option<MediaStatus>,
}

/// Which way a medium flows, as the participant sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaStatus {
    /// Both ways.
    SendRecv,
    /// From the participant alone.
    SendOnly,
    /// To the participant alone.
    RecvOnly,
    /// Neither way.
    Inactive,
}

impl Conference {
    /// Whether an account that belongs there may watch it without taking part.
    pub(crate) fn is_open_to(&self, account: Home) -> bool {
        let audience = self.open_to.as_ref();
        audience.is_some_and(|audience| audience.includes(account))
    }

    /// Whether a subscriber who knows this one has nothing to learn from the other.
    pub(crate) fn tells_the_same(&self, other: &Self) -> bool {
        (&self.number, self.max_users, &self.users)
            == (&other.number, other.max_users, &other.users)
    }
}

impl MediaStatus {
    /// What the participant does.
    pub fn new(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }
}

/// Writes the whole of a conference, or what has changed since `before` (RFC 4575 §4.4): users that
/// are new or differ are written whole, those that are gone are named. `host` is ours, as the
/// subscriber knows it.
pub(crate) fn document(
    conference: &Conference,
    before: Option<&Conference>,
    host: &str,
    version: u32,
) -> io::Result<Vec<u8>> {
    let mut writer = Writer::new(Vec::with_capacity(1_024));
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let entity = format!("sip:{}@{host}", escaped_user(&conference.number));
    let version = version.to_string();
    writer
        .create_element("conference-info")
        .with_attributes([
            ("xmlns", NAMESPACE),
            ("entity", &entity),
            ("state", state(before.is_some())),
            ("version", &version),
        ])
        .write_inner_content(|writer| {
            if before.is_none() {
                description(writer, conference)?;
            }
            if before.is_none_or(|before| before.users.len() != conference.users.len()) {
                conference_state(writer, conference)?;
            }
            users(writer, conference, before, host)
        })?;
    Ok(writer.into_inner())
}

const fn state(partial: bool) -> &'static str {
    if partial { "partial" } else { "full" }
}

type Xml = Writer<Vec<u8>>;

fn description(writer: &mut Xml, conference: &Conference) -> io::Result<()> {
    let element = writer.create_element("conference-description");
    element.write_inner_content(|writer| {
        text(writer, "display-text", &conference.number)?;
        text(
            writer,
            "maximum-user-count",
            &conference.max_users.to_string(),
        )
    })?;
    Ok(())
}

fn conference_state(writer: &mut Xml, conference: &Conference) -> io::Result<()> {
    let element = writer.create_element("conference-state");
    element.write_inner_content(|writer| {
        text(writer, "user-count", &conference.users.len().to_string())?;
        text(writer, "active", "true")
    })?;
    Ok(())
}

fn users(
    writer: &mut Xml,
    conference: &Conference,
    before: Option<&Conference>,
    host: &str,
) -> io::Result<()> {
    let known = before.map_or(&[][..], |before| &before.users);
    let new = conference.users.iter().filter(|user| !known.contains(user));
    let gone = known
        .iter()
        .filter(|old| conference.users.iter().all(|user| user.id != old.id));
    let element = writer.create_element("users");
    element
        .with_attribute(("state", state(before.is_some())))
        .write_inner_content(|writer| {
            for old in gone {
                let entity = user_entity(old, host);
                writer
                    .create_element("user")
                    .with_attributes([("entity", entity.as_str()), ("state", "deleted")])
                    .write_empty()?;
            }
            for user in new {
                write_user(writer, user, host)?;
            }
            Ok(())
        })?;
    Ok(())
}

/// Neither address nor account of a participant is told, only a name of ours for it
/// (RFC 4575 §5.6 leaves the choice to policy).
fn user_entity(user: &ConferenceUser, host: &str) -> String {
    format!("sip:site-{}@{host}", user.id)
}

fn write_user(writer: &mut Xml, user: &ConferenceUser, host: &str) -> io::Result<()> {
    let entity = user_entity(user, host);
    let method = if user.dialled_out {
        "dialed-out"
    } else {
        "dialed-in"
    };
    let element = writer.create_element("user");
    element
        .with_attributes([("entity", entity.as_str()), ("state", "full")])
        .write_inner_content(|writer| {
            text(writer, "display-text", &user.name.0)?;
            let endpoint = writer.create_element("endpoint");
            endpoint
                .with_attribute(("entity", entity.as_str()))
                .write_inner_content(|writer| {
                    text(writer, "status", "connected")?;
                    text(writer, "joining-method", method)?;
                    media(writer, "audio", user.audio)?;
                    media(writer, "video", user.video)
                })?;
            Ok(())
        })?;
    Ok(())
}

fn media(writer: &mut Xml, kind: &str, status: Option<MediaStatus>) -> io::Result<()> {
    let Some(status) = status else { return Ok(()) };
    let element = writer.create_element("media");
    element
        .with_attribute(("id", kind))
        .write_inner_content(|writer| {
            text(writer, "type", kind)?;
            text(writer, "status", status.word())
        })?;
    Ok(())
}

/// Characters that XML 1.0 §2.2 has no place for are left out.
fn text(writer: &mut Xml, name: &str, content: &str) -> io::Result<()> {
    let allowed = |c: &char| !c.is_control() && !matches!(c, '\u{FFFE}' | '\u{FFFF}');
    let content: String = content.chars().filter(allowed).collect();
    writer
        .create_element(name)
        .write_text_content(BytesText::new(&content))?;
    Ok(())
}

/// A number as the user part of a URI (RFC 3261 §25.1, `user`).
fn escaped_user(number: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&b);
    number
        .bytes()
        .map(|b| match plain(b) {
            true => char::from(b).to_string(),
            false => format!("%{b:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use quick_xml::Reader;

    use super::*;

    fn user(id: u64, name: &str) -> ConferenceUser {
        ConferenceUser {
            id,
            call: None,
            name: Redacted(name.into()),
            dialled_out: false,
            audio: Some(MediaStatus::SendRecv),
            video: None,
        }
    }

    fn conference(users: &[ConferenceUser]) -> Conference {
        Conference {
            number: "3000".into(),
            open_to: None,
            max_users: 32,
            users: users.to_vec(),
        }
    }

    /// Elements and texts of a document that a reader takes, one a line.
    fn read(document: &[u8]) -> Vec<String> {
        let mut reader = Reader::from_reader(document);
        let mut lines = Vec::new();
        loop {
            match reader.read_event().unwrap() {
                Event::Start(element) | Event::Empty(element) => {
                    let mut line = String::from_utf8(element.name().as_ref().to_vec()).unwrap();
                    for attribute in element.attributes() {
                        let attribute = attribute.unwrap();
                        let key = String::from_utf8_lossy(attribute.key.as_ref()).into_owned();
                        let value = String::from_utf8_lossy(&attribute.value).into_owned();
                        line += &format!(" {key}={value}");
                    }
                    lines.push(line);
                }
                Event::Text(text) => lines.push(format!("\"{}\"", String::from_utf8_lossy(&text))),
                Event::Eof => return lines,
                _ => {}
            }
        }
    }

    #[test]
    fn the_whole_names_everybody_and_the_count() {
        let conference = conference(&[user(1, "手术室"), user(2, "B")]);
        let lines = read(&document(&conference, None, "10.0.0.1:5060", 0).unwrap());
        for line in [
            "conference-info xmlns=urn:ietf:params:xml:ns:conference-info \
             entity=sip:3000@10.0.0.1:5060 state=full version=0",
            "users state=full",
            "user entity=sip:site-1@10.0.0.1:5060 state=full",
            "\"手术室\"",
            "media id=audio",
            "\"sendrecv\"",
        ] {
            assert!(lines.contains(&line.to_owned()), "{line}: {lines:#?}");
        }
        let count = lines.iter().position(|line| line == "user-count").unwrap();
        assert_eq!(lines[count + 1], "\"2\"");
        assert!(!lines.contains(&"media id=video".to_owned()));
    }

    #[test]
    fn a_part_names_who_is_new_changed_or_gone() {
        let before = conference(&[user(1, "A"), user(2, "B"), user(3, "C")]);
        let mut muted = user(2, "B");
        muted.audio = Some(MediaStatus::RecvOnly);
        let now = conference(&[user(1, "A"), muted, user(4, "D")]);
        let lines = read(&document(&now, Some(&before), "h", 7).unwrap());
        assert!(lines[0].ends_with("state=partial version=7"), "{lines:?}");
        let users: Vec<&String> = lines.iter().filter(|l| l.starts_with("user ")).collect();
        assert_eq!(
            users,
            [
                "user entity=sip:site-3@h state=deleted",
                "user entity=sip:site-2@h state=full",
                "user entity=sip:site-4@h state=full"
            ]
        );
        assert!(
            !lines.contains(&"conference-state".to_owned()),
            "three before, three now"
        );
        let fewer = conference(&[user(1, "A")]);
        let lines = read(&document(&fewer, Some(&now), "h", 8).unwrap());
        assert!(lines.contains(&"conference-state".to_owned()));
    }

    #[test]
    fn names_cannot_break_the_document() {
        let name = "</users>&<\"'\u{0}\u{FFFF}\u{8}";
        let conference = conference(&[user(1, name)]);
        let document = document(&conference, None, "h", 0).unwrap();
        let lines = read(&document);
        assert_eq!(lines.iter().filter(|l| l.starts_with("user ")).count(), 1);
        assert!(!document.iter().any(|b| *b < 0x20 && *b != b'\n'));
        assert!(!format!("{conference:?}").contains("users>&"));
    }

    #[test]
    fn numbers_are_escaped_in_uris() {
        assert_eq!(escaped_user("3000"), "3000");
        assert_eq!(escaped_user("a b#@"), "a%20b%23%40");
    }
}
