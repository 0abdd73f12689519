//! Collects evidence into a receipt: the fault counts as installed only if everything that must hold was seen.

use checkers::history::{Evidence, NodeId, Outcome, Receipt};

/// Evidence in the making.
#[derive(Debug, Default)]
pub(super) struct Proof {
    evidence: Vec<Evidence>,
    is_missing: bool,
}

impl Proof {
    /// Notes what was seen.
    pub(super) fn note(&mut self, source: impl Into<String>, node: Option<NodeId>, seen: impl Into<String>) {
        self.evidence.push(Evidence { source: source.into(), node, seen: seen.into() });
    }

    /// Notes what was seen; unless it `shows` the fault (or its heal), the outcome is indeterminate.
    pub(super) fn require(
        &mut self,
        shows: bool,
        source: impl Into<String>,
        node: Option<NodeId>,
        seen: impl Into<String>,
    ) {
        self.is_missing |= !shows;
        self.note(source, node, seen);
    }

    /// Whether something that must hold was not seen.
    pub(super) fn is_missing(&self) -> bool {
        self.is_missing
    }

    /// The receipt of something that was tried.
    pub(super) fn receipt(self) -> Receipt {
        let outcome = if self.is_missing { Outcome::Indeterminate } else { Outcome::Installed };
        Receipt { outcome, evidence: self.evidence }
    }

    /// The receipt of something that was not tried, for the reasons noted.
    pub(super) fn skipped(self) -> Receipt {
        Receipt { outcome: Outcome::Skipped, evidence: self.evidence }
    }
}
