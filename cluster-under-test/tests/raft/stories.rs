//! Golden stories: what is done to a small cluster, and the exact trace of what it does.
//!
//! Each file in `tests/stories` is one behaviour. `UPDATE_GOLDENFILES=1 cargo test` writes the traces anew;
//! read the difference before you keep it. Commands (nodes are `n1`, `n2`, …; where none is given, all are
//! meant):
//!
//! ```text
//! cluster nodes=3 [spares=N] [lease=on] [pre-vote=on] [check-quorum=on] [bug=NAME] [append-max=N] [pipeline=N] [chunk=N] [kept=N]
//! campaign n1           n1 hears nothing until its election timeout
//! tick [n1 …] [N]       N ticks pass; a heartbeat is every 2, an election timeout 10 to 19
//! deliver [to=n1] [from=n2] [kind=Vote]   what is in flight now arrives; answers stay in flight
//! lose | repeat         the same choice of messages is lost, or arrives now and once more with `late`
//! late                  what was repeated arrives for the second time
//! settle                everything arrives, answers too, until nothing is in flight
//! elect n1              campaign n1, settle, and one heartbeat
//! isolate n1 … | cut n1 n2 | heal         links lose what is sent over them; a cut is one-way
//! slow-disk n1 | persist n1 [N]           writes of n1 wait; N of them (or all) are durable
//! propose n1 x … | read n1 r              clients of n1 ask
//! change n1 add|add-learner|promote|remove n4 | transfer n1 n2    and administrators
//! snapshot n1 | crash n1 | restart n1 | state | compare
//! ```

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt::Write as _;

use cluster_under_test::bugs;
use cluster_under_test::raft::{Change, Config, Envelope, Input, Member, Message, NodeId, Suffrage};
use cluster_under_test::rules::{Paper, Rules};
use goldenscript::{ArgumentConsumer, Command, Context};

use crate::judge::name;
use crate::network::{Event, Network, Node, TICK_MS};
use crate::print::{Printer, role_name};

/// Rounds of delivery after which a cluster that does not come to rest is a failure.
const SETTLE_ROUNDS_MAX: usize = 200;
/// More than any election timeout.
const CAMPAIGN_TICKS_MAX: usize = 40;

macro_rules! stories {
    ($($story:ident),* $(,)?) => {
        const STORIES: &[&str] = &[$(stringify!($story)),*];
        $(#[test]
        fn $story() {
            tell(stringify!($story));
        })*
    };
}

stories! {
    accept_old_append_bug,
    acknowledgement_waits_for_the_disk,
    change_before_commit_bug,
    change_waits_for_the_first_commit,
    check_quorum_steps_down,
    clear_vote_on_step_down_bug,
    command_at_a_former_leader_is_rejected,
    conflict_hints_back_up_quickly,
    deposed_leader_does_not_reject_what_it_appended,
    deposed_leader_serves_no_read,
    figure_8_old_entry_is_not_committed_by_counting,
    figure_8_with_the_bug,
    first_election,
    foreign_terms_are_skipped,
    forget_vote_bug,
    forwarded_command,
    forwarded_read_is_rejected_when_the_leader_changes,
    install_old_snapshot_bug,
    isolated_follower_with_pre_vote,
    isolated_follower_without_pre_vote,
    kept_entries_spare_a_snapshot,
    lagging_follower_gets_a_snapshot,
    late_pre_vote_grant_is_ignored,
    leader_that_cannot_hear_steps_down,
    learner_counts_bug,
    learner_is_promoted,
    lease_after_transfer_bug,
    lease_ends_with_a_transfer,
    lease_from_reply_bug,
    lease_read,
    lease_with_a_slow_clock_is_stale,
    long_lease_bug,
    lost_chunk_is_sent_again,
    lost_entries_are_sent_again,
    members_are_rolled_back,
    members_not_rolled_back_bug,
    no_check_quorum_bug,
    old_leaders_append_is_rejected,
    old_snapshot_changes_nothing,
    pipeline_is_bounded,
    pre_vote_despite_leader_bug,
    pre_vote_is_refused_despite_a_leader,
    pre_vote_of_a_passed_term_is_answered,
    raise_term_on_pre_vote_bug,
    read_begins_a_new_round,
    read_index_at_the_leader,
    read_index_through_a_follower,
    read_waits_for_the_first_commit,
    rejoining_leader_loses_its_tail,
    removed_leader_counts_itself_bug,
    removed_leader_steps_down,
    removed_node_does_not_disturb,
    repeated_append_does_not_truncate,
    restarted_voter_keeps_its_vote,
    restarted_voter_keeps_to_a_lease,
    reuse_read_round_bug,
    silent_pre_vote_refusal_bug,
    single_node,
    snapshot_carries_the_members,
    snapshot_changes_midway,
    split_vote,
    stale_read_bug,
    sticky_followers_ignore_votes,
    transfer,
    transfer_is_given_up,
    transfer_to_laggard_bug,
    two_changes_at_once_bug,
    two_changes_wait,
    unchecked_vote_term_bug,
    vote_restriction,
    vote_waits_for_the_disk,
}

