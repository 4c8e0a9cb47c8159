//! A session against a scripted browser, in virtual time.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mcu_api::plan::{DtlsRole, Fingerprint, FingerprintHash, SrtpSuite, WebrtcTransport};
use mcu_api::secret::Redacted;
use rand::{Rng, SeedableRng, rngs::StdRng};
use rtc_dtls::crypto_provider::default_provider;
use rtc_stun::attributes::{
    ATTR_ICE_CONTROLLED, ATTR_ICE_CONTROLLING, ATTR_PRIORITY, ATTR_USE_CANDIDATE, ATTR_USERNAME,
    AttrType, RawAttribute,
};
use rtc_stun::error_code::ErrorCodeAttribute;
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_REQUEST, BINDING_SUCCESS, Getter, Message, Setter, TransactionId};
use rtc_stun::xoraddr::XorMappedAddress;

use super::Certificate;
use super::dtls::{Dtls, Peer};
use super::session::{FailReason, Output, WebrtcSession};
use crate::demux::{Kind, classify};
use crate::mutate::each_mutation;
use crate::srtp::Srtp;

const TICK: Duration = Duration::from_millis(10);
pub(super) const PASSWORD: &str = "session-password-of-22";

/// The far end: full ICE as far as checks go, and DTLS with the role that the session has not.
struct Browser {
    address: SocketAddr,
    dtls: Dtls,
    srtp: Option<Srtp>,
    closed: Option<FailReason>,
}

/// A session, its browser, and the clock of both.
struct Pair {
    now: Instant,
    start: Instant,
    session: WebrtcSession,
    browser: Browser,
    /// What the session yielded but for datagrams.
    events: Vec<Output>,
    /// Datagrams of DTLS that passed, in both directions.
    passed: Vec<(bool, Bytes)>,
    sent: usize,
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 7], port))
}

fn plan(role: DtlsRole, remote_fingerprint_sha256: [u8; 32]) -> WebrtcTransport {
    WebrtcTransport {
        local_ufrag: "ours".to_string(),
        local_pwd: Redacted(PASSWORD.to_string()),
        remote_ufrag: "theirs".to_string(),
        remote_pwd: Redacted("browser-password-of-22".to_string()),
        remote_fingerprint_sha256,
        dtls_role: role,
    }
}

fn attribute(typ: AttrType, value: &[u8]) -> RawAttribute {
    RawAttribute {
        typ,
        length: value.len() as u16,
        value: value.to_vec(),
    }
}

struct Add(RawAttribute);

impl Setter for Add {
    fn add_to(&self, message: &mut Message) -> rtc_shared::error::Result<()> {
        message.add(self.0.typ, &self.0.value);
        Ok(())
    }
}

/// A binding request as browsers send it, with these attributes besides.
fn check(username: &str, password: &str, priority: u32, more: &[RawAttribute]) -> Vec<u8> {
    let provider = default_provider().unwrap();
    let mut setters: Vec<Box<dyn Setter + '_>> = vec![
        Box::new(TransactionId([5; 12])),
        Box::new(BINDING_REQUEST),
        Box::new(Add(attribute(ATTR_USERNAME, username.as_bytes()))),
        Box::new(Add(attribute(ATTR_PRIORITY, &priority.to_be_bytes()))),
    ];
    for attribute in more {
        setters.push(Box::new(Add(attribute.clone())));
    }
    setters.push(Box::new(MessageIntegrity::new_raw_integrity_with_provider(
        password.as_bytes(),
        provider.crypto(),
    )));
    setters.push(Box::new(FINGERPRINT));
    let mut message = Message::new();
    message.build(&setters).unwrap();
    message.raw
}

pub(super) fn nominating(priority: u32) -> Vec<u8> {
    let more = [
        attribute(ATTR_ICE_CONTROLLING, &[1; 8]),
        attribute(ATTR_USE_CANDIDATE, &[]),
    ];
    check("ours:theirs", PASSWORD, priority, &more)
}

pub(super) fn plain(priority: u32) -> Vec<u8> {
    check(
        "ours:theirs",
        PASSWORD,
        priority,
        &[attribute(ATTR_ICE_CONTROLLING, &[1; 8])],
    )
}

fn rtp(sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 96, 0, 0, 0, 0, 0, 1, 0, 0, 0, 42];
    packet[2..4].copy_from_slice(&sequence.to_be_bytes());
    packet.extend([0xAB; 100]);
    packet
}

