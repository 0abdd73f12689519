//! The switch: one thread that reads every node's packets and passes them on, late, twice, damaged or not at all.
//!
//! An operating system thread of its own rather than a task, because a busy runtime must not slow the network down and
//! because delays need better than a runtime's milliseconds. What shall happen to a packet is decided in
//! [`link`](super::link); here are the descriptors, the clock and the packets that wait.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::eventfd::EventFd;
use nix::unistd::{read, write};
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::capture::{Capture, CaptureState};
use super::kept::Kept;
use super::link::{Fate, Link, Passage};
use super::packet;
use super::rules::{Counted, Table};

/// Packets read from one port before the next has its turn.
const TURN_PACKETS: usize = 64;
/// Bytes of waiting packets a link: 130 Mbit/s delayed by a second.
const WAITING_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The largest IPv4 packet.
const PACKET_BYTES_MAX: usize = 65_535;
/// The event of the descriptor that ends the thread; ports have small numbers.
const STOP: u64 = u64::MAX;
/// The event of the descriptor that tells of links that were healed.
const WAKE: u64 = u64::MAX - 1;

/// One end of a link.
pub(super) struct Port {
    pub(super) address: Ipv4Addr,
    /// The far end of its `tun0`.
    pub(super) tun: OwnedFd,
}

/// A packet on its way.
struct Waiting {
    due: Duration,
    /// Keeps packets that are due at the same time in order.
    sequence: u64,
    link: usize,
    packet: Box<[u8]>,
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.due, self.sequence).cmp(&(other.due, other.sequence))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Waiting {}

/// A link's memory, and the bytes that wait on it.
struct Lane {
    link: Link,
    waiting_bytes: usize,
    kept: Kept,
}

pub(super) struct Switch {
    ports: Vec<Port>,
    lanes: Vec<Lane>,
    table: Arc<Table>,
    waiting: BinaryHeap<Reverse<Waiting>>,
    sequence: u64,
    started: Instant,
    capture: Option<Capture<File>>,
    captured: Arc<Mutex<CaptureState>>,
}

impl Switch {
    pub(super) fn new(
        ports: Vec<Port>,
        seed: u64,
        table: Arc<Table>,
        capture: Option<Capture<File>>,
        captured: Arc<Mutex<CaptureState>>,
    ) -> Self {
        let mut seeds = Pcg64Mcg::seed_from_u64(seed);
        let lanes = (0..ports.len() * ports.len())
            .map(|_| {
                let link = Link::new(Pcg64Mcg::seed_from_u64(seeds.next_u64()));
                Lane { link, waiting_bytes: 0, kept: Kept::default() }
            })
            .collect();
        Self {
            ports,
            lanes,
            table,
            waiting: BinaryHeap::new(),
            sequence: 0,
            started: Instant::now(),
            capture,
            captured,
        }
    }

