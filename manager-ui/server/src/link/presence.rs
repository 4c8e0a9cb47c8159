//! Which of the server's other processes are there.

/// Which of the server's other processes are there, and how often each was lost in this life: one that
/// was away for a moment only is told of, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Processes {
    pub control: Presence,
    pub media: Presence,
}

/// One of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Presence {
    /// `None` until it is known: without controller nobody tells of the media process.
    pub is_there: Option<bool>,
    /// How often it went away.
    pub lost: u64,
}

impl Processes {
    /// The same, with what was known last where nobody tells now.
    pub(crate) fn or(self, last: Self) -> Self {
        let media = Presence {
            is_there: self.media.is_there.or(last.media.is_there),
            ..self.media
        };
        Self { media, ..self }
    }
}

impl Presence {
    /// A controller that has come just now has not found the media process yet: what was not there
    /// does not go away.
    pub(super) fn set(&mut self, is_there: bool) {
        if is_there {
            self.is_there = Some(true);
        } else if self.is_there == Some(true) {
            self.is_there = Some(false);
            self.lost += 1;
        }
    }
}
