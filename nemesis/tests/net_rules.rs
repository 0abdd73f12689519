//! The rules of the switch, each shown by packets between the namespaces of three nodes.
//!
//! A rule that did nothing would fail its test, and so would one that did more than it says.

mod net_support;

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use checkers::history::NodeId;
use nemesis::net::{Endpoint, LinkCounters, Network, NetworkOptions, Request, Rule, Sandbox, enter};
use net_support::{Case, eventually};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};

const N1: NodeId = NodeId(1);
const N2: NodeId = NodeId(2);
const N3: NodeId = NodeId(3);

/// Long enough for a healthy link on a busy machine.
const ARRIVAL: Duration = Duration::from_secs(2);
/// Long enough to see a packet that should not be.
const SILENCE: Duration = Duration::from_millis(30);
/// Until when every packet of a test has met its fate.
const SETTLED: Duration = Duration::from_secs(20);

const CASES: &[Case<Sandbox>] = &[
    ("every_direction_carries_packets", every_direction_carries_packets),
    ("a_block_cuts_one_direction_only", a_block_cuts_one_direction_only),
    ("a_block_loses_what_is_in_flight", a_block_loses_what_is_in_flight),
    ("nothing_is_delivered_once_a_block_is_set", nothing_is_delivered_once_a_block_is_set),
    ("the_harness_can_be_cut_from_a_node", the_harness_can_be_cut_from_a_node),
    ("clear_heals_everything_any_number_of_times", clear_heals_everything_any_number_of_times),
    ("loss_takes_its_share", loss_takes_its_share),
    ("the_same_seed_loses_the_same_packets", the_same_seed_loses_the_same_packets),
    ("delay_holds_every_packet", delay_holds_every_packet),
    ("jitter_reorders_unless_fifo", jitter_reorders_unless_fifo),
    ("duplicates_arrive_twice", duplicates_arrive_twice),
    ("corrupt_packets_do_not_arrive", corrupt_packets_do_not_arrive),
    ("reordered_packets_are_overtaken", reordered_packets_are_overtaken),
    ("bandwidth_limits_the_rate", bandwidth_limits_the_rate),
    ("tcp_carries_ten_megabytes_without_accidental_loss", tcp_carries_ten_megabytes_without_accidental_loss),
    ("tcp_survives_loss_and_corruption", tcp_survives_loss_and_corruption),
    ("packets_with_a_forged_source_are_dropped", packets_with_a_forged_source_are_dropped),
    ("packets_to_nobody_are_counted_apart", packets_to_nobody_are_counted_apart),
    ("a_node_process_lives_in_its_own_network", a_node_process_lives_in_its_own_network),
    ("a_capture_holds_what_was_sent", a_capture_holds_what_was_sent),
    ("a_network_leaves_nothing_behind", a_network_leaves_nothing_behind),
    ("nodes_without_an_address_are_refused", nodes_without_an_address_are_refused),
];

fn main() {
    net_support::require_tier();
    let request = Request { tun: net_support::tun(), host_listeners: Vec::new() };
    let sandbox = enter(&request).unwrap_or_else(|error| panic!("{error}; {}", error.help()));
    net_support::run(CASES, &sandbox)
}

fn network(sandbox: &Sandbox) -> Network {
    seeded(sandbox, 7)
}

fn seeded(sandbox: &Sandbox, seed: u64) -> Network {
    let options = NetworkOptions { seed, ..NetworkOptions::default() };
    sandbox.network(&[N1, N2, N3], options).unwrap_or_else(|error| panic!("{error}; {}", error.help()))
}

/// All directed links.
fn links() -> Vec<(Endpoint, Endpoint)> {
    let all = [Endpoint::Harness, N1.into(), N2.into(), N3.into()];
    all.iter().flat_map(|&from| all.map(|to| (from, to))).filter(|(from, to)| from != to).collect()
}

