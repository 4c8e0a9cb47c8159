//! What a controller wants a media processor to hold: whole rooms, never steps.
//!
//! A plan is idempotent. The processor compares it with what it has, changes what differs and leaves
//! the rest running; a plan with a generation not above the one it holds is refused.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::codec::{AudioCodec, PacketizationMode, VideoClass, VideoCodec};
use crate::ids::{LegId, RoomId};
use crate::layout::{Canvas, Cell, Layout};
use crate::secret::Redacted;

/// The whole desired state of one room on one media processor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoomPlan {
    /// The room.
    pub room: RoomId,
    /// Grows with every change. A processor refuses what is not newer than what it holds.
    pub generation: u64,
    /// CNAME of everything the room sends (RFC 3550 §6.5.1): one room, one clock, one name.
    pub cname: String,
    /// Composed picture of the room.
    pub composition: Composition,
    /// Further composed pictures, for legs that see another one, by what [`VideoSource::Composition`]
    /// calls them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub views: Vec<(String, Composition)>,
    /// Every leg; a leg that is not listed is to be closed.
    pub legs: Vec<LegPlan>,
    /// Somebody looks on from outside: a small picture of the room is to be told every few seconds
    /// ([`crate::media::MediaEvent::Still`]).
    #[serde(default)]
    pub still: bool,
}

/// Which legs a composed picture shows, and where.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Composition {
    /// The legs that it shows, for a processor that knows no `places`.
    pub tiles: Vec<LegId>,
    /// How they lie, for the same.
    #[serde(default, with = "layout_for_older")]
    pub layout: Layout,
    /// Ratio of the sides.
    #[serde(default)]
    pub canvas: Canvas,
    /// What lies where; a later one lies over an earlier one. Each leg is there once at most.
    #[serde(default)]
    pub places: Vec<Place>,
}

impl Composition {
    /// What lies where, of a controller too that knows no places.
    pub fn places(&self) -> Vec<Place> {
        if !self.places.is_empty() {
            return self.places.clone();
        }
        let cells = self.layout.cells(self.tiles.len());
        let places = self.tiles.iter().zip(cells);
        places.map(|(leg, cell)| Place::of(*leg, *cell)).collect()
    }
}

/// One leg in a composed picture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The leg.
    pub leg: LegId,
    /// Where it lies.
    pub cell: Cell,
    /// Name that is drawn; none if empty.
    #[serde(default)]
    pub name: Redacted<String>,
}

impl Place {
    /// A leg whose name is not drawn.
    pub fn of(leg: LegId, cell: Cell) -> Self {
        Self {
            leg,
            cell,
            name: Redacted::default(),
        }
    }
}

/// A layout as processes know it which have no file of them.
mod layout_for_older {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::layout::Layout;

    pub fn serialize<S: Serializer>(layout: &Layout, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(layout.for_older())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Layout, D::Error> {
        let name = String::deserialize(deserializer)?;
        Ok(Layout::named(&name).unwrap_or_default())
    }
}

/// One leg: its transports and its streams.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LegPlan {
    /// The leg.
    pub id: LegId,
    /// Signalling has proved that the peer is where it says. Until then, and while nothing came from
    /// it, it gets sound and no picture: one forged request could direct megabits at a stranger.
    #[serde(default = "confirmed")]
    pub confirmed: bool,
    /// The leg waits before the door: it is neither heard nor seen, hears and sees nothing of the room
    /// and is told this instead.
    #[serde(default)]
    pub waiting: Option<Notice>,
    /// Transports; a stream names one by its index here. One for a bundled leg.
    pub transports: Vec<Transport>,
    /// The leg's sound, both ways.
    pub audio: Option<AudioStream>,
    /// Video that the leg sends to us.
    pub video_receive: Option<VideoReceive>,
    /// Video that we send to the leg: the composition for a terminal, one entry a forwarded site
    /// for a browser.
    pub video_send: Vec<VideoSend>,
}

/// What a leg is shown, in words, and told, by a tone, while it waits for admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Notice {
    /// What it says.
    pub text: NoticeText,
    /// Digits that have been typed: a dot is shown for each.
    pub digits: u8,
}

/// What a [`Notice`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeText {
    /// The room's PIN is asked for.
    EnterPin,
    /// It was wrong and is asked for once more.
    WrongPin,
    /// It was wrong too often: the call ends.
    PinRefused,
}

const fn confirmed() -> bool {
    true
}

/// Where packets of one or several streams come from and go to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Transport {
    /// Plain or SDES-keyed RTP on a port of its own.
    Udp(UdpTransport),
    /// ICE-lite and DTLS-SRTP on the processor's shared WebRTC port.
    Webrtc(WebrtcTransport),
}

