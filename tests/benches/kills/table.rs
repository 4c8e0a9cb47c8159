//! What the kills cost, by process and kind of leg.

use std::collections::BTreeMap;
use std::fmt;

use benches::load::Percentiles;

/// Longest pause that nineteen of twenty may have after the death of media.
const MEDIA_P95_MS: f64 = 3_000.0;

/// Kinds of legs, in the order in which they are expected back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Plain,
    Sdes,
    Dtls,
    Browser,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Plain, Self::Sdes, Self::Dtls, Self::Browser];

    fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Sdes => "SDES",
            Self::Dtls => "DTLS",
            Self::Browser => "browser",
        }
    }
}

/// What one kill cost the legs of one kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// `None` where the leg had asked for its pause.
    pub sound_ms: Option<f64>,
    pub picture_ms: Option<f64>,
    pub lost: u64,
    pub redialled: u64,
}

/// What one kill cost.
#[derive(Debug, Default)]
pub struct Outcome {
    pub costs: BTreeMap<Kind, Cost>,
    /// A caller that joined at the moment had no answer, or was told at once that the call is over: not
    /// a call that was lost, but one that did not come about.
    pub unanswered: u64,
    /// A caller that joined at the moment believes in a call that the server does not know.
    pub forgotten: u64,
    /// Said beside the figures.
    pub notes: Vec<String>,
}

impl Outcome {
    pub fn of(&mut self, kind: Kind) -> &mut Cost {
        self.costs.entry(kind).or_default()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |ms: Option<f64>| ms.map_or("-".into(), |ms| format!("{ms:.0}"));
        for (kind, cost) in &self.costs {
            write!(
                f,
                "{} {}/{} ",
                kind.name(),
                ms(cost.sound_ms),
                ms(cost.picture_ms)
            )?;
            if cost.lost > 0 {
                write!(f, "{} lost ", cost.lost)?;
            }
            if cost.redialled > 0 {
                write!(f, "{} REDIALLED ", cost.redialled)?;
            }
        }
        for note in &self.notes {
            write!(f, "[{note}] ")?;
        }
        Ok(())
    }
}

/// All kills.
#[derive(Debug, Default)]
pub struct Table {
    outcomes: BTreeMap<String, Vec<Outcome>>,
    /// Calls whose BYE was not answered as that of a call that stands, at the end.
    pub unended: u64,
}

impl Table {
    pub fn add(&mut self, process: String, outcome: Outcome) {
        self.outcomes.entry(process).or_default().push(outcome);
    }

    fn costs(&self, process: &str, kind: Kind) -> Vec<Cost> {
        let outcomes = self.outcomes.get(process).into_iter().flatten();
        outcomes
            .filter_map(|o| o.costs.get(&kind).copied())
            .collect()
    }

    /// Bars that were not reached.
    pub fn missed(&self) -> Vec<String> {
        let mut missed = Vec::new();
        for process in self.outcomes.keys() {
            for kind in Kind::ALL {
                let costs = self.costs(process, kind);
                let redialled: u64 = costs.iter().map(|cost| cost.redialled).sum();
                if redialled > 0 {
                    missed.push(format!("{process}, {}: {redialled} redialled", kind.name()));
                }
                let lost: u64 = costs.iter().map(|cost| cost.lost).sum();
                if process == "control" && lost > 0 {
                    missed.push(format!("{process}, {}: {lost} packets lost", kind.name()));
                }
                let p95 = pauses(&costs).map(|pauses| pauses.p95);
                if process == "media" && p95.iter().any(|p95| *p95 > MEDIA_P95_MS) {
                    missed.push(format!("{process}, {}: {p95:.0?} ms", kind.name()));
                }
            }
        }
        let forgotten = self.sum(|outcome| outcome.forgotten);
        if forgotten > 0 {
            missed.push(format!("{forgotten} callers forgotten"));
        }
        if self.unended > 0 {
            missed.push(format!("{} calls did not stand at the end", self.unended));
        }
        missed
    }

    fn sum(&self, what: fn(&Outcome) -> u64) -> u64 {
        self.outcomes.values().flatten().map(what).sum()
    }
}

/// Of sound and of pictures.
fn pauses(costs: &[Cost]) -> [Percentiles; 2] {
    let of = |what: fn(&Cost) -> Option<f64>| {
        Percentiles::of(&costs.iter().filter_map(what).collect::<Vec<_>>())
    };
    [of(|cost| cost.sound_ms), of(|cost| cost.picture_ms)]
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:15} {:8} {:>4} {:>23} {:>23} {:>6} {:>9}",
            "killed",
            "leg",
            "n",
            "sound ms p50/p95/max",
            "picture ms p50/p95/max",
            "lost",
            "redialled"
        )?;
        for process in self.outcomes.keys() {
            for kind in Kind::ALL {
                let costs = self.costs(process, kind);
                let text =
                    pauses(&costs).map(|p| format!("{:.0}/{:.0}/{:.0}", p.median, p.p95, p.max));
                let lost: u64 = costs.iter().map(|cost| cost.lost).sum();
                let redialled: u64 = costs.iter().map(|cost| cost.redialled).sum();
                writeln!(
                    f,
                    "{process:15} {:8} {:>4} {:>23} {:>23} {lost:>6} {redialled:>9}",
                    kind.name(),
                    costs.len(),
                    text[0],
                    text[1]
                )?;
            }
        }
        write!(
            f,
            "callers at the moment of a kill whose call did not come about: {}, forgotten: {}; calls that \
             did not stand at the end: {}",
            self.sum(|outcome| outcome.unanswered),
            self.sum(|outcome| outcome.forgotten),
            self.unended
        )
    }
}