fn arrives(network: &Network, from: impl Into<Endpoint>, to: impl Into<Endpoint>, wait: Duration) -> bool {
    network.probe(from, to, wait).expect("sockets open in every namespace")
}

/// A datagram that arrived.
struct Arrival {
    sequence: u32,
    travel: Duration,
    at: Instant,
}

/// Sends numbered datagrams from n1 to n2, `gap` apart, and returns what arrived once every one has met its fate.
fn flow(network: &Network, count: u32, gap: Duration, bytes: usize) -> Vec<Arrival> {
    flow_while(network, count, gap, bytes, || ())
}

/// The same with something else done meanwhile.
fn flow_while(
    network: &Network,
    count: u32,
    gap: Duration,
    bytes: usize,
    meanwhile: impl FnOnce(),
) -> Vec<Arrival> {
    let open = |node: NodeId| {
        let address = network.address(node);
        network
            .inside(node, || UdpSocket::bind((address, 0)))
            .flatten()
            .expect("a socket opens in the namespace")
    };
    let (sender, receiver) = (open(N1), open(N2));
    sender.connect(receiver.local_addr().expect("it is bound")).expect("a datagram socket connects");
    receiver.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout above zero is valid");
    let before = network.counters(N1, N2);
    let began = Instant::now();
    let all_sent = AtomicBool::new(false);
    thread::scope(|scope| {
        let receiving = scope.spawn(|| receive(&receiver, began, &all_sent));
        let sending = scope.spawn(|| {
            for sequence in 0..count {
                let mut datagram = vec![0; bytes.max(12)];
                datagram[..4].copy_from_slice(&sequence.to_le_bytes());
                let sent = u64::try_from(began.elapsed().as_nanos()).expect("tests are short");
                datagram[4..12].copy_from_slice(&sent.to_le_bytes());
                sender.send(&datagram).expect("the interface takes datagrams");
                thread::sleep((gap * (sequence + 1)).saturating_sub(began.elapsed()));
            }
        });
        meanwhile();
        sending.join().expect("the sender does not panic");
        eventually("the fate of every packet", SETTLED, || {
            let counters = network.counters(N1, N2);
            counters.seen - before.seen >= u64::from(count) && in_flight(&counters) == 0
        });
        all_sent.store(true, Ordering::Relaxed);
        receiving.join().expect("the receiver does not panic")
    })
}

fn receive(receiver: &UdpSocket, began: Instant, all_sent: &AtomicBool) -> Vec<Arrival> {
    let mut arrivals = Vec::new();
    let mut buffer = [0; 2048];
    loop {
        let complete = all_sent.load(Ordering::Relaxed);
        match receiver.recv(&mut buffer) {
            Ok(_) => {
                let at = Instant::now();
                let sequence = u32::from_le_bytes(buffer[..4].try_into().expect("four bytes"));
                let sent = u64::from_le_bytes(buffer[4..12].try_into().expect("eight bytes"));
                let travel = at.duration_since(began).saturating_sub(Duration::from_nanos(sent));
                arrivals.push(Arrival { sequence, travel, at });
            }
            // Delivered packets are in the socket by the time they are counted.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if complete {
                    return arrivals;
                }
            }
            Err(error) => panic!("failed to receive: {error}"),
        }
    }
}

/// What the counters say is on its way.
fn in_flight(counters: &LinkCounters) -> u64 {
    let fates =
        counters.delivered + counters.blocked + counters.lost + counters.overflowed + counters.write_errors;
    counters.seen + counters.duplicated - fates
}

fn inversions(arrivals: &[Arrival]) -> usize {
    arrivals.windows(2).filter(|pair| pair[1].sequence < pair[0].sequence).count()
}

fn every_direction_carries_packets(sandbox: &Sandbox) {
    let network = network(sandbox);
    for (from, to) in links() {
        assert!(arrives(&network, from, to, ARRIVAL), "{from} → {to}");
        let counters = network.counters(from, to);
        assert_eq!((counters.seen, counters.delivered), (1, 1), "{from} → {to}");
    }
    assert!(network.is_running());
    assert_eq!(network.interface_drops(), []);
}

