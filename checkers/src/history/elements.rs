//! How the elements of a list are told to a reader: in full while they are few, then by runs, and at last by their
//! ends. Workloads count their values up, so a run says it all, and a gap is where something is missing.

use super::Value;

/// The most elements or runs that are listed.
const LISTED_MAX: usize = 8;
/// Of more than that so many from the beginning.
const BEGINNING: usize = 3;

/// The elements in brackets.
pub(crate) fn elements(values: &[Value]) -> String {
    if values.len() <= LISTED_MAX {
        return format!("{values:?}");
    }
    let follows = |a: &Value, b: &Value| a.checked_add(1) == Some(*b);
    let mut told: Vec<String> = Vec::new();
    for run in values.chunk_by(follows) {
        match run {
            [first, _, .., last] => told.push(format!("{first} … {last}")),
            few => told.extend(few.iter().map(ToString::to_string)),
        }
    }
    if told.len() > LISTED_MAX {
        told.splice(BEGINNING..told.len() - (LISTED_MAX - BEGINNING), ["…".to_owned()]);
    }
    format!("[{}]", told.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_are_told_in_full_and_many_by_runs_or_ends() {
        assert_eq!(elements(&[]), "[]");
        assert_eq!(elements(&[1, 2, 3, 4, 5, 6, 7, 8]), "[1, 2, 3, 4, 5, 6, 7, 8]");
        assert_eq!(elements(&[1, 2, 3, 4, 5, 7, 8, 9, 20]), "[1 … 5, 7 … 9, 20]");
        assert_eq!(elements(&[1, 2, 3, 4, 5, 6, 8, 9, 7]), "[1 … 6, 8, 9, 7]");
        let odd: Vec<u64> = (0..40).map(|value| 2 * value).collect();
        assert_eq!(elements(&odd), "[0, 2, 4, …, 70, 72, 74, 76, 78]");
    }
}
