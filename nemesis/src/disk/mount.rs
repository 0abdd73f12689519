//! Mounts a faulty disk, and is the handle on it.
//!
//! By plain `mount(2)`: `fusermount3` would need a device that everybody may open, and is not everywhere. The mount
//! belongs to the mount namespace that it is made in, so it is never seen by the host, and goes with the last process of
//! the sandbox however that ends.
//!
//! A device that is closed aborts all requests. This process is the only one that has it open, and never uses the mount
//! itself (see [`super::probe`]), so when it is killed, nodes that wait for an answer get an error instead.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fuser::{BackgroundSession, Config, Session, SessionACL};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{getegid, geteuid};

use super::FaultyDisk;
use super::delay::{Delays, End};
use super::journal::Counts;
use super::power::{Losses, Mode, Unsynced};
use super::probe::{self, Probe, Seen};
use super::rules::{Operation, Pattern, Rule, RuleId};
use super::serve::Server;
use super::state::{DATA, PROBES, Shared, UNPOISONED};
use super::tree::{Kind, New, ROOT, Tree};
use crate::target::Rng;

/// What a disk of a node holds at most, in memory. Beyond it is full.
pub const CAPACITY_BYTES: u64 = 1 << 30;
/// How long the server's threads may take to notice that the mount is gone.
const SERVER_ENDS: Duration = Duration::from_secs(2);

/// A mounted disk. It is unmounted when dropped; what was on it is then gone.
pub struct Disk {
    root: PathBuf,
    shared: Arc<Shared>,
    session: Option<BackgroundSession>,
}

/// Why a disk cannot be mounted.
#[derive(Debug, thiserror::Error)]
#[error("failed to {step} {}: {source}", .path.display())]
pub struct MountError {
    /// What was tried.
    pub step: &'static str,
    /// On which path.
    pub path: PathBuf,
    /// Why not.
    pub source: io::Error,
}

impl MountError {
    /// What a person can do about it.
    pub fn help(&self) -> &'static str {
        match self.source.kind() {
            io::ErrorKind::NotFound => {
                "there is no FUSE device: `sudo modprobe fuse`; in a container, add --device /dev/fuse"
            }
            io::ErrorKind::PermissionDenied => {
                "this user may not use FUSE: `sudo chmod 666 /dev/fuse`, or run as root; in a container, allow mounts \
                 (docker run --privileged)"
            }
            _ => "`harness doctor` tries it; leave out faults on disks to do without",
        }
    }
}

impl Disk {
    /// Mounts an empty disk over a directory.
    ///
    /// # Errors
    ///
    /// The device cannot be opened, or the kernel refuses.
    pub fn mount(device: &Path, at: &Path, capacity_bytes: u64) -> Result<Self, MountError> {
        let in_step = |step, path: &Path| {
            let path = path.to_owned();
            move |source: io::Error| MountError { step, path, source }
        };
        let opened = File::options().read(true).write(true).open(device);
        let opened = OwnedFd::from(opened.map_err(in_step("open the FUSE device", device))?);
        let options = format!(
            "fd={},rootmode=40000,user_id={},group_id={},default_permissions",
            opened.as_raw_fd(),
            geteuid(),
            getegid()
        );
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some("faulty-disk"), at, Some("fuse.faulty-disk"), flags, Some(options.as_str()))
            .map_err(|errno| in_step("mount a disk over", at)(errno.into()))?;
        // From here on the mount must be undone, whatever fails: without its server it would block whoever looks.
        let delays = Delays::start();
        let started = delays.and_then(|delays| {
            let shared = Arc::new(Shared::new(formatted(capacity_bytes), delays));
            let mut config = Config::default();
            config.n_threads = Some(2);
            // Cloning opens the device by its path again. Where that fails, the mount has no server.
            config.clone_fd = false;
            let server = Server::new(Arc::clone(&shared));
            let session = Session::from_fd(server, opened, SessionACL::Owner, config)?.spawn()?;
            Ok((shared, session))
        });
        match started {
            Ok((shared, session)) => Ok(Self { root: at.to_owned(), shared, session: Some(session) }),
            Err(source) => {
                let _ = umount2(at, MntFlags::MNT_DETACH);
                Err(in_step("serve the disk at", at)(source))
            }
        }
    }

    /// The directory on the disk that the node is to use.
    pub fn data(&self) -> PathBuf {
        self.root.join(DATA)
    }

    /// Removes everything that the node has on it, durably. The node must be dead.
    pub fn wipe(&self) {
        let mut state = self.shared.lock();
        let data = state.tree.lookup(ROOT, OsStr::new(DATA)).expect("it is there from the start");
        state.tree.clear(data);
    }

    /// How often a write was refused because the disk holds all that it may, and not by a fault.
    pub fn refused_by_capacity(&self) -> u64 {
        self.shared.lock().tree.refused_by_capacity
    }

    /// Copies the node's files, as a program would see them, into a directory that exists.
    ///
    /// # Errors
    ///
    /// The directory cannot be written to.
    pub fn dump_to(&self, directory: &Path) -> io::Result<()> {
        let state = self.shared.lock();
        for (path, number) in state.tree.walk() {
            let Some(within) = path.strip_prefix(DATA).and_then(|path| path.strip_prefix('/')) else {
                continue;
            };
            let to = directory.join(within);
            match &state.tree.get(number).expect("it was found by its name").kind {
                Kind::Directory { .. } => fs::create_dir_all(&to)?,
                Kind::File { volatile, .. } => {
                    let size = usize::try_from(volatile.size()).expect("memory holds it");
                    fs::write(&to, volatile.read(0, size))?;
                }
            }
        }
        Ok(())
    }

    /// What was asked of it, for people: counts by file, and the latest operations.
    pub fn journal(&self) -> String {
        self.shared.lock().journal.to_text()
    }
}

