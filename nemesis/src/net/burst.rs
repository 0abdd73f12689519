//! Sends numbered datagrams along links and tells what became of them: the switch's work, seen from both ends.
//!
//! Sender and receiver are threads of the harness with sockets in the namespaces of two endpoints. They share one clock,
//! so travel times are those of one direction. What the switch has counted plays no part.

use std::collections::BTreeSet;
use std::io;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

/// The bytes that a datagram of ours has at least: sequence, time and checksum.
const BYTES_MIN: usize = 16;
/// How often a receiver looks whether it is done.
const LOOK: Duration = Duration::from_millis(5);
/// What a receiver's socket shall hold, with the kernel's own overhead: thousands of datagrams.
const RECEIVE_BYTES: usize = 8 * 1024 * 1024;
/// IP and UDP headers.
const HEADERS_BYTES: usize = 28;

/// Datagrams to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burst {
    /// How many.
    pub count: u32,
    /// How far apart.
    pub gap: Duration,
    /// How long each is, with its headers.
    pub bytes: usize,
    /// How long without any arrival means that no more will come.
    pub quiet: Duration,
}

/// What became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sighting {
    /// How many were sent.
    pub sent: u32,
    /// How long each was, with its headers.
    pub bytes: usize,
    /// Datagrams that arrived as they were sent, in the order of their arrival, copies included.
    pub arrivals: Vec<Arrival>,
    /// How many arrived with other contents than were sent.
    pub altered: u32,
}

/// A datagram that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The how-many-eth of those sent, from zero.
    pub sequence: u32,
    /// When it was sent, since the burst began.
    pub sent: Duration,
    /// When it arrived, since the burst began.
    pub at: Duration,
}

impl Arrival {
    /// How long it took.
    pub fn travel(&self) -> Duration {
        self.at.saturating_sub(self.sent)
    }
}

impl Sighting {
    /// How many did not arrive, whole or altered. A copy of an altered one counts for it.
    pub fn lost(&self) -> u32 {
        self.sent.saturating_sub(self.distinct() + self.altered)
    }

    /// How many copies arrived beyond the first.
    pub fn copies(&self) -> u32 {
        count(self.arrivals.len()) - self.distinct()
    }

    /// Of those whose successors had time to overtake them: how many arrived after a datagram that was sent up to
    /// `within` later, and how many there were.
    pub fn overtaken(&self, within: Duration) -> (u32, u32) {
        let Some(last_sent) = self.arrivals.iter().map(|arrival| arrival.sent).max() else { return (0, 0) };
        let judged = |arrival: &&Arrival| arrival.sent + within < last_sent;
        let mut newest_before = None;
        let mut overtaken = 0;
        for arrival in &self.arrivals {
            if judged(&arrival) && newest_before.is_some_and(|newest| newest > arrival.sequence) {
                overtaken += 1;
            }
            newest_before = newest_before.max(Some(arrival.sequence));
        }
        (overtaken, count(self.arrivals.iter().filter(judged).count()))
    }

    /// The mean travel time, `None` if nothing arrived.
    pub fn travel_mean(&self) -> Option<Duration> {
        let total = self.arrivals.iter().map(Arrival::travel).sum::<Duration>();
        (!self.arrivals.is_empty()).then(|| total / count(self.arrivals.len()))
    }

    /// The travel time that half of them did not exceed.
    pub fn travel_median(&self) -> Option<Duration> {
        let mut travels = self.arrivals.iter().map(Arrival::travel).collect::<Vec<_>>();
        travels.sort_unstable();
        travels.get(travels.len() / 2).copied()
    }

    /// Bits a second with which they arrived, headers included; `None` if too few did.
    pub fn rate(&self) -> Option<f64> {
        let (first, last) = (self.arrivals.first()?, self.arrivals.last()?);
        let bits = (self.arrivals.len() - 1) as f64 * self.bytes as f64 * 8.0;
        let time = last.at.checked_sub(first.at).filter(|time| !time.is_zero())?;
        Some(bits / time.as_secs_f64())
    }

    fn distinct(&self) -> u32 {
        count(self.arrivals.iter().map(|arrival| arrival.sequence).collect::<BTreeSet<_>>().len())
    }
}

/// Sends a burst along each path, from its first socket to its second, all at once.
pub(super) fn send(paths: &[(UdpSocket, UdpSocket)], burst: &Burst) -> io::Result<Vec<Sighting>> {
    let began = Instant::now();
    thread::scope(|scope| {
        let paths = paths.iter().map(|path| scope.spawn(|| along(path, burst, began))).collect::<Vec<_>>();
        let join = |path: thread::ScopedJoinHandle<'_, _>| {
            path.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        paths.into_iter().map(join).collect()
    })
}

fn along((sender, receiver): &(UdpSocket, UdpSocket), burst: &Burst, began: Instant) -> io::Result<Sighting> {
    sender.connect(receiver.local_addr()?)?;
    // The default holds a few hundred small datagrams; a receiver that a busy machine keeps waiting would lose more, and the
    // link would be blamed. Root may have what it asks for, others what the system allows.
    setsockopt(receiver, sockopt::RcvBufForce, &RECEIVE_BYTES)
        .or_else(|_| setsockopt(receiver, sockopt::RcvBuf, &RECEIVE_BYTES))?;
    receiver.set_read_timeout(Some(LOOK))?;
    let all_sent = AtomicBool::new(false);
    thread::scope(|scope| {
        let receiving = scope.spawn(|| receive(receiver, burst, began, &all_sent));
        let sent = transmit(sender, burst, began);
        all_sent.store(true, Ordering::Release);
        let sighting = receiving.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        sent.and(sighting)
    })
}

