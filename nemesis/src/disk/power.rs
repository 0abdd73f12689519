//! A power loss: what was not synced is gone, wholly or in parts.

use std::collections::BTreeSet;
use std::fmt;

use rand::RngExt;

use super::content::{PAGE_BYTES, SECTOR_BYTES};
use super::tree::{Inode, Kind, Names, ROOT, Tree};
use crate::target::Rng;

/// Which syncs make a name durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As POSIX has it: only a sync of the directory. A finding under this mode alone is about portability.
    Strict,
    /// As ext4 and most others do: any sync.
    Ext4,
}

/// What becomes of pages that were written and not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    /// None of them had reached the disk.
    Lost,
    /// Each had reached it with this probability.
    TornPages {
        /// In per cent.
        survive_percent: u8,
    },
    /// Each 512 bytes of them had.
    TornSectors {
        /// In per cent.
        survive_percent: u8,
    },
}

/// What a power loss took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Files that had more than was synced, by their paths from the root of the disk.
    pub files: Vec<FileLoss>,
    /// Names that are gone, because they were not synced.
    pub names_gone: Vec<String>,
    /// Names that are back, because their removal was not synced.
    pub names_back: Vec<String>,
}

/// What a power loss took from a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileLoss {
    /// Which, as it was called before.
    pub path: String,
    /// Pages that were not as the disk had them.
    pub pages: usize,
    /// Of these, pages that survived, wholly or in parts.
    pub torn: usize,
    /// The size before.
    pub size_before: u64,
    /// The size on the disk.
    pub size_after: u64,
}

impl Losses {
    /// Whether anything was there to be lost.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.names_gone.is_empty() && self.names_back.is_empty()
    }
}

impl fmt::Display for Losses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing was unsynced");
        }
        let mut parts = Vec::new();
        for file in &self.files {
            let torn =
                if file.torn > 0 { format!(", {} of them in parts", file.torn) } else { String::new() };
            parts.push(format!(
                "{}: {} unsynced pages lost{torn}, {} → {} bytes",
                file.path, file.pages, file.size_before, file.size_after
            ));
        }
        parts.extend(self.names_gone.iter().map(|name| format!("{name}: the name is gone")));
        parts.extend(self.names_back.iter().map(|name| format!("{name}: the name is back")));
        f.write_str(&parts.join("; "))
    }
}

impl Tree {
    /// What a power loss would take now.
    pub(super) fn unsynced(&self, mode: Mode) -> Losses {
        let mut losses = Losses::default();
        for inode in self.inodes.values() {
            match &inode.kind {
                Kind::File { volatile, durable, .. } => {
                    let pages = volatile.differing(durable).len();
                    if pages > 0 || volatile.size() != durable.size() {
                        losses.files.push(FileLoss {
                            path: inode.path.to_string(),
                            pages,
                            torn: 0,
                            size_before: volatile.size(),
                            size_after: durable.size(),
                        });
                    }
                }
                Kind::Directory { volatile, strict, ext4 } => {
                    let durable = mode.of(strict, ext4);
                    losses.names_gone.extend(names_in(inode, volatile, durable));
                    losses.names_back.extend(names_in(inode, durable, volatile));
                }
            }
        }
        losses.files.sort_by(|a, b| a.path.cmp(&b.path));
        losses.names_gone.sort();
        losses.names_back.sort();
        losses
    }

    /// Cuts the power. Nobody must have a file open that they would go on writing to.
    pub(super) fn lose_power(&mut self, mode: Mode, unsynced: Unsynced, rng: &mut Rng) -> Losses {
        let mut losses = self.unsynced(mode);
        let account = self.account.clone();
        // In order, so that the same seed and state tear the same sectors.
        let mut numbers = self.inodes.keys().copied().collect::<Vec<_>>();
        numbers.sort_unstable();
        for number in numbers {
            let inode = self.inodes.get_mut(&number).expect("its number was just read");
            match &mut inode.kind {
                Kind::File { volatile, durable, dirty } => {
                    let mut torn = 0;
                    for page in std::mem::take(dirty) {
                        let survivors = unsynced.survivors(rng);
                        torn += usize::from(!survivors.is_empty());
                        durable.adopt_sectors(volatile, page, &survivors, &account);
                    }
                    if let Some(loss) = losses.files.iter_mut().find(|loss| *loss.path == *inode.path) {
                        (loss.torn, loss.size_after) = (torn, durable.size());
                    }
                    volatile.clone_from(durable);
                }
                Kind::Directory { volatile, strict, ext4 } => {
                    volatile.clone_from(mode.of(strict, ext4));
                    strict.clone_from(volatile);
                    ext4.clone_from(volatile);
                }
            }
        }
        self.names_changed = false;
        self.name_paths(ROOT, "".into());
        self.collect();
        losses
    }
}

