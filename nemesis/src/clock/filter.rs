//! The seccomp filter of a process whose waits are traced: it stops at waits that end by themselves, and nowhere else.
//!
//! ```text
//! x86-64?  no → allow
//! number = one of WAITS?  no → next, at last allow
//!          always · or pointer argument ≠ 0 · or signed argument > 0  → trace, else allow
//! futex: one of its waits with a timeout → trace, else allow
//! ```
//! A wait without a timeout needs no clock; that is what most threads do most of the time. A filter is set before the
//! program begins and cannot be taken off, so waits can be traced from the start or never.

use std::io;

use super::waits;

/// When a system call is a wait that ends by itself.
#[derive(Clone, Copy, Debug)]
pub(super) enum Timed {
    Always,
    /// This argument points to a time.
    IfPointer(u32),
    /// This argument, an `int`, is above zero.
    IfPositive(u32),
}

const ARCHITECTURE_X86_64: u32 = 0xc000_003e;
const TRACE: u32 = libc::SECCOMP_RET_TRACE;
const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const IF_GREATER: u16 = (libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Offsets into `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const fn argument_low(nth: u32) -> u32 {
    16 + 8 * nth
}
const fn argument_high(nth: u32) -> u32 {
    argument_low(nth) + 4
}

fn op(code: u16, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt: 0, jf: 0, k }
}

/// Goes on after `then` or `otherwise` more instructions.
fn jump(code: u16, k: u32, then: u8, otherwise: u8) -> libc::sock_filter {
    libc::sock_filter { code, jt: then, jf: otherwise, k }
}

/// The program.
pub(super) fn program() -> Vec<libc::sock_filter> {
    let mut program = vec![
        op(LOAD, ARCHITECTURE),
        jump(IF_EQUAL, ARCHITECTURE_X86_64, 1, 0),
        op(RETURN, ALLOW),
        op(LOAD, NUMBER),
    ];
    for &(number, timed) in waits::TRACED {
        let number = u32::try_from(number).expect("system calls have small numbers");
        // Each block leaves the number loaded, or returns.
        let block = match timed {
            Timed::Always => vec![op(RETURN, TRACE)],
            Timed::IfPointer(nth) => if_pointer(nth),
            Timed::IfPositive(nth) => vec![
                op(LOAD, argument_low(nth)),
                jump(IF_EQUAL, 0, 2, 0),
                jump(IF_GREATER, i32::MAX as u32, 1, 0),
                op(RETURN, TRACE),
                op(RETURN, ALLOW),
            ],
        };
        program.push(jump(IF_EQUAL, number, 0, block.len() as u8));
        program.extend(block);
    }
    let with_timeout = if_pointer(3);
    let futex = u32::try_from(libc::SYS_futex).expect("system calls have small numbers");
    program.push(jump(IF_EQUAL, futex, 0, 5 + with_timeout.len() as u8));
    program.extend([op(LOAD, argument_low(1)), op(AND, waits::FUTEX_COMMAND_MASK)]);
    for (nth, command) in waits::FUTEX_WAITS.into_iter().enumerate() {
        // The last one goes on to the final `ALLOW`, behind the block.
        let (then, otherwise) = if nth == 2 { (0, with_timeout.len() as u8) } else { (2 - nth as u8, 0) };
        program.push(jump(IF_EQUAL, command, then, otherwise));
    }
    program.extend(with_timeout);
    program.push(op(RETURN, ALLOW));
    program
}

fn if_pointer(nth: u32) -> Vec<libc::sock_filter> {
    vec![
        op(LOAD, argument_low(nth)),
        jump(IF_EQUAL, 0, 0, 2),
        op(LOAD, argument_high(nth)),
        jump(IF_EQUAL, 0, 1, 0),
        op(RETURN, TRACE),
        op(RETURN, ALLOW),
    ]
}

/// Sets the filter for this process and all that it will execute. It allocates nothing: it is called between fork and exec.
pub(super) fn install(program: &mut [libc::sock_filter]) -> io::Result<()> {
    let length = program.len() as libc::c_ushort;
    let program = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    // SAFETY: the calls read the program, which lives until they return, and change only this process.
    let done = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program, 0, 0) == 0
    };
    if done { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program as the kernel would.
    fn run(number: i64, arguments: [u64; 6]) -> bool {
        let mut data = [0; 64];
        data[0..4].copy_from_slice(&(number as u32).to_le_bytes());
        data[4..8].copy_from_slice(&ARCHITECTURE_X86_64.to_le_bytes());
        for (nth, argument) in arguments.iter().enumerate() {
            data[16 + 8 * nth..24 + 8 * nth].copy_from_slice(&argument.to_le_bytes());
        }
        let program = program();
        let (mut at, mut value) = (0, 0);
        loop {
            let op = program[at];
            at += 1;
            let jumped = |holds: bool| usize::from(if holds { op.jt } else { op.jf });
            match op.code {
                LOAD => {
                    let from = op.k as usize;
                    value = u32::from_le_bytes(data[from..from + 4].try_into().expect("four bytes"));
                }
                AND => value &= op.k,
                IF_EQUAL => at += jumped(value == op.k),
                IF_GREATER => at += jumped(value > op.k),
                RETURN => return op.k == TRACE,
                other => panic!("{other} is not an operation of ours"),
            }
        }
    }

    #[test]
    fn waits_with_an_end_are_traced_and_no_others() {
        const SOME: u64 = 0x7fff_0000_0000;
        const NEVER: u64 = u32::MAX as u64;
        assert!(run(libc::SYS_nanosleep, [SOME, 0, 0, 0, 0, 0]));
        assert!(run(libc::SYS_epoll_wait, [3, SOME, 8, 250, 0, 0]));
        assert!(!run(libc::SYS_epoll_wait, [3, SOME, 8, 0, 0, 0]));
        assert!(!run(libc::SYS_epoll_wait, [3, SOME, 8, NEVER, 0, 0]));
        assert!(run(libc::SYS_poll, [SOME, 1, 5, 0, 0, 0]));
        assert!(run(libc::SYS_ppoll, [SOME, 1, SOME, 0, 0, 0]));
        assert!(!run(libc::SYS_ppoll, [SOME, 1, 0, 0, 0, 0]));
        assert!(!run(libc::SYS_read, [SOME, 1, SOME, SOME, SOME, SOME]));
        assert!(!run(libc::SYS_write, [1, SOME, 3, 0, 0, 0]));
    }

    #[test]
    fn futexes_are_traced_if_they_wait_and_have_a_timeout() {
        const TIMEOUT: u64 = 0x7fff_0000_0000;
        const PRIVATE: u64 = 128;
        const REALTIME: u64 = 256;
        for command in [0, 9, 11] {
            assert!(run(libc::SYS_futex, [1, command | PRIVATE, 0, TIMEOUT, 0, 0]), "{command}");
            assert!(!run(libc::SYS_futex, [1, command | PRIVATE, 0, 0, 0, 0]), "{command}");
        }
        assert!(run(libc::SYS_futex, [1, 9 | PRIVATE | REALTIME, 0, 0x10, 0, 0]));
        assert!(!run(libc::SYS_futex, [1, 1 | PRIVATE, i32::MAX as u64, TIMEOUT, 0, 0]), "a wake-up");
    }
}
