//! Calls that take the place of another (RFC 3891): a terminal that moved, or lost its call.

use mcu_api::ids::CallId;

use super::Endpoint;
use crate::call::Stage;
use crate::digest::Verdict;
use crate::message::{HeaderName, Headers, Refusal, text};

impl Endpoint {
    /// The call that an INVITE is to replace; `None` for one that replaces nothing. Who wants that has
    /// to be the same account, by its password.
    ///
    /// # Errors
    /// 400, 403, 481, 486 or 603 (RFC 3891 §3).
    pub(super) fn replaced(
        &self,
        headers: &Headers,
        proof: &Verdict,
    ) -> Result<Option<CallId>, Refusal> {
        let Some(value) = text(headers, &HeaderName::Replaces) else {
            return Ok(None);
        };
        if headers.count(&HeaderName::Replaces) != 1 {
            return Err(bad());
        }
        let account = match proof {
            Verdict::Proven(account) => Some(account.as_str()),
            Verdict::Stale | Verdict::Unproven => None,
        };
        self.replaceable(&value, account).map(Some)
    }

    /// The call that a value of Replaces names, if this account may have its place.
    ///
    /// # Errors
    /// As [`Self::replaced`].
    pub(super) fn replaceable(
        &self,
        value: &str,
        account: Option<&str>,
    ) -> Result<CallId, Refusal> {
        let named = Named::read(value).ok_or_else(bad)?;
        let call = self
            .dialogs
            .get(named.to_tag)
            .and_then(|id| self.calls.get(id));
        let call = call.filter(|call| {
            let theirs = call.dialog.remote_tag.as_deref().unwrap_or("0");
            call.dialog.call_id == named.call_id && theirs == named.from_tag
        });
        let call = call.ok_or(Refusal::new(481, "No Call To Replace"))?;
        if account.is_none() || call.account.as_deref() != account {
            return Err(Refusal::new(403, "Not Your Call"));
        }
        match call.stage {
            Stage::Up | Stage::Accepted if named.early_only => {
                Err(Refusal::new(486, "Already Answered"))
            }
            Stage::Up | Stage::Accepted => Ok(call.id),
            Stage::Leaving => Err(Refusal::new(603, "Call Has Ended")),
            // RFC 3891 §3: an early dialog can be replaced only where this side began it; there is
            // nobody yet in whose place to come.
            Stage::Asked(_) | Stage::Dialling(_) => Err(Refusal::new(481, "No Call To Replace")),
        }
    }
}

fn bad() -> Refusal {
    Refusal::new(400, "Bad Replaces")
}

/// A Replaces header (RFC 3891 §6.1); the tags are seen from us: `to-tag` is ours.
struct Named<'a> {
    call_id: &'a str,
    to_tag: &'a str,
    from_tag: &'a str,
    early_only: bool,
}

impl<'a> Named<'a> {
    fn read(value: &'a str) -> Option<Self> {
        let mut parts = value.split(';').map(str::trim);
        let call_id = parts.next().filter(|id| !id.is_empty())?;
        let (mut to_tag, mut from_tag, mut early_only) = (None, None, false);
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                "to-tag" if to_tag.is_none() => to_tag = Some(value.trim()),
                "from-tag" if from_tag.is_none() => from_tag = Some(value.trim()),
                "to-tag" | "from-tag" => return None,
                "early-only" => early_only = true,
                _ => {}
            }
        }
        Some(Self {
            call_id,
            to_tag: to_tag?,
            from_tag: from_tag?,
            early_only,
        })
    }
}
