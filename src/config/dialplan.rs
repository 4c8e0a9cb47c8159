//! `[[dialplan]]`: rules as they are written, and what they mean.

use std::ops::Range;

use mcu_control::dialplan::{self, Action, Pattern, RefusalCode};
use serde::Deserialize;
use toml::Spanned;

use super::refusal::line_of;
use super::values::NonEmpty;

/// One rule as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    /// User part, at any host.
    number: Option<NonEmpty>,
    /// `USER@HOST`.
    uri: Option<Spanned<NonEmpty>>,
    /// How a user part begins; empty for all.
    prefix: Option<String>,
    /// Number of a room to lead to.
    room: Option<Spanned<NonEmpty>>,
    /// Whether the room's PIN is asked for.
    pin: Option<Spanned<bool>>,
    /// Status to refuse with.
    refuse: Option<Spanned<u16>>,
    /// Trunk by which rooms call such numbers.
    trunk: Option<Spanned<NonEmpty>>,
    /// Characters at the front that the trunk is not told.
    strip: Option<Spanned<usize>>,
    /// Characters that it is told before the rest.
    prepend: Option<Spanned<String>>,
    /// Only calls that come by this trunk.
    from_trunk: Option<Spanned<NonEmpty>>,
}

/// What is wrong with a rule, and where it stands.
pub type Wrong = (Range<usize>, String);

/// The rules in their order. `is_room` says whether a room has this number, `is_trunk` whether a trunk
/// has this name; `text` is the file.
pub fn rules(
    written: &[Spanned<Rule>],
    is_room: impl Fn(&str) -> bool,
    is_trunk: impl Fn(&str) -> bool,
    text: &str,
) -> Result<Vec<dialplan::Rule>, Wrong> {
    let mut rules = Vec::with_capacity(written.len());
    for rule in written {
        let of_rule = |reason: &str| (rule.span(), reason.to_owned());
        let (place, rule) = (rule, rule.get_ref());
        rules.push(dialplan::Rule {
            pattern: rule.pattern(of_rule)?,
            from_trunk: rule.only_from(&is_trunk)?,
            action: rule.action(of_rule, &is_room, &is_trunk)?,
        });
        if let Some((earlier, _)) = dialplan::unreachable(&rules) {
            let line = line_of(text, written[earlier].span().start);
            let reason = format!("is never reached: the rule of line {line} takes all its calls");
            return Err((place.span(), reason));
        }
    }
    Ok(rules)
}

impl Rule {
    fn pattern(&self, of_rule: impl Fn(&str) -> Wrong) -> Result<Pattern, Wrong> {
        match (&self.number, &self.uri, &self.prefix) {
            (Some(number), None, None) => Ok(Pattern::Number(number.0.clone())),
            (None, None, Some(prefix)) => Ok(Pattern::Prefix(prefix.clone())),
            (None, Some(uri), None) => {
                let parts = uri.get_ref().0.split_once('@');
                match parts.filter(|(user, host)| !user.is_empty() && !host.is_empty()) {
                    Some((user, host)) if !user.contains(':') => Ok(Pattern::Uri {
                        user: user.into(),
                        host: host.into(),
                    }),
                    _ => Err((uri.span(), "must be USER@HOST, without sip:".into())),
                }
            }
            _ => Err(of_rule("needs one of number, uri and prefix")),
        }
    }

    fn only_from(&self, is_trunk: impl Fn(&str) -> bool) -> Result<Option<String>, Wrong> {
        let Some(name) = &self.from_trunk else {
            return Ok(None);
        };
        known_trunk(name, is_trunk).map(Some)
    }

    fn action(
        &self,
        of_rule: impl Fn(&str) -> Wrong,
        is_room: impl Fn(&str) -> bool,
        is_trunk: impl Fn(&str) -> bool,
    ) -> Result<Action, Wrong> {
        let strip = self.strip.as_ref().map(Spanned::span);
        let changed = strip.or(self.prepend.as_ref().map(Spanned::span));
        if let Some(span) = changed.filter(|_| self.trunk.is_none()) {
            return Err((span, "only a rule with trunk has one".into()));
        }
        if let Some(pin) = self.pin.as_ref().filter(|_| self.room.is_none()) {
            return Err((pin.span(), "only a rule with room has one".into()));
        }
        match (&self.room, &self.refuse, &self.trunk) {
            (Some(room), None, None) if is_room(&room.get_ref().0) => Ok(Action::Room {
                number: room.get_ref().0.clone(),
                pin: self.pin.as_ref().is_none_or(|pin| *pin.get_ref()),
            }),
            (Some(room), None, None) => Err((room.span(), "no room has this number".into())),
            (None, None, Some(trunk)) => Ok(Action::Trunk {
                name: known_trunk(trunk, is_trunk)?,
                strip: self.strip.as_ref().map_or(0, |strip| *strip.get_ref()),
                prepend: self
                    .prepend
                    .as_ref()
                    .map_or(String::new(), |p| p.get_ref().clone()),
            }),
            (None, Some(status), None) => RefusalCode::new(*status.get_ref())
                .map(Action::Refuse)
                .ok_or_else(|| {
                    let reason = "must be a status from 400 to 699, neither 401 nor 407";
                    (status.span(), reason.into())
                }),
            _ => Err(of_rule("needs one of room, trunk and refuse")),
        }
    }
}

fn known_trunk(name: &Spanned<NonEmpty>, is_trunk: impl Fn(&str) -> bool) -> Result<String, Wrong> {
    let known = Some(&name.get_ref().0).filter(|name| is_trunk(name));
    let known = known.cloned();
    known.ok_or_else(|| (name.span(), "no trunk has this name".into()))
}