const RECEIVER_REPORT: [u8; 8] = [0x80, 201, 0, 1, 0, 0, 0, 42];

impl Pair {
    fn new(role: DtlsRole) -> Self {
        Self::with_fingerprint(role, None)
    }

    fn with_fingerprint(role: DtlsRole, signalled: Option<[u8; 32]>) -> Self {
        let (ours, theirs) = (
            Certificate::generate().unwrap(),
            Certificate::generate().unwrap(),
        );
        let other = match role {
            DtlsRole::Client => DtlsRole::Server,
            DtlsRole::Server => DtlsRole::Client,
        };
        let start = Instant::now();
        let fingerprint = signalled.unwrap_or(theirs.fingerprint_sha256());
        let dtls = Dtls::new(
            &theirs,
            other,
            Peer {
                fingerprints: vec![Fingerprint {
                    hash: FingerprintHash::Sha256,
                    bytes: ours.fingerprint_sha256().to_vec(),
                }],
                is_browser: true,
            },
        )
        .unwrap();
        Self {
            now: start,
            start,
            session: WebrtcSession::new(start, &plan(role, fingerprint), &ours).unwrap(),
            browser: Browser {
                address: address(1000),
                dtls,
                srtp: None,
                closed: None,
            },
            events: Vec::new(),
            passed: Vec::new(),
            sent: 0,
        }
    }

    /// A check from the browser's address; the answer.
    fn check(&mut self, request: &[u8]) -> Message {
        self.check_from(self.browser.address, request)
    }

    fn check_from(&mut self, from: SocketAddr, request: &[u8]) -> Message {
        self.session.handle_input(self.now, from, request);
        let Some(Output::Transmit { to, bytes }) = self.session.poll_output() else {
            panic!("no answer");
        };
        assert_eq!(to, from);
        let mut answer = Message::new();
        answer.unmarshal_binary(&bytes).unwrap();
        FINGERPRINT.check(&answer).unwrap();
        answer
    }

    /// Runs the handshake for at most `limit`, losing the DTLS datagrams that `lost` names by their
    /// number, until both sides have keys or one has failed.
    fn handshake(&mut self, limit: Duration, mut lost: impl FnMut(usize) -> bool) {
        let until = self.now + limit;
        self.browser.dtls.start(self.now).unwrap();
        while self.now < until && !self.settled() {
            while self.exchange(&mut lost) {}
            self.now += TICK;
            if self.session.next_timeout().is_some_and(|at| at <= self.now) {
                self.session.handle_timeout(self.now);
            }
            let _ = self.browser.dtls.handle_timeout(self.now);
        }
    }

    fn settled(&self) -> bool {
        let failed = self
            .events
            .iter()
            .any(|event| matches!(event, Output::Failed(_)));
        failed || self.browser.srtp.is_some() && self.session.is_connected()
    }

    /// Moves what is waiting in either direction; `false` when nothing was.
    fn exchange(&mut self, lost: &mut impl FnMut(usize) -> bool) -> bool {
        let mut moved = false;
        while let Some(output) = self.session.poll_output() {
            moved = true;
            match output {
                Output::Transmit { bytes, .. } if classify(&bytes) == Kind::Dtls => {
                    self.sent += 1;
                    if !lost(self.sent) {
                        self.passed.push((false, bytes.clone()));
                        self.deliver_to_browser(&bytes);
                    }
                }
                Output::Transmit { .. } => {}
                event => self.events.push(event),
            }
        }
        while let Some(bytes) = self.browser.dtls.poll_output() {
            moved = true;
            self.sent += 1;
            if !lost(self.sent) {
                self.passed.push((true, bytes.clone()));
                self.session
                    .handle_input(self.now, self.browser.address, &bytes);
            }
        }
        moved
    }

    fn deliver_to_browser(&mut self, bytes: &[u8]) {
        match self.browser.dtls.handle_input(self.now, bytes) {
            Ok(Some(keys)) => self.browser.srtp = Some(Srtp::from_sdes(&keys).unwrap()),
            Ok(None) => {}
            Err(reason) => self.browser.closed = Some(reason),
        }
    }

    fn connected(role: DtlsRole) -> Self {
        let mut pair = Self::new(role);
        pair.check(&nominating(100));
        pair.handshake(Duration::from_secs(1), |_| false);
        assert_eq!(pair.events, [Output::Connected]);
        pair.events.clear();
        pair
    }

