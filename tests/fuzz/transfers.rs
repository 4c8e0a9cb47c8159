//! Wishes to be elsewhere, and what becomes of them, within a call.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mcu_api::call::{CallCommand, CallEvent, IncomingCall, RejectReason, TransferTarget};
use mcu_api::secret::Redacted;
use sip::{Endpoint, Flow, FlowId, Input, Output, Transport, sdp};

use super::{PEER, local, pieces, rng};

/// A call that is up, and whose peer is asked to go elsewhere: each piece is the rest of a request of the
/// peer's within it, headers and body, of NOTIFY where its first byte is even and of REFER otherwise.
/// Yields how often the rooms hear of it.
pub fn wishes_to_be_elsewhere(data: &[u8]) -> usize {
    let start = Instant::now();
    let mut endpoint = Endpoint::new(sip::Config::default(), [7; 32]);
    let flow = Flow {
        id: FlowId(1),
        transport: Transport::Udp,
        local: SocketAddr::from(([127, 0, 0, 1], 5_060)),
        remote: PEER,
        advertised: None,
    };
    let head = |method: &str, cseq: usize, tag: &str| {
        format!(
            "{method} sip:3000@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {PEER};branch=z9hG4bK{cseq}\r\n\
             From: <sip:x@{PEER}>;tag=1\r\nTo: <sip:3000@127.0.0.1>{tag}\r\nCall-ID: 1\r\n\
             CSeq: {cseq} {method}\r\nContact: <sip:x@{PEER}>\r\nMax-Forwards: 70\r\n"
        )
    };
    let feed = |endpoint: &mut Endpoint, n: usize, bytes: &[u8]| {
        let now = start + Duration::from_millis(20 * n as u64);
        endpoint.handle_input(now, Input::Received { flow, bytes });
        settle(endpoint, now)
    };
    let (_, said) = feed(
        &mut endpoint,
        0,
        (head("INVITE", 1, "") + "\r\n").as_bytes(),
    );
    let tag = said.split_once("127.0.0.1>;tag=").unwrap_or_default().1;
    let tag = tag.split("\r\n").next().unwrap_or_default();
    let tag = format!(";tag={tag}");
    let answer = sdp::answer(&sdp::offer(&local(), &mut rng()).sdp, &local(), &mut rng());
    let answer = answer.map(|agreed| agreed.sdp).unwrap_or_default();
    let described = "Content-Type: application/sdp\r\n\r\n".to_owned() + &answer;
    feed(
        &mut endpoint,
        0,
        (head("ACK", 1, &tag) + &described).as_bytes(),
    );
    let mut heard = 0;
    for (n, piece) in pieces(data).enumerate() {
        let Some((kind, rest)) = piece.split_first() else {
            continue;
        };
        let method = if kind % 2 == 0 { "NOTIFY" } else { "REFER" };
        let message = [head(method, n + 2, &tag).as_bytes(), rest].concat();
        heard += feed(&mut endpoint, n, &message).0;
    }
    heard
}

/// Accepts what calls, asks it to go elsewhere, and refuses what it asks for: how many wishes and
/// outcomes the rooms heard, and what was said.
fn settle(endpoint: &mut Endpoint, now: Instant) -> (usize, String) {
    let (mut heard, mut said) = (0, String::new());
    while let Some(output) = endpoint.poll_output() {
        let event = match output {
            Output::Event(event) => event,
            Output::Transmit { bytes, .. } => {
                said += &String::from_utf8_lossy(&bytes);
                continue;
            }
            _ => continue,
        };
        let ask = |call| CallCommand::Transfer {
            call,
            target: TransferTarget::Number(Redacted("4000".to_owned())),
        };
        let command = match event {
            CallEvent::Incoming(IncomingCall { call, .. }) => CallCommand::Accept {
                call,
                sdp: Redacted(sdp::offer(&local(), &mut rng()).sdp),
            },
            CallEvent::Established { call } => ask(call),
            CallEvent::Transferred { call, .. } => {
                heard += 1;
                ask(call)
            }
            CallEvent::Referred(IncomingCall { call, .. }) => {
                heard += 1;
                CallCommand::Refer {
                    call,
                    refused: Some(RejectReason::Forbidden),
                }
            }
            _ => continue,
        };
        endpoint.command(now, command);
    }
    (heard, said)
}
