//! The dial plan: what a dialled number or address leads to, as data. Rules are looked at in their
//! order and the first that matches decides; after them, every room has its own number.

use mcu_api::secret::Redacted;

/// What somebody dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialled<'a> {
    /// User part of the request URI, or the number of a `tel:` URI.
    pub user: &'a str,
    /// Host part of the request URI.
    pub host: &'a str,
    /// Trunk by which the call comes.
    pub trunk: Option<&'a str>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it matches.
    pub pattern: Pattern,
    /// Only calls that come by this trunk; `None`: all.
    pub from_trunk: Option<String>,
    /// What becomes of a call that matches.
    pub action: Action,
}

/// What a rule matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// This user part, at any host.
    Number(String),
    /// This user at this host. The host's letters may be small or large (RFC 3261 §19.1.4).
    Uri {
        /// User part.
        user: String,
        /// Host part.
        host: String,
    },
    /// Every user part that begins so, at any host.
    Prefix(String),
}

/// What becomes of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Into the room of this number.
    Room {
        /// Its number.
        number: String,
        /// Whether the room's PIN is asked for, if it has one.
        pin: bool,
    },
    /// By this trunk: for calls of rooms alone. Whoever calls us is led to rooms only, so that nobody
    /// makes calls at our cost.
    Trunk {
        /// Its name.
        name: String,
        /// Characters at the front that it is not told.
        strip: usize,
        /// Characters that it is told before the rest.
        prepend: String,
    },
    /// Refused with this status.
    Refuse(RefusalCode),
}

/// A final status of refusal: 400 to 699, and none that asks for a proof (401, 407), which only a
/// challenge can follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusalCode(u16);

/// Where a call is led.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination<'a> {
    /// Into a room.
    Room {
        /// Its number.
        number: &'a str,
        /// Whether the room's PIN is asked for, if it has one.
        pin: bool,
        /// PIN that was dialled with the number, as in `3000*1234`.
        given: Option<Redacted<String>>,
        /// The rule is one for calls of the trunk that this one came by: it needs no account.
        of_trunk: bool,
    },
    /// Elsewhere.
    Trunk {
        /// Name of the trunk.
        name: &'a str,
        /// Number as the trunk is told it.
        number: String,
    },
    /// Refused.
    Refused(RefusalCode),
}

impl RefusalCode {
    /// `None` for a status that is no refusal of this kind.
    pub fn new(status: u16) -> Option<Self> {
        ((400..=699).contains(&status) && !matches!(status, 401 | 407)).then_some(Self(status))
    }

    /// The status.
    pub fn status(self) -> u16 {
        self.0
    }
}

/// Finds where a call leads; `None` when nothing matches. `is_room` says whether a room has this
/// number.
pub fn resolve<'a>(
    rules: &'a [Rule],
    dialled: Dialled<'a>,
    is_room: impl Fn(&str) -> bool,
) -> Option<Destination<'a>> {
    by_rule(rules, dialled).or_else(|| by_number(dialled, is_room))
}

/// Where the first rule that matches leads.
pub fn by_rule<'a>(rules: &'a [Rule], dialled: Dialled<'a>) -> Option<Destination<'a>> {
    let ways = ways(dialled.user);
    for rule in rules {
        let other = rule.from_trunk.as_deref();
        if other.is_some() && other != dialled.trunk {
            continue;
        }
        let taken = ways.iter().find(|(user, given)| {
            // Only rooms have PINs.
            let fits = given.is_none() || matches!(rule.action, Action::Room { .. });
            fits && rule.pattern.matches(user, dialled.host)
        });
        if let Some((_, given)) = taken {
            return Some(rule.destination(dialled.user, given.clone()));
        }
    }
    None
}

/// The room that has the number itself.
pub fn by_number<'a>(
    dialled: Dialled<'a>,
    is_room: impl Fn(&str) -> bool,
) -> Option<Destination<'a>> {
    let ways = ways(dialled.user);
    let (number, given) = ways.into_iter().find(|(user, _)| is_room(user))?;
    Some(Destination::Room {
        number,
        pin: true,
        given,
        of_trunk: false,
    })
}

