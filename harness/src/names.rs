//! Finding a thing by its name in one of the visible slices, and offering the nearest name for a mistyped one.

use crate::error::{Error, Result};

/// The item called `wanted`; otherwise an error that offers the nearest name.
///
/// `kind` is the word for the items (`bug`, `system`); `harness list` shows them under its plural.
pub fn find<'a, T: ?Sized>(
    kind: &str,
    wanted: &str,
    items: impl Iterator<Item = &'a T> + Clone,
    name: impl Fn(&T) -> &str,
) -> Result<&'a T> {
    if let Some(item) = items.clone().find(|item| name(item) == wanted) {
        return Ok(item);
    }
    let names = items.map(|item| name(item).to_owned()).collect::<Vec<_>>();
    Err(unknown(kind, wanted, names.iter().map(String::as_str)))
}

/// The error for a name that no item has.
pub fn unknown<'a>(kind: &str, wanted: &str, names: impl Iterator<Item = &'a str>) -> Error {
    let error = Error::usage(format!("there is no {kind} `{wanted}`"));
    // Jaro-Winkler favours a common beginning, which is how people mistype; below 0.7 the guess is noise.
    let nearest = names
        .map(|name| (strsim::jaro_winkler(wanted, name), name))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(similarity, _)| *similarity > 0.7);
    match nearest {
        Some((_, name)) => error.help(format!("did you mean `{name}`? `harness list` shows all")),
        None => error.help("`harness list` shows all"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRUIT: &[&str] = &["apple", "banana"];

    #[test]
    fn a_known_name_is_found() {
        let found = find("fruit", "banana", FRUIT.iter().copied(), |name| name).expect("banana is there");
        assert_eq!(found, "banana");
    }

    #[test]
    fn a_mistyped_name_is_offered() {
        let error = find("fruit", "aple", FRUIT.iter().copied(), |name| name).expect_err("no such fruit");
        assert_eq!(error.message, "there is no fruit `aple`");
        assert!(error.help.expect("help").contains("did you mean `apple`?"));
    }

    #[test]
    fn nothing_is_offered_for_noise() {
        let error = find("fruit", "zzzz", FRUIT.iter().copied(), |name| name).expect_err("no such fruit");
        assert_eq!(error.help.as_deref(), Some("`harness list` shows all"));
    }
}
