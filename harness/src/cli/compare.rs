//! `harness compare`: the same seeds and the same faults under two configurations.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use super::test;
use crate::child::Runner;
use crate::compare::{Side, compare};
use crate::config::RunConfig;
use crate::error::{Error, Result};

#[derive(Clone, Debug, clap::Args)]
// The options of `test`, in the same command, have the group of that name.
#[group(id = "compare")]
pub(super) struct Args {
    /// Options of `test` for one side, without their dashes: `pre-vote=off,election-ms=500`
    #[arg(long, value_name = "OPTION=VALUE,…")]
    a: String,
    /// The same for the other side
    #[arg(long, value_name = "OPTION=VALUE,…")]
    b: String,
    /// How many pairs of runs
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    runs: u64,
    /// What both sides have in common
    #[command(flatten)]
    common: test::Args,
}

/// The options of one side: the common ones, and over them its own.
#[derive(Parser)]
#[command(args_override_self = true)]
struct Overlay {
    #[command(flatten)]
    test: test::Args,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let common = common(std::env::args_os().skip(2));
    let side = |settings: &str| -> Result<Side> {
        Ok(Side { label: settings.to_owned(), config: config(&common, settings)? })
    };
    let (a, b) = (side(&args.a)?, side(&args.b)?);
    let first_seed = args.common.seed.unwrap_or(1);
    let runner = Runner {
        results: args.common.cluster.results.clone(),
        tun: args.common.cluster.tun.clone(),
        keep_going: true,
    };
    let comparison = compare(&a, &b, first_seed..first_seed + args.runs, runner)?;
    if args.common.json {
        super::print(&format!("{}\n", comparison.to_json()))?;
    } else {
        super::print(&comparison.to_text())?;
        super::print(&format!("  {:<9}{}\n", "picture", super::typed(&comparison.picture)))?;
        super::print(&format!("  {:<9}{}\n", "figures", super::typed(&comparison.figures)))?;
    }
    Ok(super::exit_code(comparison.verdict))
}

/// The arguments of the command line without those that only `compare` has.
fn common(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    const OWN: [&str; 3] = ["--a", "--b", "--runs"];
    let mut common = Vec::new();
    let mut args = args;
    while let Some(arg) = args.next() {
        let text = arg.to_string_lossy();
        if OWN.contains(&text.as_ref()) {
            args.next();
        } else if !OWN.iter().any(|own| text.strip_prefix(own).is_some_and(|rest| rest.starts_with('='))) {
            common.push(arg);
        }
    }
    common
}

fn config(common: &[OsString], settings: &str) -> Result<RunConfig> {
    let mut args = vec![OsString::from("test")];
    args.extend(common.iter().cloned());
    for setting in settings.split(',').filter(|setting| !setting.is_empty()) {
        args.push(format!("--{}", setting.trim_start_matches('-')).into());
    }
    let overlay = Overlay::try_parse_from(args).map_err(|error| {
        let said = error.render().to_string();
        let first = said.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        Error::usage(format!("`{settings}`: {first}"))
            .help("a side is written with the options of `harness test`: pre-vote=off,election-ms=500")
    })?;
    Ok(overlay.test.config()?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn os(args: &[&str]) -> Vec<OsString> {
        args.iter().map(OsString::from).collect()
    }

    #[test]
    fn what_both_sides_have_in_common_is_passed_on() {
        let given = os(&["--a", "pre-vote=off", "--nodes", "3", "--b=pre-vote=on", "--runs", "4", "--json"]);
        assert_eq!(common(given.into_iter()), os(&["--nodes", "3", "--json"]));
    }

    #[test]
    fn a_side_overrides_what_is_common() {
        let common = os(&["--nodes", "3", "--election-ms", "800"]);
        let config = config(&common, "pre-vote=off,election-ms=500").expect("these exist");
        assert_eq!((config.nodes, config.settings.election_ms, config.settings.pre_vote), (3, 500, false));
    }

    #[test]
    fn a_mistyped_setting_is_named() {
        let error = config(&[], "prevote=off").expect_err("no such option");
        assert!(error.message.contains("prevote"), "{}", error.message);
    }
}