    /// Passes packets on until `stop` is written to.
    pub(super) fn run(mut self, stop: &EventFd) -> io::Result<()> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(stop.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, STOP))?;
        epoll.add(self.table.wake.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, WAKE))?;
        for (number, port) in self.ports.iter().enumerate() {
            epoll.add(port.tun.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, number as u64))?;
        }
        let mut events = vec![EpollEvent::empty(); self.ports.len() + 2];
        let mut buffer = vec![0; PACKET_BYTES_MAX];
        loop {
            self.deliver_due();
            if let Some(capture) = &mut self.capture {
                capture.flush(&self.captured);
            }
            let ready = wait(&epoll, &mut events, self.next_due())?;
            for event in &events[..ready] {
                match event.data() {
                    STOP => return Ok(()),
                    WAKE => {
                        self.table.wake.read()?;
                        self.redeliver();
                        continue;
                    }
                    _ => {}
                }
                let from = usize::try_from(event.data()).expect("it is the number of a port");
                if let Err(errno) = self.drain(from, &mut buffer) {
                    // A node is root in its namespace and may have removed its interface. Others go on.
                    let address = self.ports[from].address;
                    tracing::error!(%address, %errno, "failed to read from the node's device; it is cut off from here on");
                    epoll.delete(self.ports[from].tun.as_fd())?;
                }
                self.deliver_due();
            }
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// How long until the next waiting packet is due, `None` if none waits.
    fn next_due(&self) -> Option<Duration> {
        let Reverse(next) = self.waiting.peek()?;
        Some(next.due.saturating_sub(self.now()))
    }

    /// Reads what a port has sent, up to a turn's worth.
    fn drain(&mut self, from: usize, buffer: &mut [u8]) -> nix::Result<()> {
        for _ in 0..TURN_PACKETS {
            match read(&self.ports[from].tun, buffer) {
                Ok(bytes) => self.forward(from, &mut buffer[..bytes]),
                Err(Errno::EAGAIN) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    fn forward(&mut self, from: usize, packet: &mut [u8]) {
        if let Some(capture) = &mut self.capture {
            capture.record(packet, &self.captured);
        }
        let Some((source, destination)) = packet::addresses(packet) else {
            self.table.malformed.add();
            return;
        };
        if source != self.ports[from].address {
            self.table.spoofed.add();
            return;
        }
        let Some(to) = self.ports.iter().position(|port| port.address == destination) else {
            self.table.unknown.add();
            return;
        };
        let number = self.table.link(from, to);
        let now = self.now();
        let table = Arc::clone(&self.table);
        // Held until the packet has been handed over: whoever changes a rule waits for it.
        let rules = table.rules();
        let counted = table.counted(number);
        counted.seen.add();
        let fate = self.lanes[number].link.decide(&rules[number], now, packet.len());
        match fate {
            Fate::Blocked => counted.blocked.add(),
            Fate::Lost => counted.lost.add(),
            Fate::Sent(first, second) => {
                self.lanes[number].kept.passed(packet);
                if let Some(second) = second {
                    counted.duplicated.add();
                    self.send(counted, number, &mut packet.to_vec(), second, now);
                }
                self.send(counted, number, packet, first, now);
                return;
            }
        }
        self.lanes[number].kept.dropped(packet);
    }

    /// Sends what healed links had dropped of TCP connections on its way.
    fn redeliver(&mut self) {
        let table = Arc::clone(&self.table);
        for number in table.take_eased() {
            let rules = table.rules();
            let rule = &rules[number];
            let now = self.now();
            // It may have been cut again meanwhile; then the next heal finds them.
            if self.lanes[number].link.is_down(rule, now) {
                continue;
            }
            let counted = table.counted(number);
            for mut packet in self.lanes[number].kept.take() {
                counted.redelivered.add();
                let passage = self.lanes[number].link.travel_late(rule, now, packet.len());
                self.send(counted, number, &mut packet, passage, now);
            }
        }
    }

    /// Lets one copy travel, or arrive if it takes no time.
    fn send(&mut self, counted: &Counted, link: usize, packet: &mut [u8], passage: Passage, now: Duration) {
        let Passage::Due { at, corrupt, alter, reordered } = passage else {
            counted.overflowed.add();
            return;
        };
        if reordered {
            counted.reordered.add();
        }
        if corrupt.is_some_and(|draw| packet::flip_bit(packet, draw)) {
            counted.corrupted.add();
        }
        if alter.is_some_and(|draw| packet::alter_bit(packet, draw)) {
            counted.altered.add();
        }
        if at <= now {
            deliver(&self.ports[self.table.end(link)], counted, packet);
            return;
        }
        let waiting_bytes = &mut self.lanes[link].waiting_bytes;
        if *waiting_bytes + packet.len() > WAITING_BYTES_MAX {
            counted.overflowed.add();
            return;
        }
        *waiting_bytes += packet.len();
        counted.delayed.add();
        self.sequence += 1;
        let waiting = Waiting { due: at, sequence: self.sequence, link, packet: (&*packet).into() };
        self.waiting.push(Reverse(waiting));
    }

    /// Hands over the packets whose time has come, unless their link has been cut meanwhile.
    fn deliver_due(&mut self) {
        while let Some(Reverse(next)) = self.waiting.peek() {
            if next.due > self.now() {
                return;
            }
            let Some(Reverse(next)) = self.waiting.pop() else { return };
            let now = self.now();
            let lane = &mut self.lanes[next.link];
            lane.waiting_bytes -= next.packet.len();
            let rules = self.table.rules();
            let counted = self.table.counted(next.link);
            if lane.link.is_down(&rules[next.link], now) {
                counted.blocked.add();
                lane.kept.dropped(&next.packet);
            } else {
                deliver(&self.ports[self.table.end(next.link)], counted, &next.packet);
            }
        }
    }
}

fn deliver(to: &Port, counted: &Counted, packet: &[u8]) {
    match write(&to.tun, packet) {
        Ok(bytes) => {
            counted.delivered_bytes.add_many(bytes as u64);
            counted.delivered.add();
        }
        Err(_) => counted.write_errors.add(),
    }
}

/// Waits for events, at most for the time given, with the nanoseconds that `epoll_wait` does not have.
fn wait(epoll: &Epoll, events: &mut [EpollEvent], time_limit: Option<Duration>) -> io::Result<usize> {
    let limit = time_limit.map(|limit| libc::timespec {
        tv_sec: limit.as_secs() as libc::time_t,
        tv_nsec: libc::c_long::from(limit.subsec_nanos() as i32),
    });
    let limit = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // The C library's wrapper is younger than the system call.
    // SAFETY: EpollEvent is a transparent epoll_event; the kernel writes at most as many as the slice holds, and reads
    // a timespec that outlives the call, or none.
    let ready = unsafe {
        libc::syscall(
            libc::SYS_epoll_pwait2,
            epoll.0.as_raw_fd(),
            events.as_mut_ptr().cast::<libc::epoll_event>(),
            events.len() as libc::c_int,
            limit,
            std::ptr::null::<libc::sigset_t>(),
            0_usize,
        )
    };
    match Errno::result(ready) {
        Ok(ready) => Ok(usize::try_from(ready).expect("a count is not negative")),
        Err(Errno::EINTR) => Ok(0),
        Err(errno) => Err(errno.into()),
    }
}
