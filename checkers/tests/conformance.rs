//! What every checker owes, found by walking the list; and what the crate owes to those who use it alone.

use std::collections::HashSet;
use std::path::Path;

use checkers::{Budget, CHECKERS, Evidence, Expectations, History, SITUATIONS, Verdict};

fn manifest_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_checker_says_what_it_is() {
    let mut names = HashSet::new();
    for checker in CHECKERS {
        let name = checker.name();
        assert!(names.insert(name), "{name} is listed twice");
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{name} is not in kebab case");
        assert!(
            !checker.about().is_empty() && !checker.about().ends_with('.'),
            "{name}: {}",
            checker.about()
        );
    }
}

/// A checker that accepts everything is no checker, and one that rejects everything is no better.
#[test]
fn every_checker_has_a_good_and_a_bad_story() {
    for checker in CHECKERS {
        let stories = manifest_dir().join("testdata").join(checker.name());
        let mut verdicts = HashSet::new();
        for story in std::fs::read_dir(&stories).unwrap_or_else(|e| panic!("{}: {e}", stories.display())) {
            let text = std::fs::read_to_string(story.expect("an entry").path()).expect("a story");
            let (_, told) = text.split_once("----\n").expect("a story has a finding");
            verdicts.insert(told.split(':').next().expect("a verdict").to_owned());
        }
        // Coverage knows no worse: what was not exercised is unknown.
        let bad = if checker.name() == "coverage" { "unknown" } else { "invalid" };
        for verdict in ["valid", bad] {
            assert!(verdicts.contains(verdict), "{} has no story that ends {verdict}", checker.name());
        }
    }
}

/// A story without a test is a claim that nobody checks.
#[test]
fn every_story_has_a_test() {
    let tests = std::fs::read_to_string(manifest_dir().join("tests/stories.rs")).expect("the tests");
    for checker in CHECKERS {
        let stories = manifest_dir().join("testdata").join(checker.name());
        for story in std::fs::read_dir(stories).expect("stories of a checker") {
            let file = story.expect("an entry").file_name();
            let call = format!("check(\"{}/{}\")", checker.name(), file.to_str().expect("an ASCII name"));
            assert!(tests.contains(&call), "no test calls {call}");
        }
    }
}

#[test]
fn every_situation_says_what_it_is() {
    let mut names = HashSet::new();
    for situation in SITUATIONS {
        let name = situation.name;
        assert!(names.insert(name), "{name} is listed twice");
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'), "{name}");
        for text in [situation.about, situation.source].iter().chain(situation.steps) {
            assert!(!text.is_empty() && !text.ends_with('.'), "{name}: {text}");
        }
    }
}

/// One that is always reached says as little as one that never is.
#[test]
fn every_situation_has_a_story_that_reaches_it_and_one_that_does_not() {
    let tests = std::fs::read_to_string(manifest_dir().join("tests/situations/mod.rs")).expect("the tests");
    for situation in SITUATIONS {
        let stories = manifest_dir().join("testdata/situations").join(situation.name);
        for (story, begins) in [("reached.txt", "reached "), ("near_miss.txt", "missed: ")] {
            let path = stories.join(story);
            let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            let (_, told) = text.split_once("----\n").expect("a story has an end");
            assert!(told.starts_with(begins), "{}/{story} tells: {told}", situation.name);
        }
        let call = format!("both(\"{}\")", situation.name);
        assert!(tests.contains(&call), "no test calls {call}");
    }
}

/// An empty run shows nothing, whatever is asked of it.
#[test]
fn nothing_is_valid_for_a_run_without_events() {
    let header = checkers::history::Header {
        origin_ns: 0,
        system: "none".into(),
        workload: "register".into(),
        seed: 0,
    };
    let history = History::new(header, Vec::new()).expect("an empty history is well-formed");
    let expectations = Expectations { complete: true, ..Expectations::default() };
    let evidence = Evidence { history, traces: Vec::new(), expectations };
    for checker in CHECKERS.iter().filter(|checker| checker.name() != "crashes") {
        let finding = checker.check(&evidence, Budget::default());
        assert_eq!(finding.verdict, Verdict::Unknown, "{}: {}", checker.name(), finding.summary);
    }
}

/// The crate is of use to others only as long as it stands alone.
#[test]
fn no_dependency_is_a_member_of_the_workspace() {
    let manifest = std::fs::read_to_string(manifest_dir().join("Cargo.toml")).expect("the manifest");
    let dependencies = manifest.split("[dependencies]").nth(1).expect("dependencies");
    let dependencies = dependencies.split("\n[").next().expect("a section");
    for member in ["harness", "nemesis", "cluster-under-test"] {
        assert!(!dependencies.contains(member), "checkers depends on {member}");
    }
    assert!(!dependencies.contains("path"), "checkers depends on a path");
}
