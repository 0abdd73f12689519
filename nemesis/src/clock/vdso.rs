//! Reads the vDSO: the small shared library that the kernel maps into every process, and whose functions read the clocks.
//!
//! Only the program headers and what they lead to are used. Section headers need not be there, and some kernels have no
//! `DT_HASH`, which would tell the number of symbols; then the symbols end where their names begin.

use std::ops::Range;

const ELF_MAGIC_64: [u8; 5] = *b"\x7fELF\x02";
const MACHINE_X86_64: u16 = 62;
const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const DT_HASH: u64 = 4;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const PROGRAM_HEADER_BYTES: usize = 56;
const SYMBOL_BYTES: usize = 24;
/// Far more than any vDSO has; a bound on what a damaged one makes us read.
const SYMBOLS_MAX: usize = 1024;

/// The vDSO's image, and what is in it.
#[derive(Debug)]
pub(super) struct Vdso {
    pub(super) image: Vec<u8>,
    pub(super) symbols: Vec<Symbol>,
    /// What the addresses in the image must be lowered by to be offsets into it.
    bias: u64,
}

/// A function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Symbol {
    /// Without the `__vdso_` that one of its two names has.
    pub(super) name: String,
    /// Where it begins in the image.
    pub(super) offset: u64,
    /// Where in the image its address stands.
    value_at: usize,
}

/// How many bytes of the image are needed to learn its length.
pub(super) const HEADER_BYTES: usize = 1024;

/// The length of the image with these first bytes.
pub(super) fn length(header: &[u8]) -> Result<usize, &'static str> {
    let loads = headers(header)?.filter(|load| load.kind == PT_LOAD);
    let end = loads.map(|load| load.offset + load.length).max().ok_or("it has no PT_LOAD")?;
    Ok(end.next_multiple_of(4096))
}

impl Vdso {
    /// Reads an image.
    pub(super) fn parse(image: Vec<u8>) -> Result<Self, &'static str> {
        let short = "it ends too early";
        let load = headers(&image)?.find(|header| header.kind == PT_LOAD).ok_or("it has no PT_LOAD")?;
        let dynamic =
            headers(&image)?.find(|header| header.kind == PT_DYNAMIC).ok_or("it has no PT_DYNAMIC")?;
        let bias = load.address.wrapping_sub(load.offset as u64);
        let (mut names, mut table, mut count) = (None, None, None);
        for at in (dynamic.offset..).step_by(16) {
            let (tag, value) = (u64_at(&image, at).ok_or(short)?, u64_at(&image, at + 8).ok_or(short)?);
            let offset = value.wrapping_sub(bias) as usize;
            match tag {
                0 => break,
                DT_HASH => count = Some(u32_at(&image, offset.wrapping_add(4)).ok_or(short)? as usize),
                DT_STRTAB => names = Some(offset),
                DT_SYMTAB => table = Some(offset),
                _ => {}
            }
        }
        let names = names.ok_or("it has no names")?;
        let table = table.ok_or("it has no symbols")?;
        let count = count.unwrap_or_else(|| names.saturating_sub(table) / SYMBOL_BYTES);
        let mut symbols = Vec::new();
        for at in (table..).step_by(SYMBOL_BYTES).take(count.min(SYMBOLS_MAX)) {
            let name_at = names.wrapping_add(u32_at(&image, at).ok_or(short)? as usize);
            let (value, size) = (u64_at(&image, at + 8).ok_or(short)?, u64_at(&image, at + 16).ok_or(short)?);
            if value == 0 || size == 0 {
                continue;
            }
            let name = image.get(name_at..).ok_or(short)?.split(|&byte| byte == 0).next().unwrap_or_default();
            let name = String::from_utf8_lossy(name);
            let name = name.strip_prefix("__vdso_").unwrap_or(&name).to_owned();
            symbols.push(Symbol { name, offset: value.wrapping_sub(bias), value_at: at + 8 });
        }
        Ok(Self { image, symbols, bias })
    }

    /// Where a function begins in the image.
    pub(super) fn find(&self, name: &str) -> Option<u64> {
        self.symbols.iter().find(|symbol| symbol.name == name).map(|symbol| symbol.offset)
    }

    /// Where in the image there is an instruction that enters the kernel.
    pub(super) fn syscall_instruction(&self) -> Option<u64> {
        self.image.windows(2).position(|bytes| bytes == [0x0f, 0x05]).map(|at| at as u64)
    }

    /// Lets the symbol point `distance` bytes from the beginning of the image.
    pub(super) fn redirect(image: &mut [u8], symbol: &Symbol, bias: u64, distance: u64) {
        let value = distance.wrapping_add(bias).to_le_bytes();
        image[symbol.value_at..symbol.value_at + 8].copy_from_slice(&value);
    }

    /// See [`redirect`](Self::redirect).
    pub(super) fn bias(&self) -> u64 {
        self.bias
    }
}

struct Header {
    kind: u32,
    offset: usize,
    address: u64,
    length: usize,
}

fn headers(image: &[u8]) -> Result<impl Iterator<Item = Header> + '_, &'static str> {
    let machine = bytes_at(image, 18).map(u16::from_le_bytes);
    if !image.starts_with(&ELF_MAGIC_64) || machine != Some(MACHINE_X86_64) {
        return Err("it is not a library for x86-64");
    }
    let short = "it ends too early";
    let start = u64_at(image, 32).ok_or(short)? as usize;
    let count = bytes_at(image, 56).map(u16::from_le_bytes).ok_or(short)?;
    let starts: Range<usize> = 0..usize::from(count);
    Ok(starts.filter_map(move |nth| {
        let at = start + nth * PROGRAM_HEADER_BYTES;
        Some(Header {
            kind: u32_at(image, at)?,
            offset: u64_at(image, at + 8)? as usize,
            address: u64_at(image, at + 16)?,
            length: u64_at(image, at + 32)? as usize,
        })
    }))
}

fn bytes_at<const N: usize>(image: &[u8], at: usize) -> Option<[u8; N]> {
    image.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn u32_at(image: &[u8], at: usize) -> Option<u32> {
    bytes_at(image, at).map(u32::from_le_bytes)
}

fn u64_at(image: &[u8], at: usize) -> Option<u64> {
    bytes_at(image, at).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Vec<u8> {
        // SAFETY: the call takes and gives integers.
        let address = unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) };
        assert_ne!(address, 0, "this kernel gives its processes a vDSO");
        // SAFETY: the kernel maps the vDSO there, readable, for as long as this process lives; a page holds its headers.
        let header = unsafe { std::slice::from_raw_parts(address as *const u8, HEADER_BYTES) };
        let length = length(header).expect("the kernel's own library is well formed");
        // SAFETY: as above, for the length that it says itself.
        unsafe { std::slice::from_raw_parts(address as *const u8, length) }.to_vec()
    }

    #[test]
    fn this_kernels_vdso_has_the_clocks() {
        let vdso = Vdso::parse(own()).expect("the kernel's own library is well formed");
        for name in ["clock_gettime", "gettimeofday", "time"] {
            let offset = vdso.find(name).expect(name);
            assert!((offset as usize) < vdso.image.len(), "{name}");
        }
        assert!(vdso.syscall_instruction().is_some());
    }

    #[test]
    fn a_damaged_image_is_refused_or_has_less() {
        let whole = own();
        assert!(Vdso::parse(Vec::new()).is_err());
        for length in (0..whole.len()).step_by(97) {
            // Whatever it makes of it, it does not panic.
            let _ = Vdso::parse(whole[..length].to_vec());
        }
    }
}
