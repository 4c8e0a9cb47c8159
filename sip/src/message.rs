//! Messages: the only module that knows which library reads and writes them.
//!
//! Reading is as tolerant as the terminals in the field require and no more; what is tolerated beyond
//! the grammar is said where it happens.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use thiserror::Error;

pub(crate) use sipx_sip::headers::first_hop_end;
pub(crate) use sipx_sip::{
    Address, Header, HeaderName, Headers, Message, Method, Request, RequestBuilder, Response,
    Scheme, StatusCode, TransactionKey, Uri, Via,
};

use crate::flow::{Flow, Transport};

/// Largest Call-ID, tag, Contact or address value that is kept in a call or a registration, in bytes.
pub(crate) const MAX_KEPT_VALUE: usize = 1_024;
/// Most routes of a dialog (RFC 3261 §12.1.1 sets no bound; Max-Forwards does in practice).
const MAX_ROUTES: usize = 32;

/// A refusal of a request: the status line and the headers that go with it.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub status: u16,
    pub reason: &'static str,
    pub headers: Vec<(HeaderName, String)>,
}

impl Refusal {
    pub fn new(status: u16, reason: &'static str) -> Self {
        Self {
            status,
            reason,
            headers: Vec::new(),
        }
    }

    pub fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// Bytes that are no message.
#[derive(Debug, Error)]
#[error("no SIP message: {cause}")]
pub(crate) struct Unreadable {
    cause: sipx_sip::error::ParseError,
}

impl Unreadable {
    /// How a request with this fault is refused, if enough of it can be read to answer at all.
    pub fn refusal(&self) -> Refusal {
        match self.cause {
            sipx_sip::error::ParseError::Limit { .. } => Refusal::new(513, "Message Too Large"),
            _ => Refusal::new(400, "Bad Request"),
        }
    }
}

/// Reads one whole message. A missing Content-Length means that the body runs to the end
/// (RFC 3261 §18.3, datagrams); bytes beyond Content-Length are ignored.
pub(crate) fn parse(bytes: &[u8], max_bytes: usize) -> Result<Message, Unreadable> {
    let limits = sipx_sip::Limits {
        max_message_bytes: max_bytes,
        max_body_bytes: max_bytes,
        ..sipx_sip::Limits::datagram()
    };
    sipx_sip::parse_datagram(Bytes::copy_from_slice(bytes), &limits)
        .map_err(|cause| Unreadable { cause })
}

/// What a reply to an unreadable request needs: the headers that RFC 3261 §8.2.6.2 copies, taken line
/// by line. `None` when it is a response, an ACK, or has no usable Via.
pub(crate) fn salvage(bytes: &[u8]) -> Option<Headers> {
    let head_end = find(bytes, b"\r\n\r\n").unwrap_or(bytes.len().min(8_192));
    let head = bytes.get(..head_end)?;
    let mut lines = head.split(|&b| b == b'\n');
    let start = lines.next()?.trim_ascii();
    if start.starts_with(b"SIP/") || start.starts_with(b"ACK") || start.is_empty() {
        return None;
    }
    let mut headers = Headers::new();
    for line in lines.take(256) {
        let Some(colon) = line.iter().position(|&b| b == b':') else {
            continue;
        };
        let name = Bytes::copy_from_slice(line.get(..colon)?.trim_ascii());
        let name = HeaderName::parse(&name);
        if copied_to_responses(&name) {
            let value = line.get(colon + 1..)?.trim_ascii().to_vec();
            headers.push(Header::build(name, value).ok()?);
        }
    }
    headers.get(&HeaderName::Via)?;
    Some(headers)
}

/// RFC 3261 §8.2.6.2.
fn copied_to_responses(name: &HeaderName) -> bool {
    matches!(
        name,
        HeaderName::Via | HeaderName::From | HeaderName::To | HeaderName::CallId | HeaderName::CSeq
    )
}

/// The identifying headers of a request, read once.
#[derive(Debug)]
pub(crate) struct Envelope {
    pub from: Address,
    pub to: Address,
    pub call_id: String,
    pub cseq: u32,
}

impl Envelope {
    /// Reads and checks what RFC 3261 §8.1.1 requires. Max-Forwards may be missing (RFC 2543 peers);
    /// everything else that is missing, doubled or malformed is a 400, a foreign version a 505.
    pub fn read(request: &Request) -> Result<Self, Refusal> {
        if !request.version.is_supported() {
            return Err(Refusal::new(505, "Version Not Supported"));
        }
        let headers = &request.headers;
        let from = address(single(headers, &HeaderName::From, "Bad From")?.as_bytes())
            .ok_or_else(|| bad("Bad From"))?;
        let to = address(single(headers, &HeaderName::To, "Bad To")?.as_bytes())
            .ok_or_else(|| bad("Bad To"))?;
        let call_id = single(headers, &HeaderName::CallId, "Bad Call-ID")?;
        let cseq = headers
            .typed::<sipx_sip::CSeq>()
            .and_then(Result::ok)
            .filter(|_| headers.count(&HeaderName::CSeq) == 1)
            .ok_or_else(|| bad("Bad CSeq"))?;
        if cseq.method != request.method {
            return Err(bad("CSeq Method Mismatch"));
        }
        if request.uri.has_headers() {
            return Err(bad("Headers In Request-URI"));
        }
        check_max_forwards(headers)?;
        Ok(Self {
            from,
            to,
            call_id,
            cseq: cseq.sequence,
        })
    }