fn a_block_cuts_one_direction_only(sandbox: &Sandbox) {
    let network = network(sandbox);
    network.set(N1, N2, Rule::BLOCK);
    for (from, to) in links() {
        let cut = (from, to) == (N1.into(), N2.into());
        assert_eq!(arrives(&network, from, to, if cut { SILENCE } else { ARRIVAL }), !cut, "{from} → {to}");
    }
    for (from, to) in links() {
        let cut = (from, to) == (N1.into(), N2.into());
        assert_eq!(network.counters(from, to).blocked, u64::from(cut), "{from} → {to}");
    }
    network.set(N1, N2, Rule::default());
    assert!(arrives(&network, N1, N2, ARRIVAL));
}

fn a_block_loses_what_is_in_flight(sandbox: &Sandbox) {
    let network = network(sandbox);
    network.set(N1, N2, Rule { delay: Duration::from_millis(300), ..Rule::default() });
    let arrivals = flow_while(&network, 20, Duration::from_millis(1), 32, || {
        eventually("every packet waits", ARRIVAL, || network.counters(N1, N2).delayed == 20);
        network.set(N1, N2, Rule::BLOCK);
    });
    assert!(arrivals.is_empty());
    let counters = network.counters(N1, N2);
    assert_eq!((counters.blocked, counters.delivered), (20, 0));
}

fn nothing_is_delivered_once_a_block_is_set(sandbox: &Sandbox) {
    let network = network(sandbox);
    for _ in 0..5 {
        network.clear();
        let mut then = LinkCounters::default();
        flow_while(&network, 1000, Duration::from_micros(50), 32, || {
            let before = network.counters(N1, N2).delivered;
            eventually("packets flow", ARRIVAL, || network.counters(N1, N2).delivered > before + 200);
            network.set(N1, N2, Rule::BLOCK);
            then = network.counters(N1, N2);
        });
        let now = network.counters(N1, N2);
        assert_eq!(now.delivered, then.delivered);
        assert!(now.blocked > then.blocked, "the rest was blocked");
    }
}

fn the_harness_can_be_cut_from_a_node(sandbox: &Sandbox) {
    let network = network(sandbox);
    network.set(Endpoint::Harness, N3, Rule::BLOCK);
    assert!(!arrives(&network, Endpoint::Harness, N3, SILENCE));
    assert!(arrives(&network, N3, Endpoint::Harness, ARRIVAL));
    assert!(arrives(&network, Endpoint::Harness, N1, ARRIVAL));
}

fn clear_heals_everything_any_number_of_times(sandbox: &Sandbox) {
    let network = network(sandbox);
    for (from, to) in links() {
        network.set(from, to, Rule::BLOCK);
    }
    network.clear();
    network.clear();
    for (from, to) in links() {
        assert_eq!(network.rule(from, to), Rule::default());
        assert!(arrives(&network, from, to, ARRIVAL), "{from} → {to}");
    }
}

fn loss_takes_its_share(sandbox: &Sandbox) {
    let network = network(sandbox);
    network.set(N1, N2, Rule { loss: 0.5, ..Rule::default() });
    let arrivals = flow(&network, 400, Duration::from_micros(200), 32);
    let counters = network.counters(N1, N2);
    assert_eq!(counters.lost + arrivals.len() as u64, 400);
    // Five standard deviations of 400 coin flips.
    assert!((150..=250).contains(&arrivals.len()), "{} of 400 arrived", arrivals.len());
    assert_eq!(network.counters(N2, N1).lost, 0);
}

