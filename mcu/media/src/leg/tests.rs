//! A terminal's leg with real sockets, in two lives of the process and before its call stands.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::SystemTime;

use mcu_api::codec::{AudioCodec, H264Profile, PacketizationMode, VideoClass, VideoCodec};
use mcu_api::plan::{
    AudioPayload, AudioSend, AudioStream, Care, DtlsKeys, DtlsRole, DtlsTerms, IceTerms, SdesKeys,
    SrtpSource, SrtpSuite, Transport as Planned, UdpTransport, VideoSend, VideoSource,
};
use mcu_api::secret::Redacted;
use mcu_rtp::srtp::Srtp;
use mcu_rtp::webrtc::Certificate;
use mio::Poll;

use super::*;
use crate::audio::mixer::TICK_SAMPLES;
use crate::transport::Doors;

const TERMINAL_SSRC: u32 = 7;

/// What a leg needs around it, and the terminal's socket.
struct Bench {
    _poll: Poll,
    sockets: Sockets,
    shared: Shared,
    clock: RoomClock,
    now: Instant,
    terminal: UdpSocket,
}

impl Bench {
    fn new() -> Self {
        let poll = Poll::new().unwrap();
        let terminal = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        terminal.set_nonblocking(true).unwrap();
        let now = Instant::now();
        Self {
            sockets: Sockets::new(poll.registry().try_clone().unwrap(), 1),
            _poll: poll,
            shared: Shared {
                doors: Doors { v4: None, v6: None },
                certificate: Certificate::generate().unwrap(),
            },
            clock: RoomClock::new(now, SystemTime::now()),
            now,
            terminal,
        }
    }

    fn plan(&self, sdes: Option<SdesKeys>) -> LegPlan {
        let transport = UdpTransport {
            local_ip: Ipv4Addr::LOCALHOST.into(),
            rtp_port: 0,
            rtcp_port: None,
            remote_rtp: Some(self.address()),
            remote_rtcp: Some(self.address()),
            sdes,
            dtls: None,
            ice: None,
            srtp_sources: Vec::new(),
            srtcp_sources: Vec::new(),
            dscp: 46,
        };
        LegPlan {
            id: LegId(1),
            confirmed: true,
            waiting: None,
            transports: vec![Planned::Udp(transport)],
            audio: Some(audio()),
            video_receive: None,
            video_send: vec![video()],
        }
    }

    fn open(&mut self, plan: &LegPlan) -> Leg {
        let (shared, sockets) = (&self.shared, &mut self.sockets);
        Leg::open(self.now, RoomId(1), plan, "room", shared, sockets).unwrap()
    }

    fn update(&mut self, leg: &mut Leg, plan: &LegPlan) {
        let (shared, sockets) = (&self.shared, &mut self.sockets);
        leg.update(self.now, RoomId(1), plan, shared, sockets)
            .unwrap();
    }

    fn address(&self) -> SocketAddr {
        self.terminal.local_addr().unwrap()
    }

    /// The leg gets a datagram of the terminal's; whether it held anything.
    fn receive(&self, leg: &mut Leg, datagram: &[u8]) -> bool {
        self.receive_on(leg, 0, datagram)
    }

    fn receive_on(&self, leg: &mut Leg, transport: usize, datagram: &[u8]) -> bool {
        self.receive_from(self.address(), leg, transport, datagram)
    }

    fn receive_from(
        &self,
        from: SocketAddr,
        leg: &mut Leg,
        transport: usize,
        datagram: &[u8],
    ) -> bool {
        let mut held = Vec::new();
        let input = (from, false, datagram);
        leg.receive(self.now, transport, input, &self.sockets, &mut held);
        for item in &held {
            match item {
                Incoming::Rtp(packet) => {
                    leg.handle_rtp(self.now, transport, packet, &self.clock);
                }
                Incoming::Rtcp(compound) => {
                    leg.handle_rtcp(self.now, transport, compound, &self.clock, &self.sockets);
                }
                Incoming::Connected | Incoming::Failed => panic!("not a browser"),
            }
        }
        !held.is_empty()
    }