/// RTP on a port pair that the controller chose from the range that the processor announced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UdpTransport {
    /// Local address, one of those that the processor announced.
    pub local_ip: IpAddr,
    /// Local RTP port.
    pub rtp_port: u16,
    /// Local RTCP port; `None` means that RTP and RTCP share `rtp_port` (RFC 5761).
    pub rtcp_port: Option<u16>,
    /// Where SDP says the peer listens. Packets go there until authentic ones came from elsewhere
    /// (symmetric RTP, RFC 4961); then the source learnt is kept.
    pub remote_rtp: Option<SocketAddr>,
    /// Where SDP says the peer listens for RTCP.
    pub remote_rtcp: Option<SocketAddr>,
    /// SDES keys (RFC 4568). Without them and without `dtls`, RTP is clear.
    pub sdes: Option<SdesKeys>,
    /// Keys by DTLS-SRTP (RFC 5764) in place of `sdes`, on each port by a handshake of its own.
    #[serde(default)]
    pub dtls: Option<Box<DtlsTerms>>,
    /// ICE (RFC 8445), we as its lite side: packets go where checks nominated, and nowhere before.
    #[serde(default)]
    pub ice: Option<Box<IceTerms>>,
    /// How far sources had come under these keys when another processor left off. Only a processor
    /// that opens the transport looks at them: what runs knows better.
    #[serde(default)]
    pub srtp_sources: Vec<SrtpSource>,
    /// The same of SRTCP, by the indices that its packets name.
    #[serde(default)]
    pub srtcp_sources: Vec<SrtpSource>,
    /// DSCP of audio that leaves by this transport, 0 to 63.
    pub dscp: u8,
}

/// Keys of one SDES crypto line each way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SdesKeys {
    /// The suite.
    pub suite: SrtpSuite,
    /// Master key and salt of what we send.
    pub local: Redacted<Vec<u8>>,
    /// Master key and salt of what the peer sends.
    pub remote: Redacted<Vec<u8>>,
}

impl UdpTransport {
    /// Keys that RTP has, as far as they are known.
    pub fn rtp_keys(&self) -> Option<&SdesKeys> {
        let agreed = self.dtls.as_ref().and_then(|dtls| dtls.keys.as_ref());
        self.sdes.as_ref().or(agreed.map(|keys| &keys.rtp))
    }
}

/// What signalling agreed on for the DTLS of one transport.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DtlsTerms {
    /// Another number, another handshake. Drawn at random, so that no other association of a leg has
    /// it, whichever line it was of.
    pub association: u64,
    /// Our role.
    pub role: DtlsRole,
    /// The peer's certificate has one of these, all of the strongest hash that it named.
    pub remote_fingerprints: Vec<Fingerprint>,
    /// What the handshake agreed on, once the controller knows: a processor that opens the transport
    /// goes on with them, without a handshake.
    #[serde(default)]
    pub keys: Option<DtlsKeys>,
}

/// Keys that a DTLS association yielded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DtlsKeys {
    /// Which association.
    pub association: u64,
    /// SHA-256 of the certificate that we showed; `None` where an older processor says no more.
    #[serde(default)]
    pub local_fingerprint: Option<[u8; 32]>,
    /// Those that the peer's certificate was held against.
    #[serde(default)]
    pub remote_fingerprints: Vec<Fingerprint>,
    /// Of the RTP port.
    pub rtp: SdesKeys,
    /// Of the RTCP port, where it has one of its own.
    pub rtcp: Option<SdesKeys>,
}

/// Hash of a certificate (RFC 8122 §5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Hash function.
    pub hash: FingerprintHash,
    /// The hash, as long as the function makes it.
    pub bytes: Vec<u8>,
}

/// Hash functions of fingerprints, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FingerprintHash {
    /// SHA-1, 20 bytes: old terminals.
    Sha1,
    /// SHA-224, 28 bytes.
    Sha224,
    /// SHA-256, 32 bytes.
    Sha256,
    /// SHA-384, 48 bytes.
    Sha384,
    /// SHA-512, 64 bytes.
    Sha512,
}

impl FingerprintHash {
    /// Bytes of the hash.
    pub const fn len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha224 => 28,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// No hash has no bytes.
    pub const fn is_empty(self) -> bool {
        false
    }
}

/// ICE credentials of both sides (RFC 8839 §5.4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IceTerms {
    /// Our user fragment.
    pub local_ufrag: String,
    /// Our password.
    pub local_pwd: Redacted<String>,
    /// The peer's user fragment.
    pub remote_ufrag: String,
    /// The peer's password.
    pub remote_pwd: Redacted<String>,
}

