//! Rewrites the timeouts of a thread's waits, so that they end when its bent clock says so.
//!
//! A relative wait is as long as its clock makes it: at three times the speed, a third. An absolute one ends when the
//! bent clock reads the deadline, which is another moment of the real clock. The kernel only ever sees real times; the
//! program's own structs are never touched, as a rewritten time goes below its stack.
//!
//! The deadline of a relative wait is kept in fake time, so that a wait that was interrupted, by a change of the clock
//! for instance, goes on for what is left of it by the clock as it is then.

use std::io;

use super::bend::Bend;
use super::filter::Timed;
use super::now_ns;
use super::page::Page;
use super::tracee::Tracee;
use crate::proc;

/// The system calls that stop, besides futex, and when.
pub(super) const TRACED: &[(i64, Timed)] = &[
    (libc::SYS_epoll_wait, Timed::IfPositive(3)),
    (libc::SYS_epoll_pwait, Timed::IfPositive(3)),
    (libc::SYS_epoll_pwait2, Timed::IfPointer(3)),
    (libc::SYS_poll, Timed::IfPositive(2)),
    (libc::SYS_ppoll, Timed::IfPointer(2)),
    (libc::SYS_select, Timed::IfPointer(4)),
    (libc::SYS_pselect6, Timed::IfPointer(4)),
    (libc::SYS_nanosleep, Timed::Always),
    (libc::SYS_clock_nanosleep, Timed::Always),
    (libc::SYS_timerfd_settime, Timed::Always),
];

/// Of a futex's operation, without its flags.
pub(super) const FUTEX_COMMAND_MASK: u32 = 0x7f;
/// Its operations that wait: WAIT, WAIT_BITSET, WAIT_REQUEUE_PI.
pub(super) const FUTEX_WAITS: [u32; 3] = [0, 9, 11];
const FUTEX_CLOCK_REALTIME: u64 = 256;

/// What the kernel never shows to programs: this system call is to be continued by another.
const ERESTART_RESTARTBLOCK: i64 = -516;
/// This system call is to be made again as it was, unless a handler of the program's runs first.
const ERESTARTNOHAND: i64 = -514;

const SECOND_NS: i64 = 1_000_000_000;
const MILLISECOND_NS: i64 = 1_000_000;
/// Where a rewritten time goes, below the stack pointer: the 128 bytes next to it belong to the program.
const BELOW_STACK: u64 = 256;

type Registers = libc::user_regs_struct;

/// A wait, from its beginning.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    /// As the program made it.
    before: Registers,
    /// When a relative one ends, by the program's clock.
    deadline_fake_ns: Option<i64>,
    /// It was interrupted, and the kernel will be asked to make it again.
    is_interrupted: bool,
    /// It has other arguments than the program's.
    pub(super) is_rewritten: bool,
}

impl Wait {
    /// Looks at the wait that a thread is about to begin, and rewrites its timeout if a clock is bent. `last` is the wait
    /// before this one.
    pub(super) fn begin(tracee: Tracee, page: &Page, last: Option<&Self>) -> io::Result<Self> {
        let before = tracee.registers()?;
        let resumed = last.filter(|last| last.is_interrupted && last.is_same(&before));
        let mut wait = Self { before, deadline_fake_ns: None, is_interrupted: false, is_rewritten: false };
        let Some(timeout) = Timeout::of(tracee, &before)? else { return Ok(wait) };
        let mut registers = before;
        wait.is_rewritten = match timeout {
            Timeout::Relative { ns, write } => {
                let bend = page.bend(libc::CLOCK_MONOTONIC);
                let now = now_ns(libc::CLOCK_MONOTONIC)?;
                let fake_now = bend.map_or(now, |bend| bend.fake_ns(now));
                let deadline = resumed.and_then(|last| last.deadline_fake_ns);
                let deadline = deadline.unwrap_or_else(|| fake_now.saturating_add(ns));
                wait.deadline_fake_ns = Some(deadline);
                let left = deadline.saturating_sub(fake_now).max(0);
                // A wait that is neither bent nor resumed is the program's own.
                if bend.is_none() && left == ns {
                    false
                } else {
                    let real = bend.map_or(left, |bend| bend.real_duration_ns(left));
                    write.put(tracee, &mut registers, real)?;
                    true
                }
            }
            Timeout::Absolute { ns, clock, pointer } => match page.bend(clock) {
                Some(bend) => {
                    pointer.put(tracee, &mut registers, bend.real_ns(ns))?;
                    true
                }
                None => false,
            },
            Timeout::Timer { interval_ns, value_ns, is_absolute, clock } => match page.bend(clock) {
                Some(bend) => {
                    put_timer(tracee, &mut registers, bend, (interval_ns, value_ns), is_absolute)?;
                    true
                }
                None => false,
            },
        };
        if wait.is_rewritten {
            tracee.set_registers(registers)?;
        }
        Ok(wait)
    }

