//! The bytes of a file: pages that are shared between versions until one of them is written.
//!
//! Sharing makes a sync and a power loss cheap, as both only move references, and it makes the question which pages
//! differ a comparison of addresses. Every page counts itself, so that what the files take is known exactly.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the kernel reads and writes at once.
pub(super) const PAGE_BYTES: usize = 4096;
/// What a disk writes at once: a torn page is torn between sectors.
pub(super) const SECTOR_BYTES: usize = 512;

const PAGE: u64 = PAGE_BYTES as u64;

/// Counts the bytes of all pages there are. Clones count together.
#[derive(Clone, Debug, Default)]
pub(super) struct Account(Arc<AtomicU64>);

impl Account {
    pub(super) fn used_bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A page; counted while it lives.
#[derive(Debug)]
pub(super) struct Page {
    bytes: [u8; PAGE_BYTES],
    account: Account,
}

impl Page {
    fn new(account: &Account) -> Self {
        account.0.fetch_add(PAGE, Ordering::Relaxed);
        Self { bytes: [0; PAGE_BYTES], account: account.clone() }
    }
}

impl Clone for Page {
    fn clone(&self) -> Self {
        let mut page = Self::new(&self.account);
        page.bytes = self.bytes;
        page
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.account.0.fetch_sub(PAGE, Ordering::Relaxed);
    }
}

/// One version of a file. Pages that were never written read as zeros and take no memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    pages: BTreeMap<u64, Arc<Page>>,
    size: u64,
}

impl Content {
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Up to `length` bytes from `offset`, fewer at the end of the file.
    pub(super) fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        let end = self.size.min(offset.saturating_add(length as u64));
        let mut bytes = vec![0; usize::try_from(end.saturating_sub(offset)).expect("it was a usize before")];
        for (number, within, part) in parts(offset, bytes.len()) {
            if let Some(page) = self.pages.get(&number) {
                bytes[part.clone()].copy_from_slice(&page.bytes[within..within + part.len()]);
            }
        }
        bytes
    }

    /// Writes, and grows if need be. Gives the pages that it touched.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8], account: &Account) -> Vec<u64> {
        let mut touched = Vec::new();
        for (number, within, part) in parts(offset, bytes.len()) {
            let page = self.pages.entry(number).or_insert_with(|| Arc::new(Page::new(account)));
            Arc::make_mut(page).bytes[within..within + part.len()].copy_from_slice(&bytes[part]);
            touched.push(number);
        }
        self.size = self.size.max(offset + bytes.len() as u64);
        touched
    }

    /// Cuts or grows the file. Gives the pages that it touched.
    pub(super) fn resize(&mut self, size: u64) -> Vec<u64> {
        let mut touched = self.pages.split_off(&size.div_ceil(PAGE)).into_keys().collect::<Vec<_>>();
        // A later growth must read zeros where the file was cut.
        if size < self.size
            && let (Some(page), rest @ 1..) = (self.pages.get_mut(&(size / PAGE)), (size % PAGE) as usize)
        {
            Arc::make_mut(page).bytes[rest..].fill(0);
            touched.push(size / PAGE);
        }
        self.size = size;
        touched
    }

    /// Takes these pages, and the size, as another version has them.
    pub(super) fn adopt(&mut self, from: &Self, pages: impl IntoIterator<Item = u64>) {
        for number in pages {
            match from.pages.get(&number) {
                Some(page) => self.pages.insert(number, Arc::clone(page)),
                None => self.pages.remove(&number),
            };
        }
        self.size = from.size;
    }

    /// Takes one page's chosen `sectors` as another version has them, as a disk that lost its power while it wrote. The
    /// file grows as far as they reach; it never shrinks, as the new size had not been written.
    pub(super) fn adopt_sectors(
        &mut self,
        from: &Self,
        number: u64,
        sectors: &BTreeSet<usize>,
        account: &Account,
    ) {
        let Some(last) = sectors.last() else { return };
        let page = self.pages.entry(number).or_insert_with(|| Arc::new(Page::new(account)));
        let page = Arc::make_mut(page);
        for sector in sectors {
            let range = sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES;
            match from.pages.get(&number) {
                Some(source) => page.bytes[range.clone()].copy_from_slice(&source.bytes[range]),
                None => page.bytes[range].fill(0),
            }
        }
        let reach = number * PAGE + ((last + 1) * SECTOR_BYTES) as u64;
        self.size = self.size.max(reach.min(from.size));
    }

    /// The pages in which two versions differ.
    pub(super) fn differing(&self, other: &Self) -> Vec<u64> {
        let numbers = self.pages.keys().chain(other.pages.keys()).copied().collect::<BTreeSet<_>>();
        let differ = |number: &u64| match (self.pages.get(number), other.pages.get(number)) {
            (Some(own), Some(others)) => !Arc::ptr_eq(own, others) && own.bytes != others.bytes,
            (Some(page), None) | (None, Some(page)) => page.bytes.iter().any(|&byte| byte != 0),
            (None, None) => unreachable!("the number is from one of the two"),
        };
        numbers.into_iter().filter(differ).collect()
    }

    /// How many more bytes of memory a write may take at most.
    pub(super) fn write_takes_bytes_max(offset: u64, length: usize) -> u64 {
        parts(offset, length).count() as u64 * PAGE
    }

    /// Turns one bit of a page that was written. Gives the byte that is there now.
    pub(super) fn flip(&mut self, offset: u64, bit: u8) -> Option<u8> {
        if offset >= self.size {
            return None;
        }
        let byte = &mut Arc::make_mut(self.pages.get_mut(&(offset / PAGE))?).bytes[(offset % PAGE) as usize];
        *byte ^= 1 << bit;
        Some(*byte)
    }
}

