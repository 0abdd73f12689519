//! Network faults on real processes behind the real switch: each bites, heals without a trace, and is not believed when it
//! does nothing.

mod net_support;

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use checkers::history::{NodeId, Outcome, Receipt};
use nemesis::cluster::{Cluster, ClusterError, Links, Processes};
use nemesis::faults::hold::Hold;
use nemesis::faults::{Aim, FAULTS, Fault, find};
use nemesis::knobs::Knobs;
use nemesis::net::{
    Burst, Endpoint, Link, LinkCounters, Network, NetworkOptions, Request, Rule, Sandbox, Sighting, enter,
};
use nemesis::target::Rng;
use net_support::{Case, eventually};

const N1: NodeId = NodeId(1);
const N2: NodeId = NodeId(2);
const PORT: u16 = 7000;
/// What nodes run: this program again, with its address in this variable.
const ECHO: &str = "NET_FAULTS_ECHO";
/// As long as a connection may need to go on after a heal on a machine that has other things to do. Without help it would
/// be as long as it was cut, or longer.
const RESUMED: Duration = Duration::from_millis(1500);
const STARTED: Duration = Duration::from_secs(10);

const CASES: &[Case<Sandbox>] = &[
    ("every_shape_bites_and_heals", every_shape_bites_and_heals),
    ("every_weather_bites_and_heals", every_weather_bites_and_heals),
    ("weather_that_is_not_installed_is_not_believed", weather_that_is_not_installed_is_not_believed),
    ("weather_that_misses_one_direction_is_not_believed", weather_that_misses_one_direction_is_not_believed),
    ("weather_that_hits_more_than_asked_is_not_believed", weather_that_hits_more_than_asked_is_not_believed),
    ("weather_that_stays_is_not_believed_to_be_healed", weather_that_stays_is_not_believed_to_be_healed),
    ("two_weathers_on_a_link_bite_together", two_weathers_on_a_link_bite_together),
    ("weather_is_within_a_tenth_of_what_was_asked", weather_is_within_a_tenth_of_what_was_asked),
    ("connections_go_on_after_a_partition", connections_go_on_after_a_partition),
    ("connections_go_on_after_each_direction", connections_go_on_after_each_direction),
    ("connections_go_on_after_total_loss", connections_go_on_after_total_loss),
    (
        "altered_data_reach_programs_and_damaged_packets_do_not",
        altered_data_reach_programs_and_damaged_do_not,
    ),
    ("an_island_is_cut_off_from_clients_and_is_still_observed", an_island_is_cut_off_and_still_observed),
    ("weather_loses_nothing_that_was_not_asked_for", weather_loses_nothing_that_was_not_asked_for),
];

fn main() {
    if let Ok(address) = std::env::var(ECHO) {
        return echo(&address).expect("the node's address is free");
    }
    net_support::require_tier();
    let request = Request { tun: net_support::tun(), host_listeners: Vec::new() };
    let sandbox = enter(&request).unwrap_or_else(|error| panic!("{error}; {}", error.help()));
    net_support::run(CASES, &sandbox)
}

/// A node: sends back what it is sent.
fn echo(address: &str) -> io::Result<()> {
    for stream in TcpListener::bind(address)?.incoming() {
        let mut stream = stream?;
        thread::spawn(move || {
            stream.set_nodelay(true)?;
            let mut buffer = [0; 1024];
            loop {
                match stream.read(&mut buffer)? {
                    0 => return Ok::<_, io::Error>(()),
                    length => stream.write_all(&buffer[..length])?,
                }
            }
        });
    }
    Ok(())
}

/// What the links say they do, and do not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    /// No rule reaches the switch.
    Ignored,
    /// No rule of a link to a node with a higher number does.
    IgnoredUpwards,
    /// The opposite direction gets it as well.
    BothWays,
    /// The open rule does not reach the switch.
    HealIgnored,
}

/// Nodes that echo, and the links between them.
struct Nodes {
    network: Network,
    children: Vec<Child>,
    flaw: Flaw,
    /// What was asked for.
    rules: BTreeMap<Link, Rule>,
}

