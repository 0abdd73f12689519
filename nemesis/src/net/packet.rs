//! What the switch reads of an IPv4 packet, and the bit that it may change.

use std::net::Ipv4Addr;

/// The bytes of an IPv4 header without options.
const HEADER_BYTES_MIN: usize = 20;
/// Protocol numbers.
const TCP: u8 = 6;
const UDP: u8 = 17;

/// Source and destination, `None` if this is no IPv4 packet.
pub(super) fn addresses(packet: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr)> {
    if packet.len() < HEADER_BYTES_MIN || packet[0] >> 4 != 4 {
        return None;
    }
    let at = |offset: usize| {
        Ipv4Addr::new(packet[offset], packet[offset + 1], packet[offset + 2], packet[offset + 3])
    };
    Some((at(12), at(16)))
}

/// Flips one bit after the IP header, chosen by `draw`. The header stays whole: its own checksum would make the
/// receiver's kernel discard the packet before any protocol has seen it. Says whether there was a bit to flip.
pub(super) fn flip_bit(packet: &mut [u8], draw: u64) -> bool {
    let header = usize::from(packet[0] & 0x0f) * 4;
    if header >= packet.len() {
        return false;
    }
    let payload = &mut packet[header..];
    let bits = payload.len() as u64 * 8;
    let bit = usize::try_from(draw % bits).expect("a packet's bits fit a usize");
    payload[bit / 8] ^= 1 << (bit % 8);
    true
}

/// A TCP segment as far as the switch looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// The ports, which tell the connections of one link apart.
    pub(super) ports: (u16, u16),
    /// Whether it takes up sequence numbers, so that TCP repeats it until it is acknowledged.
    pub(super) is_repeated: bool,
}

/// The TCP segment in a packet, if it is one from its beginning.
pub(super) fn segment(packet: &[u8]) -> Option<Segment> {
    const SYN_OR_FIN: u8 = 0x03;
    let (protocol, body) = body(packet)?;
    if protocol != TCP || body.len() < 20 {
        return None;
    }
    let header = usize::from(body[12] >> 4) * 4;
    let is_repeated = body.len() > header || body[13] & SYN_OR_FIN != 0;
    Some(Segment { ports: (word(body, 0), word(body, 2)), is_repeated })
}

/// Flips one bit of the data of a TCP or UDP packet, chosen by `draw`, and makes the checksum fit. Says whether there
/// was a bit to flip: acknowledgements carry no data, and IP fragments are left alone.
pub(super) fn alter_bit(packet: &mut [u8], draw: u64) -> bool {
    let Some((protocol, body)) = body(packet) else { return false };
    let (data, checksum) = match protocol {
        TCP if body.len() >= 20 => (usize::from(body[12] >> 4) * 4, 16),
        UDP => (8, 6),
        _ => return false,
    };
    if body.len() <= data {
        return false;
    }
    let start = packet.len() - body.len();
    let body = &mut packet[start..];
    let bits = (body.len() - data) as u64 * 8;
    let bit = usize::try_from(draw % bits).expect("a packet's bits fit a usize");
    let byte = data + bit / 8;
    let mask = 1_u8 << (bit % 8);
    // The word that the byte belongs to, as the checksum adds it up; a last odd byte is followed by a zero.
    let shift = if byte.is_multiple_of(2) { 8 } else { 0 };
    let before = u16::from(body[byte]) << shift;
    body[byte] ^= mask;
    let after = u16::from(body[byte]) << shift;
    let sum = word(body, checksum);
    // UDP without a checksum has zero there.
    if protocol != UDP || sum != 0 {
        let repaired = replace_in_checksum(sum, before, after);
        let repaired = if protocol == UDP && repaired == 0 { 0xffff } else { repaired };
        body[checksum..checksum + 2].copy_from_slice(&repaired.to_be_bytes());
    }
    true
}

/// RFC 1624, equation 3.
fn replace_in_checksum(checksum: u16, before: u16, after: u16) -> u16 {
    let sum = u32::from(!checksum) + u32::from(!before) + u32::from(after);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}

