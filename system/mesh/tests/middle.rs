//! Somebody in between, and somebody who comes second.

mod common;

use bus::pairing::{Membership, Method, Stage};
use common::{Addresses, Device, Network, run};

fn is_over(stage: &Stage) -> bool {
    matches!(stage, Stage::Paired(_) | Stage::Failed(_))
}

/// Somebody has two devices: one that the phone takes for the television, by its name, and one
/// that the television takes for the phone.
#[test]
fn a_man_in_the_middle_makes_the_two_screens_differ() {
    let Some(network) = Network::new(Addresses::Both) else {
        return;
    };
    let (phone, tv) = (Device::new(&network, "phone"), Device::new(&network, "tv"));
    let (near, far) = (Device::new(&network, "tv"), Device::new(&network, "phone"));
    run(async {
        near.open().await;
        tv.open().await;
        for (asks, joins) in [(&phone, &near), (&far, &tv)] {
            let id = joins.id().await;
            asks.finds_open(&id).await;
            asks.begin(&id, Method::Digits, "", Membership::Owner)
                .await
                .unwrap();
        }
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
        // Each person reads the name that they expect; the digits alone tell.
        assert_eq!([&*shown[0].name, &*shown[1].name], ["tv", "phone"]);
        assert_ne!(
            shown[0].digits, shown[1].digits,
            "once in a million times they are equal"
        );
        // So both say no, and nobody is in, though the one in between said yes to both.
        for side in [&near, &far] {
            bus::pairing::confirm(&side.bus).await.unwrap().unwrap();
        }
        for side in [&phone, &tv] {
            bus::pairing::refuse(&side.bus).await.unwrap();
            let stage = side.stage(is_over).await;
            assert!(matches!(stage, Stage::Failed(_)), "{stage:?}");
        }
        for device in [&phone, &tv, &near, &far] {
            assert_eq!(device.devices().await.len(), 1, "{} is alone", device.name);
        }
    });
}

#[test]
fn a_code_takes_in_one_device_and_whoever_comes_second_is_too_late() {
    let Some(network) = Network::new(Addresses::Both) else {
        return;
    };
    let (phone, tv) = (Device::new(&network, "phone"), Device::new(&network, "tv"));
    let other = Device::new(&network, "other");
    run(async {
        let id = tv.id().await;
        let secrets = tv.open().await;
        for device in [&phone, &other] {
            device.finds_open(&id).await;
        }
        phone
            .begin(&id, Method::Code, &secrets.code, Membership::Shared)
            .await
            .unwrap();
        for side in [&phone, &tv] {
            let stage = side.stage(is_over).await;
            assert!(
                matches!(stage, Stage::Paired(_)),
                "{}: {stage:?}",
                side.name
            );
        }
        // It has seen the same code, and knows where the television is.
        let begun = other
            .begin(&id, Method::Code, &secrets.code, Membership::Shared)
            .await;
        if begun.is_ok() {
            let stage = other
                .stage(|stage| matches!(stage, Stage::Failed(_) | Stage::Paired(_)))
                .await;
            assert!(matches!(stage, Stage::Failed(_)), "{stage:?}");
        }
        assert_eq!(tv.devices().await.len(), 2);
        assert_eq!(other.devices().await.len(), 1);
    });
}