    /// 20 ms of sound and one packet of picture are due; payload types of what the terminal got.
    fn send_both(&mut self, leg: &mut Leg) -> Vec<u8> {
        self.now += Duration::from_millis(20);
        let at = (self.now, self.now);
        let heard = (&[0; TICK_SAMPLES], &mut SharedEncoders::default());
        leg.speak(at, heard, &self.clock, &self.sockets);
        let picture = Outgoing {
            timestamp: 0,
            marker: true,
            payload: &[0x65; 100],
        };
        let now = self.now;
        leg.send_screen(
            now,
            0,
            &self.clock,
            &self.sockets,
            |screen, stamp, packet| {
                screen.write(now, &picture, stamp, packet);
                true
            },
        );
        let mut datagram = [0; 2_048];
        let mut got = Vec::new();
        // What was sent over the loopback interface is there at once.
        while self.terminal.recv(&mut datagram).is_ok() {
            got.push(datagram[1] & 0x7F);
        }
        got
    }
}

fn audio() -> AudioStream {
    AudioStream {
        transport: 0,
        mid: None,
        receive: vec![AudioPayload {
            payload_type: 0,
            codec: AudioCodec::Pcmu,
        }],
        send: Some(AudioSend {
            payload_type: 0,
            codec: AudioCodec::Pcmu,
            ptime_ms: 20,
            bitrate_bps: 64_000,
            ssrc: 1,
            red: None,
        }),
        telephone_event: None,
        red: None,
        extensions: Default::default(),
        muted: false,
        faithful: false,
        care: Care::default(),
    }
}

fn video() -> VideoSend {
    let class = VideoClass {
        codec: VideoCodec::H264,
        width: 1_280,
        height: 720,
        frame_rate: 30,
        bitrate_bps: 2_000_000,
        profile: H264Profile::ConstrainedBaseline,
        level_idc: 31,
        packetization: PacketizationMode::NonInterleaved,
    };
    VideoSend {
        codec: VideoCodec::H264,
        transport: 0,
        mid: None,
        payload_type: 97,
        rtx: None,
        ssrc: 2,
        rtx_ssrc: None,
        packetization: PacketizationMode::NonInterleaved,
        feedback: Default::default(),
        extensions: Default::default(),
        source: Some(VideoSource::Composition { class, view: None }),
        max_bitrate_bps: 2_000_000,
        limits: Default::default(),
    }
}

/// A G.711 packet of the terminal's.
fn rtp(sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(sequence.to_be_bytes());
    packet.extend((u32::from(sequence) * 160).to_be_bytes());
    packet.extend(TERMINAL_SSRC.to_be_bytes());
    packet.extend([0xFF; 160]);
    packet
}

/// An empty receiver report of the terminal's.
fn report() -> Vec<u8> {
    let mut compound = Vec::new();
    rtcp::write_receiver_report(&mut compound, TERMINAL_SSRC, &[]);
    rtcp::write_cname(&mut compound, TERMINAL_SSRC, "terminal");
    compound
}

/// Keys of one side; the other side has them the other way round.
fn keys(local: u8, remote: u8) -> SdesKeys {
    SdesKeys {
        suite: SrtpSuite::AesCm128HmacSha1_80,
        local: Redacted(vec![local; 30]),
        remote: Redacted(vec![remote; 30]),
    }
}

fn with_sources(plan: &LegPlan, sources: &[SrtpSource]) -> LegPlan {
    let mut plan = plan.clone();
    match &mut plan.transports[0] {
        Planned::Udp(udp) => udp.srtp_sources = sources.to_vec(),
        Planned::Webrtc(_) => panic!("not a browser"),
    }
    plan
}

fn srtp_sources(bench: &Bench, leg: &mut Leg) -> Vec<Vec<SrtpSource>> {
    leg.inventory(bench.now, 0).srtp_sources
}