#[test]
fn every_story_is_told() {
    let files = std::fs::read_dir("tests/stories").expect("the stories are there");
    let name = |file: std::io::Result<std::fs::DirEntry>| {
        let name =
            file.expect("the directory can be read").file_name().into_string().expect("names are words");
        name.trim_end_matches(".txt").to_owned()
    };
    let files: BTreeSet<String> = files.map(name).collect();
    assert_eq!(files, STORIES.iter().map(|&story| story.to_owned()).collect());
}

fn tell(story: &str) {
    goldenscript::run(&mut Teller::default(), format!("tests/stories/{story}.txt"))
        .expect("the story can be read");
}

#[derive(Default)]
struct Teller {
    network: Option<Network>,
    printer: Printer,
}

type Told = Result<(), Box<dyn Error>>;

impl goldenscript::Runner for Teller {
    type Command = Command;

    fn run(&mut self, command: &Command, _context: &Context) -> Result<String, Box<dyn Error>> {
        let mut args = command.consume_args();
        let mut output = String::new();
        if command.name == "cluster" {
            self.network = Some(cluster(&mut args)?);
        } else {
            let network = self.network.as_mut().ok_or("a story begins with `cluster`")?;
            output = tell_command(network, &command.name, &mut args)?;
        }
        args.reject_next()?;
        let network = self.network.as_mut().expect("there is a cluster by now");
        let mut lines = String::new();
        self.printer.begin_command();
        for event in std::mem::take(&mut network.events) {
            if let Some(line) = self.printer.line(&event, network) {
                writeln!(lines, "{line}")?;
            }
        }
        Ok(lines + &output)
    }
}

fn cluster(args: &mut ArgumentConsumer<'_>) -> Result<Network, Box<dyn Error>> {
    let number = |args: &mut ArgumentConsumer<'_>, key, default: usize| -> Result<usize, Box<dyn Error>> {
        Ok(args.take_key(key).map(str::parse).transpose()?.unwrap_or(default))
    };
    let is_on = |args: &mut ArgumentConsumer<'_>, key| args.take_key(key) == Some("on");
    let nodes = number(args, "nodes", 3)?;
    let spares = number(args, "spares", 0)?;
    let config = Config {
        id: 1,
        voters: (1..=nodes as NodeId).collect(),
        joins: false,
        // Nine tenths of an election timeout less a tick.
        lease_ms: is_on(args, "lease").then_some(9 * TICK_MS * 9 / 10),
        heartbeat_ticks: 2,
        election_ticks: 10,
        pre_vote: is_on(args, "pre-vote"),
        check_quorum: is_on(args, "check-quorum"),
        append_entries_max: number(args, "append-max", 4)?,
        pipeline_max: number(args, "pipeline", 4)?,
        snapshot_chunk_bytes: number(args, "chunk", 8)?,
        entries_kept: number(args, "kept", 0)? as u64,
        seed: 1,
    };
    let rules: &dyn Rules = match args.take_key("bug") {
        Some(name) => bugs::find(name).ok_or_else(|| format!("there is no bug {name}"))?.rules,
        None => &Paper,
    };
    Ok(Network::new(config, spares as u64, rules))
}