    /// The browser's packet, protected.
    fn media(&mut self, sequence: u16) -> Bytes {
        self.browser
            .srtp
            .as_mut()
            .unwrap()
            .protect_rtp(&rtp(sequence))
            .unwrap()
    }

    fn receive(&mut self, from: SocketAddr, datagram: &[u8]) -> Option<Output> {
        self.session.handle_input(self.now, from, datagram);
        self.session.poll_output()
    }
}

#[test]
fn media_flows_both_ways_after_a_handshake_in_either_role() {
    for role in [DtlsRole::Server, DtlsRole::Client] {
        let mut pair = Pair::connected(role);
        assert_eq!(pair.session.suite(), Some(SrtpSuite::AeadAes128Gcm));
        let browser = pair.browser.address;
        assert_eq!(pair.session.remote(), Some(browser));

        let media = pair.media(7);
        assert_eq!(
            pair.receive(browser, &media),
            Some(Output::Rtp(rtp(7).into()))
        );
        let report = pair
            .browser
            .srtp
            .as_mut()
            .unwrap()
            .protect_rtcp(&RECEIVER_REPORT)
            .unwrap();
        let expected = Output::Rtcp(Bytes::from_static(&RECEIVER_REPORT));
        assert_eq!(pair.receive(browser, &report), Some(expected));

        let (to, sent) = pair.session.send_rtp(&rtp(9)).unwrap();
        assert_eq!(to, browser);
        assert_eq!(
            pair.browser
                .srtp
                .as_mut()
                .unwrap()
                .unprotect_rtp(&sent)
                .unwrap(),
            rtp(9)
        );
        let (_, sent) = pair.session.send_rtcp(&RECEIVER_REPORT).unwrap();
        let received = pair
            .browser
            .srtp
            .as_mut()
            .unwrap()
            .unprotect_rtcp(&sent)
            .unwrap();
        assert_eq!(received[..], RECEIVER_REPORT);
    }
}

#[test]
fn the_handshake_survives_the_loss_of_any_one_datagram() {
    for role in [DtlsRole::Server, DtlsRole::Client] {
        for lost in 1..8 {
            let mut pair = Pair::new(role);
            pair.check(&nominating(100));
            pair.handshake(Duration::from_secs(4), |number| number == lost);
            assert_eq!(
                pair.events,
                [Output::Connected],
                "{role:?} without datagram {lost}"
            );
            let took = pair.now - pair.start;
            assert!(
                took < Duration::from_secs(2),
                "{role:?} without {lost}: {took:?}"
            );
        }
    }
}

#[test]
fn the_handshake_survives_one_datagram_in_five_lost() {
    for seed in 0..20 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut pair = Pair::new(DtlsRole::Server);
        pair.check(&nominating(100));
        pair.handshake(Duration::from_secs(6), |_| random.random_bool(0.2));
        assert_eq!(pair.events, [Output::Connected], "seed {seed}");
    }
}

#[test]
fn a_handshake_that_nobody_answers_ends() {
    let mut pair = Pair::new(DtlsRole::Client);
    pair.check(&nominating(100));
    pair.handshake(Duration::from_secs(20), |_| true);
    assert_eq!(pair.events, [Output::Failed(FailReason::DtlsTimeout)]);
    assert!(pair.session.next_timeout().is_none());
}

#[test]
fn a_browser_that_checks_but_never_says_hello_is_given_up() {
    let mut pair = Pair::new(DtlsRole::Server);
    for _ in 0..9 {
        pair.check(&nominating(100));
        pair.now += Duration::from_secs(1);
        pair.session.handle_timeout(pair.now);
        assert_eq!(pair.session.poll_output(), None);
    }
    pair.check(&nominating(100));
    let deadline = pair.session.next_timeout().unwrap();
    assert_eq!(deadline, pair.start + Duration::from_secs(10));
    pair.session.handle_timeout(deadline);
    let failed = Output::Failed(FailReason::DtlsTimeout);
    assert_eq!(pair.session.poll_output(), Some(failed));
}

#[test]
fn another_certificate_than_the_signalled_one_is_refused() {
    for role in [DtlsRole::Server, DtlsRole::Client] {
        let mut pair = Pair::with_fingerprint(role, Some([1; 32]));
        pair.check(&nominating(100));
        pair.handshake(Duration::from_secs(2), |_| false);
        assert_eq!(
            pair.events,
            [Output::Failed(FailReason::FingerprintMismatch)],
            "{role:?}"
        );
        assert_eq!(
            pair.browser.closed,
            Some(FailReason::ClosedByPeer),
            "{role:?}"
        );
        assert!(pair.session.send_rtp(&rtp(1)).is_none());
    }
}

