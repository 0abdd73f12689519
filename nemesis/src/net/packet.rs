//! What the switch reads of an IPv4 packet, and the one thing it may change.

use std::net::Ipv4Addr;

/// The bytes of an IPv4 header without options.
const HEADER_BYTES_MIN: usize = 20;

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
}