    pub fn sender_tag(&self) -> Option<String> {
        self.from.tag().map(lossy)
    }

    pub fn to_tag(&self) -> Option<String> {
        self.to.tag().map(lossy)
    }
}

fn bad(reason: &'static str) -> Refusal {
    Refusal::new(400, reason)
}

fn single(headers: &Headers, name: &HeaderName, reason: &'static str) -> Result<String, Refusal> {
    if headers.count(name) != 1 {
        return Err(bad(reason));
    }
    text(headers, name)
        .filter(|value| !value.is_empty() && value.len() <= 4 * MAX_KEPT_VALUE)
        .ok_or_else(|| bad(reason))
}

fn check_max_forwards(headers: &Headers) -> Result<(), Refusal> {
    match headers.typed::<sipx_sip::headers::MaxForwards>() {
        None => Ok(()),
        Some(Ok(_)) if headers.count(&HeaderName::MaxForwards) == 1 => Ok(()),
        Some(_) => Err(bad("Bad Max-Forwards")),
    }
}

/// Whether the request may go no further (RFC 3261 §20.22).
pub(crate) fn hops_used_up(request: &Request) -> bool {
    text(&request.headers, &HeaderName::MaxForwards)
        .and_then(|value| value.parse::<u8>().ok())
        .is_some_and(|hops| hops == 0)
}

/// One header's value, unfolded, as text. Bytes that are no UTF-8 are replaced.
pub(crate) fn text(headers: &Headers, name: &HeaderName) -> Option<String> {
    headers.value(name).map(|value| lossy(&value))
}

/// All tokens of a comma-separated header, over all its lines, in lower case.
pub(crate) fn tokens(headers: &Headers, name: &HeaderName) -> Vec<String> {
    headers
        .get_all(name)
        .flat_map(|header| {
            lossy(&header.value())
                .split(',')
                .map(|token| token.trim().to_ascii_lowercase())
                .filter(|token| !token.is_empty())
                .collect::<Vec<_>>()
        })
        .collect()
}

pub(crate) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A user part, with what may not stand in it escaped (RFC 3261 §25.1).
pub(crate) fn escaped_user(user: &str) -> String {
    let mut escaped = String::with_capacity(user.len());
    for byte in user.bytes() {
        match byte {
            b if b.is_ascii_alphanumeric() || b"-_.!~*'()+".contains(&b) => {
                escaped.push(char::from(b));
            }
            b => escaped.push_str(&format!("%{b:02X}")),
        }
    }
    escaped
}

/// Percent escapes decoded, as text; `None` where one is malformed.
pub(crate) fn unescaped(value: &[u8]) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let is_hex = digits.iter().all(u8::is_ascii_hexdigit);
        let digits = std::str::from_utf8(digits).ok().filter(|_| is_hex)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = after;
    }
    Some(lossy(&bytes))
}

/// Reads an address. Raw UTF-8 in an unquoted display name, which the grammar of RFC 3261 §25.1
/// forbids and terminals send, is tolerated.
pub(crate) fn address(value: &[u8]) -> Option<Address> {
    if let Ok(address) = Address::parse(value, "address") {
        return Some(address);
    }
    let angle = value.iter().position(|&b| b == b'<')?;
    let (name, rest) = value.split_at_checked(angle)?;
    let foreign = name.iter().any(|b| !b.is_ascii());
    if !foreign || name.iter().any(|b| matches!(b, b'"' | b',')) {
        return None;
    }
    let mut address = Address::parse(rest, "address").ok()?;
    address.display_name = Some(name.trim_ascii().to_vec());
    Some(address)
}

