//! The code that stands in for the vDSO's functions in a hooked process. It runs there, at whatever address it is put.
//!
//! Each function calls the original inside a sequence section of the [control page](super::page) and maps the result.
//! The two must be one section: a reading mapped by a line that was drawn after it would make the clock go back.
//! A clock that is not bent, and one with a number above 15, costs one load and a jump to the original.
//!
//! A reader that meets a writer in its section waits for it, giving up the processor, as the writer may have lost its own.
//! If the writer never returns, which only a harness that was killed does, the reader takes the real time.

use std::arch::global_asm;

use super::inject::Originals;

global_asm!(
    ".pushsection .text.nemesis_clock_hook, \"ax\", @progbits",
    ".p2align 6",
    "nemesis_clock_hook_start:",
    // Filled in when the code is put into a process.
    "40: .quad 0", // address of the control page
    "41: .quad 0", // original clock_gettime
    "42: .quad 0", // original gettimeofday
    ".p2align 6",
    "nemesis_clock_hook_gettime:", // (id: edi, timespec: rsi)
    "endbr64",
    "cmp edi, 15",
    "ja 9f",
    "mov rax, [rip + 40b]",
    "mov ecx, [rax + 8]",
    "bt ecx, edi",
    "jnc 9f",
    "push rbx",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "mov rbx, rsi",
    "mov r12d, edi",
    "mov r13, rax",
    "mov r15d, 1000000",
    "2:",
    "mov r14, [r13]",
    "test r14b, 1",
    "jnz 7f",
    "mov edi, r12d",
    "mov rsi, rbx",
    "call [rip + 41b]",
    "test eax, eax",
    "jnz 8f",
    "mov ecx, [r13 + 8]",
    "mov r8, r12",
    "shl r8, 5",
    "lea r8, [r13 + r8 + 64]",
    "mov r9, [r8]",
    "mov r10, [r8 + 8]",
    "mov r11, [r8 + 16]",
    "cmp r14, [r13]",
    "jne 7f",
    // Cleared since the first look: the reading is right as it is.
    "bt ecx, r12d",
    "jnc 8f",
    "imul rax, [rbx], 1000000000",
    "add rax, [rbx + 8]",
    "sub rax, r9",
    "imul r11",
    "shrd rax, rdx, 32",
    "add rax, r10",
    "cqo",
    "mov ecx, 1000000000",
    "idiv rcx",
    "test rdx, rdx",
    "jns 3f",
    "add rdx, rcx",
    "dec rax",
    "3:",
    "mov [rbx], rax",
    "mov [rbx + 8], rdx",
    "xor eax, eax",
    "8:",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbx",
    "ret",
    "7:",
    "mov eax, 24", // sched_yield
    "syscall",
    "dec r15d",
    "jnz 2b",
    "mov edi, r12d",
    "mov rsi, rbx",
    "call [rip + 41b]",
    "jmp 8b",
    "9:",
    "jmp [rip + 41b]",
    ".p2align 4",
    "nemesis_clock_hook_timeofday:", // (timeval: rdi, timezone: rsi), either may be null
    "endbr64",
    "test rsi, rsi",
    "jz 2f",
    "push rdi",
    "push rsi",
    "sub rsp, 8",
    "xor edi, edi",
    "call [rip + 42b]",
    "add rsp, 8",
    "pop rsi",
    "pop rdi",
    "2:",
    "test rdi, rdi",
    "jz 3f",
    "push rdi",
    "sub rsp, 16",
    "xor edi, edi", // CLOCK_REALTIME
    "mov rsi, rsp",
    "call nemesis_clock_hook_gettime",
    "mov rdi, [rsp + 16]",
    "mov rax, [rsp]",
    "mov [rdi], rax",
    "mov rax, [rsp + 8]",
    "xor edx, edx",
    "mov ecx, 1000",
    "div rcx",
    "mov [rdi + 8], rax",
    "add rsp, 24",
    "3:",
    "xor eax, eax",
    "ret",
    ".p2align 4",
    "nemesis_clock_hook_time:", // (time_t: rdi), may be null
    "endbr64",
    "push rdi",
    "sub rsp, 16",
    "mov edi, 5", // CLOCK_REALTIME_COARSE, as the kernel's own
    "mov rsi, rsp",
    "call nemesis_clock_hook_gettime",
    "mov rax, [rsp]",
    "mov rdi, [rsp + 16]",
    "test rdi, rdi",
    "jz 2f",
    "mov [rdi], rax",
    "2:",
    "add rsp, 24",
    "ret",
    "nemesis_clock_hook_end:",
    ".popsection",
);

unsafe extern "C" {
    fn nemesis_clock_hook_start();
    fn nemesis_clock_hook_gettime();
    fn nemesis_clock_hook_timeofday();
    fn nemesis_clock_hook_time();
    fn nemesis_clock_hook_end();
}

/// The code for a process, and where in it the functions begin.
pub(super) struct Hook {
    pub(super) code: Vec<u8>,
    pub(super) clock_gettime: u64,
    pub(super) gettimeofday: u64,
    pub(super) time: u64,
}

impl Hook {
    /// The code that reads the control page at this address and calls these functions.
    pub(super) fn new(page_address: u64, originals: Originals) -> Self {
        let start = nemesis_clock_hook_start as *const () as usize;
        let at = |function: unsafe extern "C" fn()| (function as *const () as usize - start) as u64;
        let length = at(nemesis_clock_hook_end) as usize;
        // SAFETY: start and end are labels around one piece of our own text, which is readable and never written.
        let mut code = unsafe { std::slice::from_raw_parts(start as *const u8, length) }.to_vec();
        let slots = [page_address, originals.clock_gettime, originals.gettimeofday];
        for (slot, value) in code.chunks_exact_mut(8).zip(slots) {
            slot.copy_from_slice(&value.to_le_bytes());
        }
        Self {
            code,
            clock_gettime: at(nemesis_clock_hook_gettime),
            gettimeofday: at(nemesis_clock_hook_timeofday),
            time: at(nemesis_clock_hook_time),
        }
    }
}
