//! Files and directories in two versions: what programs see, and what a power loss leaves.
//!
//! ```text
//!               volatile                 durable
//! file          content, dirty pages     content
//! directory     names                    names, once as a sync of the directory left them (strict), and once as
//!                                        any sync left them (ext4)
//!
//! write, resize, create, rename, unlink       change the volatile version
//! sync of a file                              its dirty pages and size become durable; under ext4 all names do too
//! sync of a directory                         its names become durable
//! power loss                                  everything volatile becomes as the durable version is
//! ```
//! Both durable versions of the names are kept at all times, so that each power loss can choose its mode.
//!
//! Pure: no kernel, no threads. Times and permissions are not versioned; hard and symbolic links are left out, as no
//! database that we know needs them in its data directory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::sync::Arc;
use std::time::SystemTime;

use nix::errno::Errno;

use super::content::{Account, Content};

/// The root's number, as FUSE has it.
pub(super) const ROOT: u64 = 1;

pub(super) type Names = BTreeMap<OsString, u64>;

/// All files and directories of a disk.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) inodes: HashMap<u64, Inode>,
    next: u64,
    pub(super) account: Account,
    capacity_bytes: u64,
    /// How often a write was refused because memory had run out, rather than by a fault.
    pub(super) refused_by_capacity: u64,
    /// Whether some directory has names that a sync under ext4 would make durable.
    pub(super) names_changed: bool,
}

#[derive(Debug)]
pub(super) struct Inode {
    pub(super) kind: Kind,
    /// From the root, as it was last seen there, without a slash in front. Kept after an unlink, for the journal.
    pub(super) path: Arc<str>,
    pub(super) mode: u16,
    pub(super) modified: SystemTime,
    /// How many references the kernel has.
    pub(super) lookups: u64,
}

#[derive(Debug)]
pub(super) enum Kind {
    File { volatile: Content, durable: Content, dirty: BTreeSet<u64> },
    Directory { volatile: Names, strict: Names, ext4: Names },
}

/// What a new inode is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum New {
    File,
    Directory,
}

impl Tree {
    /// An empty root.
    pub(super) fn new(capacity_bytes: u64) -> Self {
        let root = Inode::new(New::Directory, Arc::from(""), 0o755);
        Self {
            inodes: HashMap::from([(ROOT, root)]),
            next: ROOT + 1,
            account: Account::default(),
            capacity_bytes,
            refused_by_capacity: 0,
            names_changed: false,
        }
    }

    pub(super) fn get(&self, number: u64) -> Result<&Inode, Errno> {
        self.inodes.get(&number).ok_or(Errno::ENOENT)
    }

    pub(super) fn capacity_bytes(&self) -> u64 {
        self.capacity_bytes
    }

    pub(super) fn lookup(&self, parent: u64, name: &OsStr) -> Result<u64, Errno> {
        self.names(parent)?.get(name).copied().ok_or(Errno::ENOENT)
    }

    /// The names that programs see.
    pub(super) fn names(&self, directory: u64) -> Result<&Names, Errno> {
        match &self.get(directory)?.kind {
            Kind::Directory { volatile, .. } => Ok(volatile),
            Kind::File { .. } => Err(Errno::ENOTDIR),
        }
    }

    pub(super) fn path_in(&self, parent: u64, name: &OsStr) -> Result<Arc<str>, Errno> {
        let parent = &self.get(parent)?.path;
        let name = name.to_string_lossy();
        Ok(if parent.is_empty() { name.into() } else { format!("{parent}/{name}").into() })
    }

    pub(super) fn create(&mut self, parent: u64, name: &OsStr, new: New, mode: u32) -> Result<u64, Errno> {
        if self.names(parent)?.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        let inode = Inode::new(new, self.path_in(parent, name)?, (mode & 0o7777) as u16);
        let number = self.next;
        self.next += 1;
        self.inodes.insert(number, inode);
        self.names_mut(parent)?.insert(name.to_owned(), number);
        Ok(number)
    }

    pub(super) fn unlink(&mut self, parent: u64, name: &OsStr) -> Result<(), Errno> {
        let number = self.lookup(parent, name)?;
        if matches!(self.get(number)?.kind, Kind::Directory { .. }) {
            return Err(Errno::EISDIR);
        }
        self.names_mut(parent)?.remove(name);
        Ok(())
    }