    /// After a rewritten wait: gives the program its own arguments back.
    pub(super) fn end(&mut self, tracee: Tracee, page: &Page) -> io::Result<()> {
        let mut registers = tracee.registers()?;
        let before = &self.before;
        (registers.rdi, registers.rsi, registers.rdx) = (before.rdi, before.rsi, before.rdx);
        (registers.r10, registers.r8) = (before.r10, before.r8);
        self.is_rewritten = false;
        self.make_again(&mut registers);
        tracee.set_registers(registers)?;
        self.tell_the_rest(tracee, page)
    }

    /// At any other stop: a wait that the kernel would continue by its own, real deadline is made again instead.
    pub(super) fn interrupt(&mut self, tracee: Tracee) -> io::Result<()> {
        let mut registers = tracee.registers()?;
        if registers.rax.cast_signed() == ERESTART_RESTARTBLOCK && self.is_same(&registers) {
            self.make_again(&mut registers);
            tracee.set_registers(registers)?;
        }
        Ok(())
    }

    /// A handler of the program's will run, and the program will be told; what it does then is another wait.
    pub(super) fn give_up(&mut self) {
        self.is_interrupted = false;
    }

    fn make_again(&mut self, registers: &mut Registers) {
        if registers.rax.cast_signed() == ERESTART_RESTARTBLOCK {
            registers.rax = ERESTARTNOHAND as u64;
            self.is_interrupted = true;
        }
    }

    /// A sleep that a signal ends early tells its caller what was left. The kernel has told what was really left.
    fn tell_the_rest(&self, tracee: Tracee, page: &Page) -> io::Result<()> {
        let rest_at = match self.before.orig_rax as i64 {
            libc::SYS_nanosleep => self.before.rsi,
            libc::SYS_clock_nanosleep => self.before.r10,
            _ => 0,
        };
        let (Some(deadline), true, true) = (self.deadline_fake_ns, self.is_interrupted, rest_at != 0) else {
            return Ok(());
        };
        let now = now_ns(libc::CLOCK_MONOTONIC)?;
        let fake_now = page.bend(libc::CLOCK_MONOTONIC).map_or(now, |bend| bend.fake_ns(now));
        tracee.write(rest_at, &timespec(deadline.saturating_sub(fake_now).max(0)))
    }

    fn is_same(&self, registers: &Registers) -> bool {
        let of = |r: &Registers| (r.orig_rax, r.rip, r.rsp, r.rdi, r.rsi, r.rdx, r.r10, r.r8);
        of(&self.before) == of(registers)
    }
}

/// A timeout as a system call takes it.
enum Timeout {
    Relative { ns: i64, write: Slot },
    Absolute { ns: i64, clock: i32, pointer: Slot },
    Timer { interval_ns: i64, value_ns: i64, is_absolute: bool, clock: i32 },
}

/// Where a system call takes its timeout from.
#[derive(Clone, Copy)]
enum Slot {
    /// Milliseconds in `r10`.
    MillisecondsR10,
    /// Milliseconds in `rdx`.
    MillisecondsRdx,
    /// A `timespec` that this register points to.
    Timespec(fn(&mut Registers) -> &mut u64),
    /// A `timeval` that `r8` points to.
    TimevalR8,
}

impl Slot {
    fn put(self, tracee: Tracee, registers: &mut Registers, ns: i64) -> io::Result<()> {
        // Rounded up, as a wait must not end early; and the kernel's longest is a number that does not mean "forever".
        let milliseconds = || ns.div_euclid(MILLISECOND_NS) + i64::from(ns.rem_euclid(MILLISECOND_NS) > 0);
        let milliseconds = || milliseconds().min(i64::from(i32::MAX)) as u64;
        let scratch = (registers.rsp - BELOW_STACK) & !15;
        match self {
            Self::MillisecondsR10 => registers.r10 = milliseconds(),
            Self::MillisecondsRdx => registers.rdx = milliseconds(),
            Self::Timespec(register) => {
                tracee.write(scratch, &timespec(ns))?;
                *register(registers) = scratch;
            }
            Self::TimevalR8 => {
                let microseconds = ns.div_euclid(1_000) + i64::from(ns.rem_euclid(1_000) > 0);
                tracee.write(scratch, &pair(microseconds / 1_000_000, microseconds % 1_000_000))?;
                registers.r8 = scratch;
            }
        }
        Ok(())
    }
}