/// Does what the command says. What it returns is printed after what happened.
fn tell_command(
    network: &mut Network,
    command: &str,
    args: &mut ArgumentConsumer<'_>,
) -> Result<String, Box<dyn Error>> {
    match command {
        "campaign" => campaign(network, node(args)?)?,
        "elect" => elect(network, node(args)?)?,
        "tick" => tick(network, args)?,
        "deliver" => {
            for envelope in choose(network, args)? {
                network.deliver(envelope);
            }
        }
        "lose" => {
            let lost = choose(network, args)?;
            network.events.extend(lost.into_iter().map(Event::Lost));
        }
        "repeat" => {
            let chosen = choose(network, args)?;
            network.late.extend(chosen.iter().cloned());
            for envelope in chosen {
                network.deliver(envelope);
            }
        }
        "late" => {
            for envelope in std::mem::take(&mut network.late) {
                network.deliver(envelope);
            }
        }
        "settle" => settle(network)?,
        "isolate" => {
            for id in nodes(args)? {
                network.isolate(id);
            }
        }
        "cut" => {
            network.cuts.insert((node(args)?, node(args)?));
        }
        "heal" => network.cuts.clear(),
        "slow-disk" => {
            for id in nodes(args)? {
                network.set_slow_disk(id, true);
            }
        }
        "persist" => {
            let id = node(args)?;
            let count = args.next_pos().map(str::parse).transpose()?.unwrap_or(usize::MAX);
            network.persist(id, count);
        }
        "propose" => {
            let id = node(args)?;
            while let Some(word) = args.next_pos() {
                network.propose(id, word);
            }
        }
        "read" => {
            let (id, name) = (node(args)?, args.next_pos().ok_or("a read has a name")?);
            network.read(id, name);
        }
        "change" => change(network, args)?,
        "transfer" => {
            let (id, to) = (node(args)?, node(args)?);
            network.transfer(id, to);
        }
        "snapshot" => network.take_snapshot(node(args)?),
        "crash" => nodes(args)?.into_iter().for_each(|id| network.crash(id)),
        "restart" => nodes(args)?.into_iter().for_each(|id| network.restart(id)),
        "state" => return Ok(network.nodes.values().map(state_line).collect()),
        "compare" => {
            network.judge.compare_logs(network.nodes.values());
            network.events.extend(network.judge.take_anomalies().into_iter().map(Event::Anomaly));
        }
        unknown => return Err(format!("there is no command {unknown}").into()),
    }
    Ok(String::new())
}

fn campaign(network: &mut Network, id: NodeId) -> Told {
    let position = |network: &Network| network.raft(id).map(|raft| (raft.term(), raft.role()));
    let before = position(network);
    for _ in 0..CAMPAIGN_TICKS_MAX {
        network.step(id, Input::Tick);
        if position(network) != before {
            return Ok(());
        }
    }
    Err(format!("n{id} does not campaign").into())
}

fn change(network: &mut Network, args: &mut ArgumentConsumer<'_>) -> Told {
    let (id, what) = (node(args)?, args.next_pos().ok_or("which change?")?);
    let node = node(args)?;
    let member = |suffrage| Member { suffrage, address: String::new() };
    let change = match what {
        "add" => Change::Add { node, member: member(Suffrage::Voter) },
        "add-learner" => Change::Add { node, member: member(Suffrage::Learner) },
        "promote" => Change::Promote { node },
        "remove" => Change::Remove { node },
        unknown => return Err(format!("there is no change {unknown}").into()),
    };
    network.change(id, &format!("{what} n{node}"), change);
    Ok(())
}

