//! The FUSE side: translates the kernel's requests into operations on the tree, past the rules.
//!
//! Nothing is cached on behalf of the kernel for longer than a moment (all times to live are zero, files keep no cache
//! from one opening to the next), so that after a power loss whoever opens a file sees what is left of it. The kernel's
//! page cache stays on, as shared mappings need it; locks stay in the kernel.
//!
//! No request is answered while the state is locked by somebody who waits: what must wait is put aside, and both threads
//! of the server stay free.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use nix::errno;
use nix::unistd::{Gid, Uid, getegid, geteuid};

use super::content::{PAGE_BYTES, SECTOR_BYTES};
use super::delay::End;
use super::journal::Fate;
use super::rules::{Action, Operation};
use super::state::{Admission, Shared, State};
use super::tree::{Inode, Kind, New, Tree};

const NO_TIME: Duration = Duration::ZERO;
/// Numbers are never used again.
const GENERATION: Generation = Generation(0);
const NAME_BYTES_MAX: u32 = 255;

/// Serves one mount.
pub(super) struct Server {
    shared: Arc<Shared>,
    owner: (Uid, Gid),
}

impl Server {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, owner: (geteuid(), getegid()) }
    }

    fn attributes(&self, number: u64, inode: &Inode) -> FileAttr {
        let (kind, size) = match &inode.kind {
            Kind::File { volatile, .. } => (FileType::RegularFile, volatile.size()),
            Kind::Directory { .. } => (FileType::Directory, PAGE_BYTES as u64),
        };
        FileAttr {
            ino: INodeNo(number),
            size,
            blocks: size.div_ceil(SECTOR_BYTES as u64),
            atime: inode.modified,
            mtime: inode.modified,
            ctime: inode.modified,
            crtime: inode.modified,
            kind,
            perm: inode.mode,
            nlink: 1,
            uid: self.owner.0.as_raw(),
            gid: self.owner.1.as_raw(),
            rdev: 0,
            blksize: PAGE_BYTES as u32,
            flags: 0,
        }
    }

    /// What the kernel is told of an inode that it is to remember.
    fn entry(&self, tree: &mut Tree, number: u64) -> Result<FileAttr, errno::Errno> {
        let inode = tree.inodes.get_mut(&number).ok_or(errno::Errno::ENOENT)?;
        inode.lookups += 1;
        Ok(self.attributes(number, inode))
    }

    /// Carries out an operation that changes the disk on a path, if the rules let it.
    fn change<T>(
        &self,
        state: &mut State,
        operation: Operation,
        path: &Arc<str>,
        (offset, bytes): (u64, u64),
        work: impl FnOnce(&mut Tree) -> Result<T, errno::Errno>,
    ) -> Outcome<T> {
        match self.shared.admit(state, operation, path) {
            Admission::Hold => Outcome::Hold,
            Admission::Fail(errno) => Outcome::Failed(errno),
            Admission::Go(_) => {
                let done = work(&mut state.tree);
                let fate = if done.is_ok() { Fate::Done } else { Fate::Refused };
                state.journal.note(operation, path, offset, bytes, fate);
                done.map_or_else(Outcome::Failed, Outcome::Done)
            }
        }
    }

    /// Creates, removes, renames: changes the names in a directory.
    fn change_name<T>(
        &self,
        operation: Operation,
        parent: INodeNo,
        name: &OsStr,
        work: impl FnOnce(&mut Tree) -> Result<T, errno::Errno>,
        answer: impl FnOnce(Result<T, Errno>) + Send + 'static,
    ) {
        let mut state = self.shared.lock();
        let outcome = match state.tree.path_in(parent.0, name) {
            Ok(path) => self.change(&mut state, operation, &path, (0, 0), work),
            Err(errno) => Outcome::Failed(errno),
        };
        outcome.answer(&mut state, answer);
    }

    /// Syncs a file or a directory.
    fn sync(&self, operation: Operation, number: INodeNo, reply: ReplyEmpty) {
        let mut state = self.shared.lock();
        let path = match state.tree.get(number.0) {
            Ok(inode) => Arc::clone(&inode.path),
            Err(errno) => return reply.error(to_fuse(errno)),
        };
        let hurt = match self.shared.admit(&mut state, operation, &path) {
            Admission::Hold => return state.hold(move |errno| reply.error(to_fuse(errno))),
            Admission::Fail(errno) => return reply.error(to_fuse(errno)),
            Admission::Go(hurt) => hurt,
        };
        match hurt {
            Some(Action::Delay(time)) => {
                let shared = Arc::clone(&self.shared);
                drop(state);
                self.shared.delays.at(Instant::now() + time, move |end| match end {
                    End::Abandoned => reply.error(Errno::EIO),
                    End::Due => {
                        let mut state = shared.lock();
                        let done = sync(&mut state.tree, operation, number.0);
                        state.journal.note(operation, &path, 0, 0, Fate::Delayed);
                        answer_empty(done, reply);
                    }
                });
            }
            Some(Action::FailAndForget(errno)) => {
                // A directory has no pages; its names are simply not saved.
                let dropped = state.tree.forget_dirty(number.0).unwrap_or(0) as u64;
                state.journal.note(operation, &path, 0, dropped, Fate::Failed);
                reply.error(to_fuse(errno));
            }
            Some(Action::Lie) => {
                let dropped = state.tree.forget_dirty(number.0).unwrap_or(0);
                state.journal.note(operation, &path, 0, 0, Fate::Lied(dropped));
                reply.ok();
            }
            None | Some(Action::Fail(_) | Action::Freeze) => {
                let done = sync(&mut state.tree, operation, number.0);
                let fate = if done.is_ok() { Fate::Done } else { Fate::Refused };
                state.journal.note(operation, &path, 0, 0, fate);
                answer_empty(done, reply);
            }
        }
    }
}