/// A tree with the directories that are there from the start, durably.
fn formatted(capacity_bytes: u64) -> Tree {
    let mut tree = Tree::new(capacity_bytes);
    for name in [DATA, PROBES] {
        tree.create(ROOT, OsStr::new(name), New::Directory, 0o755).expect("the disk is empty");
    }
    tree.sync_directory(ROOT).expect("the root is a directory");
    tree
}

impl FaultyDisk for Disk {
    fn arm(&self, rule: Rule) -> RuleId {
        self.shared.lock().rules.arm(rule)
    }

    fn disarm(&self, id: RuleId) -> u64 {
        let (hits, still_slow) = {
            let mut state = self.shared.lock();
            (state.rules.disarm(id), state.rules.delay_any())
        };
        // What was delayed by the rule is done now, so that the disk is as quick as any from here on.
        if !still_slow {
            self.shared.delays.give_up(End::Due);
        }
        hits
    }

    fn disarm_all(&self) -> usize {
        let armed = self.shared.lock().rules.clear();
        self.shared.delays.give_up(End::Due);
        armed
    }

    fn hits(&self, id: RuleId) -> u64 {
        self.shared.lock().rules.hits(id)
    }

    fn counts(&self) -> Counts {
        self.shared.lock().journal.total()
    }

    fn unsynced(&self, mode: Mode) -> Losses {
        self.shared.lock().tree.unsynced(mode)
    }

    fn lose_power(&self, mode: Mode, unsynced: Unsynced, rng: &mut Rng) -> Losses {
        self.shared.lock().tree.lose_power(mode, unsynced, rng)
    }

    fn flip(&self, path: &str, offset: u64, bit: u8) -> Option<u8> {
        let mut state = self.shared.lock();
        let (_, number) = state.tree.walk().into_iter().find(|(found, _)| found == path)?;
        match &mut state.tree.inodes.get_mut(&number)?.kind {
            Kind::File { volatile, durable, .. } => {
                let is_durable = durable.read(offset, 1) == volatile.read(offset, 1);
                let flipped = volatile.flip(offset, bit);
                if is_durable {
                    durable.flip(offset, bit);
                }
                flipped
            }
            Kind::Directory { .. } => None,
        }
    }

    fn files(&self) -> BTreeMap<String, u64> {
        let state = self.shared.lock();
        let walked = state.tree.walk();
        let files = walked.into_iter().filter_map(|(path, number)| match &state.tree.inodes[&number].kind {
            Kind::File { volatile, .. } => Some((path, volatile.size())),
            Kind::Directory { .. } => None,
        });
        files.collect()
    }

    fn look(&self, paths: &[String]) -> io::Result<Vec<Option<Seen>>> {
        probe::look(&self.root, paths)
    }

    fn byte(&self, path: &str, offset: u64) -> io::Result<u8> {
        probe::byte(&self.root, path, offset)
    }

    fn probe(&self, pattern: &Pattern, delay: Duration) -> io::Result<Probe> {
        probe::probe(&self.root, &format!("{PROBES}/{}", pattern.example()), delay)
    }

    fn wait_until_frozen(&self, limit: Duration) -> Option<(Operation, String)> {
        let waited = self
            .shared
            .frozen
            .wait_timeout_while(self.shared.lock(), limit, |state| state.frozen_at.is_none());
        waited.expect(UNPOISONED).0.frozen_at.clone()
    }

    fn thaw(&self) {
        self.shared.lock().frozen_at = None;
        self.shared.refuse_held();
    }

    fn abandon(&self) {
        self.shared.abandon();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.disarm_all();
        self.thaw();
        // Who still has a file open keeps it, detached; it goes with that process.
        match umount2(&self.root, MntFlags::MNT_DETACH) {
            Ok(()) | Err(Errno::EINVAL) => (),
            Err(errno) => tracing::error!("failed to unmount {}: {errno}", self.root.display()),
        }
        self.shared.delays.close();
        let session = self.session.take().expect("it is taken only here");
        let deadline = Instant::now() + SERVER_ENDS;
        while !session.guard.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        if session.guard.is_finished()
            && let Err(error) = session.join()
        {
            tracing::error!("the server of {} ended badly: {error}", self.root.display());
        }
    }
}
