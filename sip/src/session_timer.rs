//! Session timers (RFC 4028), as the side that is asked for one.

use std::time::{Duration, Instant};

use sipx_sip::session::{Refresher, SessionExpires};

use crate::message::{HeaderName, Headers, Refusal, tokens};
use crate::saved::SavedSession;

/// Longest interval that is taken at its word; a longer one is shortened, which RFC 4028 §9 allows.
const MAX_INTERVAL: Duration = Duration::from_secs(86_400);
/// RFC 4028 §10: the side that does not refresh hangs up this long before the end, or a third of the
/// interval if that is less.
const EARLY_END: Duration = Duration::from_secs(32);

/// What a request and our 2xx to it agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub interval: Duration,
    pub we_refresh: bool,
    /// Whether the peer must understand the 2xx's Session-Expires.
    pub require: bool,
}

impl Terms {
    /// Value of Session-Expires where the peer is the UAC of the transaction.
    pub fn as_uas(&self) -> String {
        let refresher = if self.we_refresh { "uas" } else { "uac" };
        format!("{};refresher={refresher}", self.interval.as_secs())
    }
}

/// A session timer that runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Session {
    interval: Duration,
    pub we_refresh: bool,
    started: Instant,
    /// A refresh of ours was sent and not yet answered.
    refreshing: bool,
}

/// What is to be done when a session timer is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Refresh,
    End,
}

impl Session {
    pub fn start(now: Instant, interval: Duration, we_refresh: bool) -> Self {
        Self {
            interval,
            we_refresh,
            started: now,
            refreshing: false,
        }
    }

    /// RFC 4028 §10: refreshed at half time, given up shortly before the end.
    pub fn act_at(&self) -> Instant {
        if self.we_refresh && !self.refreshing {
            return self.started + self.interval / 2;
        }
        self.started + self.interval - early_end(self.interval)
    }

    pub fn act(&mut self) -> Due {
        if self.we_refresh && !self.refreshing {
            self.refreshing = true;
            return Due::Refresh;
        }
        Due::End
    }

    /// What another life needs to go on with the timer.
    pub fn save(&self, now: Instant) -> SavedSession {
        SavedSession {
            interval: self.interval,
            we_refresh: self.we_refresh,
            left: (self.started + self.interval).saturating_duration_since(now),
        }
    }

    /// The timer of an earlier life, kept `ago`. Where half of the time has passed, a refresh of ours
    /// is sent at once. The peer's may have been lost while nobody was here, and the calendar that says
    /// how long that was may have been set: a timer that has run out by it starts anew.
    pub fn restore(saved: SavedSession, now: Instant, ago: Duration) -> Self {
        let interval = saved.interval.min(MAX_INTERVAL);
        let left = saved.left.min(interval).saturating_sub(ago);
        let left = match saved.we_refresh {
            true => left.max(interval / 2),
            false if left <= early_end(interval) => interval,
            false => left,
        };
        let started = now.checked_sub(interval.saturating_sub(left));
        Self::start(started.unwrap_or(now), interval, saved.we_refresh)
    }

    /// Value of Session-Expires where we are the UAC of the transaction: who refreshed goes on.
    pub fn as_uac(&self) -> String {
        let refresher = if self.we_refresh { "uac" } else { "uas" };
        format!("{};refresher={refresher}", self.interval.as_secs())
    }
}

fn early_end(interval: Duration) -> Duration {
    EARLY_END.min(interval / 3)
}

/// Decides on the timer that an INVITE or UPDATE asks for (RFC 4028 §9, table 2). The peer refreshes
/// unless it asks us to, or cannot.
///
/// # Errors
/// 422 when the interval is shorter than `least`.
pub(crate) fn answer(headers: &Headers, least: Duration) -> Result<Option<Terms>, Refusal> {
    let supported = tokens(headers, &HeaderName::Supported);
    let required = tokens(headers, &HeaderName::Require);
    let peer_knows = supported.iter().chain(&required).any(|tag| tag == "timer");
    let Some(Ok(asked)) = headers.typed::<SessionExpires>() else {
        return Ok(None);
    };
    if asked.interval < least {
        if !peer_knows {
            // A proxy asked; RFC 4028 §9 forbids 422 to a client that cannot understand it.
            return Ok(None);
        }
        let least = least.as_secs().to_string();
        return Err(Refusal::new(422, "Session Interval Too Small").with(HeaderName::MinSe, least));
    }
    let we_refresh = !peer_knows || asked.refresher == Some(Refresher::Uas);
    Ok(Some(Terms {
        interval: asked.interval.min(MAX_INTERVAL),
        we_refresh,
        require: peer_knows,
    }))
}

/// The timer that a 2xx to a re-INVITE or UPDATE of ours starts; none means that the session has no
/// end any more (RFC 4028 §7.2).
pub(crate) fn adopt(now: Instant, headers: &Headers, least: Duration) -> Option<Session> {
    let agreed = headers.typed::<SessionExpires>()?.ok()?;
    let interval = agreed.interval.clamp(least, MAX_INTERVAL.max(least));
    let we_refresh = agreed.refresher != Some(Refresher::Uas);
    Some(Session::start(now, interval, we_refresh))
}