/// What came of an operation.
enum Outcome<T> {
    Done(T),
    Failed(errno::Errno),
    Hold,
}

impl<T> Outcome<T> {
    fn answer(self, state: &mut State, answer: impl FnOnce(Result<T, Errno>) + Send + 'static) {
        match self {
            Self::Done(value) => answer(Ok(value)),
            Self::Failed(errno) => answer(Err(to_fuse(errno))),
            Self::Hold => state.hold(move |errno| answer(Err(to_fuse(errno)))),
        }
    }
}

fn sync(tree: &mut Tree, operation: Operation, number: u64) -> Result<(), errno::Errno> {
    match operation {
        Operation::FsyncDirectory => tree.sync_directory(number),
        _ => tree.sync(number),
    }
}

fn to_fuse(errno: errno::Errno) -> Errno {
    Errno::from_i32(errno as i32)
}

fn answer_empty(result: Result<(), errno::Errno>, reply: ReplyEmpty) {
    empty(reply)(result.map_err(to_fuse));
}

fn empty(reply: ReplyEmpty) -> impl FnOnce(Result<(), Errno>) + Send + 'static {
    move |result| match result {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}

fn entry(reply: ReplyEntry) -> impl FnOnce(Result<FileAttr, Errno>) + Send + 'static {
    move |result| match result {
        Ok(attributes) => reply.entry(&NO_TIME, &attributes, GENERATION),
        Err(errno) => reply.error(errno),
    }
}

fn attributes(reply: ReplyAttr) -> impl FnOnce(Result<FileAttr, Errno>) + Send + 'static {
    move |result| match result {
        Ok(attributes) => reply.attr(&NO_TIME, &attributes),
        Err(errno) => reply.error(errno),
    }
}

