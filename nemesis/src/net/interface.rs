//! Makes the network interface of one namespace: `tun0`, and `lo`, which a new namespace has switched off.
//!
//! Six ioctls and one netlink message; the order matters and is the order of the code. The kernel's own counters of
//! what the interface dropped are read here too.

use std::fs::{self, File};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

use super::step::{InStep, Step, StepError};

/// The name of the interface in every namespace.
const NAME: &str = "tun0";

/// Packets that wait for the switch. The default of 500 drops 7 % of a burst without a word, and a healthy network
/// would lose packets that no fault dropped.
const QUEUE_PACKETS: u32 = 5000;

mod ioctl {
    use libc::ifreq;

    nix::ioctl_write_ptr_bad!(attach_tun, libc::TUNSETIFF, ifreq);
    nix::ioctl_write_ptr_bad!(set_flags, libc::SIOCSIFFLAGS, ifreq);
    nix::ioctl_write_ptr_bad!(set_address, libc::SIOCSIFADDR, ifreq);
    nix::ioctl_write_ptr_bad!(set_netmask, libc::SIOCSIFNETMASK, ifreq);
    nix::ioctl_write_ptr_bad!(set_mtu, libc::SIOCSIFMTU, ifreq);
}

/// Opens the TUN device, for reading packets and writing them.
pub(super) fn open_tun(path: &Path) -> Result<File, StepError> {
    File::options().read(true).write(true).open(path).step(Step::OpenTun)
}

/// Gives the current thread's network namespace `lo` and `tun0` with this address, and returns the far end of `tun0`.
pub(super) fn create(tun: &Path, address: Ipv4Addr, mtu: u16) -> Result<OwnedFd, StepError> {
    switch_ipv6_off();
    let tun = open_tun(tun)?;
    let flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the argument is an ifreq, which TUNSETIFF reads and writes, and it outlives the call.
    unsafe { ioctl::attach_tun(tun.as_raw_fd(), &request(NAME, |r| r.ifru_flags = flags)) }
        .step(Step::AttachTun)?;
    // The switch reads until nothing is left.
    fcntl(&tun, FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK)).step(Step::AttachTun)?;
    configure(address, mtu).step(Step::ConfigureInterface)?;
    set_queue_length().step(Step::QueueLength)?;
    Ok(tun.into())
}

/// Packets that `tun0` of the current thread's namespace has dropped because its queue was full.
pub(super) fn dropped() -> io::Result<u64> {
    let table = fs::read_to_string("/proc/thread-self/net/dev")?;
    transmit_drops(&table).ok_or_else(|| io::Error::other(format!("no {NAME} in /proc/net/dev")))
}

/// IPv6 would send router solicitations of its own through the switch. Best effort: the switch drops what is not
/// IPv4 anyway and counts it apart; the setting only keeps these counts clean.
fn switch_ipv6_off() {
    match fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1") {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::debug!(%error, "IPv6 stays on; the switch drops it");
        }
        _ => {}
    }
}

fn configure(address: Ipv4Addr, mtu: u16) -> nix::Result<()> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let fd = socket.as_raw_fd();
    let up = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    let set_up = |name| request(name, |r| r.ifru_flags = up);
    // SAFETY: each call reads one ifreq that outlives it, whose union holds the member that the call is about.
    unsafe {
        ioctl::set_flags(fd, &set_up("lo"))?;
        ioctl::set_address(fd, &request(NAME, |r| r.ifru_addr = socket_address(address)))?;
        // With the mask the kernel adds the route to the other nodes.
        let mask = socket_address(Ipv4Addr::new(255, 255, 255, 0));
        ioctl::set_netmask(fd, &request(NAME, |r| r.ifru_netmask = mask))?;
        ioctl::set_mtu(fd, &request(NAME, |r| r.ifru_mtu = libc::c_int::from(mtu)))?;
        ioctl::set_flags(fd, &set_up(NAME))?;
    }
    Ok(())
}

fn request(name: &str, fill: impl FnOnce(&mut libc::__c_anonymous_ifr_ifru)) -> libc::ifreq {
    // SAFETY: all zeroes is a valid ifreq: an empty name and a union of plain numbers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    fill(&mut request.ifr_ifru);
    request
}