impl Timeout {
    /// The timeout of the system call that these registers make; none if the program points to nowhere, as the kernel will
    /// tell it.
    fn of(tracee: Tracee, registers: &Registers) -> io::Result<Option<Self>> {
        let milliseconds = |register: u64| i64::from(register as i32) * MILLISECOND_NS;
        let relative = |ns, write| Ok(Some(Self::Relative { ns, write }));
        let at = |address| read_timespec(tracee, address);
        Ok(match registers.orig_rax as i64 {
            libc::SYS_epoll_wait | libc::SYS_epoll_pwait => {
                return relative(milliseconds(registers.r10), Slot::MillisecondsR10);
            }
            libc::SYS_poll => return relative(milliseconds(registers.rdx), Slot::MillisecondsRdx),
            libc::SYS_epoll_pwait2 => {
                at(registers.r10).map(|ns| Self::Relative { ns, write: Slot::Timespec(|r| &mut r.r10) })
            }
            libc::SYS_ppoll => {
                at(registers.rdx).map(|ns| Self::Relative { ns, write: Slot::Timespec(|r| &mut r.rdx) })
            }
            libc::SYS_pselect6 => {
                at(registers.r8).map(|ns| Self::Relative { ns, write: Slot::Timespec(|r| &mut r.r8) })
            }
            libc::SYS_select => {
                let [seconds, microseconds] = read_pair(tracee, registers.r8).unwrap_or([0, -1]);
                let ns = in_ns(seconds, microseconds.saturating_mul(1_000));
                ns.map(|ns| Self::Relative { ns, write: Slot::TimevalR8 })
            }
            libc::SYS_nanosleep => {
                at(registers.rdi).map(|ns| Self::Relative { ns, write: Slot::Timespec(|r| &mut r.rdi) })
            }
            libc::SYS_clock_nanosleep => {
                let pointer = Slot::Timespec(|r| &mut r.rdx);
                let is_absolute = registers.rsi & libc::TIMER_ABSTIME as u64 != 0;
                at(registers.rdx).map(|ns| match is_absolute {
                    true => Self::Absolute { ns, clock: registers.rdi as i32, pointer },
                    false => Self::Relative { ns, write: pointer },
                })
            }
            libc::SYS_futex => {
                let pointer = Slot::Timespec(|r| &mut r.r10);
                let is_realtime = registers.rsi & FUTEX_CLOCK_REALTIME != 0;
                let clock = if is_realtime { libc::CLOCK_REALTIME } else { libc::CLOCK_MONOTONIC };
                let is_relative = registers.rsi as u32 & FUTEX_COMMAND_MASK == FUTEX_WAITS[0];
                at(registers.r10).map(|ns| match is_relative {
                    true => Self::Relative { ns, write: pointer },
                    false => Self::Absolute { ns, clock, pointer },
                })
            }
            libc::SYS_timerfd_settime => {
                let (interval, value) = (at(registers.rdx), at(registers.rdx.wrapping_add(16)));
                interval.zip(value).map(|(interval_ns, value_ns)| Self::Timer {
                    interval_ns,
                    value_ns,
                    is_absolute: registers.rsi & libc::TFD_TIMER_ABSTIME as u64 != 0,
                    clock: timer_clock(tracee, registers.rdi),
                })
            }
            _ => None,
        })
    }
}

/// A timer is asked for with both times at once. Zero as value disarms it and stays zero.
fn put_timer(
    tracee: Tracee,
    registers: &mut Registers,
    bend: Bend,
    (interval_ns, value_ns): (i64, i64),
    is_absolute: bool,
) -> io::Result<()> {
    let value = match value_ns {
        0 => 0,
        _ if is_absolute => bend.real_ns(value_ns).max(1),
        _ => bend.real_duration_ns(value_ns).max(1),
    };
    let scratch = (registers.rsp - BELOW_STACK) & !15;
    tracee.write(scratch, &timespec(bend.real_duration_ns(interval_ns)))?;
    tracee.write(scratch + 16, &timespec(value))?;
    registers.rdx = scratch;
    Ok(())
}

/// The clock of a timer; the system call that sets it does not say.
fn timer_clock(tracee: Tracee, descriptor: u64) -> i32 {
    let text =
        proc::text(tracee.0, &format!("fdinfo/{}", descriptor as i32)).ok().flatten().unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("clockid:"));
    line.and_then(|clock| clock.trim().parse().ok()).unwrap_or(libc::CLOCK_MONOTONIC)
}

fn read_pair(tracee: Tracee, address: u64) -> Option<[i64; 2]> {
    let mut bytes = [0; 16];
    tracee.read(address, &mut bytes).ok()?;
    let word = |at: usize| i64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    Some([word(0), word(8)])
}

/// A time that the kernel would take.
fn read_timespec(tracee: Tracee, address: u64) -> Option<i64> {
    let [seconds, ns] = read_pair(tracee, address)?;
    if ns >= SECOND_NS { None } else { in_ns(seconds, ns) }
}

fn in_ns(seconds: i64, ns: i64) -> Option<i64> {
    (seconds >= 0 && ns >= 0).then(|| seconds.saturating_mul(SECOND_NS).saturating_add(ns))
}

fn timespec(ns: i64) -> [u8; 16] {
    pair(ns / SECOND_NS, ns % SECOND_NS)
}

fn pair(first: i64, second: i64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&first.to_le_bytes());
    bytes[8..].copy_from_slice(&second.to_le_bytes());
    bytes
}