/// A terminal whose sequence numbers had rolled over was not heard by the next process.
#[test]
fn a_terminal_that_rolled_over_is_heard_in_the_next_life_of_the_process() {
    let mut bench = Bench::new();
    let plan = bench.plan(Some(keys(1, 2)));
    let mut terminal = Srtp::from_sdes(&keys(2, 1)).unwrap();
    let mut send = |sequence: u32| terminal.protect_rtp(&rtp(sequence as u16)).unwrap();
    let mut first = bench.open(&plan);
    assert_eq!(srtp_sources(&bench, &mut first), [[]]);
    assert!(bench.receive(&mut first, &send(0)));
    for sequence in (0x2000..=0x1_FFFF).step_by(0x2000).chain([0x1_FFFF]) {
        assert!(bench.receive(&mut first, &send(sequence)));
    }
    let source = SrtpSource {
        ssrc: TERMINAL_SSRC,
        index: 0x1_FFFF,
    };
    assert_eq!(srtp_sources(&bench, &mut first), [[source]]);
    // It rolls over once more while nobody listens.
    let next = send(0x2_0040);
    let mut deaf = bench.open(&plan);
    assert!(!bench.receive(&mut deaf, &next));
    let mut second = bench.open(&with_sources(&plan, &[source]));
    assert_eq!(srtp_sources(&bench, &mut second), [[source]]);
    assert!(bench.receive(&mut second, &next));
    let index = 0x2_0040;
    let counted = SrtpSource { index, ..source };
    assert_eq!(srtp_sources(&bench, &mut second), [[counted]]);
}

/// Defect: the next process took all reports of a terminal once more, its goodbye among them, from whoever
/// had recorded them (RFC 3711 §3.3.2, §3.4).
#[test]
fn reports_are_taken_once_in_all_lives_of_the_process() {
    for (by_dtls, own_port) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut bench = Bench::new();
        let mut plan = bench.plan(None);
        let [Planned::Udp(udp)] = &mut plan.transports[..] else {
            panic!("one line");
        };
        *udp = keyed(udp.clone(), keys(1, 2), by_dtls);
        udp.rtcp_port = own_port.then_some(0);
        let mut sender = keys(2, 1);
        if let Some(agreed) = udp.dtls.as_mut().and_then(|dtls| dtls.keys.as_mut())
            && own_port
        {
            agreed.rtcp = Some(keys(3, 4));
            sender = keys(4, 3);
        }
        let mut terminal = Srtp::from_sdes(&sender).unwrap();
        let [recorded, next] = [(); 2].map(|()| terminal.protect_rtcp(&report()).unwrap());
        let takes = |bench: &Bench, leg: &mut Leg, datagram: &[u8]| {
            let mut held = Vec::new();
            let input = (bench.address(), own_port, datagram);
            leg.receive(bench.now, 0, input, &bench.sockets, &mut held);
            !held.is_empty()
        };
        let mut first = bench.open(&plan);
        assert!(takes(&bench, &mut first, &recorded));
        let told = first.inventory(bench.now, 0).srtcp_sources;
        let source = SrtpSource {
            ssrc: TERMINAL_SSRC,
            index: 1,
        };
        assert_eq!(told, [[source]]);
        if let [Planned::Udp(udp)] = &mut plan.transports[..] {
            udp.srtcp_sources = told.concat();
        }
        let mut second = bench.open(&plan);
        assert!(
            !takes(&bench, &mut second, &recorded),
            "{by_dtls} {own_port}"
        );
        assert!(takes(&bench, &mut second, &next), "{by_dtls} {own_port}");
    }
}

#[test]
fn what_a_plan_knows_of_srtp_sources_changes_nothing_that_runs() {
    let mut bench = Bench::new();
    let plan = bench.plan(Some(keys(1, 2)));
    let mut terminal = Srtp::from_sdes(&keys(2, 1)).unwrap();
    let mut leg = bench.open(&plan);
    let replayed = terminal.protect_rtp(&rtp(1)).unwrap();
    assert!(bench.receive(&mut leg, &replayed));
    let (sockets, connected) = (bench.sockets.len(), leg.take_event());
    assert!(matches!(connected, Some(MediaEvent::Connected { .. })));
    let source = SrtpSource {
        ssrc: TERMINAL_SSRC,
        index: 0x5_0000,
    };
    for sources in [&[source][..], &[]] {
        bench.update(&mut leg, &with_sources(&plan, sources));
        assert_eq!(leg.inventory(bench.now, 0).state, LegState::Connected);
        assert!(!bench.receive(&mut leg, &replayed), "the same SRTP state");
    }
    let next = terminal.protect_rtp(&rtp(2)).unwrap();
    assert!(bench.receive(&mut leg, &next));
    assert_eq!(bench.sockets.len(), sockets);
}

