//! The last segments of each TCP connection that a link dropped, for the moment when the link is healed.
//!
//! TCP repeats what is not acknowledged after waits that double, to two minutes in the end. So a connection that was cut
//! for 15 s stands still for up to as long again *after* the heal, which says nothing about the system under test: all
//! that it measures is a timer of the kernel, and a finding about recovery would be blurred by it. Lowering the kernel's
//! bound does not remove the stall: it cannot be less than a second, exists from Linux 6.15 on, and makes connections
//! break that would have lived.
//!
//! So the switch keeps, for each connection, the newest segment that TCP would repeat and the newest bare
//! acknowledgement, and sends them on their way when the link is healed: the repetition that was due some seconds ago
//! or hence arrives now. To both ends this is a packet that was late, which TCP was made for; no byte arrives that was
//! not sent, none twice, none out of order. Datagrams are not kept: programs see them, and to them a packet that comes
//! seconds later is another fault.

use std::collections::HashMap;

use super::packet::{self, Segment};

/// Connections whose segments are kept, on one link. Beyond, the one that was dropped from longest ago is forgotten, and
/// recovers when TCP tries again by itself. With the largest usual packets this is less than a megabyte.
const CONNECTIONS_MAX: usize = 256;

/// What one link keeps.
#[derive(Default)]
pub(super) struct Kept {
    connections: HashMap<(u16, u16), Connection>,
    /// Orders what is kept by when it was dropped.
    dropped: u64,
}

#[derive(Default)]
struct Connection {
    repeated: Option<Packet>,
    bare: Option<Packet>,
}

struct Packet {
    dropped: u64,
    bytes: Box<[u8]>,
}

impl Connection {
    fn newest(&self) -> u64 {
        self.repeated.iter().chain(&self.bare).map(|packet| packet.dropped).max().unwrap_or(0)
    }
}

impl Kept {
    /// Keeps a packet that was dropped, if it is worth it.
    pub(super) fn dropped(&mut self, bytes: &[u8]) {
        let Some(Segment { ports, is_repeated }) = packet::segment(bytes) else { return };
        if self.connections.len() >= CONNECTIONS_MAX && !self.connections.contains_key(&ports) {
            let oldest = self.connections.iter().min_by_key(|(_, connection)| connection.newest());
            let oldest = oldest.map(|(&ports, _)| ports).expect("there are as many as may be");
            self.connections.remove(&oldest);
        }
        self.dropped += 1;
        let packet = Some(Packet { dropped: self.dropped, bytes: bytes.into() });
        let connection = self.connections.entry(ports).or_default();
        if is_repeated {
            connection.repeated = packet;
        } else {
            connection.bare = packet;
        }
    }

    /// Forgets what a packet that passed has made needless: a connection whose newer data arrive does not stand still.
    pub(super) fn passed(&mut self, bytes: &[u8]) {
        if self.connections.is_empty() {
            return;
        }
        let Some(Segment { ports, is_repeated }) = packet::segment(bytes) else { return };
        if is_repeated {
            self.connections.remove(&ports);
        } else if let Some(connection) = self.connections.get_mut(&ports) {
            connection.bare = None;
        }
    }

    /// Everything kept, in the order in which it was dropped: TCP discards a segment that looks older than another.
    pub(super) fn take(&mut self) -> Vec<Box<[u8]>> {
        let connections = std::mem::take(&mut self.connections);
        let mut packets =
            connections.into_values().flat_map(|c| c.repeated.into_iter().chain(c.bare)).collect::<Vec<_>>();
        packets.sort_unstable_by_key(|packet| packet.dropped);
        packets.into_iter().map(|packet| packet.bytes).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A segment from port 7 to `port`, with one byte of data or none.
    fn segment(port: u8, data: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6, 0, 0, 10, 77, 0, 1, 10, 77, 0, 2];
        packet.extend([0, 7, 0, port, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x10, 0, 0, 0, 0, 0, 0]);
        packet.extend_from_slice(data);
        packet
    }

    #[test]
    fn the_newest_of_each_kind_is_kept_in_order() {
        let mut kept = Kept::default();
        for packet in [segment(1, b"a"), segment(1, b""), segment(1, b"b"), segment(2, b"")] {
            kept.dropped(&packet);
        }
        let packets = kept.take().into_iter().map(Vec::from).collect::<Vec<_>>();
        assert_eq!(packets, [segment(1, b""), segment(1, b"b"), segment(2, b"")]);
        assert!(kept.take().is_empty());
    }

    #[test]
    fn a_connection_that_goes_on_is_forgotten() {
        let mut kept = Kept::default();
        kept.dropped(&segment(1, b"a"));
        kept.dropped(&segment(2, b"a"));
        kept.passed(&segment(1, b""));
        assert_eq!(kept.connections.len(), 2, "an acknowledgement does not replace data");
        kept.passed(&segment(1, b"b"));
        assert_eq!(kept.take(), [segment(2, b"a").into()]);
    }

    #[test]
    fn datagrams_are_not_kept() {
        let mut kept = Kept::default();
        let mut datagram = segment(1, b"a");
        datagram[9] = 17;
        kept.dropped(&datagram);
        assert!(kept.take().is_empty());
    }

    #[test]
    fn connections_are_bounded_and_the_oldest_goes_first() {
        let mut kept = Kept::default();
        for port in 0..=255 {
            kept.dropped(&segment(port, b"a"));
        }
        kept.dropped(&segment(0, b"b"));
        let mut other = segment(1, b"c");
        other[20] = 9;
        kept.dropped(&other);
        let packets = kept.take();
        assert_eq!(packets.len(), CONNECTIONS_MAX);
        assert!(!packets.contains(&segment(1, b"a").into()), "port 1 was the oldest");
        assert!(packets.contains(&segment(0, b"b").into()));
    }
}