impl Filesystem for Server {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let mut state = self.shared.lock();
        let found = state.tree.lookup(parent.0, name).and_then(|number| self.entry(&mut state.tree, number));
        entry(reply)(found.map_err(to_fuse));
    }

    fn forget(&self, _: &Request, number: INodeNo, lookups: u64) {
        self.shared.lock().tree.forget(number.0, lookups);
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let state = self.shared.lock();
        let found = state.tree.get(number.0).map(|inode| self.attributes(number.0, inode));
        attributes(reply)(found.map_err(to_fuse));
    }

    fn setattr(
        &self,
        _: &Request,
        number: INodeNo,
        mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _accessed: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        _changed: Option<SystemTime>,
        _: Option<FileHandle>,
        _created: Option<SystemTime>,
        _changed_at: Option<SystemTime>,
        _backed_up: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut state = self.shared.lock();
        let Some(inode) = state.tree.inodes.get_mut(&number.0) else { return reply.error(Errno::ENOENT) };
        if let Some(mode) = mode {
            inode.mode = (mode & 0o7777) as u16;
        }
        match modified {
            Some(TimeOrNow::SpecificTime(time)) => inode.modified = time,
            Some(TimeOrNow::Now) => inode.modified = SystemTime::now(),
            None => (),
        }
        let path = Arc::clone(&inode.path);
        let outcome = match size {
            None => Outcome::Done(()),
            Some(size) => self.change(&mut state, Operation::Truncate, &path, (size, 0), |tree| {
                tree.resize(number.0, size)
            }),
        };
        let outcome = match outcome {
            Outcome::Done(()) => match state.tree.get(number.0) {
                Ok(inode) => Outcome::Done(self.attributes(number.0, inode)),
                Err(errno) => Outcome::Failed(errno),
            },
            Outcome::Failed(errno) => Outcome::Failed(errno),
            Outcome::Hold => Outcome::Hold,
        };
        outcome.answer(&mut state, attributes(reply));
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let make = |tree: &mut Tree| {
            let number = tree.create(parent.0, name, New::Directory, mode & !umask)?;
            self.entry(tree, number)
        };
        self.change_name(Operation::Create, parent, name, make, entry(reply));
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let make = |tree: &mut Tree| {
            let number = tree.create(parent.0, name, New::File, mode & !umask)?;
            self.entry(tree, number)
        };
        self.change_name(Operation::Create, parent, name, make, |result| match result {
            Ok(attributes) => {
                reply.created(&NO_TIME, &attributes, GENERATION, FileHandle(0), FopenFlags::empty());
            }
            Err(errno) => reply.error(errno),
        });
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let remove = |tree: &mut Tree| tree.unlink(parent.0, name);
        self.change_name(Operation::Unlink, parent, name, remove, empty(reply));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let remove = |tree: &mut Tree| tree.rmdir(parent.0, name);
        self.change_name(Operation::Unlink, parent, name, remove, empty(reply));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if flags.contains(RenameFlags::RENAME_EXCHANGE) {
            return reply.error(Errno::EINVAL);
        }
        let may_replace = !flags.contains(RenameFlags::RENAME_NOREPLACE);
        let rename = |tree: &mut Tree| tree.rename((parent.0, name), (new_parent.0, new_name), may_replace);
        self.change_name(Operation::Rename, parent, name, rename, empty(reply));
    }

    fn read(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut state = self.shared.lock();
        let path = match state.tree.get(number.0) {
            Ok(inode) => Arc::clone(&inode.path),
            Err(errno) => return reply.error(to_fuse(errno)),
        };
        // Reads are not taken down: they would push out of the journal what tells a loss from a bug.
        match self.shared.admit(&mut state, Operation::Read, &path) {
            Admission::Fail(errno) => reply.error(to_fuse(errno)),
            Admission::Hold => state.hold(move |errno| reply.error(to_fuse(errno))),
            Admission::Go(_) => match state.tree.read(number.0, offset, size as usize) {
                Ok(bytes) => reply.data(&bytes),
                Err(errno) => reply.error(to_fuse(errno)),
            },
        }
    }

    fn write(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        bytes: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut state = self.shared.lock();
        let path = match state.tree.get(number.0) {
            Ok(inode) => Arc::clone(&inode.path),
            Err(errno) => return reply.error(to_fuse(errno)),
        };
        let length = bytes.len() as u32;
        let write = |tree: &mut Tree| tree.write(number.0, offset, bytes);
        let outcome = self.change(&mut state, Operation::Write, &path, (offset, length.into()), write);
        outcome.answer(&mut state, move |result| match result {
            Ok(()) => reply.written(length),
            Err(errno) => reply.error(errno),
        });
    }

    fn fallocate(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        if mode & !libc::FALLOC_FL_KEEP_SIZE != 0 {
            return reply.error(Errno::EOPNOTSUPP);
        }
        let mut state = self.shared.lock();
        let (path, size) = match state.tree.get(number.0) {
            Ok(Inode { path, kind: Kind::File { volatile, .. }, .. }) => (Arc::clone(path), volatile.size()),
            Ok(_) => return reply.error(Errno::EISDIR),
            Err(errno) => return reply.error(to_fuse(errno)),
        };
        let outcome = self.change(&mut state, Operation::Write, &path, (offset, 0), |tree| {
            // Pages that nobody has written take no memory, so there is nothing to reserve.
            if mode == 0 && offset + length > size { tree.resize(number.0, offset + length) } else { Ok(()) }
        });
        outcome.answer(&mut state, empty(reply));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, number: INodeNo, _: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        // `fdatasync` carries the size along as well: without it the data could not be read back.
        self.sync(Operation::Fsync, number, reply);
    }

    fn fsyncdir(&self, _: &Request, number: INodeNo, _: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        self.sync(Operation::FsyncDirectory, number, reply);
    }

    fn readdir(&self, _: &Request, number: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let state = self.shared.lock();
        let names = match state.tree.names(number.0) {
            Ok(names) => names,
            Err(errno) => return reply.error(to_fuse(errno)),
        };
        // By number, not by place: a file that is removed between two calls must not hide another one. Numbers only
        // grow, so one that was seen is never seen again.
        let mut entries = names.iter().filter(|(_, child)| **child > offset).collect::<Vec<_>>();
        entries.sort_unstable_by_key(|(_, child)| **child);
        for (name, &child) in entries {
            let kind = match state.tree.get(child) {
                Ok(Inode { kind: Kind::Directory { .. }, .. }) => FileType::Directory,
                Ok(_) | Err(_) => FileType::RegularFile,
            };
            if reply.add(INodeNo(child), child, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let state = self.shared.lock();
        let page = PAGE_BYTES as u64;
        let total = state.tree.capacity_bytes() / page;
        let free = total.saturating_sub(state.tree.account.used_bytes() / page);
        let files = state.tree.inodes.len() as u64;
        reply.statfs(
            total,
            free,
            free,
            files + free,
            free,
            PAGE_BYTES as u32,
            NAME_BYTES_MAX,
            PAGE_BYTES as u32,
        );
    }
}
