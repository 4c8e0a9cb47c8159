//! How far a terminal's SRTP sources have come: what a media processor that replaces another has to
//! know, since nothing on the wire tells it (RFC 3711 §3.3.1).

use mcu_api::inventory::LegInventory;
use mcu_api::plan::{LegPlan, SdesKeys, SrtpSource, Transport};

/// The sources of one leg. Known by their keys: under others, they count from zero.
#[derive(Debug, Default)]
pub struct Rollovers {
    /// What the processor said last.
    reported: Vec<Counted>,
    /// What was known when the processor was last replaced. The plan holds this one, which stays the
    /// same: what the processor itself counts is no news to it.
    planned: Vec<Counted>,
}

#[derive(Clone, Debug)]
struct Counted {
    keys: SdesKeys,
    sources: Vec<SrtpSource>,
    /// Of SRTCP.
    rtcp_sources: Vec<SrtpSource>,
}

impl Rollovers {
    /// The processor said how far the sources of each of these transports have come.
    pub fn note(&mut self, transports: &[Transport], said: &LegInventory) {
        let counted = transports.iter().enumerate();
        let counted = counted.filter_map(|(place, transport)| {
            let sources = said.srtp_sources.get(place).cloned().unwrap_or_default();
            let rtcp_sources = said.srtcp_sources.get(place).cloned().unwrap_or_default();
            match transport {
                Transport::Udp(udp) if !(sources.is_empty() && rtcp_sources.is_empty()) => {
                    Some(Counted {
                        keys: udp.rtp_keys().cloned()?,
                        sources,
                        rtcp_sources,
                    })
                }
                _ => None,
            }
        });
        self.reported = counted.collect();
    }

    /// The processor was replaced: plans hold from now on what is known now. One that ended before
    /// it said anything leaves what the last one said.
    pub fn renew_plan(&mut self) {
        self.planned.clone_from(&self.reported);
    }

    /// Writes into a plan how far the sources under its keys had come.
    pub fn fill(&self, plan: &mut LegPlan) {
        for transport in &mut plan.transports {
            let Transport::Udp(udp) = transport else {
                continue;
            };
            let mut counted = self.planned.iter();
            if let Some(counted) = counted.find(|c| Some(&c.keys) == udp.rtp_keys()) {
                udp.srtp_sources.clone_from(&counted.sources);
                udp.srtcp_sources.clone_from(&counted.rtcp_sources);
            }
        }
    }
}