impl Nodes {
    fn new(sandbox: &Sandbox, size: u16) -> Self {
        let ids = (1..=size).map(NodeId).collect::<Vec<_>>();
        let options = NetworkOptions { seed: 7, ..NetworkOptions::default() };
        let network =
            sandbox.network(&ids, options).unwrap_or_else(|error| panic!("{error}; {}", error.help()));
        let start = |&node: &NodeId| {
            let mut command = Command::new(std::env::current_exe().expect("a test knows its binary"));
            command.env(ECHO, format!("{}:{PORT}", network.address(node))).stdin(Stdio::null());
            network.command_in(node, &mut command).expect("the namespace is open");
            command.spawn().expect("this program starts again")
        };
        let children = ids.iter().map(start).collect();
        let nodes = Self { network, children, flaw: Flaw::None, rules: BTreeMap::new() };
        for &node in &ids {
            eventually("the node listens", STARTED, || nodes.observe(node).is_ok());
        }
        nodes
    }

    fn with(mut self, flaw: Flaw) -> Self {
        self.flaw = flaw;
        self
    }

    /// A connection that crosses the switch.
    fn connect(&self, from: impl Into<Endpoint>, to: NodeId) -> TcpStream {
        let address = (self.network.address(to), PORT);
        let stream = self.network.inside(from, || TcpStream::connect(address)).flatten();
        let stream = stream.expect("the node listens and the link is open");
        stream.set_nodelay(true).expect("TCP has no other way");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout above zero is valid");
        stream
    }

    /// A connection from inside the node's own network.
    fn observe(&self, node: NodeId) -> io::Result<TcpStream> {
        self.network.inside(node, || TcpStream::connect((self.network.address(node), PORT))).flatten()
    }

    /// Links that the switch does not simply pass.
    fn hurt(&self) -> String {
        let hurt =
            self.all_links().into_iter().filter(|&link| self.network.rule(link.from, link.to) != Rule::OPEN);
        hurt.map(|link| link.to_string()).collect::<Vec<_>>().join(" ")
    }

    fn all_links(&self) -> Vec<Link> {
        let ends =
            self.nodes().into_iter().map(Endpoint::Node).chain([Endpoint::Harness]).collect::<Vec<_>>();
        let pairs = ends.iter().flat_map(|&from| ends.iter().map(move |&to| Link { from, to }));
        pairs.filter(|link| link.from != link.to).collect()
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for child in &mut self.children {
            child.kill().expect("a child that was not reaped can be signalled");
            child.wait().expect("it is our child");
        }
    }
}

impl Cluster for Nodes {
    fn nodes(&self) -> Vec<NodeId> {
        (1..=u16::try_from(self.children.len()).expect("tests are small")).map(NodeId).collect()
    }

    fn leader(&self) -> Option<NodeId> {
        None
    }

    fn processes(&mut self) -> &mut dyn Processes {
        unreachable!("faults on links touch no process")
    }

    fn links(&mut self) -> Option<&mut dyn Links> {
        Some(self)
    }
}

impl Links for Nodes {
    fn set(&mut self, link: Link, rule: Rule) {
        self.rules.insert(link, rule);
        let ignored = match self.flaw {
            Flaw::None | Flaw::BothWays => false,
            Flaw::Ignored => true,
            Flaw::IgnoredUpwards => link.from < link.to,
            Flaw::HealIgnored => rule == Rule::OPEN,
        };
        if !ignored {
            self.network.set(link.from, link.to, rule);
        }
        if self.flaw == Flaw::BothWays {
            self.network.set(link.to, link.from, rule);
        }
    }

    fn rule(&self, link: Link) -> Rule {
        self.rules.get(&link).copied().unwrap_or_default()
    }

    fn counters(&self, link: Link) -> LinkCounters {
        self.network.counters(link.from, link.to)
    }

    fn probe(&self, link: Link, wait: Duration) -> Result<bool, ClusterError> {
        let arrived = self.network.probe(link.from, link.to, wait);
        arrived.map_err(|source| ClusterError::Link { link, source })
    }

