//! The offers and answers of one terminal's call (RFC 3264), one after the other.

use mcu_api::ids::LegId;
use mcu_api::plan::{DtlsKeys, LegPlan, Transport, UdpTransport};
use mcu_api::reach::MediaAddress;
use rand::{CryptoRng, RngCore};
use serde::{Deserialize, Serialize};
use sip::sdp::video::Format;
use sip::sdp::{
    self, Agreed, DtlsLine, LocalAudio, LocalMedia, LocalVideo, OfferError, SrtpPolicy,
};

use super::room::Media;

/// Where the description of a call's media stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exchange {
    local: LocalMedia,
    /// Lines of the tallest picture for which there was a port when the call came.
    #[serde(default)]
    ceiling: Option<u16>,
    /// Lines of the pictures that a port is kept for until something is agreed on; 0 for sound alone.
    #[serde(default)]
    reserved: u16,
    progress: Progress,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Progress {
    /// Nothing was exchanged.
    Nothing,
    /// Our offer waits for its answer; `before` is in force meanwhile.
    Offered {
        offer: Box<sdp::Offer>,
        before: Option<Box<Agreed>>,
    },
    /// Both sides agree. `offer` is the peer's, when it was the one who offered.
    Agreed {
        agreed: Box<Agreed>,
        offer: Option<String>,
    },
}

/// Why a description of the peer was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// It cannot be used.
    #[error(transparent)]
    Unusable(#[from] OfferError),
    /// An answer to nothing.
    #[error("an answer without an offer")]
    OutOfOrder,
    /// It has another DTLS association than the one that was offered.
    #[error("another certificate or DTLS association than was offered")]
    OtherAssociation,
}

impl Exchange {
    /// Our side: the address and the two RTP ports, each with its RTCP port above it.
    pub fn new(
        address: &MediaAddress,
        [audio_port, video_port]: [u16; 2],
        srtp: SrtpPolicy,
        rng: &mut impl RngCore,
    ) -> Self {
        let local = LocalMedia {
            address: address.told(),
            bound: address.advertised.map(|_| address.address),
            // RFC 8866 §5.2: a number that is unlikely to come again; kept below 2^63, since some
            // peers read it signed.
            session_id: rng.next_u64() >> 1,
            version: 0,
            audio: Some(LocalAudio::all_codecs(audio_port, audio_port + 1)),
            video: Some(LocalVideo::hd720(video_port, video_port + 1)),
            srtp,
            dtls_fingerprint: None,
        };
        Self {
            local,
            ceiling: None,
            reserved: 0,
            progress: Progress::Nothing,
        }
    }

    /// Until something is agreed on a port for pictures of so many lines is kept.
    pub fn reserve(&mut self, lines: u16) {
        self.reserved = lines;
    }

    /// Lines of the pictures that a port is kept for, while nothing is agreed on.
    pub fn reserved(&self) -> Option<u16> {
        self.agreed().is_none().then_some(self.reserved)
    }

    /// For as long as the call lasts no taller picture goes either way, whatever [`Self::set_most`] says.
    pub fn set_ceiling(&mut self, lines: u16) {
        self.ceiling = Some(lines);
    }

    /// From the next description of ours on, no taller picture than this goes either way, nor more of
    /// them a second than that. Whether the peer may agree on something else then, so that an offer is due.
    /// While one is open nothing changes: its answer is to be read by what it said.
    pub fn set_most(&mut self, max_height: Option<u16>, max_frame_rate: u8) -> bool {
        let max_height = max_height.into_iter().chain(self.ceiling).min();
        let Some(video) = &mut self.local.video else {
            return false;
        };
        let (rtp_port, rtcp_port) = (video.rtp_port, video.rtcp_port);
        let whole = LocalVideo {
            legacy: video.legacy,
            max_frame_rate,
            ..match max_height {
                Some(lines) if lines > 720 => LocalVideo::hd1080(rtp_port, rtcp_port),
                _ => LocalVideo::hd720(rtp_port, rtcp_port),
            }
        };
        let wanted = whole.at_most(max_height);
        if *video == wanted || matches!(self.progress, Progress::Offered { .. }) {
            return false;
        }
        let before = std::mem::replace(video, wanted);
        match &self.progress {
            Progress::Agreed { agreed, .. } => could_change(agreed, &before, video),
            _ => false,
        }
    }

    /// What the media processor codes beside what every one does, by the names of its hello.
    pub fn set_codecs(&mut self, codecs: &[String]) {
        let has = |name: &str| codecs.iter().any(|codec| codec == name);
        if let Some(video) = &mut self.local.video {
            video.legacy = has("h263");
        }
        if let Some(audio) = &mut self.local.audio {
            audio.add(has("g7221"), has("l16"), has("g729"));
            audio.red = has("red");
        }
    }

    /// The certificate that DTLS shows from now on. Associations whose keys are known stay.
    pub fn set_fingerprint(&mut self, sha256: [u8; 32]) {
        self.local.dtls_fingerprint = Some(sha256);
    }