fn the_same_seed_loses_the_same_packets(sandbox: &Sandbox) {
    let arrived = |seed| {
        let network = seeded(sandbox, seed);
        network.set(N1, N2, Rule { loss: 0.5, ..Rule::default() });
        // Traffic elsewhere draws from streams of its own.
        network.set(N3, N2, Rule { loss: 0.5, ..Rule::default() });
        arrives(&network, N3, N2, SILENCE);
        let arrivals = flow(&network, 100, Duration::from_micros(200), 32);
        arrivals.iter().map(|arrival| arrival.sequence).collect::<Vec<_>>()
    };
    let first = arrived(1);
    assert_eq!(first, arrived(1));
    assert_ne!(first, arrived(2));
}

fn delay_holds_every_packet(sandbox: &Sandbox) {
    let network = network(sandbox);
    let delay = Duration::from_millis(20);
    network.set(N1, N2, Rule { delay, ..Rule::default() });
    let arrivals = flow(&network, 200, Duration::from_micros(500), 32);
    assert_eq!(arrivals.len(), 200);
    assert!(arrivals.iter().all(|arrival| arrival.travel >= delay));
    let mut travels = arrivals.iter().map(|arrival| arrival.travel).collect::<Vec<_>>();
    travels.sort();
    // Half of them were not late by more than a busy machine explains.
    assert!(travels[100] < delay * 3, "median {:?}", travels[100]);
    assert_eq!(inversions(&arrivals), 0);
    assert_eq!(network.counters(N1, N2).delayed, 200);
}

fn jitter_reorders_unless_fifo(sandbox: &Sandbox) {
    let network = network(sandbox);
    let ms = Duration::from_millis;
    let rule = Rule { delay: ms(20), jitter: ms(10), ..Rule::default() };
    network.set(N1, N2, rule);
    let arrivals = flow(&network, 200, Duration::from_micros(500), 32);
    assert!(arrivals.iter().all(|arrival| arrival.travel >= ms(10)));
    assert!(inversions(&arrivals) > 20, "{} inversions", inversions(&arrivals));
    network.set(N1, N2, Rule { fifo: true, ..rule });
    let arrivals = flow(&network, 200, Duration::from_micros(500), 32);
    assert_eq!((arrivals.len(), inversions(&arrivals)), (200, 0));
}

fn duplicates_arrive_twice(sandbox: &Sandbox) {
    let network = network(sandbox);
    network.set(N1, N2, Rule { duplicate: 1.0, ..Rule::default() });
    let arrivals = flow(&network, 100, Duration::from_micros(200), 32);
    let distinct = arrivals.iter().map(|arrival| arrival.sequence).collect::<BTreeSet<_>>();
    assert_eq!((arrivals.len(), distinct.len()), (200, 100));
    assert_eq!(network.counters(N1, N2).duplicated, 100);
}

fn corrupt_packets_do_not_arrive(sandbox: &Sandbox) {
    let network = network(sandbox);
    network.set(N1, N2, Rule { corrupt: 1.0, ..Rule::default() });
    let arrivals = flow(&network, 100, Duration::from_micros(200), 32);
    let counters = network.counters(N1, N2);
    assert_eq!((counters.corrupted, counters.delivered), (100, 100));
    assert_eq!(arrivals.len(), 0, "the kernel discards them by their checksum");
}

fn reordered_packets_are_overtaken(sandbox: &Sandbox) {
    let network = network(sandbox);
    network.set(N1, N2, Rule { reorder: 0.25, ..Rule::default() });
    let arrivals = flow(&network, 400, Duration::from_micros(500), 32);
    assert_eq!(arrivals.len(), 400);
    let reordered = network.counters(N1, N2).reordered;
    assert!((50..=150).contains(&reordered), "{reordered} of 400");
    assert!(inversions(&arrivals) > 20, "{} inversions", inversions(&arrivals));
    network.clear();
    assert_eq!(inversions(&flow(&network, 400, Duration::from_micros(500), 32)), 0);
}

