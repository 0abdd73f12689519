pub(crate) const CASES: &[crate::support::Case<()>] = &[];