    fn burst(&self, links: &[Link], burst: &Burst) -> Result<Vec<Sighting>, ClusterError> {
        let Some(&link) = links.first() else { return Ok(Vec::new()) };
        self.network.burst(links, burst).map_err(|source| ClusterError::Link { link, source })
    }
}

/// Settings as on a command line: `percent=20:direction=out`.
fn knobs(fault: &dyn Fault, text: &str) -> Knobs {
    let mut knobs = Knobs::default();
    for setting in text.split(':').filter(|setting| !setting.is_empty()) {
        let (name, value) = setting.split_once('=').expect("name=value");
        knobs.set(fault.knobs(), name, value).expect("tests set what there is");
    }
    knobs.complete(fault.knobs(), &mut Rng::new(1, 1))
}

fn inject(nodes: &mut Nodes, name: &str, settings: &str) -> (Receipt, Hold) {
    let fault = find(name).expect("tests name faults that exist");
    let knobs = knobs(fault, settings);
    let mut hold = Hold::default();
    let aim = Aim { targets: &[N1], knobs: &knobs };
    let receipt = fault.inject(nodes, &aim, &mut Rng::new(1, 1), &mut hold);
    (receipt.expect("the kernel opens sockets"), hold)
}

fn heal(nodes: &mut Nodes, name: &str, mut hold: Hold, others: &Hold) -> Receipt {
    let fault = find(name).expect("tests name faults that exist");
    let receipt = fault.heal(nodes, &mut hold, others).expect("the kernel opens sockets");
    assert!(hold.is_empty(), "{name}");
    receipt
}

#[track_caller]
fn assert_outcome(what: &str, receipt: &Receipt, outcome: Outcome) {
    let text =
        receipt.evidence.iter().map(|seen| format!("  {}: {}\n", seen.source, seen.seen)).collect::<String>();
    assert_eq!(receipt.outcome, outcome, "{what}\n{text}");
}

/// Each kind of weather, set to something that a test sees quickly.
const WEATHER: &[(&str, &str)] = &[
    ("delay", "delay_ms=50:jitter_ms=0:direction=both"),
    ("delay", "delay_ms=40:jitter_ms=20:spread=uniform:order=any:direction=out"),
    ("delay", "delay_ms=40:jitter_ms=10:spread=normal:order=fifo:direction=in"),
    ("delay", "delay_ms=40:jitter_ms=10:spread=pareto:order=any:direction=both"),
    ("loss", "percent=20:burst=1:direction=both"),
    ("loss", "percent=10:burst=4:direction=out"),
    ("duplicate", "percent=20:direction=both"),
    ("reorder", "percent=20:gap_ms=10:direction=both"),
    ("corrupt", "percent=20:direction=both"),
    ("corrupt-data", "percent=20:direction=both"),
    ("bandwidth", "kbit_s=2000:direction=both"),
    ("flap", "down_ms=150:up_ms=150:direction=both"),
];

fn every_shape_bites_and_heals(sandbox: &Sandbox) {
    let mut nodes = Nodes::new(sandbox, 5);
    let shapes = FAULTS
        .iter()
        .filter(|fault| fault.name().starts_with("partition") || fault.group() == Some("partitions"));
    for fault in shapes {
        let (receipt, hold) = inject(&mut nodes, fault.name(), "");
        assert_outcome(fault.name(), &receipt, Outcome::Installed);
        assert_eq!(nodes.hurt().split(' ').count(), hold.cut.len(), "{}", fault.name());
        let receipt = heal(&mut nodes, fault.name(), hold, &Hold::default());
        assert_outcome(fault.name(), &receipt, Outcome::Installed);
        assert_eq!(nodes.hurt(), "", "{}", fault.name());
    }
}