fn bandwidth_limits_the_rate(sandbox: &Sandbox) {
    const BITS_PER_S: u64 = 2_000_000;
    const BYTES: usize = 972;
    let network = network(sandbox);
    network.set(N1, N2, Rule { bandwidth: Some(BITS_PER_S), ..Rule::default() });
    // 1000 bytes with headers, 500 µs apart: 16 Mbit/s are offered.
    let arrivals = flow(&network, 1000, Duration::from_micros(500), BYTES);
    let (first, last) = (&arrivals[0], &arrivals[arrivals.len() - 1]);
    let bits = (arrivals.len() - 1) as f64 * (BYTES + 28) as f64 * 8.0;
    let rate = bits / (last.at - first.at).as_secs_f64();
    let ratio = rate / BITS_PER_S as f64;
    assert!((0.75..=1.25).contains(&ratio), "{rate:.0} bit/s of {BITS_PER_S}");
    let counters = network.counters(N1, N2);
    assert_eq!(counters.overflowed + arrivals.len() as u64, 1000);
    assert!(counters.overflowed > 500, "{} overflowed", counters.overflowed);
    assert!(arrivals.iter().all(|arrival| arrival.travel < Duration::from_secs(2)), "the queue is bounded");
}

fn tcp_carries_ten_megabytes_without_accidental_loss(sandbox: &Sandbox) {
    let network = network(sandbox);
    transfer(&network, 10_000_000);
    assert_eq!(network.interface_drops(), []);
    let counters = network.counters(N1, N2);
    assert_eq!((counters.delivered, counters.write_errors), (counters.seen, 0));
}

fn tcp_survives_loss_and_corruption(sandbox: &Sandbox) {
    let network = network(sandbox);
    let rule = Rule { loss: 0.04, corrupt: 0.04, duplicate: 0.04, reorder: 0.04, ..Rule::default() };
    network.set(N1, N2, rule);
    network.set(N2, N1, rule);
    transfer(&network, 1_000_000);
    let counters = network.counters(N1, N2);
    assert!(counters.lost > 0 && counters.corrupted > 0 && counters.duplicated > 0 && counters.reordered > 0);
}

/// Sends a pattern over TCP from n1 to n2 and compares what arrives.
fn transfer(network: &Network, bytes: usize) {
    let pattern = (0..bytes).map(|at| (at % 251) as u8).collect::<Vec<_>>();
    let address = network.address(N2);
    let listener = network.inside(N2, || TcpListener::bind((address, 0))).flatten().expect("n2 listens");
    let target = listener.local_addr().expect("it is bound");
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut stream =
                network.inside(N1, || TcpStream::connect(target)).flatten().expect("n1 connects");
            stream.write_all(&pattern).expect("n1 writes");
        });
        let (mut stream, _) = listener.accept().expect("n2 accepts");
        stream.set_read_timeout(Some(SETTLED)).expect("a timeout above zero is valid");
        let mut received = Vec::with_capacity(bytes);
        stream.read_to_end(&mut received).expect("n2 reads to the end");
        assert!(received == pattern, "{} of {bytes} bytes, or others", received.len());
    });
}

fn packets_with_a_forged_source_are_dropped(sandbox: &Sandbox) {
    let network = network(sandbox);
    let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0];
    packet.extend_from_slice(&network.address(N3).octets());
    packet.extend_from_slice(&network.address(N2).octets());
    packet.extend_from_slice(&[0x30, 0x39, 0x30, 0x39, 0, 8, 0, 0]);
    network
        .inside(N1, || -> nix::Result<()> {
            let raw = socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw)?;
            let to = SockaddrIn::new(10, 77, 0, 2, 0);
            sendto(std::os::fd::AsRawFd::as_raw_fd(&raw), &packet, &to, MsgFlags::empty()).map(drop)
        })
        .expect("a thread enters the namespace")
        .expect("n1 may send raw packets");
    eventually("the forged packet is counted", ARRIVAL, || network.strays().spoofed == 1);
    for from in [N1, N3] {
        assert_eq!(network.counters(from, N2).seen, 0, "{from} → n2");
    }
}