/// How a dialled user part can be read: as it is, and as `NUMBER*PIN` or `NUMBER**PIN`, with or
/// without a `#` behind.
fn ways(user: &str) -> Vec<(&str, Option<Redacted<String>>)> {
    let mut ways = vec![(user, None)];
    if let Some((number, rest)) = user.split_once('*') {
        let pin = rest.strip_prefix('*').unwrap_or(rest);
        let pin = pin.strip_suffix('#').unwrap_or(pin);
        if !number.is_empty() && !pin.is_empty() && pin.bytes().all(|b| b.is_ascii_digit()) {
            ways.push((number, Some(Redacted(pin.to_owned()))));
        }
    }
    ways
}

/// The first rule that can never be reached, after the one that takes all of its calls.
pub fn unreachable(rules: &[Rule]) -> Option<(usize, usize)> {
    rules.iter().enumerate().find_map(|(later, rule)| {
        let earlier = rules[..later].iter().position(|before| before.covers(rule));
        earlier.map(|earlier| (earlier, later))
    })
}

impl Rule {
    fn destination(&self, user: &str, given: Option<Redacted<String>>) -> Destination<'_> {
        match &self.action {
            Action::Room { number, pin } => Destination::Room {
                number,
                pin: *pin,
                given,
                of_trunk: self.from_trunk.is_some(),
            },
            Action::Trunk {
                name,
                strip,
                prepend,
            } => Destination::Trunk {
                name,
                number: prepend.chars().chain(user.chars().skip(*strip)).collect(),
            },
            Action::Refuse(code) => Destination::Refused(*code),
        }
    }

    /// Whether every call that `other` matches is matched by this one, too.
    fn covers(&self, other: &Self) -> bool {
        let from_all = self.from_trunk.is_none() || self.from_trunk == other.from_trunk;
        from_all && self.pattern.covers(&other.pattern)
    }
}