fn every_weather_bites_and_heals(sandbox: &Sandbox) {
    let mut nodes = Nodes::new(sandbox, 3);
    for fault in FAULTS.iter().filter(|fault| fault.group() == Some("weather")) {
        assert!(WEATHER.iter().any(|(name, _)| *name == fault.name()), "{} is tried below", fault.name());
    }
    for (name, settings) in WEATHER {
        let (receipt, hold) = inject(&mut nodes, name, settings);
        assert_outcome(settings, &receipt, Outcome::Installed);
        assert_eq!(nodes.hurt().split(' ').count(), hold.weather.len(), "{name}");
        let receipt = heal(&mut nodes, name, hold, &Hold::default());
        assert_outcome(settings, &receipt, Outcome::Installed);
        assert_eq!(nodes.hurt(), "", "{name}");
    }
    assert_eq!(nodes.network.interface_drops(), []);
}

/// Injects every kind of weather into links with a flaw.
fn with_flaw(sandbox: &Sandbox, flaw: Flaw, judge: impl Fn(&str, &Receipt)) {
    let mut nodes = Nodes::new(sandbox, 3).with(flaw);
    for (name, settings) in WEATHER {
        let (receipt, _) = inject(&mut nodes, name, settings);
        judge(settings, &receipt);
        nodes.network.clear();
        nodes.rules.clear();
    }
}

fn weather_that_is_not_installed_is_not_believed(sandbox: &Sandbox) {
    with_flaw(sandbox, Flaw::Ignored, |what, receipt| assert_outcome(what, receipt, Outcome::Indeterminate));
}

fn weather_that_misses_one_direction_is_not_believed(sandbox: &Sandbox) {
    with_flaw(sandbox, Flaw::IgnoredUpwards, |what, receipt| {
        // Upwards is what n1 sends.
        let outcome = if what.ends_with("in") { Outcome::Installed } else { Outcome::Indeterminate };
        assert_outcome(what, receipt, outcome);
    });
}

fn weather_that_hits_more_than_asked_is_not_believed(sandbox: &Sandbox) {
    with_flaw(sandbox, Flaw::BothWays, |what, receipt| {
        let outcome = if what.ends_with("both") { Outcome::Installed } else { Outcome::Indeterminate };
        assert_outcome(what, receipt, outcome);
    });
}

fn weather_that_stays_is_not_believed_to_be_healed(sandbox: &Sandbox) {
    let mut nodes = Nodes::new(sandbox, 3);
    for (name, settings) in WEATHER {
        nodes.flaw = Flaw::None;
        let (_, hold) = inject(&mut nodes, name, settings);
        nodes.flaw = Flaw::HealIgnored;
        let receipt = heal(&mut nodes, name, hold, &Hold::default());
        assert_outcome(settings, &receipt, Outcome::Indeterminate);
        nodes.network.clear();
    }
}

fn two_weathers_on_a_link_bite_together(sandbox: &Sandbox) {
    let mut nodes = Nodes::new(sandbox, 2);
    let (_, loss) = inject(&mut nodes, "loss", "percent=50:burst=1:direction=out");
    let (receipt, delay) = inject(&mut nodes, "delay", "delay_ms=50:jitter_ms=0:order=any:direction=out");
    assert_outcome("delay on a lossy link", &receipt, Outcome::Installed);
    let (receipt, more) = inject(&mut nodes, "loss", "percent=50:burst=1:direction=out");
    assert_outcome("three in four are lost", &receipt, Outcome::Installed);
    heal(&mut nodes, "loss", loss, &Hold::union([&delay, &more]));
    heal(&mut nodes, "loss", more, &delay);
    let rule = nodes.network.rule(N1, N2);
    assert_eq!(rule, Rule { delay: Duration::from_millis(50), ..Rule::OPEN }, "the delay stays");
    let receipt = heal(&mut nodes, "delay", delay, &Hold::default());
    assert_outcome("the last heal", &receipt, Outcome::Installed);
    assert_eq!(nodes.hurt(), "");
}