    /// Notes the keys that DTLS agreed on for a transport of the plan, so that another processor goes
    /// on with them. Whether that is news.
    pub fn note_dtls_keys(&mut self, transport: usize, keys: &DtlsKeys) -> bool {
        if let Progress::Offered { offer, .. } = &mut self.progress {
            offer.note_dtls_keys(transport, keys);
        }
        self.agreed_mut()
            .is_some_and(|agreed| agreed.note_dtls_keys(transport, keys))
    }

    /// Whether what is agreed on, or offered within the call, names a certificate of ours that is no
    /// more: [`Self::offer`] then makes another.
    pub fn shows_dead_certificate(&self) -> bool {
        let Some(ours) = self.local.dtls_fingerprint else {
            return false;
        };
        match &self.progress {
            Progress::Agreed { agreed, .. } => agreed.shows_dead_certificate(ours),
            Progress::Offered { offer, before } => {
                before.is_some() && offer.shows_dead_certificate(ours)
            }
            Progress::Nothing => false,
        }
    }

    /// Whether an association has to be made whose keys nobody knows, and no offer of ours is open that
    /// would do so.
    pub fn lacks_keys(&self) -> bool {
        if matches!(self.progress, Progress::Offered { .. }) {
            return self.shows_dead_certificate();
        }
        let transports = self.agreed().map(Agreed::transports).unwrap_or_default();
        transports.iter().any(|transport| match transport {
            Transport::Udp(udp) => udp.dtls.as_ref().is_some_and(|dtls| dtls.keys.is_none()),
            Transport::Webrtc(_) => false,
        })
    }

    /// Answers the peer's offer. An offer that says again what was agreed on (a session refresh) has
    /// the same answer again.
    pub fn answer(
        &mut self,
        offer: &str,
        rng: &mut impl CryptoRng,
    ) -> Result<String, ExchangeError> {
        if let Progress::Agreed {
            agreed,
            offer: Some(last),
        } = &self.progress
            && last == offer
        {
            return Ok(agreed.sdp.clone());
        }
        // An offer of ours that is still open is void: signalling lets a peer's offer through only
        // when ours came to nothing (RFC 3261 §14.2).
        let before = self.agreed();
        let version = self.local.version + 1;
        let local = LocalMedia {
            version,
            ..self.local.clone()
        };
        let agreed = match before {
            Some(before) => sdp::answer_again(offer, &local, before, rng)?,
            None => sdp::answer(offer, &local, rng)?,
        };
        self.local.version = version;
        let text = agreed.sdp.clone();
        self.progress = Progress::Agreed {
            agreed: Box::new(agreed),
            offer: Some(offer.to_owned()),
        };
        Ok(text)
    }

    /// Our offer, to be answered by [`Self::accept_answer`]. Asked twice, it is the same, unless it names
    /// a certificate that is no more: then it is withdrawn, and its answer void. A first offer stands
    /// until it is answered, for without its answer there is no call.
    pub fn offer(&mut self, rng: &mut impl CryptoRng) -> String {
        if matches!(self.progress, Progress::Offered { .. }) && self.shows_dead_certificate() {
            self.withdraw_offer();
        }
        let before = match std::mem::replace(&mut self.progress, Progress::Nothing) {
            Progress::Offered { offer, before } => {
                let text = offer.sdp.clone();
                self.progress = Progress::Offered { offer, before };
                return text;
            }
            Progress::Agreed { agreed, .. } => Some(agreed),
            Progress::Nothing => None,
        };
        self.local.version += 1;
        let offer = match &before {
            Some(before) => sdp::offer_again(&self.local, before, rng),
            None => sdp::offer(&self.local, rng),
        };
        let text = offer.sdp.clone();
        self.progress = Progress::Offered {
            offer: Box::new(offer),
            before,
        };
        text
    }

    /// Takes the peer's answer to our offer. When it cannot be used, what was agreed on before stays
    /// in force.
    pub fn accept_answer(
        &mut self,
        answer: &str,
        rng: &mut impl CryptoRng,
    ) -> Result<(), ExchangeError> {
        let (offer, before) = match std::mem::replace(&mut self.progress, Progress::Nothing) {
            Progress::Offered { offer, before } => (offer, before),
            other => {
                self.progress = other;
                return Err(ExchangeError::OutOfOrder);
            }
        };
        match sdp::accept_answer(&offer, answer, rng) {
            Ok(agreed) => {
                self.progress = Progress::Agreed {
                    agreed: Box::new(agreed),
                    offer: None,
                };
                Ok(())
            }
            Err(error) => {
                if let Some(agreed) = before {
                    self.progress = Progress::Agreed {
                        agreed,
                        offer: None,
                    };
                }
                Err(error.into())
            }
        }
    }