fn socket_address(address: Ipv4Addr) -> libc::sockaddr {
    // A sockaddr_in is: family, port, address, padding. Its data begin with the port.
    let mut data = [0; 14];
    for (to, from) in data[2..6].iter_mut().zip(address.octets()) {
        *to = from as libc::c_char;
    }
    libc::sockaddr { sa_family: libc::AF_INET as libc::sa_family_t, sa_data: data }
}

/// By netlink, because the ioctl for it wants the rights of the machine's root even inside a user namespace.
fn set_queue_length() -> nix::Result<()> {
    let index = if_nametoindex(NAME)?;
    let socket =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    let message = queue_length_message(index);
    sendto(socket.as_raw_fd(), &message, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut answer = [0; 1024];
    let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    match acknowledged(&answer[..length]) {
        Some(0) => Ok(()),
        Some(errno) => Err(Errno::from_raw(-errno)),
        None => Err(Errno::EBADMSG),
    }
}

/// RTM_NEWLINK with one attribute, IFLA_TXQLEN, and a wish for an answer.
fn queue_length_message(index: u32) -> Vec<u8> {
    const HEADER_BYTES: u32 = 16;
    const LINK_BYTES: u32 = 16;
    const ATTRIBUTE_BYTES: u16 = 8;
    let mut message = Vec::new();
    // struct nlmsghdr: length, type, flags, sequence, port
    message.extend_from_slice(&(HEADER_BYTES + LINK_BYTES + u32::from(ATTRIBUTE_BYTES)).to_ne_bytes());
    message.extend_from_slice(&libc::RTM_NEWLINK.to_ne_bytes());
    message.extend_from_slice(&((libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16).to_ne_bytes());
    message.extend_from_slice(&[0; 8]);
    // struct ifinfomsg: family and padding, type, index, flags, mask of flags to change
    message.extend_from_slice(&[0; 4]);
    message.extend_from_slice(&index.to_ne_bytes());
    message.extend_from_slice(&[0; 8]);
    // struct rtattr: length, type; and the value
    message.extend_from_slice(&ATTRIBUTE_BYTES.to_ne_bytes());
    message.extend_from_slice(&libc::IFLA_TXQLEN.to_ne_bytes());
    message.extend_from_slice(&QUEUE_PACKETS.to_ne_bytes());
    message
}

/// The error number of an NLMSG_ERROR message, zero for success; `None` if it is another message.
fn acknowledged(answer: &[u8]) -> Option<i32> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    let error = i32::from_ne_bytes(answer.get(16..20)?.try_into().ok()?);
    (i32::from(kind) == libc::NLMSG_ERROR).then_some(error)
}

/// The twelfth number of the interface's line: eight about receiving, then bytes, packets, errors and drops.
fn transmit_drops(table: &str) -> Option<u64> {
    let line = table.lines().find_map(|line| line.trim_start().strip_prefix(NAME)?.strip_prefix(':'))?;
    line.split_whitespace().nth(11)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_read_from_the_right_column() {
        let table = "Inter-|   Receive                                                |  Transmit\n \
             face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls\n    \
             lo:       1       2    3    4    5     6          7         8        9       10   11   12   13    14\n  \
             tun0:     21      22   23   24   25    26         27        28       29       30   31   32   33    34\n";
        assert_eq!(transmit_drops(table), Some(32));
        assert_eq!(transmit_drops("lo: 1 2 3 4 5 6 7 8 9 10 11 12\n"), None);
    }

    #[test]
    fn a_netlink_answer_is_told_from_other_messages() {
        let mut answer = vec![0; 36];
        answer[4..6].copy_from_slice(&(libc::NLMSG_ERROR as u16).to_ne_bytes());
        assert_eq!(acknowledged(&answer), Some(0));
        answer[16..20].copy_from_slice(&(-1_i32).to_ne_bytes());
        assert_eq!(acknowledged(&answer), Some(-1));
        answer[4] = 99;
        assert_eq!(acknowledged(&answer), None);
        assert_eq!(acknowledged(&answer[..10]), None);
    }
}
