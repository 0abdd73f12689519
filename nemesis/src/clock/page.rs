//! The control page: the one piece of memory that the harness, a node's hook and its tracer share.
//!
//! ```text
//!    0  seq: u64     sequence lock; odd while somebody writes
//!    8  mask: u32    a bit for each clock id that is bent
//!   64  16 lines of 32 bytes, one for each clock id: base_real, base_fake, rate (32.32), unused
//! ```
//! Readers take the real time *inside* the sequence section. A writer takes it after it has made the number odd, so no
//! reader can have seen a later moment on the old line, and a change of rate never makes a clock go back.
//!
//! The page belongs to a node, not to its process: a machine whose clock is wrong keeps it wrong over a restart.

use std::fs::File;
use std::io;
use std::mem::offset_of;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Mutex, PoisonError};

use super::bend::{Bend, RATE_ONE};
use super::{Clock, now_ns};

const CLOCKS: usize = 16;
/// The size of the mapping: a page of x86-64, of which the lines fill a part.
pub(super) const PAGE_BYTES: usize = 4096;

#[repr(C)]
struct Line {
    base_real_ns: AtomicI64,
    base_fake_ns: AtomicI64,
    rate: AtomicI64,
    unused: AtomicI64,
}

#[repr(C, align(64))]
struct Layout {
    seq: AtomicU64,
    mask: AtomicU32,
    unused: [AtomicU32; 13],
    lines: [Line; CLOCKS],
}

// The hook's assembly is written for these.
const _: () = {
    assert!(offset_of!(Layout, seq) == 0 && offset_of!(Layout, mask) == 8 && offset_of!(Layout, lines) == 64);
    assert!(size_of::<Line>() == 32 && size_of::<Layout>() <= PAGE_BYTES);
};

/// A control page in memory that can be handed to other processes.
#[derive(Debug)]
pub(super) struct Page {
    file: File,
    layout: NonNull<Layout>,
    writing: Mutex<()>,
}

// SAFETY: the mapping lives as long as the page, and everything in it is atomic.
unsafe impl Send for Page {}
// SAFETY: as above; writers exclude each other by the mutex.
unsafe impl Sync for Page {}

