//! Bodies of requests: which are read, and how a session description is found in them.

use crate::message::{HeaderName, Headers, Refusal, Request, Response, find, lossy, text, tokens};

/// Type of a session description.
pub(crate) const SDP: &str = "application/sdp";
/// Type of a request for a key frame, RFC 5168 §5.
pub(crate) const MEDIA_CONTROL: &str = "application/media_control+xml";

/// Type of a part of a message (RFC 3420).
pub(crate) const SIPFRAG: &str = "message/sipfrag";

/// Types of a telephone key by INFO. Neither is a standard; terminals agree on them: `Signal=5` with a
/// `Duration=160` (ms) below it, or the bare key.
pub(crate) const DTMF_RELAY: &str = "application/dtmf-relay";
pub(crate) const DTMF: &str = "application/dtmf";

/// Asks for a key frame (RFC 5168 §7).
pub(crate) const PICTURE_FAST_UPDATE: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\r\n\
<media_control><vc_primitive><to_encoder><picture_fast_update/></to_encoder></vc_primitive></media_control>\r\n";

/// The session description of a request, `None` when it has none.
///
/// # Errors
/// 415 for a body that is no session description and not optional (RFC 3261 §8.2.3).
pub(crate) fn session_description(request: &Request) -> Result<Option<String>, Refusal> {
    if request.body().is_empty() {
        return Ok(None);
    }
    check_encoding(&request.headers)?;
    let kind = media_type(&request.headers);
    match kind.as_deref() {
        Some(SDP) => Ok(Some(lossy(request.body()))),
        // No type at all: terminals that forget it mean a session description.
        None if request.body().starts_with(b"v=0") => Ok(Some(lossy(request.body()))),
        Some(kind) if kind.starts_with("multipart/") => {
            let found = multipart_sdp(&request.headers, request.body());
            found.map(Some).ok_or_else(unsupported_type)
        }
        _ if optional(&request.headers) => Ok(None),
        _ => Err(unsupported_type()),
    }
}

/// The session description of a response, `None` when it has none.
pub(crate) fn session_of_response(response: &Response) -> Option<String> {
    if response.body().is_empty() {
        return None;
    }
    match media_type(&response.headers) {
        Some(kind) if kind.starts_with("multipart/") => {
            multipart_sdp(&response.headers, response.body())
        }
        Some(kind) if kind != SDP => None,
        _ => Some(lossy(response.body())),
    }
}

/// Whether the body asks for a key frame.
pub(crate) fn wants_key_frame(request: &Request) -> bool {
    find(request.body(), b"picture_fast_update").is_some()
}

/// The telephone key in a body of this type: `0` to `9`, `*`, `#`, `A` to `D`.
pub(crate) fn telephone_key(kind: &str, body: &[u8]) -> Option<char> {
    let text = std::str::from_utf8(body).ok()?;
    let value = match kind {
        DTMF => text,
        DTMF_RELAY => text.lines().find_map(|line| {
            let (name, value) = line.split_once('=')?;
            name.trim().eq_ignore_ascii_case("signal").then_some(value)
        })?,
        _ => return None,
    };
    match value.trim().to_ascii_uppercase().as_str() {
        "10" => Some('*'),
        "11" => Some('#'),
        one => {
            let mut keys = one.chars();
            let key = keys.next().filter(|_| keys.next().is_none())?;
            "0123456789*#ABCD".contains(key).then_some(key)
        }
    }
}

/// The status of the response that a fragment begins with (RFC 3420, RFC 3515 §2.4.5): 100 to 699.
pub(crate) fn status_of_fragment(body: &[u8]) -> Option<u16> {
    let line = body.trim_ascii_start().get(..11)?;
    let (version, code) = line.split_at_checked(8)?;
    if !version.eq_ignore_ascii_case(b"SIP/2.0 ") {
        return None;
    }
    let code = std::str::from_utf8(code).ok()?;
    let code = code
        .parse()
        .ok()
        .filter(|_| code.bytes().all(|b| b.is_ascii_digit()));
    code.filter(|code| (100..700).contains(code))
}

/// Type and subtype in lower case, without parameters.
pub(crate) fn media_type(headers: &Headers) -> Option<String> {
    let value = text(headers, &HeaderName::ContentType)?;
    let kind = value.split(';').next().unwrap_or_default();
    Some(kind.trim().to_ascii_lowercase())
}

/// Refuses a compressed body (RFC 3261 §8.2.3).
pub(crate) fn check_encoding(headers: &Headers) -> Result<(), Refusal> {
    let encoded = tokens(headers, &HeaderName::ContentEncoding)
        .iter()
        .any(|coding| coding != "identity");
    if encoded {
        return Err(Refusal::new(415, "Unsupported Media Type")
            .with(HeaderName::AcceptEncoding, "identity"));
    }
    Ok(())
}

/// Whether the peer could read our answer (RFC 3261 §20.1): no Accept means that it can.
pub(crate) fn accepts_sdp(headers: &Headers) -> bool {
    let mut kinds = tokens(headers, &HeaderName::Accept)
        .into_iter()
        .map(|kind| kind.split(';').next().unwrap_or_default().trim().to_owned())
        .peekable();
    kinds.peek().is_none() || kinds.any(|k| k == SDP || k == "*/*" || k == "application/*")
}

fn unsupported_type() -> Refusal {
    Refusal::new(415, "Unsupported Media Type").with(HeaderName::Accept, SDP)
}

/// RFC 3261 §20.11: `handling=optional` lets a reader skip what it does not know.
fn optional(headers: &Headers) -> bool {
    text(headers, &HeaderName::ContentDisposition)
        .is_some_and(|value| value.to_ascii_lowercase().contains("handling=optional"))
}

/// The first session description among the parts of a multipart body (RFC 5621 §3).
fn multipart_sdp(headers: &Headers, body: &[u8]) -> Option<String> {
    let value = text(headers, &HeaderName::ContentType)?;
    let at = value.to_ascii_lowercase().find("boundary=")?;
    let rest = value.get(at + "boundary=".len()..)?.trim_start();
    let boundary = match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next()?,
        None => rest.split([';', ' ']).next()?,
    };
    if boundary.is_empty() || boundary.len() > 70 {
        return None;
    }
    let body = lossy(body);
    let delimiter = format!("--{boundary}");
    body.split(delimiter.as_str())
        .skip(1)
        .take(16)
        .find_map(|part| {
            let (head, content) = part.split_once("\r\n\r\n")?;
            let head = head.to_ascii_lowercase();
            let is_sdp = head
                .lines()
                .any(|line| line.starts_with("content-type:") && line.contains(SDP));
            is_sdp.then(|| content.trim_end_matches("\r\n").to_owned() + "\r\n")
        })
}