    /// Takes the answer to our last description, which was sent again as it was to keep the session
    /// alive (RFC 4028 §7.4): the peer may have another address since.
    pub fn accept_refresh(
        &mut self,
        answer: &str,
        rng: &mut impl CryptoRng,
    ) -> Result<(), ExchangeError> {
        let agreed = self.agreed().ok_or(ExchangeError::OutOfOrder)?;
        let said = sdp::offer_again(&self.local, agreed, rng);
        let again = Agreed {
            sdp: agreed.sdp.clone(),
            ..sdp::accept_answer(&said, answer, rng)?
        };
        // Another association of DTLS, which another fingerprint means too, whatever `a=tls-id` says or
        // none does, has to be offered first (RFC 8842 §3.1): what we said again offered the one there is.
        if associations(&again) != associations(agreed) {
            return Err(ExchangeError::OtherAssociation);
        }
        if again == *agreed {
            return Ok(());
        }
        if let Some(agreed) = self.agreed_mut() {
            *agreed = again;
        }
        // What the peer offered before does not hold any more.
        if let Progress::Agreed { offer, .. } = &mut self.progress {
            *offer = None;
        }
        Ok(())
    }

    /// Gives up an offer of ours whose answer will not come; what was agreed on before stays in force.
    /// Whether there was such an offer.
    pub fn withdraw_offer(&mut self) -> bool {
        let Progress::Offered { before, .. } = &mut self.progress else {
            return false;
        };
        self.progress = match before.take() {
            Some(agreed) => Progress::Agreed {
                agreed,
                offer: None,
            },
            None => Progress::Nothing,
        };
        true
    }

    /// Whether nothing is agreed on, nor was before the exchange that is open.
    pub fn is_empty(&self) -> bool {
        self.agreed().is_none()
    }

    /// What the leg's plan holds by what is in force, or the bare ports of a first offer of ours;
    /// `None` while there is neither.
    pub fn media(&self, leg: LegId) -> Option<Media> {
        let Some(agreed) = self.agreed() else {
            return self.offered(leg);
        };
        let video = agreed.video.as_ref();
        let plan = LegPlan {
            id: leg,
            // The room knows.
            confirmed: false,
            waiting: None,
            transports: agreed.transports_for(self.local.dtls_fingerprint),
            audio: agreed.audio.as_ref().map(|audio| audio.stream.clone()),
            video_receive: video.and_then(|video| video.receive.clone()),
            video_send: video
                .and_then(|video| video.send.clone())
                .into_iter()
                .collect(),
        };
        Some(Media {
            plan,
            class: video.and_then(|video| video.class.clone()),
            smaller: video.map(|video| video.smaller.clone()).unwrap_or_default(),
        })
    }

    /// Whoever reads our offer may send (RFC 3264 §5.1): what comes before its answer is passed over, but
    /// finds no closed port, which some terminals take for the end.
    fn offered(&self, leg: LegId) -> Option<Media> {
        let Progress::Offered { offer, .. } = &self.progress else {
            return None;
        };
        let plan = LegPlan {
            id: leg,
            confirmed: false,
            waiting: None,
            transports: offer.ports(),
            audio: None,
            video_receive: None,
            video_send: Vec::new(),
        };
        Some(Media {
            plan,
            class: None,
            smaller: Vec::new(),
        })
    }

    /// Draws new SSRCs for all that we send, to be kept in later exchanges, and in the one that is
    /// open.
    pub fn renew_ssrcs(&mut self, rng: &mut impl RngCore) {
        let (audio, video) = (rng.next_u32(), rng.next_u32());
        match &mut self.progress {
            Progress::Agreed { agreed, .. } => agreed.set_ssrcs(audio, video),
            Progress::Offered { offer, before } => {
                offer.set_ssrcs(audio, video);
                if let Some(agreed) = before {
                    agreed.set_ssrcs(audio, video);
                }
            }
            Progress::Nothing => {}
        }
    }

    fn agreed_mut(&mut self) -> Option<&mut Agreed> {
        match &mut self.progress {
            Progress::Agreed { agreed, .. } => Some(agreed),
            Progress::Offered { before, .. } => before.as_deref_mut(),
            Progress::Nothing => None,
        }
    }

    fn agreed(&self) -> Option<&Agreed> {
        match &self.progress {
            Progress::Agreed { agreed, .. } => Some(agreed),
            Progress::Offered { before, .. } => before.as_deref(),
            Progress::Nothing => None,
        }
    }
}

/// Whether a peer's pictures could be others by `now` than by `before`. One of sound alone has none; codecs
/// from before H.264 have few sizes, of which both may leave the same.
fn could_change(agreed: &Agreed, before: &LocalVideo, now: &LocalVideo) -> bool {
    let formats = agreed.video.iter().flat_map(|video| &video.formats);
    let mut formats = formats.map(|(_, format)| format);
    formats.any(|format| match format {
        Format::H264(_) => true,
        Format::Cif(cif) => cif.our_parameters(before) != cif.our_parameters(now),
    })
}

/// The DTLS associations of what was agreed on, line by line, with what was said of them.
fn associations(agreed: &Agreed) -> [Option<(Option<u64>, Option<DtlsLine>)>; 2] {
    let number = |udp: &UdpTransport| udp.dtls.as_ref().map(|terms| terms.association);
    let audio = agreed.audio.as_ref();
    let video = agreed.video.as_ref();
    [
        audio.map(|line| (number(&line.transport), line.dtls.clone())),
        video.map(|line| (number(&line.transport), line.dtls.clone())),
    ]
}