impl Page {
    /// A page that bends nothing.
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: the name is a C string; the call touches no other memory of ours.
        let raw = unsafe { libc::memfd_create(c"clock".as_ptr(), libc::MFD_CLOEXEC) };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
        let file = File::from(unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(raw) });
        file.set_len(PAGE_BYTES as u64)?;
        // SAFETY: a new mapping of a file that is that long, where the kernel finds room.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                PAGE_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                raw,
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let layout = NonNull::new(at.cast()).expect("the kernel maps nothing at zero unless told to");
        Ok(Self { file, layout, writing: Mutex::default() })
    }

    /// The memory, to be mapped by another process.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// How the kernel names the memory where it lists what a process has mapped.
    pub(super) fn inode(&self) -> io::Result<u64> {
        self.file.metadata().map(|metadata| metadata.ino())
    }

    /// How a clock is bent now.
    pub(super) fn bend(&self, id: i32) -> Option<Bend> {
        let layout = self.layout();
        let line = layout.lines.get(usize::try_from(id).ok()?)?;
        loop {
            let seq = layout.seq.load(Ordering::Acquire);
            let bent = layout.mask.load(Ordering::Relaxed) >> id & 1 == 1;
            let bend = Bend {
                base_real_ns: line.base_real_ns.load(Ordering::Relaxed),
                base_fake_ns: line.base_fake_ns.load(Ordering::Relaxed),
                rate: line.rate.load(Ordering::Relaxed),
            };
            fence(Ordering::Acquire);
            if seq & 1 == 0 && layout.seq.load(Ordering::Relaxed) == seq {
                return bent.then_some(bend);
            }
            std::thread::yield_now();
        }
    }

    /// Lets a clock go on from what it shows, after a step and with another rate.
    pub(super) fn change(&self, clock: Clock, step_ns: i64, rate: i64) {
        self.write(|layout| {
            let mut mask = layout.mask.load(Ordering::Relaxed);
            for &id in clock.ids() {
                // Alarm clocks need a device that the machine may lack; then nobody can read them either.
                let Ok(real_ns) = now_ns(id) else { continue };
                let line = &layout.lines[id as usize];
                let before = if mask >> id & 1 == 1 { line.bend() } else { Bend::straight(real_ns) };
                line.set(before.changed(real_ns, step_ns, rate));
                mask |= 1 << id;
            }
            layout.mask.store(mask, Ordering::Relaxed);
        });
    }

    /// Gives the true time back. What a step had moved jumps back with it.
    pub(super) fn clear(&self, clock: Clock) {
        self.write(|layout| {
            let bits = clock.ids().iter().fold(0, |bits, id| bits | 1 << id);
            layout.mask.fetch_and(!bits, Ordering::Relaxed);
        });
    }

    /// Ends a change of rate and keeps what was gained or lost by it.
    pub(super) fn keep_offset(&self, clock: Clock) {
        self.change(clock, 0, RATE_ONE);
    }

    fn write(&self, change: impl FnOnce(&Layout)) {
        // A writer that panicked has left nothing half done that the next one does not write again.
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let layout = self.layout();
        let seq = layout.seq.load(Ordering::Relaxed) | 1;
        layout.seq.store(seq, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        change(layout);
        fence(Ordering::SeqCst);
        layout.seq.store(seq.wrapping_add(1), Ordering::Release);
    }

    fn layout(&self) -> &Layout {
        // SAFETY: the mapping is as long as the layout and lives as long as `self`; the kernel's zeroes are a valid layout.
        unsafe { self.layout.as_ref() }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this size; no reference into it outlives `self`.
        unsafe { libc::munmap(self.layout.as_ptr().cast(), PAGE_BYTES) };
    }
}

impl Line {
    fn bend(&self) -> Bend {
        Bend {
            base_real_ns: self.base_real_ns.load(Ordering::Relaxed),
            base_fake_ns: self.base_fake_ns.load(Ordering::Relaxed),
            rate: self.rate.load(Ordering::Relaxed),
        }
    }

    fn set(&self, bend: Bend) {
        self.base_real_ns.store(bend.base_real_ns, Ordering::Relaxed);
        self.base_fake_ns.store(bend.base_fake_ns, Ordering::Relaxed);
        self.rate.store(bend.rate, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_clock_is_bent_alone_and_cleared_alone() {
        let page = Page::new().expect("a memfd can be made");
        assert_eq!(page.bend(libc::CLOCK_REALTIME), None);
        page.change(Clock::Realtime, 5, RATE_ONE);
        let bend = page.bend(libc::CLOCK_REALTIME).expect("it is bent");
        assert_eq!(bend.base_fake_ns - bend.base_real_ns, 5);
        assert_eq!(page.bend(libc::CLOCK_MONOTONIC), None);
        page.change(Clock::Realtime, 2, RATE_ONE);
        let bend = page.bend(libc::CLOCK_REALTIME).expect("it is bent");
        assert_eq!(bend.base_fake_ns - bend.base_real_ns, 7, "steps add up");
        page.clear(Clock::Realtime);
        assert_eq!(page.bend(libc::CLOCK_REALTIME), None);
    }

    #[test]
    fn a_clock_whose_rate_ends_keeps_what_it_gained() {
        let page = Page::new().expect("a memfd can be made");
        page.change(Clock::Monotonic, 1_000, 2 * RATE_ONE);
        page.keep_offset(Clock::Monotonic);
        let bend = page.bend(libc::CLOCK_MONOTONIC).expect("it is still bent");
        assert_eq!(bend.rate, RATE_ONE);
        assert!(bend.base_fake_ns - bend.base_real_ns >= 1_000);
    }
}
