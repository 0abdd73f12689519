//! A process that we trace and that is stopped: its memory, its registers, and system calls made in its name.
//!
//! A system call is made by pointing the process at an instruction that enters the kernel, which its vDSO has, for a
//! single step. Nothing is written into its code. Signals that arrive meanwhile are sent again afterwards.

use std::io;

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// The segment of 64-bit code; a 32-bit process has another.
const CODE_SEGMENT_64: u64 = 0x33;

/// A stopped thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tracee(pub(super) Pid);

impl Tracee {
    /// Reads its memory.
    pub(super) fn read(self, address: u64, bytes: &mut [u8]) -> io::Result<()> {
        let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: bytes.len() };
        // SAFETY: the kernel writes at most `bytes.len()` bytes to `bytes`; the other address is the other process's.
        let done =
            unsafe { libc::process_vm_readv(self.0.as_raw(), &raw const local, 1, &raw const remote, 1, 0) };
        complete(done, bytes.len())
    }

    /// Writes to memory that it could write to itself.
    pub(super) fn write(self, address: u64, bytes: &[u8]) -> io::Result<()> {
        let local = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: bytes.len() };
        // SAFETY: the kernel only reads from `bytes`; the other address is the other process's.
        let done =
            unsafe { libc::process_vm_writev(self.0.as_raw(), &raw const local, 1, &raw const remote, 1, 0) };
        complete(done, bytes.len())
    }

    /// Reads a word.
    pub(super) fn read_u64(self, address: u64) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Its registers.
    pub(super) fn registers(self) -> io::Result<libc::user_regs_struct> {
        Ok(ptrace::getregs(self.0)?)
    }

    /// Sets its registers.
    pub(super) fn set_registers(self, registers: libc::user_regs_struct) -> io::Result<()> {
        Ok(ptrace::setregs(self.0, registers)?)
    }

    /// Whether it runs 64-bit code.
    pub(super) fn is_64_bit(self) -> io::Result<bool> {
        Ok(self.registers()?.cs == CODE_SEGMENT_64)
    }

    /// Makes a system call in its name, at this instruction.
    pub(super) fn system_call(self, instruction: u64, number: i64, arguments: [u64; 6]) -> io::Result<u64> {
        let before = self.registers()?;
        let mut registers = before;
        registers.rip = instruction;
        registers.rax = number as u64;
        // Whatever system call it is stopped in must not be restarted at the end of ours.
        registers.orig_rax = u64::MAX;
        [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9] = arguments;
        self.set_registers(registers)?;
        let mut signals = Vec::new();
        loop {
            ptrace::step(self.0, None)?;
            match self.wait()? {
                WaitStatus::Stopped(_, Signal::SIGTRAP) => break,
                WaitStatus::Stopped(_, signal) => signals.push(signal),
                WaitStatus::PtraceEvent(..) => {}
                ended => {
                    return Err(io::Error::other(format!("it did not survive a system call: {ended:?}")));
                }
            }
        }
        let result = self.registers()?.rax;
        self.set_registers(before)?;
        for signal in signals {
            // SAFETY: the call takes integers. It may fail only if the process was killed meanwhile.
            unsafe { libc::syscall(libc::SYS_tkill, self.0.as_raw(), signal as i32) };
        }
        match i32::try_from(result.cast_signed()) {
            Ok(error @ -4095..=-1) => Err(io::Error::from_raw_os_error(-error)),
            _ => Ok(result),
        }
    }

    /// Waits for its next stop.
    pub(super) fn wait(self) -> io::Result<WaitStatus> {
        loop {
            match waitpid(self.0, Some(WaitPidFlag::__WALL)) {
                Err(Errno::EINTR) => {}
                status => return Ok(status?),
            }
        }
    }
}

fn complete(done: isize, wanted: usize) -> io::Result<()> {
    match usize::try_from(done) {
        Ok(done) if done == wanted => Ok(()),
        Ok(done) => Err(io::Error::other(format!("only {done} of {wanted} bytes of its memory are there"))),
        Err(_) => Err(io::Error::last_os_error()),
    }
}