/// One INVITE with a forged source and a stranger's address had 2 Mbit/s sent there for 32 s.
#[test]
fn a_peer_that_nothing_proved_gets_no_picture() {
    let mut bench = Bench::new();
    let plan = LegPlan {
        confirmed: false,
        ..bench.plan(None)
    };
    let mut leg = bench.open(&plan);
    for _ in 0..50 {
        assert_eq!(bench.send_both(&mut leg), [0], "sound alone");
    }
    assert_eq!(leg.live_scenes().count(), 0, "nothing is encoded for it");
    leg.screens()[0].take_key_request();
    let confirmed = LegPlan {
        confirmed: true,
        ..plan
    };
    bench.update(&mut leg, &confirmed);
    assert_eq!(bench.send_both(&mut leg), [0, 97]);
    assert_eq!(leg.live_scenes().count(), 1);
    assert!(
        leg.screens()[0].take_key_request(),
        "it begins with a key frame"
    );
}

/// What an encoder that others have sends next leads on from what this leg has not seen.
#[test]
fn a_picture_of_another_class_begins_with_a_key_frame() {
    let mut bench = Bench::new();
    let mut plan = bench.plan(None);
    let mut leg = bench.open(&plan);
    assert!(leg.screens()[0].can_show(false));
    leg.screens()[0].take_key_request();
    let Some(VideoSource::Composition { class, .. }) = &mut plan.video_send[0].source else {
        panic!("{plan:?}");
    };
    (class.width, class.height) = (640, 360);
    bench.update(&mut leg, &plan);
    let screen = &mut leg.screens()[0];
    assert!(screen.take_key_request());
    assert!(!screen.can_show(false) && screen.can_show(true) && screen.can_show(false));
}

/// Who forged the source of its call and sends from the address in its offer was shown the room.
#[test]
fn packets_from_the_announced_address_prove_nothing() {
    for packet in [rtp(1), report()] {
        let mut bench = Bench::new();
        let plan = LegPlan {
            confirmed: false,
            ..bench.plan(None)
        };
        let mut leg = bench.open(&plan);
        assert_eq!(bench.send_both(&mut leg), [0]);
        leg.screens()[0].take_key_request();
        assert!(bench.receive(&mut leg, &packet));
        assert_eq!(bench.send_both(&mut leg), [0]);
        assert!(!leg.is_in());
    }
}

/// Defect: one datagram that was no RTP, before the peer's address was learnt, had the peer's media taken
/// for anybody's until the call was over.
#[test]
fn a_leg_is_anybodys_by_media_alone_and_until_its_peer_moves() {
    let mut bench = Bench::new();
    let plan = bench.plan(None);
    let mut leg = bench.open(&plan);
    let stranger = SocketAddr::from(([127, 0, 0, 2], 9));
    // A header whose sources it is too short for (RFC 3550 §5.1).
    let mut stray = rtp(1);
    stray[0] = 0x8F;
    stray.truncate(20);
    assert!(!bench.receive_from(stranger, &mut leg, 0, &stray));
    assert_eq!(leg.sender(), Sender::Peer);
    assert!(bench.receive_from(stranger, &mut leg, 0, &rtp(1)));
    assert_eq!(leg.sender(), Sender::Anybody);
    let mut moved = plan.clone();
    let [Planned::Udp(udp)] = &mut moved.transports[..] else {
        panic!("one line");
    };
    udp.remote_rtp = Some(SocketAddr::from(([127, 0, 0, 3], 9)));
    bench.update(&mut leg, &moved);
    assert_eq!(leg.sender(), Sender::Peer);
}

