//! Which stream is which in a bundle: SSRCs learnt from header extensions and payload types.
//!
//! RFC 8843 §9.2 for the m-line, RFC 8852 for layers and their repair streams. Retransmissions are
//! joined to their stream here, before anything counts as missing.

use std::collections::HashMap;

use crate::header::{ExtensionValues, RtpHeader};

/// SSRCs remembered. When full, the one heard of longest ago gives way.
const MAX_STREAMS: usize = 64;
/// Lines and layers of one bundle.
const MAX_LINES: usize = 32;

/// One m-line of a bundle as agreed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// `a=mid`; `None` where there is none.
    pub mid: Option<String>,
    /// Simulcast layers, lowest first; empty without simulcast.
    pub rids: Vec<String>,
    /// Payload types of media, with that of their retransmissions.
    pub payloads: Vec<(u8, Option<u8>)>,
}

/// What an SSRC is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Index of the line.
    pub line: usize,
    /// Index of the layer in [`Line::rids`]; 0 without simulcast.
    pub layer: usize,
    /// For a retransmission: the stream it repairs and the payload type of that.
    pub repairs: Option<Repairs>,
}

/// The stream that a retransmission belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repairs {
    /// Its SSRC.
    pub ssrc: u32,
    /// Its payload type.
    pub payload_type: u8,
}

/// Learns and answers what each SSRC of one transport is.
#[derive(Debug, Default)]
pub struct StreamMap {
    lines: Vec<Line>,
    streams: HashMap<u32, Known>,
    /// Pairs of `a=ssrc-group:FID`: retransmission to media.
    groups: HashMap<u32, u32>,
    clock: u64,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    line: usize,
    layer: usize,
    rtx: bool,
    heard: u64,
}

impl StreamMap {
    /// A map for the lines of a bundle; those beyond 32 are ignored.
    pub fn new(mut lines: Vec<Line>) -> Self {
        lines.truncate(MAX_LINES);
        Self {
            lines,
            ..Self::default()
        }
    }

    /// Takes over changed lines and forgets what was learnt of lines that are gone.
    pub fn set_lines(&mut self, mut lines: Vec<Line>) {
        lines.truncate(MAX_LINES);
        let kept = |known: &Known| self.lines.get(known.line) == lines.get(known.line);
        self.streams.retain(|_, known| kept(known));
        self.lines = lines;
    }

    /// A pair of `a=ssrc-group:FID` in SDP; those beyond 64 are ignored.
    pub fn add_group(&mut self, media: u32, rtx: u32) {
        if self.groups.len() < MAX_STREAMS {
            self.groups.insert(rtx, media);
        }
    }

    /// What the stream of this packet is. `None` while that is unknown, and for a retransmission
    /// whose media was not heard yet: drop the packet.
    pub fn route(&mut self, header: &RtpHeader, values: &ExtensionValues<'_>) -> Option<Route> {
        let known = self.learn(header, values)?;
        if !known.rtx {
            return Some(Route {
                line: known.line,
                layer: known.layer,
                repairs: None,
            });
        }
        let payload_type = self.media_payload(known.line, header.payload_type)?;
        let ssrc = self.media_of(header.ssrc, known)?;
        let repairs = Some(Repairs { ssrc, payload_type });
        Some(Route {
            line: known.line,
            layer: known.layer,
            repairs,
        })
    }

    /// SSRC of the media of a line's layer, once heard.
    pub fn media_ssrc(&self, line: usize, layer: usize) -> Option<u32> {
        let matching = self
            .streams
            .iter()
            .filter(|(_, known)| known.line == line && known.layer == layer && !known.rtx);
        matching
            .max_by_key(|(_, known)| known.heard)
            .map(|(ssrc, _)| *ssrc)
    }

    /// The stream is gone (BYE).
    pub fn remove(&mut self, ssrc: u32) {
        self.streams.remove(&ssrc);
    }

