//! The steps of building a sandbox, and what to do about one that fails.
//!
//! Each kind of machine refuses at another step: a container at the first, Ubuntu's AppArmor at the second, an image
//! without udev at the device. So the step and its errno are what an error is about.

use std::fmt;
use std::io;

use nix::errno::Errno;

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// New namespaces without a user namespace, as root.
    Namespaces,
    /// New namespaces, a user namespace first.
    UserNamespaces,
    /// `setgroups`, `uid_map` and `gid_map`.
    MapIds,
    /// Starting the processes of the sandbox.
    Fork,
    /// Making mounts private.
    MountPrivate,
    /// A network namespace for a node.
    NodeNamespace,
    /// Opening the TUN device.
    OpenTun,
    /// Attaching `tun0` to it.
    AttachTun,
    /// Addresses and flags of `lo` and `tun0`.
    ConfigureInterface,
    /// The length of the transmission queue, by netlink.
    QueueLength,
    /// The thread of the switch.
    StartSwitch,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Namespaces => "unshare namespaces",
            Self::UserNamespaces => "unshare a user namespace",
            Self::MapIds => "map user and group ids",
            Self::Fork => "fork",
            Self::MountPrivate => "make mounts private",
            Self::NodeNamespace => "unshare a network namespace for a node",
            Self::OpenTun => "open the TUN device",
            Self::AttachTun => "attach tun0 to the TUN device",
            Self::ConfigureInterface => "configure lo and tun0",
            Self::QueueLength => "set the queue length of tun0",
            Self::StartSwitch => "start the switch",
        })
    }
}

/// A step that the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("failed to {step}: {source}")]
pub struct StepError {
    /// Which.
    pub step: Step,
    /// Why.
    pub source: io::Error,
}

impl StepError {
    /// What a person can do about it.
    pub fn help(&self) -> &'static str {
        const PERMISSIONS: [Errno; 2] = [Errno::EPERM, Errno::EACCES];
        let errno = self.source.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw);
        match self.step {
            Step::UserNamespaces if errno == Errno::ENOSPC => {
                "user namespaces are switched off or used up: raise the sysctl user.max_user_namespaces, or run as root"
            }
            Step::UserNamespaces if PERMISSIONS.contains(&errno) => {
                "this process may not create user namespaces: in a container, allow unshare (docker run --privileged); \
                 on Debian, set the sysctl kernel.unprivileged_userns_clone=1; or run as root"
            }
            Step::UserNamespaces if errno == Errno::EINVAL => {
                "this kernel has no user namespaces (CONFIG_USER_NS): run as root"
            }
            Step::Namespaces if PERMISSIONS.contains(&errno) => {
                "root lacks CAP_SYS_ADMIN here: in a container, run it with --privileged"
            }
            Step::MapIds | Step::MountPrivate | Step::NodeNamespace if PERMISSIONS.contains(&errno) => {
                "AppArmor restricts user namespaces on this machine (Ubuntu 24.04 and later): run as root, or \
                 `sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`"
            }
            Step::OpenTun if PERMISSIONS.contains(&errno) => {
                "this user may not open the device: `sudo chmod 666 /dev/net/tun`, or make an own one with \
                 `sudo mknod -m 666 PATH c 10 200` (not on a nodev mount) and name it with --tun PATH, or run as root"
            }
            Step::OpenTun if [Errno::ENOENT, Errno::ENODEV, Errno::ENXIO].contains(&errno) => {
                "there is no TUN device: `sudo modprobe tun`; in a container, add --device /dev/net/tun; or name \
                 another one with --tun PATH"
            }
            Step::AttachTun if errno == Errno::EBUSY => {
                "another network of this process still holds tun0: drop it before building the next"
            }
            Step::AttachTun if PERMISSIONS.contains(&errno) => {
                "this user namespace lacks CAP_NET_ADMIN: see AppArmor's and the container's rules, or run as root"
            }
            Step::AttachTun => "the file is not a TUN device: it should be the character device 10:200",
            Step::Namespaces
            | Step::UserNamespaces
            | Step::MapIds
            | Step::Fork
            | Step::MountPrivate
            | Step::NodeNamespace
            | Step::OpenTun
            | Step::ConfigureInterface
            | Step::QueueLength
            | Step::StartSwitch => {
                "`harness doctor` tries every step and says which one this machine refuses"
            }
        }
    }
}

/// Names the step of a failed call.
pub(super) trait InStep<T> {
    fn step(self, step: Step) -> Result<T, StepError>;
}

impl<T, E: Into<io::Error>> InStep<T> for Result<T, E> {
    fn step(self, step: Step) -> Result<T, StepError> {
        self.map_err(|error| StepError { step, source: error.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_step_the_errno_and_the_way_out() {
        let error = Err::<(), _>(Errno::EACCES).step(Step::OpenTun).expect_err("it failed");
        assert_eq!(error.to_string(), "failed to open the TUN device: Permission denied (os error 13)");
        assert!(error.help().contains("--tun PATH"));
        let error = Err::<(), _>(Errno::ENOSPC).step(Step::UserNamespaces).expect_err("it failed");
        assert!(error.help().contains("user.max_user_namespaces"));
        let error = Err::<(), _>(Errno::EPERM).step(Step::MapIds).expect_err("it failed");
        assert!(error.help().contains("apparmor_restrict_unprivileged_userns"));
    }
}