/// How far the peer's packets of one source have come. Both sides count rollovers for themselves,
/// nothing on the wire tells them (RFC 3711 §3.3.1): who does not know the count verifies no packet
/// after the first rollover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SrtpSource {
    /// The source.
    pub ssrc: u32,
    /// Highest packet index that was verified: of SRTP the rollover counter above 16 bits of sequence
    /// number, of SRTCP 31 bits.
    pub index: u64,
}

/// SRTP protection profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SrtpSuite {
    /// AES_CM_128_HMAC_SHA1_80: 16-byte key, 14-byte salt.
    AesCm128HmacSha1_80,
    /// AES_CM_128_HMAC_SHA1_32: 16-byte key, 14-byte salt.
    AesCm128HmacSha1_32,
    /// AES_256_CM_HMAC_SHA1_80: 32-byte key, 14-byte salt (RFC 6188).
    Aes256CmHmacSha1_80,
    /// AES_256_CM_HMAC_SHA1_32: 32-byte key, 14-byte salt (RFC 6188).
    Aes256CmHmacSha1_32,
    /// AEAD_AES_128_GCM: 16-byte key, 12-byte salt.
    AeadAes128Gcm,
    /// AEAD_AES_256_GCM: 32-byte key, 12-byte salt.
    AeadAes256Gcm,
}

impl SrtpSuite {
    /// Length in bytes of master key and salt together.
    pub const fn key_and_salt_len(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 => 30,
            Self::Aes256CmHmacSha1_80 | Self::Aes256CmHmacSha1_32 => 46,
            Self::AeadAes128Gcm => 28,
            Self::AeadAes256Gcm => 44,
        }
    }
}

/// A browser's bundled transport.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebrtcTransport {
    /// Our ICE user fragment: packets are demultiplexed by it first. Unique on the processor.
    pub local_ufrag: String,
    /// Our ICE password.
    pub local_pwd: Redacted<String>,
    /// The browser's ICE user fragment.
    pub remote_ufrag: String,
    /// The browser's ICE password.
    pub remote_pwd: Redacted<String>,
    /// SHA-256 of the browser's certificate, from its `a=fingerprint`.
    pub remote_fingerprint_sha256: [u8; 32],
    /// DTLS role of ours, after `a=setup`.
    pub dtls_role: DtlsRole,
}

/// Role in the DTLS handshake (RFC 5763 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DtlsRole {
    /// `a=setup:active`: we send the ClientHello.
    Client,
    /// `a=setup:passive`: we wait for it.
    Server,
}

/// RTP header extensions by the identifiers agreed in SDP (RFC 8285); 0 means not agreed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HeaderExtensions {
    /// `urn:ietf:params:rtp-hdrext:sdes:mid`
    pub mid: u8,
    /// `urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id`
    pub rid: u8,
    /// `urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id`
    pub repaired_rid: u8,
    /// `http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01`
    pub transport_cc: u8,
    /// `http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time`
    pub abs_send_time: u8,
    /// `urn:ietf:params:rtp-hdrext:ssrc-audio-level`
    pub audio_level: u8,
}

/// A leg's sound. Payload types are directional: the number received for a codec need not be the
/// one that is sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AudioStream {
    /// Index into [`LegPlan::transports`].
    pub transport: usize,
    /// `a=mid`, for demultiplexing a bundle.
    pub mid: Option<String>,
    /// Payload types that the leg may send to us.
    pub receive: Vec<AudioPayload>,
    /// What we send; `None` when the direction forbids it.
    pub send: Option<AudioSend>,
    /// `telephone-event` payload type received (RFC 4733); its clock is the codec's.
    pub telephone_event: Option<u8>,
    /// Payload type received of sound with copies of what was sent before (RFC 2198).
    #[serde(default)]
    pub red: Option<u8>,
    /// Header extensions agreed for this stream.
    pub extensions: HeaderExtensions,
    /// The room does not hear this leg: muted by itself or by the chair.
    pub muted: bool,
    /// What is sent keeps all that is in the mix, low tones too: an encoder made for speech would take
    /// them away.
    #[serde(default)]
    pub faithful: bool,
    /// What is done to the sound that the leg sends before others hear it. A controller that does not
    /// know of it wants nothing done.
    #[serde(default)]
    pub care: Care,
}

/// What is done to a leg's sound. By default it is left as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Care {
    /// Its speech is brought to the loudness of everybody's, and what is nothing but background does
    /// not enter the mix.
    #[serde(default)]
    pub level: bool,
    /// Steady noise beneath its speech is suppressed.
    #[serde(default)]
    pub noise: bool,
    /// What it sends back of what it was sent is found and cancelled.
    #[serde(default)]
    pub echo: bool,
}

/// One payload type of audio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioPayload {
    /// RTP payload type, 0 to 127.
    pub payload_type: u8,
    /// Its codec.
    pub codec: AudioCodec,
}

