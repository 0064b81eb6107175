//! Captures made by hand, packet by packet.

use etherparse::{IcmpEchoHeader, PacketBuilder};
use proptest::prelude::*;

use super::*;

const GUEST: Hardware = Hardware([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
const NETWORK: Hardware = Hardware([0x52, 0x55, 10, 0, 2, 2]);

fn capture(packets: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65536, 1] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    for (number, packet) in packets.iter().enumerate() {
        for word in [
            number as u32,
            500_000,
            packet.len() as u32,
            packet.len() as u32,
        ] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(packet);
    }
    bytes
}

fn udp(
    from: Hardware,
    source: [u8; 4],
    destination: [u8; 4],
    ports: (u16, u16),
    content: &[u8],
) -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ethernet2(from.0, [0xff; 6])
        .ipv4(source, destination, 64)
        .udp(ports.0, ports.1)
        .write_to_vec(&mut packet, content)
        .unwrap();
    packet
}

/// An answer that gives 10.0.2.15, with the router and the name server of QEMU's own network.
fn dhcp_answer() -> Vec<u8> {
    let mut content = vec![0; 240];
    content[16..20].copy_from_slice(&[10, 0, 2, 15]);
    content[236..].copy_from_slice(&[99, 130, 83, 99]);
    content.extend_from_slice(&[
        53, 1, 5, 0, 3, 4, 10, 0, 2, 2, 6, 4, 10, 0, 2, 3, 54, 4, 10, 0, 2, 2, 255,
    ]);
    udp(NETWORK, [10, 0, 2, 2], [255; 4], (67, 68), &content)
}

fn question(name: &str) -> Vec<u8> {
    let mut content = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        content.push(label.len() as u8);
        content.extend_from_slice(label.as_bytes());
    }
    content.extend_from_slice(&[0, 0, 1, 0, 1]);
    udp(GUEST, [10, 0, 2, 15], [10, 0, 2, 3], (40000, 53), &content)
}

fn icmpv6(from: Hardware, source: &str, destination: &str, message: &[u8]) -> Vec<u8> {
    let (source, destination): (std::net::Ipv6Addr, std::net::Ipv6Addr) =
        (source.parse().unwrap(), destination.parse().unwrap());
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&message[4..8]);
    let mut packet = Vec::new();
    PacketBuilder::ethernet2(from.0, [0x33, 0x33, 0, 0, 0, 1])
        .ipv6(source.octets(), destination.octets(), 255)
        .icmpv6_raw(message[0], message[1], bytes)
        .write_to_vec(&mut packet, &message[8..])
        .unwrap();
    packet
}

fn examined(packets: &[Vec<u8>]) -> Report {
    examine(&capture(packets), GUEST).unwrap()
}

#[test]
fn asking_for_an_address_and_using_what_was_offered_is_fine() {
    let report = examined(&[
        udp(GUEST, [0; 4], [255; 4], (68, 67), &[0; 300]),
        dhcp_answer(),
        question("time.example.org"),
        udp(GUEST, [10, 0, 2, 15], [10, 0, 2, 2], (40000, 123), &[0; 48]),
    ]);
    assert_eq!(report.violations, []);
    assert_eq!((report.sent, report.received), (3, 1));
    assert_eq!(
        report.names.iter().collect::<Vec<_>>(),
        ["time.example.org"]
    );
    assert_eq!(report.destinations["10.0.2.3 (name server, by DHCP)"], 1);
    assert_eq!(
        report.destinations["10.0.2.2 (router, by DHCP, DHCP server)"],
        1
    );
}

#[test]
fn an_address_that_nobody_offered_is_a_violation() {
    let report = examined(&[
        dhcp_answer(),
        udp(GUEST, [10, 0, 2, 15], [8, 8, 8, 8], (40000, 53), &[0; 20]),
    ]);
    assert_eq!(report.violations.len(), 1);
    let violation = &report.violations[0];
    assert_eq!(
        (violation.number, violation.after),
        (2, Duration::from_secs(1))
    );
    assert!(violation.what.contains("8.8.8.8"), "{violation}");
}

#[test]
fn an_address_that_is_offered_only_later_is_a_violation() {
    let report = examined(&[question("example.org"), dhcp_answer()]);
    assert_eq!(report.violations.len(), 1);
}