#[test]
fn a_check_is_answered_with_the_address_it_came_from() {
    let mut pair = Pair::new(DtlsRole::Server);
    let answer = pair.check(&plain(100));
    assert_eq!(answer.typ, BINDING_SUCCESS);
    assert_eq!(answer.transaction_id, TransactionId([5; 12]));
    let mut mapped = XorMappedAddress::default();
    mapped.get_from(&answer).unwrap();
    assert_eq!(
        SocketAddr::new(mapped.ip, mapped.port),
        pair.browser.address
    );
    let provider = default_provider().unwrap();
    let mut answer = answer;
    MessageIntegrity::check(&mut answer, PASSWORD.as_bytes(), provider.crypto()).unwrap();
    assert_eq!(pair.session.remote(), None);
}

#[test]
fn checks_that_are_not_in_order_get_the_error_that_says_why() {
    let unknown = attribute(AttrType(0x0777), b"?");
    let controlled = attribute(ATTR_ICE_CONTROLLED, &[1; 8]);
    let cases = [
        (check("ours:theirs", "wrong", 1, &[]), 401),
        (check("ours:others", PASSWORD, 1, &[]), 401),
        (check("ours:theirs", PASSWORD, 1, &[unknown]), 420),
        (check("ours:theirs", PASSWORD, 1, &[controlled]), 487),
    ];
    let mut pair = Pair::new(DtlsRole::Server);
    for (request, code) in cases {
        let answer = pair.check(&request);
        let mut error = ErrorCodeAttribute::default();
        error.get_from(&answer).unwrap();
        assert_eq!(error.code.0, code);
    }
    // None of them counted as a check.
    pair.session
        .handle_timeout(pair.start + Duration::from_secs(30));
    assert_eq!(
        pair.session.poll_output(),
        Some(Output::Failed(FailReason::NoCheck))
    );
}

#[test]
fn strangers_are_neither_heard_nor_answered() {
    let mut pair = Pair::connected(DtlsRole::Server);
    let stranger = address(6666);
    let hello = pair.passed[0].1.clone();
    let media = pair.media(1);
    for datagram in [&hello[..], &media[..], b"garbage", &[]] {
        assert_eq!(pair.receive(stranger, datagram), None);
    }
    assert_eq!(pair.session.counters().unexpected, 4);
    assert_eq!(pair.session.remote(), Some(pair.browser.address));
}

#[test]
fn media_before_the_keys_and_replayed_or_altered_media_are_counted_and_dropped() {
    let mut pair = Pair::new(DtlsRole::Server);
    let browser = pair.browser.address;
    pair.check(&nominating(100));
    assert_eq!(pair.receive(browser, &rtp(1)), None);
    assert_eq!(pair.session.counters().early, 1);

    let mut pair = Pair::connected(DtlsRole::Server);
    let media = pair.media(1);
    assert!(pair.receive(browser, &media).is_some());
    assert_eq!(pair.receive(browser, &media), None);
    let mut altered = pair.media(2).to_vec();
    altered[20] ^= 1;
    assert_eq!(pair.receive(browser, &altered), None);
    assert_eq!(pair.session.counters().unauthentic, 2);
}

#[test]
fn consent_lasts_as_long_as_checks_come() {
    let mut pair = Pair::connected(DtlsRole::Server);
    for _ in 0..10 {
        pair.now += Duration::from_secs(14);
        pair.session.handle_timeout(pair.now);
        pair.check(&nominating(100));
    }
    let expiry = pair.session.next_timeout().unwrap();
    assert_eq!(expiry, pair.now + Duration::from_secs(15));
    pair.session.handle_timeout(expiry);
    assert_eq!(
        pair.session.poll_output(),
        Some(Output::Failed(FailReason::ConsentExpired))
    );
    assert!(!pair.session.is_connected());
    assert_eq!(pair.receive(pair.browser.address, &nominating(100)), None);
}

