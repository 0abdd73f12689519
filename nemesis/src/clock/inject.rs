//! Puts the hook into a process at its first instruction, by showing it another vDSO.
//!
//! ```text
//! one mapping of the process   [ copy of the vDSO | hook | thunks | thunks | control page ]
//! initial stack                AT_SYSINFO_EHDR ───▲
//! ```
//! A program finds the vDSO by an address that the kernel leaves above its stack, and takes the functions from the symbols
//! there. In the copy, the clocks' symbols point to the hook, all others to thunks that jump into the real vDSO; the
//! copy's code is never run, as it would look for the kernel's data next to itself.
//!
//! Nothing that can be executed is patched, so no thread can be caught inside a patch, and programs without a C library
//! are hooked as all others are.

use std::io;
use std::os::fd::RawFd;

use super::hook::Hook;
use super::page::PAGE_BYTES;
use super::tracee::Tracee;
use super::vdso::{HEADER_BYTES, Vdso, length};

/// The functions of the real vDSO that the hook calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Originals {
    pub(super) clock_gettime: u64,
    pub(super) gettimeofday: u64,
}

/// `jmp [rip]`, the address that follows, and two bytes that are never reached.
const THUNK_BYTES: usize = 16;
const PAGE: u64 = PAGE_BYTES as u64;
/// One page of hook, two of thunks, one of control.
const PAGES_BEHIND_COPY: u64 = 4;
/// What a program with a damaged stack may make us read.
const WORDS_MAX: u64 = 1 << 20;

/// Hooks a process that is stopped at its first instruction. `descriptor` is the control page's, among those of the process.
/// A process that will not execute another program does not need it any more, and has it closed if `once`.
pub(super) fn hook(tracee: Tracee, descriptor: RawFd, once: bool) -> io::Result<()> {
    if !tracee.is_64_bit()? {
        return Err(io::Error::other("it is a 32-bit program, whose clocks cannot be bent"));
    }
    let (pointer_at, address) = find_vdso(tracee)?;
    let vdso = read_vdso(tracee, address)?;
    let arrangement = Arrangement::new(tracee, address, &vdso)?;
    let copy = arrangement.build(descriptor)?;
    tracee.write(pointer_at, &copy.to_le_bytes()).in_step("show it the other vDSO")?;
    if once {
        arrangement
            .call(libc::SYS_close, [descriptor as u64, 0, 0, 0, 0, 0])
            .in_step("close a descriptor")?;
    }
    Ok(())
}

/// Where on the initial stack the address of the vDSO stands, and the address.
fn find_vdso(tracee: Tracee) -> io::Result<(u64, u64)> {
    let mut at = tracee.registers()?.rsp;
    let limit = at + 8 * WORDS_MAX;
    let arguments = tracee.read_u64(at).in_step("read its stack")?;
    // The count, the arguments with their null, the environment with its null, and then the pairs.
    at += 8 * (arguments.min(WORDS_MAX) + 2);
    while at < limit && tracee.read_u64(at)? != 0 {
        at += 8;
    }
    at += 8;
    while at < limit {
        match tracee.read_u64(at)? {
            0 => break,
            libc::AT_SYSINFO_EHDR => return Ok((at + 8, tracee.read_u64(at + 8)?)),
            _ => at += 16,
        }
    }
    Err(io::Error::other("the kernel gave it no vDSO; boot without vdso=0"))
}

fn read_vdso(tracee: Tracee, address: u64) -> io::Result<Vdso> {
    let damaged = |what: &str| io::Error::other(format!("failed to understand the kernel's vDSO: {what}"));
    let mut header = vec![0; HEADER_BYTES];
    tracee.read(address, &mut header).in_step("read its vDSO")?;
    let mut image = vec![0; length(&header).map_err(damaged)?];
    tracee.read(address, &mut image).in_step("read its vDSO")?;
    Vdso::parse(image).map_err(damaged)
}

/// What goes where.
struct Arrangement<'a> {
    tracee: Tracee,
    vdso: &'a Vdso,
    vdso_address: u64,
    instruction: u64,
    /// Of the one mapping that holds everything.
    base: u64,
}