fn packets_to_nobody_are_counted_apart(sandbox: &Sandbox) {
    let network = network(sandbox);
    let before = network.strays();
    network
        .inside(N1, || UdpSocket::bind("10.77.0.1:0").and_then(|socket| socket.send_to(b"?", "10.77.0.99:9")))
        .flatten()
        .expect("the interface takes datagrams");
    eventually("the packet is counted", ARRIVAL, || network.strays().unknown > before.unknown);
    assert_eq!(network.strays().malformed, before.malformed);
}

fn a_node_process_lives_in_its_own_network(sandbox: &Sandbox) {
    let network = network(sandbox);
    let run = |node, script: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null());
        network.command_in(node, &mut command).expect("the namespace is open");
        let output = command.output().expect("a shell starts");
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("the kernel writes text")
    };
    let namespaces = [N1, N2, N3].map(|node| run(node, "readlink /proc/self/ns/net"));
    assert_eq!(namespaces.iter().collect::<BTreeSet<_>>().len(), 3);
    assert!(run(N1, "cat /proc/self/net/fib_trie").contains("10.77.0.1\n"));
    assert!(run(N1, "cat /proc/self/net/dev").contains("tun0"));
    // The third number after the name is the process group; a leader's is its own pid.
    let group = run(N1, "read -r pid name state parent group rest < /proc/self/stat; echo $((pid - group))");
    assert_eq!(group.trim(), "0");
}

fn a_capture_holds_what_was_sent(sandbox: &Sandbox) {
    let path = std::env::temp_dir().join(format!("nemesis-net-rules-{}.pcap", std::process::id()));
    let options = NetworkOptions { pcap: Some(path.clone()), ..NetworkOptions::default() };
    let network = sandbox.network(&[N1, N2], options).expect("the temporary directory is writable");
    network.set(N1, N2, Rule::BLOCK);
    assert!(!arrives(&network, N1, N2, SILENCE));
    eventually("the packet is in the file", ARRIVAL, || {
        std::fs::metadata(&path).is_ok_and(|file| file.len() > 24)
    });
    let state = network.capture().expect("a capture was asked for");
    assert_eq!((state.packets, state.left_out, state.error), (1, 0, None));
    let bytes = std::fs::read(&path).expect("the capture exists");
    std::fs::remove_file(&path).expect("the capture is ours");
    assert_eq!(bytes[..4], 0xa1b2_3c4d_u32.to_le_bytes());
    assert_eq!(
        bytes[40 + 12..40 + 20],
        [10, 77, 0, 1, 10, 77, 0, 2],
        "source and destination of the first packet"
    );
}

fn a_network_leaves_nothing_behind(sandbox: &Sandbox) {
    let descriptors = || std::fs::read_dir("/proc/self/fd").expect("/proc is mounted").count();
    let threads = || std::fs::read_dir("/proc/self/task").expect("/proc is mounted").count();
    let before = (descriptors(), threads());
    for _ in 0..3 {
        let network = network(sandbox);
        let handle = network.clone();
        drop(network);
        assert!(arrives(&handle, N1, N2, ARRIVAL), "the last handle keeps it");
        drop(handle);
        assert_eq!((descriptors(), threads()), before);
    }
}

fn nodes_without_an_address_are_refused(sandbox: &Sandbox) {
    for nodes in [&[NodeId(200)][..], &[N1, N1][..]] {
        let error = sandbox.network(nodes, NetworkOptions::default()).err().expect("it is refused");
        assert!(error.to_string().contains("has no address"), "{error}");
    }
    let options = NetworkOptions { mtu: 100, ..NetworkOptions::default() };
    assert!(sandbox.network(&[N1], options).is_err());
    let network = network(sandbox);
    let error =
        sandbox.network(&[N1], NetworkOptions::default()).err().expect("tun0 of the harness is in use");
    assert!(error.help().contains("still holds tun0"), "{error}");
    drop(network);
}