#[test]
fn a_name_server_from_a_routers_advertisement_may_be_asked() {
    let mut advertisement = vec![134, 0, 0, 0, 64, 0, 0, 30, 0, 0, 0, 0, 0, 0, 0, 0];
    // Another option first, then the name server fec0::3.
    advertisement.extend_from_slice(&[1, 1, 0x52, 0x56, 0, 0, 0, 2]);
    advertisement.extend_from_slice(&[25, 3, 0, 0, 0, 0, 0, 30]);
    advertisement.extend_from_slice(&"fec0::3".parse::<std::net::Ipv6Addr>().unwrap().octets());
    let ask = |destination: &str| {
        let mut packet = Vec::new();
        PacketBuilder::ethernet2(GUEST.0, NETWORK.0)
            .ipv6(
                "fec0::15".parse::<std::net::Ipv6Addr>().unwrap().octets(),
                destination.parse::<std::net::Ipv6Addr>().unwrap().octets(),
                64,
            )
            .udp(40000, 53)
            .write_to_vec(&mut packet, &[0; 20])
            .unwrap();
        packet
    };
    let report = examined(&[
        icmpv6(GUEST, "fe80::15", "ff02::2", &[133, 0, 0, 0, 0, 0, 0, 0]),
        icmpv6(NETWORK, "fe80::2", "ff02::1", &advertisement),
        ask("fec0::3"),
        ask("2001:4860:4860::8888"),
    ]);
    assert_eq!(report.violations.len(), 1, "{report}");
    assert!(report.violations[0].what.contains("2001:4860:4860::8888"));
}

#[test]
fn looking_around_in_the_home_is_a_violation_for_now() {
    let report = examined(&[
        udp(
            GUEST,
            [10, 0, 2, 15],
            [224, 0, 0, 251],
            (5353, 5353),
            &[0; 12],
        ),
        udp(
            GUEST,
            [10, 0, 2, 15],
            [239, 255, 255, 250],
            (40000, 1900),
            &[0; 12],
        ),
    ]);
    assert_eq!(report.violations.len(), 2);
}

#[test]
fn an_echo_to_a_stranger_and_an_unknown_protocol_are_violations() {
    let mut echo = Vec::new();
    PacketBuilder::ethernet2(GUEST.0, NETWORK.0)
        .ipv4([10, 0, 2, 15], [1, 1, 1, 1], 64)
        .icmpv4_echo_request(IcmpEchoHeader { id: 1, seq: 1 }.id, 1)
        .write_to_vec(&mut echo, &[])
        .unwrap();
    let mut strange = vec![0xff; 6];
    strange.extend_from_slice(&GUEST.0);
    strange.extend_from_slice(&[0x88, 0xcc]);
    strange.extend_from_slice(&[0; 46]);
    let report = examined(&[echo, strange]);
    assert_eq!(report.violations.len(), 2);
    assert!(report.violations[1].what.contains("0x88cc"), "{report}");
}

#[test]
fn a_question_on_the_link_is_for_an_offered_address_or_the_own_one() {
    let arp = |target: [u8; 4]| {
        let mut packet = vec![0xff; 6];
        packet.extend_from_slice(&GUEST.0);
        packet.extend_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        packet.extend_from_slice(&GUEST.0);
        packet.extend_from_slice(&[10, 0, 2, 15, 0, 0, 0, 0, 0, 0]);
        packet.extend_from_slice(&target);
        packet
    };
    let report = examined(&[
        dhcp_answer(),
        arp([10, 0, 2, 2]),
        arp([10, 0, 2, 15]),
        arp([10, 0, 2, 77]),
    ]);
    assert_eq!(report.violations.len(), 1, "{report}");
    assert!(report.violations[0].what.contains("10.0.2.77"));
}

#[test]
fn a_capture_that_stops_within_a_packet_ends_before_it() {
    let bytes = capture(&[dhcp_answer(), dhcp_answer()]);
    let report = examine(&bytes[..bytes.len() - 5], GUEST).unwrap();
    assert_eq!(report.received, 1);
}

proptest! {
    #[test]
    fn any_bytes_are_reported_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
        let _ = examine(&bytes, GUEST);
        let mut framed = capture(&[]);
        framed.extend_from_slice(&bytes);
        let _ = examine(&framed, GUEST);
    }

    #[test]
    fn any_damage_to_a_packet_is_reported_or_refused(packet in 0_usize..4, position in any::<usize>(), value in any::<u8>(), length in any::<usize>()) {
        let mut packets = vec![dhcp_answer(), question("a.example"), icmpv6(NETWORK, "fe80::2", "ff02::1", &[134; 64]), question("b.example")];
        let bytes = &mut packets[packet];
        let position = position % bytes.len();
        bytes[position] = value;
        bytes.truncate(length % (bytes.len() + 1));
        let report = examine(&capture(&packets), GUEST).unwrap();
        prop_assert!(report.sent + report.received == 4);
    }
}