/// Audio that leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioSend {
    /// RTP payload type.
    pub payload_type: u8,
    /// Its codec.
    pub codec: AudioCodec,
    /// Packet time in ms, a multiple of 10.
    pub ptime_ms: u8,
    /// Rate in bit/s where the codec has a choice.
    pub bitrate_bps: u32,
    /// SSRC of ours.
    pub ssrc: u32,
    /// Payload type of the same with copies of what was sent before (RFC 2198), if agreed.
    #[serde(default)]
    pub red: Option<u8>,
}

/// RTCP feedback that a video stream's line agreed on (RFC 4585, RFC 5104).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Feedback {
    /// Generic NACK.
    pub nack: bool,
    /// Picture loss indication.
    pub pli: bool,
    /// Full intra request.
    pub fir: bool,
    /// Transport-wide congestion control feedback.
    pub transport_cc: bool,
    /// Rates by TMMBR, which is answered by TMMBN (RFC 5104 §4.2).
    pub tmmbr: bool,
    /// Rates by REMB (draft-alvestrand-rmcat-remb).
    pub remb: bool,
}

/// Video that a leg sends to us.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VideoReceive {
    /// Index into [`LegPlan::transports`].
    pub transport: usize,
    /// `a=mid`, for demultiplexing a bundle.
    pub mid: Option<String>,
    /// Payload types that the leg may send.
    pub payloads: Vec<VideoPayload>,
    /// `a=rid` of simulcast layers, lowest resolution first; empty without simulcast.
    pub rids: Vec<String>,
    /// Feedback that we may send.
    pub feedback: Feedback,
    /// Header extensions agreed for this stream.
    pub extensions: HeaderExtensions,
    /// SSRC that our feedback about this stream carries as its sender.
    pub feedback_ssrc: u32,
    /// The room does not see this leg: camera off.
    pub muted: bool,
}

/// One payload type of video.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VideoPayload {
    /// RTP payload type.
    pub payload_type: u8,
    /// Its codec.
    pub codec: VideoCodec,
    /// Payload type of its retransmissions (RFC 4588).
    pub rtx: Option<u8>,
}

/// Video that we send to a leg.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VideoSend {
    /// Index into [`LegPlan::transports`].
    pub transport: usize,
    /// `a=mid` of the line it leaves by.
    pub mid: Option<String>,
    /// Its codec.
    #[serde(default)]
    pub codec: VideoCodec,
    /// RTP payload type.
    pub payload_type: u8,
    /// Payload type of retransmissions, if agreed.
    pub rtx: Option<u8>,
    /// SSRC of ours.
    pub ssrc: u32,
    /// SSRC of our retransmissions.
    pub rtx_ssrc: Option<u32>,
    /// How the peer takes NAL units.
    pub packetization: PacketizationMode,
    /// Feedback that the peer may send.
    pub feedback: Feedback,
    /// Header extensions agreed for this stream.
    pub extensions: HeaderExtensions,
    /// What it shows; `None` while nothing does.
    pub source: Option<VideoSource>,
    /// Most that may be sent, in bit/s, from `b=` and the codec's level.
    pub max_bitrate_bps: u32,
    /// What the peer decodes of VP8. An older process does without.
    #[serde(default)]
    pub limits: PictureLimits,
}

/// Pictures that a receiver of VP8 takes (RFC 7741 §6.1); `None` where it did not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PictureLimits {
    /// `max-fs`: macroblocks of a picture, each of 16 by 16 samples.
    pub max_macroblocks: Option<u32>,
    /// `max-fr`: pictures a second.
    pub max_frame_rate: Option<u8>,
}

impl PictureLimits {
    /// Lines of the tallest picture 16 to 9; one 4 to 3 of as many lines has fewer macroblocks.
    pub fn max_height(&self) -> u16 {
        let lines = self
            .max_macroblocks
            .map(|most| most.saturating_mul(144).isqrt());
        lines.map_or(u16::MAX, |lines| u16::try_from(lines).unwrap_or(u16::MAX))
    }
}

/// Where sent video comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum VideoSource {
    /// The room's composed picture, encoded in this class.
    Composition {
        /// The encoder's class.
        class: VideoClass,
        /// Which of the plan's `views` it is, if not that of the room.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        view: Option<String>,
    },
    /// Another leg's main stream, forwarded as it came, or encoded anew where it is of another codec
    /// than the line.
    Forward {
        /// The leg that is shown.
        leg: LegId,
        /// How tall it is shown: the smallest layer that fills it is worth sending.
        max_height: u16,
        /// No layer that is taller is sent while a smaller one is there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ceiling: Option<u16>,
    },
}