    fn learn(&mut self, header: &RtpHeader, values: &ExtensionValues<'_>) -> Option<Known> {
        self.clock += 1;
        let clock = self.clock;
        // Extensions may leave once they were heard; until then they decide (RFC 8843 §9.2).
        let told = values.mid.is_some() || values.rid.is_some() || values.repaired_rid.is_some();
        if let Some(known) = self.streams.get_mut(&header.ssrc) {
            known.heard = clock;
            let fits = self
                .lines
                .get(known.line)
                .is_some_and(|line| line.has_payload(header.payload_type, known.rtx));
            if fits && !told {
                return Some(*known);
            }
        }
        let known = self.identify(header, values).or_else(|| {
            let old = self.streams.get(&header.ssrc)?;
            let line = self.lines.get(old.line)?;
            line.has_payload(header.payload_type, old.rtx)
                .then_some(*old)
        })?;
        self.make_room(header.ssrc);
        self.streams.insert(header.ssrc, known);
        Some(known)
    }

    fn identify(&self, header: &RtpHeader, values: &ExtensionValues<'_>) -> Option<Known> {
        let line = self.find_line(header, values.mid)?;
        let rtx = self.lines[line].has_payload(header.payload_type, true);
        let rids = &self.lines[line].rids;
        // Chromium names the layer of a repair stream by `repaired-rid`, older ones by `rid`.
        let rid = if rtx {
            values.repaired_rid.or(values.rid)
        } else {
            values.rid
        };
        let layer = match rid {
            _ if rids.is_empty() => 0,
            Some(rid) => rids.iter().position(|known| known == rid)?,
            None if rtx => {
                self.groups
                    .get(&header.ssrc)
                    .and_then(|m| self.streams.get(m))?
                    .layer
            }
            None => return None,
        };
        Some(Known {
            line,
            layer,
            rtx,
            heard: self.clock,
        })
    }

    /// By `mid`, else by a payload type that only one line has.
    fn find_line(&self, header: &RtpHeader, mid: Option<&str>) -> Option<usize> {
        let fits = |line: &Line| {
            line.has_payload(header.payload_type, false)
                || line.has_payload(header.payload_type, true)
        };
        if let Some(mid) = mid {
            let at = self
                .lines
                .iter()
                .position(|line| line.mid.as_deref() == Some(mid))?;
            return fits(&self.lines[at]).then_some(at);
        }
        let mut matching = self.lines.iter().enumerate().filter(|(_, line)| fits(line));
        let (first, _) = matching.next()?;
        matching.next().is_none().then_some(first)
    }

    fn media_of(&self, rtx_ssrc: u32, known: Known) -> Option<u32> {
        let grouped = self.groups.get(&rtx_ssrc).copied();
        grouped.or_else(|| self.media_ssrc(known.line, known.layer))
    }

    fn media_payload(&self, line: usize, rtx_payload: u8) -> Option<u8> {
        let payloads = &self.lines.get(line)?.payloads;
        payloads
            .iter()
            .find(|(_, rtx)| *rtx == Some(rtx_payload))
            .map(|(media, _)| *media)
    }

    fn make_room(&mut self, ssrc: u32) {
        if self.streams.len() < MAX_STREAMS || self.streams.contains_key(&ssrc) {
            return;
        }
        let oldest = self
            .streams
            .iter()
            .min_by_key(|(_, known)| known.heard)
            .map(|(ssrc, _)| *ssrc);
        if let Some(oldest) = oldest {
            self.streams.remove(&oldest);
        }
    }
}

