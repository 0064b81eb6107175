//! No packet goes to anyone but what the network itself offered: from power-on, through every
//! service's restart, and then while nobody touches the phone.
//!
//! `WIRE_IDLE_SECONDS` says how long that is; `cargo xtask soak` asks for ten minutes.

use std::time::Duration;

use system_tests::phone::Phone;
use system_tests::wire::{self, packet::Hardware};
use xtask::machine::Machine;

/// What QEMU gives to the first network card.
const CARD: Hardware = Hardware([0x52, 0x54, 0x00, 0x12, 0x34, 0x56]);

#[test]
fn nothing_is_contacted_but_what_the_network_offered() {
    let idle = std::env::var("WIRE_IDLE_SECONDS").map_or(60, |text| {
        text.parse().expect("WIRE_IDLE_SECONDS is a number")
    });
    let folder = tempfile::tempdir().unwrap();
    let phone = Phone::new(folder.path()).unwrap();
    let capture = folder.path().join("wire.pcap");
    let mut options = phone.options().unwrap();
    for argument in wire::arguments("network", &capture) {
        options
            .arguments
            .push(argument.to_string_lossy().into_owned());
    }
    let mut machine = Machine::start(options).unwrap();
    machine
        .wait_for_answer("network", |text| text.contains("10.0.2.15"))
        .unwrap();
    for service in phone
        .image
        .product
        .services
        .iter()
        .filter(|service| *service != "console")
    {
        machine
            .hyper(&format!("call services.restart '\"{service}\"'"))
            .unwrap();
    }
    machine
        .wait_for_answer("network", |text| text.contains("10.0.2.15"))
        .unwrap();
    // Time that passes is what is tested here: whoever calls home does so when nobody looks.
    std::thread::sleep(Duration::from_secs(idle));
    machine.cut_power().unwrap();

    let report = wire::examine(&std::fs::read(&capture).unwrap(), CARD).unwrap();
    println!("{report}");
    assert!(
        report.sent > 0,
        "nothing was captured, so nothing was shown"
    );
    assert!(
        report.destinations.keys().any(|to| to.contains("DHCP")),
        "the phone never asked for an address"
    );
    assert_eq!(report.violations, []);
}