impl Pattern {
    fn matches(&self, user: &str, host: &str) -> bool {
        match self {
            Self::Number(number) => number == user,
            Self::Uri { user: u, host: h } => u == user && h.eq_ignore_ascii_case(host),
            Self::Prefix(prefix) => user.starts_with(prefix.as_str()),
        }
    }

    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Number(user)) => match self {
                Self::Uri { .. } => false,
                _ => self.matches(user, ""),
            },
            (_, Self::Uri { user, host }) => self.matches(user, host),
            (Self::Prefix(short), Self::Prefix(long)) => long.starts_with(short.as_str()),
            (Self::Number(_) | Self::Uri { .. }, Self::Prefix(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(number: &str) -> Pattern {
        Pattern::Number(number.into())
    }

    fn prefix(prefix: &str) -> Pattern {
        Pattern::Prefix(prefix.into())
    }

    fn uri(user: &str, host: &str) -> Pattern {
        Pattern::Uri {
            user: user.into(),
            host: host.into(),
        }
    }

    fn rule(pattern: Pattern, action: Action) -> Rule {
        Rule {
            pattern,
            from_trunk: None,
            action,
        }
    }

    fn room(number: &str) -> Action {
        Action::Room {
            number: number.into(),
            pin: true,
        }
    }

    fn refuse(status: u16) -> Action {
        Action::Refuse(RefusalCode::new(status).unwrap())
    }

    /// What a call leads to, in words.
    fn led(rules: &[Rule], user: &str, host: &str, trunk: Option<&str>) -> String {
        let dialled = Dialled { user, host, trunk };
        match resolve(rules, dialled, |number| number == "3000") {
            None => "nowhere".into(),
            Some(Destination::Refused(code)) => code.status().to_string(),
            Some(Destination::Trunk { name, number }) => format!("{number} by {name}"),
            Some(Destination::Room {
                number, pin, given, ..
            }) => {
                let given = given.map_or(String::new(), |given| format!(" given {}", given.0));
                format!("{number}{}{given}", if pin { "" } else { " open" })
            }
        }
    }

    #[test]
    fn the_first_rule_that_matches_decides_and_rooms_come_last() {
        let rules = [
            rule(uri("board", "hospital.example"), room("4000")),
            rule(number("113"), refuse(503)),
            rule(number("board"), refuse(403)),
            rule(prefix("9"), refuse(603)),
            rule(number("3001"), room("3000")),
        ];
        for (user, host, to) in [
            ("board", "Hospital.Example", "4000"),
            ("board", "10.0.0.1", "403"),
            ("113", "x", "503"),
            ("912345", "x", "603"),
            ("9", "x", "603"),
            ("3001", "x", "3000"),
            ("3000", "x", "3000"),
            ("Board", "x", "nowhere"),
            ("30000", "x", "nowhere"),
            ("", "x", "nowhere"),
        ] {
            assert_eq!(led(&rules, user, host, None), to, "{user}@{host}");
        }
        assert_eq!(led(&[], "3000", "x", None), "3000");
    }

    #[test]
    fn a_rule_may_be_for_the_calls_of_one_trunk() {
        let mut rules = [
            rule(number("5551234"), room("3000")),
            rule(prefix(""), refuse(404)),
        ];
        for rule in &mut rules {
            rule.from_trunk = Some("city".into());
        }
        assert_eq!(led(&rules, "5551234", "x", Some("city")), "3000");
        assert_eq!(led(&rules, "3000", "x", Some("city")), "404");
        assert_eq!(led(&rules, "5551234", "x", Some("other")), "nowhere");
        assert_eq!(led(&rules, "5551234", "x", None), "nowhere");
        assert_eq!(led(&rules, "3000", "x", None), "3000");
    }

    #[test]
    fn a_number_is_told_to_a_trunk_as_the_rule_says() {
        let to_city = |strip, prepend: &str| Action::Trunk {
            name: "city".into(),
            strip,
            prepend: prepend.into(),
        };
        let rules = [
            rule(prefix("00"), to_city(2, "+")),
            rule(prefix("9"), to_city(1, "")),
        ];
        assert_eq!(led(&rules, "00491234", "x", None), "+491234 by city");
        assert_eq!(led(&rules, "95551234", "x", None), "5551234 by city");
        assert_eq!(led(&rules, "9555*1", "x", None), "555*1 by city");
    }

    #[test]
    fn a_pin_can_be_dialled_with_the_number() {
        let rules = [
            rule(number("3001"), room("4000")),
            rule(number("5*1"), refuse(486)),
            rule(number("6"), refuse(486)),
        ];
        for (user, to) in [
            ("3000*1234", "3000 given 1234"),
            ("3000**1234", "3000 given 1234"),
            ("3000*1234#", "3000 given 1234"),
            ("3001*0", "4000 given 0"),
            ("3000*", "nowhere"),
            ("3000**", "nowhere"),
            ("3000*12a4", "nowhere"),
            ("3000*1*2", "nowhere"),
            ("*1234", "nowhere"),
            // A star may be part of a number.
            ("5*1", "486"),
            ("6*1", "nowhere"),
        ] {
            assert_eq!(led(&rules, user, "x", None), to, "{user}");
        }
    }

    #[test]
    fn a_rule_that_can_never_be_reached_is_found() {
        let reach = |patterns: Vec<Pattern>| {
            let rules: Vec<Rule> = patterns
                .into_iter()
                .map(|pattern| rule(pattern, refuse(404)))
                .collect();
            unreachable(&rules)
        };
        assert_eq!(reach(vec![number("1"), number("1")]), Some((0, 1)));
        assert_eq!(reach(vec![number("1"), uri("1", "h")]), Some((0, 1)));
        assert_eq!(reach(vec![uri("1", "h"), uri("1", "H")]), Some((0, 1)));
        assert_eq!(
            reach(vec![prefix("9"), number("1"), prefix("91")]),
            Some((0, 2))
        );
        assert_eq!(reach(vec![prefix(""), uri("a", "h")]), Some((0, 1)));
        assert_eq!(reach(vec![uri("1", "h"), number("1")]), None);
        assert_eq!(reach(vec![prefix("91"), prefix("9"), number("1")]), None);
        assert_eq!(reach(vec![number("9"), prefix("9")]), None);
        let mut of_trunk = [rule(number("1"), refuse(404)), rule(number("1"), room("2"))];
        of_trunk[0].from_trunk = Some("city".into());
        assert_eq!(unreachable(&of_trunk), None);
        of_trunk.reverse();
        assert_eq!(unreachable(&of_trunk), Some((0, 1)));
    }

    #[test]
    fn only_refusals_are_refusal_codes() {
        for status in [400, 403, 404, 486, 503, 603, 699] {
            assert_eq!(
                RefusalCode::new(status).map(RefusalCode::status),
                Some(status)
            );
        }
        for status in [0, 180, 200, 302, 399, 401, 407, 700] {
            assert_eq!(RefusalCode::new(status), None, "{status}");
        }
    }
}