/// A range of bytes, page by page: the page, where in it the part begins, and where the part is in the range.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == length {
            return None;
        }
        let at = offset + done as u64;
        let within = (at % PAGE) as usize;
        let part = done..length.min(done + PAGE_BYTES - within);
        done = part.end;
        Some((at / PAGE, within, part))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Deed {
        Write(u64, Vec<u8>),
        Resize(u64),
    }

    fn deeds() -> impl Strategy<Value = Vec<Deed>> {
        let write = (0..20_000u64, prop::collection::vec(any::<u8>(), 1..6_000))
            .prop_map(|(offset, bytes)| Deed::Write(offset, bytes));
        prop::collection::vec(prop_oneof![write, (0..20_000u64).prop_map(Deed::Resize)], 0..12)
    }

    proptest! {
        /// Against a vector of bytes; and copies never change with the original.
        #[test]
        fn it_reads_as_a_plain_file_would(deeds in deeds()) {
            let account = Account::default();
            let (mut content, mut plain) = (Content::default(), Vec::<u8>::new());
            for deed in deeds {
                let (copy, before) = (content.clone(), plain.clone());
                match deed {
                    Deed::Write(offset, bytes) => {
                        let offset_usize = offset as usize;
                        plain.resize(plain.len().max(offset_usize + bytes.len()), 0);
                        plain[offset_usize..offset_usize + bytes.len()].copy_from_slice(&bytes);
                        content.write(offset, &bytes, &account);
                    }
                    Deed::Resize(size) => {
                        plain.resize(size as usize, 0);
                        content.resize(size);
                    }
                }
                prop_assert_eq!(content.read(0, usize::MAX / 2), plain.clone());
                prop_assert_eq!(copy.read(0, usize::MAX / 2), before);
            }
            let kept = content.pages.len() as u64 * PAGE;
            prop_assert_eq!(account.used_bytes(), kept);
            drop(content);
            prop_assert_eq!(account.used_bytes(), 0);
        }
    }

    #[test]
    fn a_torn_page_has_old_and_new_sectors() {
        let account = Account::default();
        let (mut old, mut new) = (Content::default(), Content::default());
        old.write(0, &[1; 1000], &account);
        new.write(0, &[2; 3000], &account);
        old.adopt_sectors(&new, 0, &BTreeSet::from([1, 3]), &account);
        let read = old.read(0, 10_000);
        assert_eq!(read.len(), 4 * SECTOR_BYTES, "as far as the last sector that was written");
        assert_eq!((read[0], read[511], read[512], read[1023]), (1, 1, 2, 2));
        assert_eq!((read[1024], read[1535], read[1536], read[2047]), (0, 0, 2, 2));
    }
}