/// Display name, else user part, else host, for a person to read.
pub(crate) fn shown_name(address: &Address) -> String {
    let name = address
        .display_name
        .as_deref()
        .map(lossy)
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty());
    name.or_else(|| address.uri.decoded_user().map(|user| lossy(&user)))
        .or_else(|| address.uri.host().map(ToString::to_string))
        .unwrap_or_default()
}

/// The URI of the first Contact.
pub(crate) fn contact_uri(headers: &Headers) -> Option<Uri> {
    let value = headers.value(&HeaderName::Contact)?;
    let list = Address::parse_list(&value, "Contact").ok();
    let first = list.and_then(|list| list.into_iter().next());
    first
        .or_else(|| address(&value))
        .map(|address| address.uri)
        .filter(|uri| uri.scheme().is_sip() && uri.to_bytes().len() <= MAX_KEPT_VALUE)
}

/// The URIs of all Contacts, those of the highest `q` first (RFC 3261 §20.10).
pub(crate) fn contacts_by_preference(headers: &Headers) -> Vec<Uri> {
    let mut contacts = Vec::new();
    for header in headers.get_all(&HeaderName::Contact).take(16) {
        contacts.extend(Address::parse_list(&header.value(), "Contact").unwrap_or_default());
    }
    let q = |contact: &Address| {
        let stated = contact.param("q").map(lossy)?;
        stated
            .parse::<f32>()
            .ok()
            .filter(|q| (0.0..=1.0).contains(q))
    };
    // Thousandths: what has no `q` is preferred.
    let rank = |contact: &Address| (q(contact).unwrap_or(1.0) * 1_000.0) as u32;
    contacts.sort_by_key(|contact| std::cmp::Reverse(rank(contact)));
    contacts.into_iter().map(|contact| contact.uri).collect()
}

/// The number of a CSeq.
pub(crate) fn cseq_number(headers: &Headers) -> Option<u32> {
    let value = text(headers, &HeaderName::CSeq)?;
    value.split_whitespace().next()?.parse().ok()
}

/// The tag of a To.
pub(crate) fn to_tag(headers: &Headers) -> Option<String> {
    let to = text(headers, &HeaderName::To)?;
    address(to.as_bytes())?.tag().map(lossy)
}

/// The values of Record-Route in order of appearance, each as `<uri>` with its parameters
/// (RFC 3261 §12.1.1). `None` when one cannot be read or there are too many.
pub(crate) fn record_routes(headers: &Headers) -> Option<Vec<String>> {
    let mut routes = Vec::new();
    for header in headers.get_all(&HeaderName::RecordRoute) {
        let value = header.value().into_owned();
        let mut rest = value.as_slice();
        while !rest.is_empty() {
            // Commas within quotes do not separate; the Via splitter has the same rule.
            let end = first_hop_end(rest);
            let one = rest.get(..end)?.trim_ascii();
            address(one)?;
            routes.push(lossy(one));
            rest = rest.get(end + 1..).unwrap_or_default();
        }
    }
    let kept: usize = routes.iter().map(String::len).sum();
    (routes.len() <= MAX_ROUTES && kept <= 8 * MAX_KEPT_VALUE).then_some(routes)
}

/// The topmost Via.
pub(crate) fn top_via(headers: &Headers) -> Option<Via> {
    let value = headers.value(&HeaderName::Via)?;
    let end = first_hop_end(&value);
    Via::parse_one(value.get(..end)?).ok()
}

/// Writes into the topmost Via where the request really came from (RFC 3261 §18.2.1, RFC 3581 §4).
pub(crate) fn stamp_via(headers: &mut Headers, via: &Via, remote: SocketAddr) {
    let Some(value) = headers.value(&HeaderName::Via).map(|v| v.into_owned()) else {
        return;
    };
    let end = first_hop_end(&value);
    let (top, others) = value.split_at_checked(end).unwrap_or((&value, &[]));
    let top = stamped_hop(&lossy(top), via, remote);
    let Some(position) = headers.iter().position(|h| *h.name() == HeaderName::Via) else {
        return;
    };
    let Ok(header) = Header::build(HeaderName::Via, top + &lossy(others)) else {
        return;
    };
    headers.remove_first(&HeaderName::Via);
    headers.insert(position, header);
}

