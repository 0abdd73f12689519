//! What a heal is worth: how soon an established connection goes on after its links were cut, with one request in flight;
//! and how near to what was asked links come, seen by datagrams from both ends.
//!
//! `cargo bench -p nemesis --bench heal`, with `HARNESS_TUN` naming the TUN device where it is not `/dev/net/tun`. It takes
//! a minute and a half, most of it waiting behind cuts of 15 s: without the switch's help TCP would then wait about as
//! long again.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use checkers::history::NodeId;
use nemesis::net::{Burst, Link, Network, NetworkOptions, Request, Rule, Sighting, enter};

const CLIENT: NodeId = NodeId(1);
const SERVER: NodeId = NodeId(2);
const CUT: Duration = Duration::from_secs(15);
const MESSAGE_BYTES: usize = 128;
/// Of each kind of weather.
const DATAGRAMS: u32 = 20_000;

fn main() -> io::Result<()> {
    let tun = std::env::var_os("HARNESS_TUN").map_or_else(|| "/dev/net/tun".into(), PathBuf::from);
    let sandbox = match enter(&Request { tun, host_listeners: Vec::new() }) {
        Ok(sandbox) => sandbox,
        Err(error) => {
            println!("skipped: {error}; {}", error.help());
            return Ok(());
        }
    };
    let network = sandbox.network(&[CLIENT, SERVER], NetworkOptions::default()).map_err(io::Error::other)?;
    println!("an established connection after {} s, one request in flight", CUT.as_secs());
    let (out, back) = (Link::new(CLIENT, SERVER), Link::new(SERVER, CLIENT));
    for (name, cut) in
        [("both ways cut", &[out, back][..]), ("requests cut", &[out][..]), ("replies cut", &[back][..])]
    {
        let resumed = stall(&network, cut)?;
        println!("  {name:<16} goes on {:>8.3} ms after the heal", resumed.as_secs_f64() * 1e3);
    }
    println!("\nweather of one link, {DATAGRAMS} datagrams each      asked     seen");
    weather(&network)?;
    println!("\naccidental drops: {:?}", network.interface_drops());
    Ok(())
}

/// How long after the heal the reply comes.
fn stall(network: &Network, cut: &[Link]) -> io::Result<Duration> {
    let address = network.address(SERVER);
    let listener = network.inside(SERVER, || TcpListener::bind((address, 0))).flatten()?;
    let target = listener.local_addr()?;
    let mut stream = network.inside(CLIENT, || TcpStream::connect(target)).flatten()?;
    stream.set_nodelay(true)?;
    thread::scope(|scope| {
        scope.spawn(|| echo(&listener));
        let mut message = [7; MESSAGE_BYTES];
        for _ in 0..1000 {
            stream.write_all(&message)?;
            stream.read_exact(&mut message)?;
        }
        cut.iter().for_each(|link| network.set(link.from, link.to, Rule::BLOCK));
        let asking = scope.spawn(move || {
            stream.write_all(&message)?;
            stream.read_exact(&mut message)?;
            Ok(Instant::now())
        });
        thread::sleep(CUT);
        network.clear();
        let healed = Instant::now();
        let resumed: io::Result<Instant> = asking.join().expect("it only returns errors");
        Ok(resumed?.saturating_duration_since(healed))
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

fn weather(network: &Network) -> io::Result<()> {
    let ms = Duration::from_millis;
    let percent = |count: u32, of: u32| f64::from(count) * 100.0 / f64::from(of);
    let line = |what: &str, asked: f64, seen: f64, unit: &str| {
        println!("  {what:<42} {asked:>8.0} {seen:>8.2} {unit}");
    };

    let seen = see(network, Rule { loss: 0.2, ..Rule::OPEN })?;
    line("loss", 20.0, percent(seen.lost(), seen.sent), "%");
    let seen = see(network, Rule { loss: 0.2, loss_burst: 5, ..Rule::OPEN })?;
    line("loss in bursts of 5", 20.0, percent(seen.lost(), seen.sent), "%");
    let seen = see(network, Rule { duplicate: 0.2, ..Rule::OPEN })?;
    line("duplicates", 20.0, percent(seen.copies(), seen.sent), "%");
    let (overtaken, judged) = see(network, Rule { reorder: 0.2, ..Rule::OPEN })?.overtaken(ms(10));
    line("overtaken", 20.0, percent(overtaken, judged), "%");
    let seen = see(network, Rule { alter: 0.2, ..Rule::OPEN })?;
    line("data altered", 20.0, percent(seen.altered, seen.sent), "%");

    let seen = see(network, Rule { delay: ms(100), jitter: ms(50), ..Rule::OPEN })?;
    let mut travels =
        seen.arrivals.iter().map(|arrival| arrival.travel().as_secs_f64() * 1e3).collect::<Vec<_>>();
    travels.sort_by(f64::total_cmp);
    let mean = travels.iter().sum::<f64>() / travels.len() as f64;
    line("delay 100 ± 50 ms, mean", 100.0, mean, "ms");
    line("delay 100 ± 50 ms, least", 50.0, travels[0], "ms");
    line("delay 100 ± 50 ms, most", 150.0, travels[travels.len() - 1], "ms");

    for kbit_s in [500, 2000, 20_000] {
        network.set(CLIENT, SERVER, Rule { bandwidth: Some(kbit_s * 1000), ..Rule::OPEN });
        let burst = Burst { count: 100, gap: Duration::ZERO, bytes: 1000, quiet: ms(300) };
        let rate = send(network, &burst)?.rate().unwrap_or_default();
        network.clear();
        line("bandwidth", kbit_s as f64, rate / 1e3, "kbit/s");
    }
    Ok(())
}

fn see(network: &Network, rule: Rule) -> io::Result<Sighting> {
    network.set(CLIENT, SERVER, rule);
    let gap = Duration::from_micros(200);
    let seen = send(network, &Burst { count: DATAGRAMS, gap, bytes: 60, quiet: Duration::from_millis(400) });
    network.clear();
    seen
}

fn send(network: &Network, burst: &Burst) -> io::Result<Sighting> {
    let mut seen = network.burst(&[Link::new(CLIENT, SERVER)], burst)?;
    Ok(seen.remove(0))
}