fn weather_is_within_a_tenth_of_what_was_asked(sandbox: &Sandbox) {
    const COUNT: u32 = 10_000;
    let nodes = Nodes::new(sandbox, 2);
    let see = |rule: Rule| {
        nodes.network.set(N1, N2, rule);
        let burst = Burst {
            count: COUNT,
            gap: Duration::from_micros(200),
            bytes: 60,
            quiet: Duration::from_millis(300),
        };
        let seen = nodes.network.burst(&[Link::new(N1, N2)], &burst).expect("sockets open");
        nodes.network.set(N1, N2, Rule::OPEN);
        seen.into_iter().next().expect("one link")
    };
    let near = |what: &str, seen: f64, asked: f64| {
        println!("  {what}: asked {asked}, seen {seen:.2}");
        assert!((seen / asked - 1.0).abs() < 0.1, "{what}: asked {asked}, seen {seen}");
    };
    let percent = |count: u32, of: u32| f64::from(count) * 100.0 / f64::from(of);

    near("loss, %", percent(see(Rule { loss: 0.2, ..Rule::OPEN }).lost(), COUNT), 20.0);
    near("duplicates, %", percent(see(Rule { duplicate: 0.2, ..Rule::OPEN }).copies(), COUNT), 20.0);
    let (overtaken, judged) = see(Rule { reorder: 0.2, ..Rule::OPEN }).overtaken(Duration::from_millis(10));
    near("reordering, %", percent(overtaken, judged), 20.0);
    let ms = Duration::from_millis;
    let seen = see(Rule { delay: ms(100), jitter: ms(50), ..Rule::OPEN });
    near("delay, ms", seen.travel_mean().expect("it arrived").as_secs_f64() * 1e3, 100.0);
    let mut travels =
        seen.arrivals.iter().map(|arrival| arrival.travel().as_secs_f64() * 1e3).collect::<Vec<_>>();
    travels.sort_by(f64::total_cmp);
    let quantile = |part: f64| travels[(travels.len() as f64 * part) as usize];
    // Half of an even spread lies within half the jitter.
    near("jitter, ms", quantile(0.75) - quantile(0.25), 50.0);
    assert!(travels[0] >= 50.0, "nothing is early: {}", travels[0]);
}

/// Sends requests, one at a time, until told to stop, and tells when the latest reply came.
fn stall(nodes: &mut Nodes, cut: Duration, hurt: impl Fn(&mut Nodes, bool)) -> Duration {
    let mut stream = nodes.connect(N1, N2);
    let mut ask = |number: u32| -> io::Result<()> {
        stream.write_all(&number.to_le_bytes())?;
        let mut reply = [0; 4];
        stream.read_exact(&mut reply)?;
        assert_eq!(u32::from_le_bytes(reply), number, "replies come in order, each once");
        Ok(())
    };
    for number in 0..100 {
        ask(number).expect("the link is open");
    }
    hurt(nodes, true);
    let (healed_at, resumed_at) = thread::scope(|scope| {
        let asking = scope.spawn(|| {
            ask(100).expect("the connection lives");
            let resumed_at = Instant::now();
            (101..200).for_each(|number| ask(number).expect("the connection goes on"));
            resumed_at
        });
        thread::sleep(cut);
        assert!(!asking.is_finished(), "nothing passes meanwhile");
        hurt(nodes, false);
        let healed_at = Instant::now();
        (healed_at, asking.join().expect("the replies are right"))
    });
    resumed_at.saturating_duration_since(healed_at)
}

fn set(nodes: &mut Nodes, links: &[(NodeId, NodeId)], rule: Rule) {
    for &(from, to) in links {
        nodes.set(Link::new(from, to), rule);
    }
}

fn resumes(sandbox: &Sandbox, links: &[(NodeId, NodeId)], rule: Rule) {
    let mut nodes = Nodes::new(sandbox, 2);
    // Repeated after 0.2, 0.6, 1.4 and 3 s, so that without help it would stand still for 2.6 s after the heal.
    let stalled = stall(&mut nodes, Duration::from_millis(3600), |nodes, hurt| {
        set(nodes, links, if hurt { rule } else { Rule::OPEN });
    });
    println!("  went on {stalled:.1?} after the heal");
    assert!(stalled < RESUMED, "{stalled:?}");
    let redelivered = [(N1, N2), (N2, N1)].map(|(from, to)| nodes.network.counters(from, to).redelivered);
    assert!(redelivered.iter().sum::<u64>() > 0);
    for (from, to) in [(N1, N2), (N2, N1)] {
        let counted = nodes.network.counters(from, to);
        let fates =
            counted.delivered + counted.blocked + counted.lost + counted.overflowed + counted.write_errors;
        assert_eq!(counted.seen + counted.duplicated + counted.redelivered, fates, "{from} → {to}");
    }
}