fn stamped_hop(hop: &str, via: &Via, remote: SocketAddr) -> String {
    let wants_port = via.rport().is_some();
    let sent_by: Option<IpAddr> = via.host.to_string().trim_matches(['[', ']']).parse().ok();
    let mut out: Vec<&str> = hop
        .split(';')
        .map(str::trim_end)
        .filter(|part| {
            let name = part.split('=').next().unwrap_or_default().trim();
            !name.eq_ignore_ascii_case("rport") && !name.eq_ignore_ascii_case("received")
        })
        .collect();
    let port = format!("rport={}", remote.port());
    let received = format!("received={}", remote.ip());
    if wants_port {
        out.push(&port);
    }
    if wants_port || sent_by != Some(remote.ip()) {
        out.push(&received);
    }
    out.join(";")
}

/// Where a response goes (RFC 3261 §18.2.2, RFC 3581 §4). `maddr` is not followed: it would let a
/// request choose whom the answer hits.
pub(crate) fn reply_flow(flow: Flow, via: &Via) -> Flow {
    if flow.transport.is_stream() || via.rport().is_some() {
        return flow;
    }
    let mut reply = flow;
    reply.remote.set_port(via.port.unwrap_or(5060));
    reply
}

/// Starts a response with the headers of RFC 3261 §8.2.6.2, as many as the request has. A To without
/// a tag gets `tag`, except in 100.
pub(crate) fn response(
    headers: &Headers,
    status: u16,
    reason: &'static str,
    tag: &str,
) -> Option<Response> {
    let code = StatusCode::new(status)?;
    let mut response = Response::new(code, Bytes::from_static(reason.as_bytes()));
    for header in headers.iter().filter(|h| copied_to_responses(h.name())) {
        let untagged = *header.name() == HeaderName::To
            && status != 100
            && address(&header.value()).is_none_or(|to| to.tag().is_none());
        response.headers.push(match untagged {
            true => tagged(header, tag)?,
            false => header.clone(),
        });
    }
    if status == 100
        && let Some(stamp) = text(headers, &HeaderName::Timestamp)
    {
        // RFC 3261 §8.2.6.1.
        push(&mut response.headers, HeaderName::Timestamp, stamp);
    }
    Some(response)
}

/// A To with our tag. Zero bytes, which a quoted name may escape, cannot be written back.
fn tagged(to: &Header, tag: &str) -> Option<Header> {
    let mut value = to.value().into_owned();
    for byte in &mut value {
        if *byte == 0 {
            *byte = b'?';
        }
    }
    value.extend_from_slice(format!(";tag={tag}").as_bytes());
    Header::build(HeaderName::To, value).ok()
}

/// Appends a header; a value with a line break in it is dropped.
pub(crate) fn push(headers: &mut Headers, name: HeaderName, value: impl Into<String>) {
    if let Ok(header) = Header::build(name, value.into()) {
        headers.push(header);
    }
}

/// Sets body, Content-Type and Content-Length of a response and serialises nothing yet.
pub(crate) fn finish(response: &mut Response, content: Option<(&str, &str)>) {
    if let Some((kind, body)) = content {
        push(&mut response.headers, HeaderName::ContentType, kind);
        response.set_body(Bytes::copy_from_slice(body.as_bytes()));
    }
    let length = response.body().len().to_string();
    push(&mut response.headers, HeaderName::ContentLength, length);
}

/// The transport that a URI names, UDP when it names none (RFC 3263 §4.1 without DNS).
pub(crate) fn uri_transport(uri: &Uri) -> Transport {
    let is_secure = matches!(uri.scheme(), Scheme::Sips);
    match uri.transport() {
        Some(name) if is_secure && name.eq_ignore_ascii_case(b"ws") => Transport::Wss,
        _ if is_secure => Transport::Tls,
        Some(name) if name.eq_ignore_ascii_case(b"tls") => Transport::Tls,
        Some(name) if name.eq_ignore_ascii_case(b"tcp") => Transport::Tcp,
        Some(name) if name.eq_ignore_ascii_case(b"ws") => Transport::Ws,
        Some(name) if name.eq_ignore_ascii_case(b"wss") => Transport::Wss,
        _ => Transport::Udp,
    }
}

/// The address that a URI names as a number; names are not resolved here.
pub(crate) fn uri_address(uri: &Uri) -> Option<SocketAddr> {
    let host = uri.host()?.to_string();
    let ip: IpAddr = host.trim_matches(['[', ']']).parse().ok()?;
    let default = match uri_transport(uri) {
        Transport::Udp | Transport::Tcp => 5060,
        Transport::Tls => 5061,
        // RFC 7118 §8.
        Transport::Ws => 80,
        Transport::Wss => 443,
    };
    Some(SocketAddr::new(ip, uri.port().unwrap_or(default)))
}

pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}