impl Mode {
    fn of<'a>(self, strict: &'a Names, ext4: &'a Names) -> &'a Names {
        match self {
            Self::Strict => strict,
            Self::Ext4 => ext4,
        }
    }
}

impl Unsynced {
    /// The sectors of a page that had reached the disk.
    fn survivors(self, rng: &mut Rng) -> BTreeSet<usize> {
        let all = 0..PAGE_BYTES / SECTOR_BYTES;
        let mut survives = |percent: u8| rng.random_range(0..100) < percent;
        match self {
            Self::Lost => BTreeSet::new(),
            Self::TornPages { survive_percent } if survives(survive_percent) => all.collect(),
            Self::TornPages { .. } => BTreeSet::new(),
            Self::TornSectors { survive_percent } => all.filter(|_| survives(survive_percent)).collect(),
        }
    }
}

/// Names that one version has and another lacks, or has for another inode.
fn names_in(directory: &Inode, has: &Names, lacks: &Names) -> Vec<String> {
    let slash = if directory.path.is_empty() { "" } else { "/" };
    let missing = has.iter().filter(|(name, number)| lacks.get(*name) != Some(number));
    missing.map(|(name, _)| format!("{}{slash}{}", directory.path, name.to_string_lossy())).collect()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::super::tree::New;
    use super::*;

    fn tree() -> Tree {
        Tree::new(1 << 20)
    }

    fn file(tree: &mut Tree, name: &str, bytes: &[u8]) -> u64 {
        let number = tree.create(ROOT, OsStr::new(name), New::File, 0o644).expect("a new name");
        tree.write(number, 0, bytes).expect("there is room");
        number
    }

    fn lose(tree: &mut Tree, mode: Mode) -> String {
        tree.lose_power(mode, Unsynced::Lost, &mut Rng::new(1, 1)).to_string()
    }

    fn shown(tree: &Tree) -> String {
        let show = |(path, number): (String, u64)| {
            let bytes = tree.read(number, 0, 1 << 20).unwrap_or_default();
            format!("{path}={}", String::from_utf8_lossy(&bytes))
        };
        tree.walk().into_iter().map(show).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_was_synced_stays_and_the_rest_goes() {
        let mut tree = tree();
        let log = file(&mut tree, "log", b"synced");
        tree.sync(log).expect("a file");
        tree.write(log, 6, b" and not").expect("there is room");
        let lost = lose(&mut tree, Mode::Ext4);
        assert_eq!(lost, "log: 1 unsynced pages lost, 14 → 6 bytes");
        assert_eq!(shown(&tree), "log=synced");
        assert_eq!(lose(&mut tree, Mode::Ext4), "nothing was unsynced");
    }

    #[test]
    fn a_cut_that_was_not_synced_is_undone() {
        let mut tree = tree();
        let log = file(&mut tree, "log", b"synced");
        tree.sync(log).expect("a file");
        tree.resize(log, 2).expect("a file");
        tree.resize(log, 4).expect("a file");
        assert_eq!(tree.read(log, 0, 9), Ok(b"sy\0\0".to_vec()));
        lose(&mut tree, Mode::Ext4);
        assert_eq!(shown(&tree), "log=synced");
    }

    #[test]
    fn a_name_needs_a_sync_of_its_directory_unless_the_disk_is_ext4() {
        for (mode, left) in [(Mode::Strict, ""), (Mode::Ext4, "log=x")] {
            let mut tree = tree();
            let log = file(&mut tree, "log", b"x");
            tree.sync(log).expect("a file");
            lose(&mut tree, mode);
            assert_eq!(shown(&tree), left, "{mode:?}");
        }
        let mut tree = tree();
        let log = file(&mut tree, "log", b"x");
        tree.sync(log).expect("a file");
        tree.sync_directory(ROOT).expect("a directory");
        assert_eq!(lose(&mut tree, Mode::Strict), "nothing was unsynced");
        assert_eq!(shown(&tree), "log=x");
    }

    #[test]
    fn a_rename_that_was_not_synced_leaves_both_files_as_they_were() {
        let mut tree = tree();
        let old = file(&mut tree, "state", b"old");
        tree.sync(old).expect("a file");
        tree.sync_directory(ROOT).expect("a directory");
        let new = file(&mut tree, "state.tmp", b"new");
        tree.sync(new).expect("a file");
        let (from, to) = (OsStr::new("state.tmp"), OsStr::new("state"));
        tree.rename((ROOT, from), (ROOT, to), true).expect("both exist");
        assert_eq!(shown(&tree), "state=new");
        let lost = lose(&mut tree, Mode::Ext4);
        assert_eq!(lost, "state: the name is gone; state: the name is back; state.tmp: the name is back");
        assert_eq!(shown(&tree), "state=old state.tmp=new");
    }

    #[test]
    fn a_removed_file_comes_back_until_its_removal_is_synced_and_then_takes_no_memory() {
        let mut tree = tree();
        let log = file(&mut tree, "log", b"x");
        tree.sync(log).expect("a file");
        tree.unlink(ROOT, OsStr::new("log")).expect("it exists");
        lose(&mut tree, Mode::Ext4);
        assert_eq!(shown(&tree), "log=x");
        tree.unlink(ROOT, OsStr::new("log")).expect("it exists");
        tree.sync_directory(ROOT).expect("a directory");
        assert_eq!(tree.account.used_bytes(), 0);
        lose(&mut tree, Mode::Strict);
        assert_eq!(shown(&tree), "");
    }

    /// As Linux does: a second sync after a failed one succeeds and writes nothing.
    #[test]
    fn pages_of_a_failed_sync_are_never_written_unless_written_again() {
        let mut tree = tree();
        let log = file(&mut tree, "log", b"x");
        assert_eq!(tree.forget_dirty(log), Ok(1));
        tree.sync(log).expect("a file");
        assert_eq!(tree.unsynced(Mode::Ext4).files[0].pages, 1, "they are seen to be missing");
        lose(&mut tree, Mode::Ext4);
        assert_eq!(shown(&tree), "log=\0");
    }

    #[test]
    fn torn_pages_are_whole_and_torn_sectors_are_parts() {
        let mut tree = tree();
        let bytes = [7; 40 * PAGE_BYTES];
        let log = file(&mut tree, "log", &bytes);
        let mut rng = Rng::new(3, 3);
        tree.sync_directory(ROOT).expect("a directory");
        let losses = tree.lose_power(Mode::Ext4, Unsynced::TornPages { survive_percent: 50 }, &mut rng);
        assert_eq!(losses.files[0].pages, 40);
        assert!((5..36).contains(&losses.files[0].torn), "{losses}");
        let read = tree.read(log, 0, bytes.len()).expect("a file");
        assert!(read.chunks(PAGE_BYTES).all(|page| page.iter().all(|&byte| byte == page[0])));

        tree.resize(log, 0).expect("a file");
        tree.sync(log).expect("a file");
        tree.write(log, 0, &bytes).expect("there is room");
        tree.lose_power(Mode::Ext4, Unsynced::TornSectors { survive_percent: 50 }, &mut rng);
        let read = tree.read(log, 0, bytes.len()).expect("a file");
        assert!(read.chunks(PAGE_BYTES).any(|page| page.iter().any(|&byte| byte != page[0])));
        assert!(read.chunks(SECTOR_BYTES).all(|sector| sector.iter().all(|&byte| byte == sector[0])));
    }

    #[test]
    fn a_full_memory_is_a_full_disk() {
        let mut tree = Tree::new(2 * PAGE_BYTES as u64);
        let log = file(&mut tree, "log", &[1; PAGE_BYTES]);
        tree.sync(log).expect("a file");
        assert_eq!(tree.write(log, 0, &[1; 2 * PAGE_BYTES]), Err(nix::errno::Errno::ENOSPC));
        assert_eq!(tree.refused_by_capacity, 1);
        tree.write(log, 5, b"x").expect("one page fits, and it is a copy");
        assert_eq!(tree.account.used_bytes(), 2 * PAGE_BYTES as u64);
    }
}