fn connections_go_on_after_a_partition(sandbox: &Sandbox) {
    resumes(sandbox, &[(N1, N2), (N2, N1)], Rule::BLOCK);
}

fn connections_go_on_after_each_direction(sandbox: &Sandbox) {
    resumes(sandbox, &[(N1, N2)], Rule::BLOCK);
    resumes(sandbox, &[(N2, N1)], Rule::BLOCK);
}

fn connections_go_on_after_total_loss(sandbox: &Sandbox) {
    resumes(sandbox, &[(N1, N2), (N2, N1)], Rule { loss: 1.0, ..Rule::OPEN });
}

fn altered_data_reach_programs_and_damaged_do_not(sandbox: &Sandbox) {
    let echoed = |rule: Rule| {
        let mut nodes = Nodes::new(sandbox, 2);
        let mut stream = nodes.connect(N1, N2);
        set(&mut nodes, &[(N1, N2)], rule);
        let sent = [0x55; 64];
        let mut different = 0_u32;
        for _ in 0..20 {
            stream.write_all(&sent).expect("the connection lives");
            let mut reply = [0; 64];
            stream.read_exact(&mut reply).expect("the node answers");
            different += u32::from(reply != sent);
        }
        different
    };
    assert_eq!(echoed(Rule { alter: 1.0, ..Rule::OPEN }), 20, "TCP does not notice");
    assert_eq!(echoed(Rule { corrupt: 0.3, ..Rule::OPEN }), 0, "TCP notices and repeats");
}

fn an_island_is_cut_off_and_still_observed(sandbox: &Sandbox) {
    let mut nodes = Nodes::new(sandbox, 3);
    drop(nodes.connect(Endpoint::Harness, N1));
    let (receipt, hold) = inject(&mut nodes, "partition-island", "");
    assert_outcome("island", &receipt, Outcome::Installed);
    let mut inside = nodes.observe(N1).expect("its own network is whole");
    inside.write_all(b"who leads").expect("the node listens");
    let mut reply = [0; 9];
    inside.read_exact(&mut reply).expect("the node answers");
    let harness = Link::new(Endpoint::Harness, N1);
    assert!(!nodes.probe(harness, Duration::from_millis(30)).expect("sockets open"));
    heal(&mut nodes, "partition-island", hold, &Hold::default());
    drop(nodes.connect(Endpoint::Harness, N1));
}

fn weather_loses_nothing_that_was_not_asked_for(sandbox: &Sandbox) {
    let mut nodes = Nodes::new(sandbox, 3);
    for link in nodes.all_links() {
        nodes.set(link, Rule { loss: 0.05, ..Rule::OPEN });
    }
    let sent = (0..200_000).map(|at| (at % 251) as u8).collect::<Vec<_>>();
    let mut writing = nodes.connect(N1, N2);
    let mut reading = writing.try_clone().expect("a socket can be shared");
    thread::scope(|scope| {
        scope.spawn(|| writing.write_all(&sent).expect("the connection lives"));
        let mut received = vec![0; sent.len()];
        reading.read_exact(&mut received).expect("everything comes back");
        assert!(received == sent);
    });
    assert_eq!(nodes.network.interface_drops(), []);
    for link in nodes.all_links() {
        let counted = nodes.counters(link);
        assert_eq!((counted.overflowed, counted.write_errors, counted.blocked), (0, 0, 0), "{link}");
    }
    assert!(nodes.counters(Link::new(N1, N2)).lost > 0);
}
