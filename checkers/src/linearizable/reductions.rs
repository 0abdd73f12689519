//! The reductions of the searches, each of which can be switched off, so that tests try them singly.
//!
//! Why each is sound stands where it is applied.

/// What a search may use to try less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// A configuration tried is remembered by 128 bits of hash instead of the set itself.
    ShortKeys,
    /// A possible operation that changes nothing is ordered at once.
    EagerPure,
    /// A value that is still needed and can never come back is not left.
    LastWriter,
    /// Of operations alike in all but time, one is tried.
    Identical,
    /// A configuration that can do all that another can stands for both.
    Antichain,
    /// What never returned and cannot have been seen is left out.
    Unobservable,
    /// Writes that nobody will look at are ordered all at once.
    Junk,
}

/// Every reduction.
pub const REDUCTIONS: &[Reduction] = &[
    Reduction::ShortKeys,
    Reduction::EagerPure,
    Reduction::LastWriter,
    Reduction::Identical,
    Reduction::Antichain,
    Reduction::Unobservable,
    Reduction::Junk,
];

/// A set of reductions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reductions {
    on: u8,
    /// Made unsound on purpose, to see that the tests notice.
    #[cfg(test)]
    broken: Option<Reduction>,
}

impl Reductions {
    /// All of them.
    pub const ALL: Reductions = Reductions {
        on: u8::MAX,
        #[cfg(test)]
        broken: None,
    };

    /// None: every enabled operation is tried in every configuration. The second opinion.
    pub const NONE: Reductions = Reductions {
        on: 0,
        #[cfg(test)]
        broken: None,
    };

    /// These and one more.
    #[must_use]
    pub fn with(self, reduction: Reduction) -> Reductions {
        self.switched(self.on | 1 << reduction as u8)
    }

    /// These but one.
    #[must_use]
    pub fn without(self, reduction: Reduction) -> Reductions {
        self.switched(self.on & !(1 << reduction as u8))
    }

    fn switched(mut self, on: u8) -> Reductions {
        self.on = on;
        self
    }

    pub(super) fn has(self, reduction: Reduction) -> bool {
        self.on & 1 << reduction as u8 != 0
    }

    #[cfg(test)]
    pub(super) fn breaking(self, reduction: Reduction) -> Reductions {
        Reductions { broken: Some(reduction), ..self }
    }

    #[cfg(test)]
    pub(super) fn breaks(self, reduction: Reduction) -> bool {
        self.broken == Some(reduction)
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "outside of tests nothing is broken")]
    pub(super) fn breaks(self, _: Reduction) -> bool {
        false
    }
}