    pub(super) fn rmdir(&mut self, parent: u64, name: &OsStr) -> Result<(), Errno> {
        let number = self.lookup(parent, name)?;
        if !self.names(number)?.is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        self.names_mut(parent)?.remove(name);
        Ok(())
    }

    pub(super) fn rename(
        &mut self,
        from: (u64, &OsStr),
        to: (u64, &OsStr),
        may_replace: bool,
    ) -> Result<(), Errno> {
        let number = self.lookup(from.0, from.1)?;
        let moves_directory = matches!(self.get(number)?.kind, Kind::Directory { .. });
        match self.lookup(to.0, to.1) {
            Ok(replaced) if replaced == number => return Ok(()),
            Ok(_) if !may_replace => return Err(Errno::EEXIST),
            Ok(replaced) => match (moves_directory, &self.get(replaced)?.kind) {
                (false, Kind::File { .. }) => (),
                (true, Kind::Directory { volatile, .. }) if volatile.is_empty() => (),
                (true, Kind::Directory { .. }) => return Err(Errno::ENOTEMPTY),
                (true, Kind::File { .. }) => return Err(Errno::ENOTDIR),
                (false, Kind::Directory { .. }) => return Err(Errno::EISDIR),
            },
            Err(Errno::ENOENT) => (),
            Err(errno) => return Err(errno),
        }
        self.names_mut(from.0)?.remove(from.1);
        self.names_mut(to.0)?.insert(to.1.to_owned(), number);
        self.name_paths(number, self.path_in(to.0, to.1)?);
        Ok(())
    }

    pub(super) fn read(&self, number: u64, offset: u64, length: usize) -> Result<Vec<u8>, Errno> {
        match &self.get(number)?.kind {
            Kind::File { volatile, .. } => Ok(volatile.read(offset, length)),
            Kind::Directory { .. } => Err(Errno::EISDIR),
        }
    }

    pub(super) fn write(&mut self, number: u64, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        let more = Content::write_takes_bytes_max(offset, bytes.len());
        if self.account.used_bytes() + more > self.capacity_bytes {
            self.refused_by_capacity += 1;
            return Err(Errno::ENOSPC);
        }
        let account = self.account.clone();
        let (volatile, dirty) = self.file_mut(number)?;
        dirty.extend(volatile.write(offset, bytes, &account));
        Ok(())
    }

    pub(super) fn resize(&mut self, number: u64, size: u64) -> Result<(), Errno> {
        let (volatile, dirty) = self.file_mut(number)?;
        dirty.extend(volatile.resize(size));
        Ok(())
    }

    /// Makes a file durable, and under ext4 all names.
    pub(super) fn sync(&mut self, number: u64) -> Result<(), Errno> {
        let inode = self.inodes.get_mut(&number).ok_or(Errno::ENOENT)?;
        let Kind::File { volatile, durable, dirty } = &mut inode.kind else { return Err(Errno::EISDIR) };
        durable.adopt(volatile, std::mem::take(dirty));
        self.commit_names();
        Ok(())
    }

    /// Believes that a file is durable without making it so. Gives how many pages were dropped.
    ///
    /// Linux does so after a sync that failed: the pages count as clean, and the next sync has nothing to write.
    pub(super) fn forget_dirty(&mut self, number: u64) -> Result<usize, Errno> {
        let (_, dirty) = self.file_mut(number)?;
        Ok(std::mem::take(dirty).len())
    }

    /// Makes the names in a directory durable.
    pub(super) fn sync_directory(&mut self, number: u64) -> Result<(), Errno> {
        let inode = self.inodes.get_mut(&number).ok_or(Errno::ENOENT)?;
        let Kind::Directory { volatile, strict, .. } = &mut inode.kind else { return Err(Errno::ENOTDIR) };
        strict.clone_from(volatile);
        self.commit_names();
        self.collect();
        Ok(())
    }

    /// Removes everything below a directory, durably.
    pub(super) fn clear(&mut self, directory: u64) {
        let Some(Inode { kind: Kind::Directory { volatile, strict, ext4 }, .. }) =
            self.inodes.get_mut(&directory)
        else {
            return;
        };
        [volatile, strict, ext4].into_iter().for_each(Names::clear);
        self.collect();
    }