fn transmit(sender: &UdpSocket, burst: &Burst, began: Instant) -> io::Result<()> {
    let first = began.elapsed();
    for sequence in 0..burst.count {
        sender.send(&datagram(sequence, began.elapsed(), burst.bytes))?;
        // One that is late does not make all later ones late.
        let next = first + burst.gap * (sequence + 1);
        thread::sleep(next.saturating_sub(began.elapsed()));
    }
    Ok(())
}

fn receive(
    receiver: &UdpSocket,
    burst: &Burst,
    began: Instant,
    all_sent: &AtomicBool,
) -> io::Result<Sighting> {
    let mut sighting = Sighting { sent: burst.count, bytes: burst.bytes, ..Sighting::default() };
    let mut buffer = vec![0; usize::from(u16::MAX)];
    let mut quiet_since = Instant::now();
    loop {
        match receiver.recv(&mut buffer) {
            Ok(length) => {
                let at = began.elapsed();
                match read(&buffer[..length], at) {
                    Some(arrival) => sighting.arrivals.push(arrival),
                    None => sighting.altered += 1,
                }
                quiet_since = Instant::now();
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if !all_sent.load(Ordering::Acquire) {
                    quiet_since = Instant::now();
                } else if quiet_since.elapsed() >= burst.quiet {
                    return Ok(sighting);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Sequence, time of sending, filling, and a checksum over all of it: the socket receives nothing but our datagrams, so
/// one whose checksum does not fit was altered on its way.
fn datagram(sequence: u32, sent: Duration, bytes: usize) -> Vec<u8> {
    let mut datagram = vec![0x55; bytes.saturating_sub(HEADERS_BYTES).max(BYTES_MIN)];
    datagram[..4].copy_from_slice(&sequence.to_le_bytes());
    let sent = u64::try_from(sent.as_nanos()).expect("a burst ends within centuries");
    datagram[4..12].copy_from_slice(&sent.to_le_bytes());
    let (contents, checksum) = datagram.split_last_chunk_mut().expect("it is longer than that");
    *checksum = sum(contents);
    datagram
}

fn read(datagram: &[u8], at: Duration) -> Option<Arrival> {
    let (contents, checksum) = datagram.split_last_chunk()?;
    if datagram.len() < BYTES_MIN || sum(contents) != *checksum {
        return None;
    }
    let sequence = u32::from_le_bytes(contents[..4].try_into().ok()?);
    let sent = Duration::from_nanos(u64::from_le_bytes(contents[4..12].try_into().ok()?));
    Some(Arrival { sequence, sent, at })
}

/// Fowler, Noll and Vo's hash: every step is a bijection, so one flipped bit always shows.
fn sum(bytes: &[u8]) -> [u8; 4] {
    let step = |hash: u32, &byte: &u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    bytes.iter().fold(0x811c_9dc5, step).to_le_bytes()
}

fn count(length: usize) -> u32 {
    u32::try_from(length).expect("a burst has fewer datagrams")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Datagrams sent 1 ms apart that arrived in this order.
    fn sighting(sent: u32, arrived: &[u32]) -> Sighting {
        let arrivals = arrived.iter().zip(0..).map(|(&sequence, nth)| Arrival {
            sequence,
            sent: Duration::from_millis(u64::from(sequence)),
            at: Duration::from_millis(100 + nth),
        });
        Sighting { sent, bytes: 100, arrivals: arrivals.collect(), altered: 0 }
    }

    #[test]
    fn a_flipped_bit_anywhere_shows() {
        let sent = datagram(7, Duration::from_millis(3), 60);
        assert_eq!(sent.len(), 60 - HEADERS_BYTES);
        let at = Duration::from_millis(5);
        let arrival = Arrival { sequence: 7, sent: Duration::from_millis(3), at };
        assert_eq!(read(&sent, at), Some(arrival));
        assert_eq!(arrival.travel(), Duration::from_millis(2));
        for bit in 0..sent.len() * 8 {
            let mut damaged = sent.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&damaged, at), None, "bit {bit}");
        }
    }

    #[test]
    fn losses_and_copies_are_told_apart() {
        let seen = sighting(5, &[0, 1, 1, 3]);
        assert_eq!((seen.lost(), seen.copies()), (2, 1));
    }

    #[test]
    fn a_datagram_is_overtaken_by_a_later_one_that_arrives_before_it() {
        let seen = sighting(6, &[1, 0, 2, 4, 3, 5]);
        assert_eq!(seen.overtaken(Duration::from_millis(1)), (2, 4));
        assert_eq!(sighting(4, &[0, 1, 2, 3]).overtaken(Duration::ZERO), (0, 3));
    }

    #[test]
    fn the_rate_is_that_of_the_arrivals() {
        // 100 bytes each millisecond.
        assert_eq!(sighting(5, &[0, 1, 2, 3, 4]).rate(), Some(800_000.0));
        assert_eq!(sighting(5, &[0]).rate(), None);
    }
}