impl Line {
    fn has_payload(&self, payload_type: u8, as_rtx: bool) -> bool {
        self.payloads.iter().any(|(media, rtx)| {
            if as_rtx {
                *rtx == Some(payload_type)
            } else {
                *media == payload_type
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> StreamMap {
        let audio = Line {
            mid: Some("0".into()),
            rids: vec![],
            payloads: vec![(111, None)],
        };
        let video = Line {
            mid: Some("1".into()),
            rids: vec!["l".into(), "h".into()],
            payloads: vec![(96, Some(97)), (98, Some(99))],
        };
        StreamMap::new(vec![audio, video])
    }

    fn header(ssrc: u32, payload_type: u8) -> RtpHeader {
        RtpHeader {
            payload_type,
            marker: false,
            sequence: 0,
            timestamp: 0,
            ssrc,
        }
    }

    const NOTHING: ExtensionValues<'static> = ExtensionValues {
        mid: None,
        rid: None,
        repaired_rid: None,
        transport_cc: None,
        abs_send_time: None,
        audio_level: None,
    };

    fn layer(rid: &'static str) -> ExtensionValues<'static> {
        ExtensionValues {
            mid: Some("1"),
            rid: Some(rid),
            ..NOTHING
        }
    }

    #[test]
    fn layers_are_learnt_and_remembered() {
        let mut map = map();
        assert_eq!(map.route(&header(10, 96), &NOTHING), None);
        let high = Route {
            line: 1,
            layer: 1,
            repairs: None,
        };
        assert_eq!(map.route(&header(10, 96), &layer("h")), Some(high));
        assert_eq!(map.route(&header(10, 96), &NOTHING), Some(high));
        assert_eq!(map.route(&header(11, 98), &layer("l")).unwrap().layer, 0);
        assert_eq!(map.route(&header(12, 96), &layer("unknown")), None);
        assert_eq!(map.media_ssrc(1, 1), Some(10));
        map.remove(10);
        assert_eq!(map.media_ssrc(1, 1), None);
    }

    #[test]
    fn retransmissions_find_their_layer() {
        let mut map = map();
        let repair = ExtensionValues {
            mid: Some("1"),
            repaired_rid: Some("h"),
            ..NOTHING
        };
        assert_eq!(map.route(&header(20, 97), &repair), None);
        map.route(&header(10, 96), &layer("h")).unwrap();
        map.route(&header(11, 96), &layer("l")).unwrap();
        let expected = Some(Repairs {
            ssrc: 10,
            payload_type: 96,
        });
        assert_eq!(
            map.route(&header(20, 97), &repair).unwrap().repairs,
            expected
        );
        assert_eq!(
            map.route(&header(20, 97), &NOTHING).unwrap().repairs,
            expected
        );
        let other = Some(Repairs {
            ssrc: 10,
            payload_type: 98,
        });
        assert_eq!(map.route(&header(20, 99), &NOTHING).unwrap().repairs, other);
    }

    #[test]
    fn groups_of_sdp_join_streams_without_extensions() {
        let mut map = map();
        map.add_group(11, 21);
        map.route(&header(10, 96), &layer("h")).unwrap();
        map.route(&header(11, 96), &layer("l")).unwrap();
        let route = map.route(&header(21, 97), &NOTHING).unwrap();
        assert_eq!(
            route.repairs,
            Some(Repairs {
                ssrc: 11,
                payload_type: 96
            })
        );
    }

    #[test]
    fn a_payload_type_of_one_line_tells_the_line() {
        let mut map = map();
        let route = map.route(&header(1, 111), &NOTHING).unwrap();
        assert_eq!(
            route,
            Route {
                line: 0,
                layer: 0,
                repairs: None
            }
        );
        assert_eq!(map.route(&header(1, 50), &NOTHING), None);
        let wrong = ExtensionValues {
            mid: Some("1"),
            ..NOTHING
        };
        assert_eq!(map.route(&header(2, 111), &wrong), None);
    }

    #[test]
    fn changed_lines_are_learnt_anew() {
        let mut map = map();
        map.route(&header(10, 96), &layer("h")).unwrap();
        map.route(&header(1, 111), &NOTHING).unwrap();
        let mut lines = map.lines.clone();
        lines[1].rids = vec!["q".into()];
        map.set_lines(lines);
        assert_eq!(map.route(&header(10, 96), &NOTHING), None);
        assert!(map.route(&header(1, 111), &NOTHING).is_some());
    }

    #[test]
    fn a_flood_of_sources_is_bounded_and_spares_those_that_speak() {
        let mut map = map();
        for ssrc in 0..10_000 {
            map.route(&header(77_777, 96), &layer("h")).unwrap();
            map.route(&header(ssrc, 111), &NOTHING);
            assert!(map.streams.len() <= MAX_STREAMS);
        }
        assert_eq!(map.media_ssrc(1, 1), Some(77_777));
    }
}