    /// The kernel gives references back.
    pub(super) fn forget(&mut self, number: u64, lookups: u64) {
        let Some(inode) = self.inodes.get_mut(&number) else { return };
        inode.lookups = inode.lookups.saturating_sub(lookups);
        if inode.lookups == 0 {
            self.collect();
        }
    }

    /// Files and directories below the root by their paths, as programs see them, parents first.
    pub(super) fn walk(&self) -> Vec<(String, u64)> {
        let mut found = Vec::new();
        let mut pending = vec![(String::new(), ROOT)];
        while let Some((path, directory)) = pending.pop() {
            for (name, &number) in self.names(directory).expect("only directories are pending") {
                let name = name.to_string_lossy();
                let path = if path.is_empty() { name.into_owned() } else { format!("{path}/{name}") };
                if matches!(self.inodes[&number].kind, Kind::Directory { .. }) {
                    pending.push((path.clone(), number));
                }
                found.push((path, number));
            }
        }
        found
    }

    /// Everything that no name leads to, in any version, and the kernel does not hold, is gone.
    pub(super) fn collect(&mut self) {
        let mut reached = BTreeSet::from([ROOT]);
        let mut pending = vec![ROOT];
        pending.extend(self.inodes.iter().filter(|(_, inode)| inode.lookups > 0).map(|(&number, _)| number));
        reached.extend(&pending);
        while let Some(number) = pending.pop() {
            let Some(Inode { kind: Kind::Directory { volatile, strict, ext4 }, .. }) =
                self.inodes.get(&number)
            else {
                continue;
            };
            let children = volatile.values().chain(strict.values()).chain(ext4.values());
            pending.extend(children.filter(|&&child| reached.insert(child)));
        }
        self.inodes.retain(|number, _| reached.contains(number));
    }

    /// Writes down, for an inode and all below it, where it lies now.
    pub(super) fn name_paths(&mut self, number: u64, path: Arc<str>) {
        let mut pending = vec![(number, path)];
        while let Some((number, path)) = pending.pop() {
            if let Ok(names) = self.names(number) {
                let child =
                    |name: &OsString| if path.is_empty() { String::new() } else { format!("{path}/") }
                        + &name.to_string_lossy();
                pending.extend(names.iter().map(|(name, &number)| (number, Arc::from(child(name)))));
            }
            self.inodes.get_mut(&number).expect("names lead to inodes").path = path;
        }
    }

    fn commit_names(&mut self) {
        if !std::mem::take(&mut self.names_changed) {
            return;
        }
        for inode in self.inodes.values_mut() {
            if let Kind::Directory { volatile, ext4, .. } = &mut inode.kind {
                ext4.clone_from(volatile);
            }
        }
        self.collect();
    }

    fn names_mut(&mut self, directory: u64) -> Result<&mut Names, Errno> {
        self.names_changed = true;
        let inode = self.inodes.get_mut(&directory).ok_or(Errno::ENOENT)?;
        inode.modified = SystemTime::now();
        match &mut inode.kind {
            Kind::Directory { volatile, .. } => Ok(volatile),
            Kind::File { .. } => Err(Errno::ENOTDIR),
        }
    }

    fn file_mut(&mut self, number: u64) -> Result<(&mut Content, &mut BTreeSet<u64>), Errno> {
        let inode = self.inodes.get_mut(&number).ok_or(Errno::ENOENT)?;
        inode.modified = SystemTime::now();
        match &mut inode.kind {
            Kind::File { volatile, dirty, .. } => Ok((volatile, dirty)),
            Kind::Directory { .. } => Err(Errno::EISDIR),
        }
    }
}

impl Inode {
    fn new(new: New, path: Arc<str>, mode: u16) -> Self {
        let kind = match new {
            New::File => Kind::File {
                volatile: Content::default(),
                durable: Content::default(),
                dirty: BTreeSet::new(),
            },
            New::Directory => {
                Kind::Directory { volatile: Names::new(), strict: Names::new(), ext4: Names::new() }
            }
        };
        Self { kind, path, mode, modified: SystemTime::now(), lookups: 0 }
    }
}
