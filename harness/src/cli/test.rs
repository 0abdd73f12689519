//! `harness test`: one run, from the plan to the verdict.

use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use checkers::{Consistency, Verdict};
use nemesis::capability::Capabilities;
use nemesis::net::{self, Request};
use tracing_subscriber::EnvFilter;

use super::cluster_args::ClusterArgs;
use crate::config::{Reads, RunConfig, Settings, Variety, parse_consistency};
use crate::error::{Error, Result};
use crate::faults;
use crate::plan::{Plan, plan};
use crate::report::{self, Progress};
use crate::run::{self, Options};
use crate::run_dir::{Purpose, RunDir};
use crate::scenario::{self, Scenario};
use crate::stop::Stop;
use crate::system;

/// So many processes work, unless told otherwise or the nodes are many.
const CONCURRENCY_MIN: u32 = 10;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) cluster: ClusterArgs,
    /// What clients ask (`harness list workloads`)
    #[arg(long, default_value = "register", value_name = "NAME")]
    workload: String,
    /// What the system promises, and is judged by
    ///
    /// `linearizable`: operations happen one at a time, in real-time order, whichever node was asked. `sequential`: they
    /// happen one at a time, each process's own in its order; what others did may show late. `stale-ms=N`: updates are
    /// linearizable, and no read shows what was overwritten more than N milliseconds before it began (registers only).
    #[arg(long, default_value = "linearizable", value_name = "PROMISE", value_parser = parse_consistency)]
    consistency: Consistency,
    /// Which faults, as in `kill,pause:leader`; `all` (some, by the seed), `partitions`, `none` (`harness list faults`)
    #[arg(long, default_value = "kill,pause,partition", value_name = "LIST")]
    faults: String,
    /// A known situation, in place of random faults (`harness list scenarios`), or a file of your own
    #[arg(long, value_name = "NAME|FILE.toml", conflicts_with = "faults")]
    scenario: Option<String>,
    /// Situations that the run must reach, or it is unknown (`harness list situations`)
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    aim: Vec<String>,
    /// How many faults may be in force at once
    #[arg(long, default_value_t = 2, value_name = "N")]
    overlap: usize,
    /// Let faults that overlap hurt more nodes than a quorum can do without
    #[arg(long)]
    beyond_quorum: bool,
    /// Let the seed leave out some of the faults, and set cluster and clients otherwise
    #[arg(long, conflicts_with = "scenario")]
    swarm: bool,
    /// How long clients and nemesis work, in seconds [default: 30, or the scenario's]
    #[arg(long, value_name = "S")]
    time_limit: Option<u64>,
    /// Operations a second, all processes together
    #[arg(long, default_value_t = 300, value_name = "N")]
    rate: u32,
    /// Logical clients, each with one operation at a time, pinned to a node [default: 10, at least 2 a node]
    #[arg(long, value_name = "N")]
    concurrency: Option<u32>,
    /// An operation without an answer is given up after this time
    #[arg(long, default_value_t = 2000, value_name = "MS")]
    operation_timeout_ms: u64,
    /// How long the healed cluster may take until every node serves, in seconds
    #[arg(long, default_value_t = 20, value_name = "S")]
    recovery_limit: u64,
    /// A node that leaves a kind of operation unserved for longer, with a majority up and connected, is a finding
    #[arg(long, value_name = "MS")]
    unavailable_max_ms: Option<u64>,
    /// Run this plan, as saved in a run directory or edited by hand, and nothing else that is asked for here
    #[arg(long, value_name = "PLAN.json")]
    plan: Option<PathBuf>,
    /// The source of all chance; the same seed gives the same plan
    #[arg(long, value_name = "N")]
    pub(super) seed: Option<u64>,
    /// Go on after a violation is certain, instead of ending the run there
    #[arg(long)]
    keep_going: bool,
    /// Keep the packets of a valid run too
    #[arg(long)]
    pcap: bool,
    /// Print one JSON object on standard output, and nothing else there
    #[arg(long)]
    pub(super) json: bool,
}

/// How long a run lasts, unless somebody says otherwise.
const TIME_LIMIT_S: u64 = 30;