/// Keys as SDES brings them, and as DTLS left them.
fn keyed(udp: UdpTransport, keys: SdesKeys, by_dtls: bool) -> UdpTransport {
    if !by_dtls {
        let sdes = Some(keys);
        return UdpTransport { sdes, ..udp };
    }
    let agreed = DtlsKeys {
        association: 1,
        local_fingerprint: None,
        remote_fingerprints: Vec::new(),
        rtp: keys,
        rtcp: None,
    };
    let terms = DtlsTerms {
        association: 1,
        role: DtlsRole::Server,
        remote_fingerprints: Vec::new(),
        keys: Some(agreed),
    };
    let dtls = Some(Box::new(terms));
    UdpTransport { dtls, ..udp }
}

/// SRTP state was lost when a line before it went: the packet index of an SSRC began anew under the
/// same key, and the terminal was not heard any more.
#[test]
fn a_line_that_goes_takes_no_srtp_state_of_another_with_it() {
    for by_dtls in [false, true] {
        the_other_line_goes(by_dtls, false);
    }
}

/// The same happened to keys of DTLS when the terminal took up ICE, or gave it up.
#[test]
fn ice_that_comes_takes_no_srtp_state_with_it() {
    for by_dtls in [false, true] {
        the_other_line_goes(by_dtls, true);
    }
}

fn the_other_line_goes(by_dtls: bool, ice_comes: bool) {
    let mut bench = Bench::new();
    let mut before = bench.plan(None);
    before.video_send.clear();
    // The shared bench's plan names any port; here a port must be known again.
    let port = || {
        UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
            .unwrap()
            .local_addr()
            .unwrap()
            .port()
    };
    let transport = |keys: SdesKeys| {
        let udp = match &before.transports[0] {
            Planned::Udp(udp) => udp.clone(),
            Planned::Webrtc(_) => panic!("not a browser"),
        };
        let rtp_port = port();
        keyed(UdpTransport { rtp_port, ..udp }, keys, by_dtls)
    };
    let (first, mut second) = (transport(keys(5, 6)), transport(keys(1, 2)));
    before.transports = vec![Planned::Udp(first), Planned::Udp(second.clone())];
    before.audio.as_mut().unwrap().transport = 1;
    let mut after = before.clone();
    second.ice = ice_comes.then(|| {
        let text = || Redacted("0123456789abcdef01234567".to_owned());
        Box::new(IceTerms {
            local_ufrag: "abcd".to_owned(),
            local_pwd: text(),
            remote_ufrag: "efgh".to_owned(),
            remote_pwd: text(),
        })
    });
    after.transports = vec![Planned::Udp(second)];
    after.audio.as_mut().unwrap().transport = 0;

    let mut terminal = Srtp::from_sdes(&keys(2, 1)).unwrap();
    let mut leg = bench.open(&before);
    for sequence in (0..=0x1_2000u32).step_by(0x2000) {
        let packet = terminal.protect_rtp(&rtp(sequence as u16)).unwrap();
        assert!(bench.receive_on(&mut leg, 1, &packet));
    }
    let heard = |bench: &mut Bench, leg: &mut Leg, terminal: &mut Srtp| {
        bench.now += Duration::from_millis(20);
        let at = (bench.now, bench.now);
        let heard = (&[0; TICK_SAMPLES], &mut SharedEncoders::default());
        leg.speak(at, heard, &bench.clock, &bench.sockets);
        let mut datagram = [0; 2_048];
        let len = bench.terminal.recv(&mut datagram).unwrap();
        terminal.unprotect_rtp(&datagram[..len])
    };
    assert!(heard(&mut bench, &mut leg, &mut terminal).is_ok());
    bench.update(&mut leg, &after);
    let next = terminal.protect_rtp(&rtp(0x2001)).unwrap();
    assert!(
        bench.receive_on(&mut leg, 0, &next),
        "its rollover is still known"
    );
    assert!(!bench.receive_on(&mut leg, 0, &next), "and so is what came");
    assert!(
        heard(&mut bench, &mut leg, &mut terminal).is_ok(),
        "no replay to the terminal"
    );
}