fn elect(network: &mut Network, id: NodeId) -> Told {
    campaign(network, id)?;
    settle(network)?;
    for _ in 0..2 {
        network.step(id, Input::Tick);
    }
    settle(network)?;
    let leads = network.raft(id).is_some_and(|raft| raft.leader() == Some(id));
    if leads { Ok(()) } else { Err(format!("n{id} was not elected").into()) }
}

fn tick(network: &mut Network, args: &mut ArgumentConsumer<'_>) -> Told {
    let (mut ids, mut count) = (Vec::new(), 1);
    while let Some(word) = args.next_pos() {
        match word.strip_prefix('n') {
            Some(id) => ids.push(id.parse()?),
            None => count = word.parse()?,
        }
    }
    if ids.is_empty() {
        ids = network.nodes.keys().copied().collect();
    }
    for _ in 0..count {
        for &id in &ids {
            network.step(id, Input::Tick);
        }
    }
    Ok(())
}

fn settle(network: &mut Network) -> Told {
    for _ in 0..SETTLE_ROUNDS_MAX {
        if network.in_flight.is_empty() {
            return Ok(());
        }
        for envelope in std::mem::take(&mut network.in_flight) {
            network.deliver(envelope);
        }
    }
    Err("the cluster does not come to rest".into())
}

/// Takes the messages in flight that the arguments choose.
fn choose(network: &mut Network, args: &mut ArgumentConsumer<'_>) -> Result<Vec<Envelope>, Box<dyn Error>> {
    let id = |word: Option<&str>| word.map(parse_node).transpose();
    let (from, to) = (id(args.take_key("from"))?, id(args.take_key("to"))?);
    let kind = args.take_key("kind");
    let chosen = |envelope: &mut Envelope| {
        from.is_none_or(|from| envelope.from == from)
            && to.is_none_or(|to| envelope.to == to)
            && kind.is_none_or(|kind| kind_of(&envelope.message) == kind)
    };
    let chosen: Vec<_> = network.in_flight.extract_if(.., chosen).collect();
    if chosen.is_empty() { Err("no such message is in flight".into()) } else { Ok(chosen) }
}

fn kind_of(message: &Message) -> String {
    let text = format!("{message:?}");
    text.split([' ', '{']).next().expect("a split has a first part").to_owned()
}

fn node(args: &mut ArgumentConsumer<'_>) -> Result<NodeId, Box<dyn Error>> {
    parse_node(args.next_pos().ok_or("which node?")?)
}

fn nodes(args: &mut ArgumentConsumer<'_>) -> Result<Vec<NodeId>, Box<dyn Error>> {
    let mut ids = vec![node(args)?];
    while let Some(word) = args.next_pos() {
        ids.push(parse_node(word)?);
    }
    Ok(ids)
}

fn parse_node(word: &str) -> Result<NodeId, Box<dyn Error>> {
    Ok(word.strip_prefix('n').ok_or_else(|| format!("{word} is not a node"))?.parse()?)
}

fn state_line(node: &Node) -> String {
    let id = node.id();
    let Some(raft) = &node.raft else { return format!("n{id} is down\n") };
    let mut log: Vec<_> = raft.entries().iter().map(name).collect();
    if raft.snapshot_index() > 0 {
        log.insert(0, format!("snapshot {}", raft.snapshot_index()));
    }
    let leader = raft.leader().map_or("no leader".to_owned(), |leader| format!("follows n{leader}"));
    let role = match role_name(raft.role()) {
        "follower" => leader,
        role => role.to_owned(),
    };
    format!("n{id}@{} {role}, log [{}], commit {}\n", raft.term(), log.join(" "), raft.commit_index())
}