impl Args {
    /// What is asked for, and what of it had to be left out.
    pub(super) fn config(&self) -> Result<(RunConfig, Vec<String>)> {
        let system = system::find(&self.cluster.system)?;
        let probe = || Capabilities::probe(&self.cluster.tun);
        let scenario = self.scenario.as_deref().map(scenario::find).transpose()?;
        let faults = scenario.as_ref().map_or_else(|| self.faults.clone(), Scenario::faults);
        let chosen = faults::choose(&faults, system, probe)?;
        let variety = match (self.swarm, chosen.is_all) {
            (true, _) => Variety::Swarm,
            (false, true) => Variety::Mix,
            (false, false) => Variety::Every,
        };
        let time_limit = self.time_limit.or(scenario.as_ref().map(|known| known.time_limit_s));
        let aims = scenario.iter().flat_map(|known| known.situations.iter().cloned());
        let nodes = self.cluster.nodes(scenario.as_ref().map(|known| known.nodes));
        let config = RunConfig {
            system: self.cluster.system.clone(),
            nodes,
            workload: self.workload.clone(),
            faults: chosen.faults,
            aims: aims.chain(self.aim.iter().cloned()).collect(),
            variety,
            overlap: self.overlap,
            beyond_quorum: self.beyond_quorum,
            time_limit_ms: time_limit.unwrap_or(TIME_LIMIT_S).saturating_mul(1000),
            rate: self.rate,
            // One that works and one that reads at each node.
            concurrency: self.concurrency.unwrap_or_else(|| (u32::from(nodes) * 2).max(CONCURRENCY_MIN)),
            operation_timeout_ms: self.operation_timeout_ms,
            recovery_limit_ms: self.recovery_limit.saturating_mul(1000),
            unavailable_max_ms: self.unavailable_max_ms,
            scenario,
            consistency: self.consistency,
            settings: self.cluster.settings(),
        };
        Ok((config, chosen.left_out))
    }
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    // Drawn before the sandbox is entered, so that bad usage is told before anything is built.
    let (plan, left_out) = match &args.plan {
        Some(path) => (Plan::read(path)?, Vec::new()),
        None => {
            let (config, left_out) = args.config()?;
            (plan(&config, args.seed.unwrap_or_else(super::fresh_seed))?, left_out)
        }
    };
    let request = Request { tun: args.cluster.tun.clone(), ..Request::default() };
    let sandbox = net::enter(&request).map_err(|error| super::refused(&error))?;

    let directory = RunDir::create(&args.cluster.results, &plan, Purpose::Test)?;
    log_to(&directory)?;
    let progress = Progress::new();
    progress.phase("plan", &describe(&plan));
    if !left_out.is_empty() {
        progress.phase("left out", &left_out.join(" · "));
    }
    if args.swarm {
        progress.phase("swarm", &describe_settings(&plan));
    }
    progress.phase("sandbox", &format!("tier {}", sandbox.tier()));
    for warning in &sandbox.warnings {
        progress.phase("warning", warning);
    }
    let runtime = super::runtime()?;
    let judgement = runtime.block_on(async {
        let stop = Stop::default();
        stop.on_signals().map_err(|error| Error::harness(format!("failed to watch for signals: {error}")))?;
        let options = Options { keep_pcap: args.pcap, keep_going: args.keep_going };
        run::run(&plan, &directory, &sandbox, options, &progress, &stop).await
    })?;

    let shown = super::typed(directory.path());
    if args.json {
        super::print(&format!("{}\n", report::object(&judgement, Some(&shown), Some(plan.seed))))?;
    } else {
        let mut text = report::outcome(&judgement);
        text.push_str(&format!("  {:<9}{} check {shown}\n", "judge", super::program()));
        if judgement.picture.is_some() {
            text.push_str(&format!("  {:<9}{shown}/counterexample.svg\n", "picture"));
        }
        if judgement.verdict != Verdict::Valid {
            text.push_str(&format!("  {:<9}less {shown}/history.jsonl\n", "look"));
        }
        super::print(&text)?;
    }
    Ok(super::exit_code(judgement.verdict))
}

fn describe(plan: &Plan) -> String {
    let bug = plan.settings.bug.as_ref().map(|bug| format!(" · bug {bug}")).unwrap_or_default();
    let reads = match plan.settings.reads {
        Reads::ReadIndex => "",
        Reads::Lease => " · lease reads",
        Reads::Serializable => " · serializable reads",
    };
    let promise = match plan.expectations.consistency {
        Consistency::Linearizable => String::new(),
        Consistency::Sequential => " · judged as sequential".to_owned(),
        Consistency::StaleWithinMs(bound_ms) => format!(" · judged as stale by at most {bound_ms} ms"),
    };
    format!(
        "{} × {} · {}{reads}{promise} · {} processes · {} s · {} faults · seed {}{bug}",
        plan.nodes,
        plan.system,
        plan.workload,
        plan.concurrency,
        plan.time_limit_ms / 1000,
        plan.schedule.steps.len(),
        plan.seed,
    )
}

/// What a swarm may have set otherwise.
fn describe_settings(plan: &Plan) -> String {
    let Settings { pre_vote, check_quorum, heartbeat_ms, election_ms, snapshot_entries, .. } = &plan.settings;
    let on = |on: bool| if on { "on" } else { "off" };
    let mut faults = plan.expectations.faults.iter().map(|fault| fault.name.as_str()).collect::<Vec<_>>();
    faults.sort_unstable();
    format!(
        "{} · PreVote {} · CheckQuorum {} · heartbeat {heartbeat_ms} ms · election {election_ms} ms · snapshots every {snapshot_entries} · {} ops/s",
        faults.join(" "),
        on(*pre_vote),
        on(*check_quorum),
        plan.rate,
    )
}

/// The harness's own log goes to the run directory; the terminal is for progress.
pub(super) fn log_to(run: &RunDir) -> Result<()> {
    let file = File::create(run.log()).map_err(|error| Error::io("create", &run.log(), &error))?;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(Arc::new(file)).init();
    Ok(())
}