impl<'a> Arrangement<'a> {
    fn new(tracee: Tracee, vdso_address: u64, vdso: &'a Vdso) -> io::Result<Self> {
        let instruction = vdso
            .syscall_instruction()
            .ok_or_else(|| io::Error::other("the kernel's vDSO has no instruction to call it by"))?;
        let instruction = vdso_address + instruction;
        let length = vdso.image.len() as u64 + PAGES_BEHIND_COPY * PAGE;
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let arguments = [0, length, protection as u64, flags as u64, u64::MAX, 0];
        let base = tracee.system_call(instruction, libc::SYS_mmap, arguments).in_step("map memory in it")?;
        Ok(Self { tracee, vdso, vdso_address, instruction, base })
    }

    /// Fills the mapping; the address of the copy.
    fn build(&self, descriptor: RawFd) -> io::Result<u64> {
        let length = self.vdso.image.len() as u64;
        let hook_at = self.base + length;
        let thunks_at = hook_at + PAGE;
        let page_at = self.base + length + (PAGES_BEHIND_COPY - 1) * PAGE;
        let hook = Hook::new(page_at, self.originals()?);
        assert!(hook.code.len() <= PAGE_BYTES, "the hook has a page to itself");

        let mut image = self.vdso.image.clone();
        let mut thunks = Vec::new();
        for symbol in &self.vdso.symbols {
            let target = match symbol.name.as_str() {
                "clock_gettime" => hook_at + hook.clock_gettime,
                "gettimeofday" => hook_at + hook.gettimeofday,
                "time" => hook_at + hook.time,
                _ => {
                    let thunk = thunks_at + thunks.len() as u64;
                    thunks.extend([0xff, 0x25, 0, 0, 0, 0]);
                    thunks.extend((self.vdso_address + symbol.offset).to_le_bytes());
                    thunks.resize(thunks.len().next_multiple_of(THUNK_BYTES), 0xcc);
                    thunk
                }
            };
            Vdso::redirect(&mut image, symbol, self.vdso.bias(), target - self.base);
        }
        if thunks.len() > 2 * PAGE_BYTES {
            return Err(io::Error::other("the kernel's vDSO has more functions than there is room for"));
        }
        let step = "write the hook into it";
        self.tracee.write(self.base, &image).in_step(step)?;
        self.tracee.write(hook_at, &hook.code).in_step(step)?;
        self.tracee.write(thunks_at, &thunks).in_step(step)?;
        let shared = (libc::MAP_SHARED | libc::MAP_FIXED) as u64;
        let arguments = [page_at, PAGE, libc::PROT_READ as u64, shared, descriptor as u64, 0];
        self.call(libc::SYS_mmap, arguments).in_step("map the control page in it")?;
        self.protect(self.base, length, libc::PROT_READ)?;
        self.protect(hook_at, (PAGES_BEHIND_COPY - 1) * PAGE, libc::PROT_READ | libc::PROT_EXEC)?;
        Ok(self.base)
    }

    fn originals(&self) -> io::Result<Originals> {
        let find = |name| {
            let offset = self.vdso.find(name);
            let offset =
                offset.ok_or_else(|| io::Error::other(format!("the kernel's vDSO has no {name}")))?;
            Ok::<_, io::Error>(self.vdso_address + offset)
        };
        Ok(Originals { clock_gettime: find("clock_gettime")?, gettimeofday: find("gettimeofday")? })
    }

    fn protect(&self, address: u64, length: u64, protection: i32) -> io::Result<()> {
        self.call(libc::SYS_mprotect, [address, length, protection as u64, 0, 0, 0])
            .in_step("protect the hook in it")
    }

    fn call(&self, number: i64, arguments: [u64; 6]) -> io::Result<()> {
        self.tracee.system_call(self.instruction, number, arguments).map(|_| ())
    }
}

trait InStep<T> {
    fn in_step(self, step: &str) -> io::Result<T>;
}

impl<T> InStep<T> for io::Result<T> {
    fn in_step(self, step: &str) -> io::Result<T> {
        self.map_err(|error| io::Error::new(error.kind(), format!("failed to {step}: {error}")))
    }
}
