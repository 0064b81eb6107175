//! Devices that find, trust and use each other, over a real network and real sockets.

mod common;

use std::time::Duration;

use bus::Reason;
use bus::device::Identity;
use bus::pairing::{Membership, Method, Stage};
use common::{Addresses, Capture, Device, Network, PATIENCE, contains, run};

fn is_over(stage: &Stage) -> bool {
    matches!(stage, Stage::Paired(_) | Stage::Failed(_))
}

async fn about(from: &Device, to: &str) -> Result<Identity, bus::Error> {
    bus::device::about(&from.to(to)).await
}

/// Whether a call was refused by the other device, or by the family.
fn is_refused(error: &bus::Error) -> bool {
    matches!(
        error.reason,
        Reason::DeviceRefused { .. } | Reason::UnknownDevice(_) | Reason::DeviceUnreachable { .. }
    )
}

/// A device counts as there as soon as it is heard; that a connection comes about can take another attempt.
async fn about_when_reached(from: &Device, to: &Device) -> Identity {
    let answered = async {
        loop {
            match about(from, &to.name).await {
                Ok(answer) => return answer,
                Err(error) => assert!(
                    matches!(error.reason, Reason::DeviceUnreachable { .. }),
                    "{error}"
                ),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let answered = tokio::time::timeout(PATIENCE, answered).await;
    answered.unwrap_or_else(|_| panic!("{} does not reach {}", from.name, to.name))
}

async fn calls_go_both_ways(one: &Device, other: &Device) {
    one.sees(&other.name).await;
    other.sees(&one.name).await;
    let answer = about_when_reached(one, other).await;
    assert_eq!(answer.name, other.name);
    let known = format!("device {}", one.name);
    assert_eq!(answer.model, known, "the service knows who called");
    assert_eq!(answer.release, one.id().await, "by its key");
    assert_eq!(about_when_reached(other, one).await.name, one.name);
}

#[test]
fn two_devices_pair_by_digits_and_answer_each_other() {
    let Some(network) = Network::new(Addresses::Both) else {
        return;
    };
    let (phone, mut tv) = (Device::new(&network, "phone"), Device::new(&network, "tv"));
    run(async {
        let id = tv.id().await;
        tv.open().await;
        phone.finds_open(&id).await;
        phone
            .begin(&id, Method::Digits, "", Membership::Shared)
            .await
            .unwrap();
        let mut shown = Vec::new();
        for side in [&phone, &tv] {
            let stage = side
                .stage(|stage| matches!(stage, Stage::Compare(_)) || is_over(stage))
                .await;
            let Stage::Compare(comparison) = stage else {
                panic!("{}: {stage:?}", side.name);
            };
            shown.push(comparison);
        }
        assert_eq!(shown[0].digits, shown[1].digits);
        assert_eq!(shown[0].digits.len(), 6);
        assert_eq!([&*shown[0].name, &*shown[1].name], ["tv", "phone"]);
        for side in [&phone, &tv] {
            bus::pairing::confirm(&side.bus).await.unwrap().unwrap();
        }
        for side in [&phone, &tv] {
            let stage = side.stage(is_over).await;
            assert!(matches!(stage, Stage::Paired(_)), "{stage:?}");
        }
        calls_go_both_ways(&phone, &tv).await;

        // What the roles allow, and no more.
        let names = bus::names::resolve(&phone.to("tv"), "100000")
            .await
            .unwrap();
        assert_eq!(names.unwrap()[0].len(), 100_000, "an owner device may");
        let refused = bus::names::resolve(&tv.to("phone"), "1").await.unwrap_err();
        assert!(is_refused(&refused), "a TV may not: {refused}");
        assert!(refused.nothing_was_done());
        let unshared = bus::time::status(&phone.to("tv")).await.unwrap_err();
        assert!(is_refused(&unshared), "it is not shared: {unshared}");
        let unknown = about(&phone, "radio").await.unwrap_err();
        assert!(
            matches!(unknown.reason, Reason::UnknownDevice(_)),
            "{unknown}"
        );

        // What is known survives a loss of power, and what broke comes again.
        tv.restart();
        calls_go_both_ways(&phone, &tv).await;
    });
}

#[test]
fn wrong_digits_and_wrong_secrets_pair_nobody() {
    let Some(network) = Network::new(Addresses::Both) else {
        return;
    };
    let (phone, tv) = (Device::new(&network, "phone"), Device::new(&network, "tv"));
    run(async {
        let id = tv.id().await;
        let secrets = tv.open().await;
        phone.finds_open(&id).await;

        phone
            .begin(&id, Method::Digits, "", Membership::Shared)
            .await
            .unwrap();
        tv.stage(|stage| matches!(stage, Stage::Compare(_))).await;
        bus::pairing::refuse(&tv.bus).await.unwrap();
        for side in [&phone, &tv] {
            let stage = side.stage(is_over).await;
            assert!(matches!(stage, Stage::Failed(_)), "{stage:?}");
        }

        let wrong = if secrets.pin == "123456" {
            "654321"
        } else {
            "123456"
        };
        phone
            .begin(&id, Method::Pin, wrong, Membership::Shared)
            .await
            .unwrap();
        let failed = |stage: &Stage| matches!(stage, Stage::Failed(_) | Stage::Paired(_));
        phone
            .stage(|stage| matches!(stage, Stage::Connecting) || failed(stage))
            .await;
        let stage = phone.stage(failed).await;
        assert!(matches!(stage, Stage::Failed(_)), "{stage:?}");
        assert_eq!(tv.devices().await.len(), 1);
        assert_eq!(phone.devices().await.len(), 1, "no family began");

        // It is still open for the right one.
        let begun = async {
            // The other side may not have seen the end of the last one yet.
            loop {
                phone
                    .begin(&id, Method::Code, &secrets.code, Membership::Shared)
                    .await
                    .unwrap();
                phone
                    .stage(|stage| matches!(stage, Stage::Connecting) || is_over(stage))
                    .await;
                if let Stage::Paired(_) = phone.stage(is_over).await {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        tokio::time::timeout(PATIENCE, begun)
            .await
            .expect("the right code pairs");
        calls_go_both_ways(&phone, &tv).await;
    });
}

#[test]
fn a_removed_device_gets_nothing_any_more() {
    let Some(network) = Network::new(Addresses::Both) else {
        return;
    };
    let phone = Device::new(&network, "phone");
    let (tablet, tv) = (Device::new(&network, "tablet"), Device::new(&network, "tv"));
    run(async {
        phone.takes_in(&tablet, Membership::Owner).await;
        phone.takes_in(&tv, Membership::Shared).await;
        tablet.sees("tv").await;
        tv.sees("tablet").await;
        assert_eq!(about(&tablet, "tv").await.unwrap().name, "tv");
        // A connection that is open all the while.
        let held = tablet.to("tv");
        assert!(bus::device::about(&held).await.is_ok());

        bus::family::remove(&phone.bus, "tablet")
            .await
            .unwrap()
            .unwrap();
        for side in [&phone, &tv] {
            side.until("rid of the tablet", |devices| {
                devices.iter().all(|device| device.name != "tablet")
            })
            .await;
        }
        // What was open is open no more, and nothing new comes about.
        let mut refused = 0;
        while refused < 3 {
            match bus::device::about(&held.with_deadline(Duration::from_secs(8))).await {
                Ok(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(_) => refused += 1,
            }
        }
        for device in ["phone", "tv"] {
            let to = tablet.to(device).with_deadline(Duration::from_secs(8));
            assert!(
                bus::device::about(&to).await.is_err(),
                "{device} still answers"
            );
        }
        calls_go_both_ways(&phone, &tv).await;
        // It was told, and is nobody's. So it can come back.
        is_of_no_family(&tablet).await;
        phone.takes_in(&tablet, Membership::Owner).await;
        calls_go_both_ways(&tablet, &tv).await;
    });
}

#[test]
fn a_device_that_is_removed_while_it_is_away_learns_it_when_it_comes_back_and_may_go_elsewhere() {
    let Some(network) = Network::new(Addresses::Both) else {
        return;
    };
    let (phone, mut tablet) = (
        Device::new(&network, "phone"),
        Device::new(&network, "tablet"),
    );
    let (tv, theirs) = (Device::new(&network, "tv"), Device::new(&network, "theirs"));
    run(async {
        phone.takes_in(&tablet, Membership::Owner).await;
        phone.takes_in(&tv, Membership::Shared).await;
        tablet.sees("tv").await;
        let home = bus::family::id(&phone.bus).await.unwrap();
        tablet.plug(false);
        let removed = bus::family::remove(&phone.bus, "tablet").await;
        removed.unwrap().unwrap();
        assert_eq!(bus::family::id(&tablet.bus).await.unwrap(), home);
        tablet.plug(true);
        is_of_no_family(&tablet).await;
        tablet.restart();
        is_of_no_family(&tablet).await;

        theirs.takes_in(&tablet, Membership::Owner).await;
        calls_go_both_ways(&theirs, &tablet).await;
        tablet.restart();
        theirs.sees("tablet").await;
        calls_go_both_ways(&theirs, &tablet).await;
        let family = bus::family::id(&tablet.bus).await.unwrap();
        assert_eq!(family, bus::family::id(&theirs.bus).await.unwrap());
        assert_ne!(family, home);
    });
}

/// It knows that it was removed, and is not lost.
async fn is_of_no_family(device: &Device) {
    device.until("alone", |devices| devices.len() == 1).await;
    assert_eq!(bus::family::id(&device.bus).await.unwrap(), None);
    assert!(bus::family::lost(&device.bus).await.unwrap().is_none());
}

#[test]
fn two_families_on_one_network_are_nothing_to_each_other() {
    let Some(network) = Network::new(Addresses::Both) else {
        return;
    };
    let (phone, tv) = (Device::new(&network, "phone"), Device::new(&network, "tv"));
    let (theirs, their_tv) = (Device::new(&network, "phone"), Device::new(&network, "tv"));
    run(async {
        phone.takes_in(&tv, Membership::Shared).await;
        theirs.takes_in(&their_tv, Membership::Shared).await;
        calls_go_both_ways(&phone, &tv).await;
        calls_go_both_ways(&theirs, &their_tv).await;
        for (ours, other) in [(&phone, &their_tv), (&theirs, &tv)] {
            assert_eq!(ours.devices().await.len(), 2);
            let by_id = about(ours, &other.id().await).await.unwrap_err();
            assert!(matches!(by_id.reason, Reason::UnknownDevice(_)), "{by_id}");
        }
    });
}

fn pair_and_call(addresses: Addresses) {
    let Some(network) = Network::new(addresses) else {
        return;
    };
    let (phone, tv) = (Device::new(&network, "phone"), Device::new(&network, "tv"));
    run(async {
        phone.takes_in(&tv, Membership::Shared).await;
        calls_go_both_ways(&phone, &tv).await;
        // The cable comes out and goes in again.
        tv.plug(false);
        tv.plug(true);
        calls_go_both_ways(&phone, &tv).await;
    });
}

#[test]
fn devices_meet_by_ipv4_alone_without_a_router() {
    pair_and_call(Addresses::Four);
}

#[test]
fn devices_meet_by_ipv6_alone_without_a_router() {
    pair_and_call(Addresses::Six);
}

#[test]
fn nothing_readable_and_no_stable_name_crosses_the_network() {
    let Some(network) = Network::new(Addresses::Both) else {
        return;
    };
    let (phone, tv) = (
        Device::new(&network, "phone-of-somebody"),
        Device::new(&network, "tv-in-the-kitchen"),
    );
    run(async {
        phone.takes_in(&tv, Membership::Shared).await;
        phone.sees("tv-in-the-kitchen").await;
        // Until now one device was open for pairing, and said its key to all.
        let capture = Capture::begin(&network);
        let to_tv = phone.to("tv-in-the-kitchen");
        let read = bus::names::resolve(&to_tv, "4000").await.unwrap();
        assert_eq!(read.unwrap()[0].len(), 4000);
        // New labels, new announcements, on a link that is new to it.
        tv.plug(false);
        tv.plug(true);
        let (ids, mut packets) = ([phone.id().await, tv.id().await], Vec::new());
        let announced = async {
            loop {
                packets.extend(capture.take());
                let labels = packets
                    .iter()
                    .filter(|packet| contains(packet, b"_hyperos"));
                if labels.count() >= 4 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, announced)
            .await
            .expect("announcements are seen");
        assert_eq!(
            about(&phone, "tv-in-the-kitchen").await.unwrap().name,
            "tv-in-the-kitchen"
        );
        packets.extend(capture.take());
        assert!(packets.len() > 10, "the capture works");
        for packet in &packets {
            for text in ["somebody", "kitchen", "hyper:", "resolve", "xxxxxxxx"] {
                assert!(!contains(packet, text.as_bytes()), "{text} is in a packet");
            }
            for id in &ids {
                let bytes = mesh::discovery::label::from_hexadecimal::<32>(id).unwrap();
                assert!(!contains(packet, id.as_bytes()), "an id is in a packet");
                assert!(!contains(packet, &bytes), "a key is in a packet");
            }
        }
    });
}

#[test]
fn a_device_without_a_family_says_nothing() {
    let Some(network) = Network::new(Addresses::Four) else {
        return;
    };
    let capture = Capture::begin(&network);
    let radio = Device::new(&network, "radio");
    let (phone, tv) = (Device::new(&network, "phone"), Device::new(&network, "tv"));
    run(async {
        // Others are loud beside it, and ask who is there.
        phone.takes_in(&tv, Membership::Shared).await;
        calls_go_both_ways(&phone, &tv).await;
        let from = |packet: &[u8], device: &Device| {
            let is_ipv4 = packet.get(12..14) == Some(&[8, 0]);
            is_ipv4 && packet.get(26..30) == Some(&[10, 77, 0, device.port as u8])
        };
        let packets = capture.take();
        assert!(
            packets.iter().any(|packet| from(packet, &tv)),
            "the capture works"
        );
        assert!(
            !packets.iter().any(|packet| from(packet, &radio)),
            "it said something"
        );
        // Nor once it is closed again.
        bus::pairing::close(&radio.bus).await.unwrap();
        assert_eq!(radio.devices().await.len(), 1);
    });
}
