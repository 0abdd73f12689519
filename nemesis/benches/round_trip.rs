//! What the switch costs: TCP round trips between two nodes, beside the same over loopback in one of them.
//!
//! Measured twice: as the scheduler places client, server and switch, and with all of them on one processor. On an idle
//! machine the first mostly measures how long a sleeping processor takes to wake up, which loopback pays as well; the
//! second shows the work that the switch adds.
//!
//! One request in flight, 128 bytes each way, without Nagle's delay. `cargo bench -p nemesis --bench round_trip`, with
//! `HARNESS_TUN` naming the TUN device where it is not `/dev/net/tun`.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use checkers::history::NodeId;
use nemesis::net::{Network, NetworkOptions, Request, Sandbox, enter};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

const CLIENT: NodeId = NodeId(1);
const SERVER: NodeId = NodeId(2);
const MESSAGE_BYTES: usize = 128;
const WARM_UP: usize = 500;
/// The two take turns, so that a machine that gets busy or idle meanwhile does not favour one.
const TURNS: usize = 5;
const ROUND_TRIPS_A_TURN: usize = 4_000;

fn main() -> io::Result<()> {
    let tun = std::env::var_os("HARNESS_TUN").map_or_else(|| "/dev/net/tun".into(), PathBuf::from);
    let sandbox = match enter(&Request { tun, host_listeners: Vec::new() }) {
        Ok(sandbox) => sandbox,
        Err(error) => {
            println!("skipped: {error}; {}", error.help());
            return Ok(());
        }
    };
    println!("round trips of {MESSAGE_BYTES} bytes over TCP, {} of each, in µs", TURNS * ROUND_TRIPS_A_TURN);
    compare(&sandbox, "as scheduled")?;
    let mut one = CpuSet::new();
    one.set(0)?;
    // Threads that are started later stay on it too.
    sched_setaffinity(Pid::from_raw(0), &one)?;
    compare(&sandbox, "on one processor")
}

fn compare(sandbox: &Sandbox, placement: &str) -> io::Result<()> {
    let began = Instant::now();
    let network = sandbox.network(&[CLIENT, SERVER], NetworkOptions::default()).map_err(io::Error::other)?;
    let built_ms = micros(began.elapsed()) / 1000.0;
    let (mut loopback, mut switch) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        loopback.extend(measure(&network, CLIENT, Ipv4Addr::LOCALHOST)?);
        switch.extend(measure(&network, SERVER, network.address(SERVER))?);
    }
    loopback.sort();
    switch.sort();

    println!("\n{placement:<18} {:>8} {:>8} {:>8}", "p50", "p99", "max");
    for (name, times) in [("loopback", &loopback), ("switch", &switch)] {
        let [p50, p99, max] = [50, 99, 100].map(|percent| micros(at(times, percent)));
        println!("  {name:<16} {p50:>8.1} {p99:>8.1} {max:>8.1}");
    }
    let [p50, p99] = [50, 99].map(|percent| micros(at(&switch, percent)) / micros(at(&loopback, percent)));
    println!("  {:<16} {p50:>8.2} {p99:>8.2}", "ratio");
    let drops = network.interface_drops();
    println!("  network of two nodes built in {built_ms:.1} ms; accidental drops: {drops:?}");
    Ok(())
}

/// Round-trip times from the client to a server at this node and address.
fn measure(network: &Network, server: NodeId, address: Ipv4Addr) -> io::Result<Vec<Duration>> {
    let listener = network.inside(server, || TcpListener::bind((address, 0))).flatten()?;
    let target = listener.local_addr()?;
    std::thread::scope(|scope| {
        let echo = scope.spawn(|| echo(&listener));
        let mut stream = network.inside(CLIENT, || TcpStream::connect(target)).flatten()?;
        stream.set_nodelay(true)?;
        let mut message = [7; MESSAGE_BYTES];
        let mut times = Vec::with_capacity(ROUND_TRIPS_A_TURN);
        for trip in 0..WARM_UP + ROUND_TRIPS_A_TURN {
            let began = Instant::now();
            stream.write_all(&message)?;
            stream.read_exact(&mut message)?;
            if trip >= WARM_UP {
                times.push(began.elapsed());
            }
        }
        drop(stream);
        echo.join().expect("the server does not panic")?;
        Ok(times)
    })
}

fn echo(listener: &TcpListener) -> io::Result<()> {
    let (mut stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    let mut message = [0; MESSAGE_BYTES];
    loop {
        match stream.read_exact(&mut message) {
            Ok(()) => stream.write_all(&message)?,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

fn at(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() - 1) * percent / 100]
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