#[test]
fn media_goes_to_the_pair_that_the_browser_uses() {
    let mut pair = Pair::connected(DtlsRole::Server);
    let (better, worse, unnominated) = (address(2000), address(3000), address(4000));
    pair.check_from(better, &nominating(200));
    assert_eq!(pair.session.remote(), Some(better));
    pair.check_from(worse, &nominating(50));
    assert_eq!(pair.session.remote(), Some(better));
    // The browser's own media tells that it has moved on.
    let media = pair.media(1);
    assert!(pair.receive(worse, &media).is_some());
    assert_eq!(pair.session.remote(), Some(worse));
    pair.check_from(unnominated, &plain(300));
    let media = pair.media(2);
    assert!(pair.receive(unnominated, &media).is_some());
    assert_eq!(pair.session.remote(), Some(worse));
    // Checks on the better pair have stopped: what is nominated now counts.
    pair.check_from(better, &nominating(200));
    pair.now += Duration::from_secs(6);
    pair.check_from(worse, &nominating(50));
    assert_eq!(pair.session.remote(), Some(worse));
}

#[test]
fn no_number_of_addresses_pushes_out_the_one_in_use() {
    let mut pair = Pair::connected(DtlsRole::Server);
    for port in 2000..2100 {
        pair.now += TICK;
        pair.check_from(address(port), &plain(10));
    }
    let media = pair.media(1);
    assert!(pair.receive(pair.browser.address, &media).is_some());
    assert_eq!(pair.session.remote(), Some(pair.browser.address));
}

#[test]
fn an_ice_restart_keeps_keys_and_path() {
    let mut pair = Pair::connected(DtlsRole::Server);
    let browser = pair.browser.address;
    let changed = WebrtcTransport {
        local_ufrag: "new".to_string(),
        remote_ufrag: "page".to_string(),
        ..plan(DtlsRole::Server, [0; 32])
    };
    pair.session.restart_ice(pair.now, &changed);
    let media = pair.media(1);
    assert!(pair.receive(browser, &media).is_some());
    assert!(pair.session.send_rtp(&rtp(1)).is_some());
    let more = [attribute(ATTR_USE_CANDIDATE, &[])];
    let moved = address(5000);
    assert_eq!(
        pair.check_from(moved, &check("new:page", PASSWORD, 1, &more))
            .typ,
        BINDING_SUCCESS
    );
    assert_eq!(pair.session.remote(), Some(moved));
    assert_ne!(pair.check(&nominating(100)).typ, BINDING_SUCCESS);
}

#[test]
fn either_side_can_say_goodbye() {
    let mut pair = Pair::connected(DtlsRole::Server);
    pair.browser.dtls.close(pair.now);
    while pair.exchange(&mut |_| false) {}
    assert_eq!(pair.events, [Output::Failed(FailReason::ClosedByPeer)]);

    let mut pair = Pair::connected(DtlsRole::Server);
    pair.session.close(pair.now);
    while pair.exchange(&mut |_| false) {}
    assert_eq!(pair.browser.closed, Some(FailReason::ClosedByPeer));
    assert!(!pair.session.is_connected());
}

#[test]
fn forged_alerts_in_clear_do_not_end_a_session() {
    let mut pair = Pair::connected(DtlsRole::Server);
    let close_notify = [21, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 99, 0, 2, 2, 0];
    assert_eq!(pair.receive(pair.browser.address, &close_notify), None);
    assert!(pair.session.is_connected());
}

/// Every datagram of a handshake, mutated, at every stage of it. A session may fail; it may not
/// panic, and what it queues stays bounded.
#[test]
fn mutated_datagrams_at_every_stage_never_panic() {
    let mut seeds: VecDeque<Bytes> = VecDeque::from([nominating(100).into()]);
    let recorded = Pair::connected(DtlsRole::Server).passed;
    seeds.extend(
        recorded
            .into_iter()
            .filter(|(up, _)| *up)
            .map(|(_, bytes)| bytes),
    );
    let mut connected = Pair::connected(DtlsRole::Server);
    seeds.push_back(connected.media(1));
    let mut outputs = 0;
    for stage in 0..3 {
        for seed in &seeds {
            let mut pair = staged(stage);
            each_mutation(seed, 1_500, |data| {
                pair.session
                    .handle_input(pair.now, pair.browser.address, data);
                pair.now += Duration::from_millis(1);
                pair.session.handle_timeout(pair.now);
                while let Some(output) = pair.session.poll_output() {
                    outputs += 1;
                    if matches!(output, Output::Failed(_)) {
                        pair = staged(stage);
                    }
                }
            });
        }
    }
    assert!(outputs > 0);
}

fn staged(stage: usize) -> Pair {
    match stage {
        0 => Pair::new(DtlsRole::Server),
        1 => {
            let mut pair = Pair::new(DtlsRole::Client);
            pair.check(&nominating(100));
            pair
        }
        _ => Pair::connected(DtlsRole::Server),
    }
}