/// The protocol and what follows the IP header, unless the packet is a fragment.
fn body(packet: &[u8]) -> Option<(u8, &[u8])> {
    const MORE_FRAGMENTS_OR_OFFSET: u16 = 0x3fff;
    if packet.len() < HEADER_BYTES_MIN || word(packet, 6) & MORE_FRAGMENTS_OR_OFFSET != 0 {
        return None;
    }
    let header = usize::from(packet[0] & 0x0f) * 4;
    let body = packet.get(header..).filter(|body| body.len() >= 8)?;
    Some((packet[9], body))
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 77, 0, 1, 10, 77, 0, 2];
        packet.extend_from_slice(payload);
        packet
    }

    #[test]
    fn reads_both_addresses() {
        let expected = (Ipv4Addr::new(10, 77, 0, 1), Ipv4Addr::new(10, 77, 0, 2));
        assert_eq!(addresses(&packet(b"x")), Some(expected));
    }

    #[test]
    fn other_protocols_and_fragments_of_a_header_have_no_addresses() {
        assert_eq!(addresses(&packet(b"")[..19]), None);
        let mut ipv6 = packet(b"");
        ipv6[0] = 0x60;
        assert_eq!(addresses(&ipv6), None);
    }

    #[test]
    fn flips_exactly_one_bit_of_the_payload() {
        for draw in 0..64 {
            let before = packet(&[0; 8]);
            let mut after = before.clone();
            assert!(flip_bit(&mut after, draw));
            assert_eq!(before[..20], after[..20]);
            assert_eq!(after[20..].iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
        }
    }

    #[test]
    fn a_packet_without_payload_has_no_bit_to_flip() {
        let before = packet(b"");
        let mut after = before.clone();
        assert!(!flip_bit(&mut after, 7));
        assert_eq!(before, after);
    }

    /// The sum that a receiver checks: it is 0xffff if the checksum fits. The pseudo-header changes nothing here, as it
    /// is the same before and after.
    fn sum(bytes: &[u8]) -> u16 {
        let words = bytes
            .chunks(2)
            .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| u32::from(low)));
        let sum = words.sum::<u32>();
        let sum = (sum & 0xffff) + (sum >> 16);
        ((sum & 0xffff) + (sum >> 16)) as u16
    }

    #[test]
    fn an_altered_packet_has_one_bit_changed_in_its_data_and_the_same_sum() {
        for length in [1, 2, 7, 8] {
            for draw in 0..200 {
                let mut datagram = vec![0x12, 0x34, 0x56, 0x78, 0, 8 + length, 0, 0];
                datagram.extend((0..length).map(|at| at * 30));
                let checksum = !sum(&datagram);
                datagram[6..8].copy_from_slice(&checksum.to_be_bytes());
                let before = packet(&datagram);
                let mut after = before.clone();
                assert!(alter_bit(&mut after, draw));
                assert_eq!(before[..26], after[..26]);
                let changed = before[28..].iter().zip(&after[28..]).map(|(a, b)| (a ^ b).count_ones());
                assert_eq!(changed.sum::<u32>(), 1);
                assert_eq!(sum(&after[20..]), 0xffff, "{length} bytes, draw {draw}");
            }
        }
    }

    #[test]
    fn what_carries_no_data_and_fragments_are_not_altered() {
        let mut acknowledgement = packet(&[0; 20]);
        acknowledgement[9] = TCP;
        acknowledgement[32] = 5 << 4;
        assert!(!alter_bit(&mut acknowledgement, 3));
        assert_eq!(segment(&acknowledgement), Some(Segment { ports: (0, 0), is_repeated: false }));
        acknowledgement[33] = 0x02;
        assert!(segment(&acknowledgement).expect("a segment").is_repeated, "SYN takes up a sequence number");
        let mut fragment = packet(&[0; 40]);
        fragment[6] = 0x20;
        assert!(!alter_bit(&mut fragment, 3));
    }
}
