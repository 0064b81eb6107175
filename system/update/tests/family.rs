//! Releases from one device of a family to the others, over a real network and the real mesh, written to
//! files that stand for disks.

#[path = "../../mesh/tests/common/mod.rs"]
mod common;
mod home;
#[path = "../../../hyper-release/tests/common/mod.rs"]
mod maker;
#[path = "../../../tests/src/mirror.rs"]
#[allow(
    dead_code,
    reason = "that of the whole-system tests, of which this needs a part"
)]
mod mirror;

use std::time::Duration;

use bus::pairing::Membership;
use common::{Addresses, Network, PATIENCE, run};
use home::{Home, Maker, Manners, all_see_each_other, outside};
use mirror::Manner;

/// Megabytes of a root.
const SIZE: usize = 4;
/// Of one that takes its time.
const LARGE: usize = 32;

#[test]
fn a_device_that_is_cut_off_has_a_release_from_another() {
    let Some(network) = Network::new(Addresses::Four) else {
        return;
    };
    run(async {
        let maker = Maker::new(SIZE).await;
        maker.publish("0.2.0").await;
        let mirror = outside(&network, &maker.repository());
        let mirrors = [home::address(&mirror)];
        let phone = Home::new(&network, "phone", Manners::Honest);
        let tablet = Home::new(&network, "tablet", Manners::Honest);
        let tv = Home::new(&network, "tv", Manners::Honest);
        let guest = Home::new(&network, "guest", Manners::Honest);
        phone.takes_in(&tablet, Membership::Owner).await;
        phone.takes_in(&tv, Membership::Shared).await;
        phone.takes_in(&guest, Membership::Guest).await;
        all_see_each_other(&[&phone, &tablet, &tv, &guest]).await;

        // Nobody has it: there is nothing to have, and nobody is to blame.
        let nothing = tablet.updates(&maker, &[], "a").await.unwrap_err();
        assert_eq!(nothing.problems, [], "{nothing:?}");

        let first = phone.updates(&maker, &mirrors, "b").await.unwrap();
        assert_eq!(first.from_family, 0);
        phone.holds(&maker, "0.2.0", "b");
        assert!(mirror.take_sent_in_all() > first.downloaded);

        // Into the slot that the phone's release is not for: the boot files differ.
        let second = tablet.updates(&maker, &[], "a").await.unwrap();
        assert_eq!(second.problems, []);
        assert_eq!(second.source, "phone");
        assert_eq!(second.downloaded, second.from_family);
        tablet.holds(&maker, "0.2.0", "a");

        // And on from there, when the phone is away, after a restart of the one that has it.
        phone.device.plug(false);
        tablet.begins_anew("a");
        let third = tv.updates(&maker, &[], "b").await.unwrap();
        assert_eq!((third.source.as_str(), third.problems.len()), ("tablet", 0));
        tv.holds(&maker, "0.2.0", "b");
        assert_eq!(mirror.take_sent_in_all(), 0, "no mirror was asked");

        // A guest asks nothing of a family that is not its own, which asks its owner nothing either.
        guest.updates(&maker, &[], "b").await.unwrap_err();
        let questions = bus::questions::current(&tablet.device.bus).await;
        assert_eq!(questions.unwrap().waiting, []);
    });
}

#[test]
fn a_device_that_lies_is_named_and_left_for_the_next_source() {
    let Some(network) = Network::new(Addresses::Four) else {
        return;
    };
    run(async {
        let maker = Maker::new(SIZE).await;
        maker.publish("0.2.0").await;
        let mirror = outside(&network, &maker.repository());
        let mirrors = [home::address(&mirror)];
        for (manners, says) in [
            (Manners::OtherChunks, "not the one that its hash names"),
            (Manners::OtherManifests, "not what its hash names"),
            (Manners::OtherMetadata, "not what was signed"),
            (Manners::EndlessMetadata, "has no end"),
        ] {
            let liar = Home::new(&network, "liar", manners);
            let phone = Home::new(&network, "phone", Manners::Honest);
            phone.takes_in(&liar, Membership::Owner).await;
            all_see_each_other(&[&phone, &liar]).await;
            liar.updates(&maker, &mirrors, "b").await.unwrap();
            mirror.take_sent_in_all();

            let done = phone.updates(&maker, &mirrors, "b").await.unwrap();
            phone.holds(&maker, "0.2.0", "b");
            let [problem] = done.problems.as_slice() else {
                panic!("{manners:?}: {:?}", done.problems);
            };
            assert_eq!(problem.source, "liar", "{manners:?}");
            assert!(problem.reason.contains(says), "{manners:?}: {problem:?}");
            assert!(mirror.take_sent_in_all() > 0, "{manners:?}");

            // Without another source nothing is installed.
            let tablet = Home::new(&network, "tablet", Manners::Honest);
            phone.device.plug(false);
            drop(phone);
            liar.takes_in(&tablet, Membership::Owner).await;
            all_see_each_other(&[&tablet, &liar]).await;
            let failed = tablet.updates(&maker, &[], "b").await;
            let failed = failed.unwrap_err();
            assert!(
                failed
                    .problems
                    .iter()
                    .any(|problem| problem.source == "liar"),
                "{manners:?}: {failed:?}"
            );
            assert!(tablet.boot_file("b").is_err(), "{manners:?}");
        }
    });
}

#[test]
fn newer_metadata_of_the_family_stands_over_a_mirror_that_is_behind() {
    let Some(network) = Network::new(Addresses::Four) else {
        return;
    };
    run(async {
        let maker = Maker::new(SIZE).await;
        maker.publish("0.2.0").await;
        let behind = maker.copy("behind");
        maker.withdraw("0.2.0").await;
        let phone = Home::new(&network, "phone", Manners::Honest);
        let tablet = Home::new(&network, "tablet", Manners::Honest);
        phone.takes_in(&tablet, Membership::Owner).await;
        all_see_each_other(&[&phone, &tablet]).await;
        let folder = |path: &std::path::Path| path.display().to_string();
        // The phone has heard that it was withdrawn.
        phone
            .updates(&maker, &[folder(&maker.repository())], "b")
            .await
            .unwrap_err();
        let alone = Home::new(&network, "alone", Manners::Honest);
        alone
            .updates(&maker, &[folder(&behind)], "b")
            .await
            .expect("a mirror that is behind has it still");
        let told = tablet
            .updates(&maker, &[folder(&behind)], "b")
            .await
            .unwrap_err();
        assert_eq!(told.problems, [], "{told:?}");
        assert!(tablet.boot_file("b").is_err());
    });
}

#[test]
fn ten_devices_fetch_a_release_once() {
    const DEVICES: usize = 10;
    let Some(network) = Network::new(Addresses::Four) else {
        return;
    };
    run(async {
        let maker = Maker::new(LARGE).await;
        maker.publish("0.2.0").await;
        let mirror = outside(&network, &maker.repository());
        let mirrors = [home::address(&mirror)];

        let alone = Home::new(&network, "alone", Manners::Honest);
        alone.updates(&maker, &mirrors, "b").await.unwrap();
        alone.holds(&maker, "0.2.0", "b");
        let once = mirror.take_sent_in_all();
        drop(alone);

        let homes: Vec<_> = (0..DEVICES)
            .map(|number| Home::new(&network, &format!("device-{number}"), Manners::Honest))
            .collect();
        for other in &homes[1..] {
            homes[0].takes_in(other, Membership::Owner).await;
        }
        let all: Vec<_> = homes.iter().collect();
        all_see_each_other(&all).await;
        mirror.take_sent_in_all();

        let updates: Vec<_> = homes
            .iter()
            .map(|home| home.begins_to_update(&maker, &mirrors, "b"))
            .collect();
        let mut fetched = 0;
        for (home, update) in homes.iter().zip(updates) {
            let done = tokio::time::timeout(PATIENCE * 3, update).await;
            let done = done.expect("it comes to an end").unwrap().unwrap();
            assert_eq!(done.problems, []);
            home.holds(&maker, "0.2.0", "b");
            println!(
                "{}: {} bytes, {} of them from the family, in {:.1} s",
                home.device.name,
                done.downloaded,
                done.from_family,
                done.time.as_secs_f64()
            );
            fetched += u64::from(done.from_family < done.downloaded);
        }
        let sent = mirror.take_sent_in_all();
        println!(
            "one device: {once} bytes from outside; {DEVICES} devices: {sent}, {:.3} times that; \
             {fetched} of them fetched",
            sent as f64 / once as f64
        );
        assert!(
            sent as f64 <= 1.1 * once as f64,
            "{DEVICES} devices had {sent} bytes from outside, one alone {once}"
        );
    });
}

#[test]
fn whoever_fetches_for_all_is_replaced_when_it_goes_away() {
    let Some(network) = Network::new(Addresses::Four) else {
        return;
    };
    run(async {
        let maker = Maker::new(SIZE).await;
        maker.publish("0.2.0").await;
        let mirror = outside(&network, &maker.repository());
        let mirrors = [home::address(&mirror)];
        let mut homes = Vec::new();
        for name in ["one", "two", "three"] {
            homes.push(Home::new(&network, name, Manners::Honest));
        }
        for other in &homes[1..] {
            homes[0].takes_in(other, Membership::Owner).await;
        }
        let all: Vec<_> = homes.iter().collect();
        all_see_each_other(&all).await;
        // Whoever has the least id goes outside, to a mirror that sends half and then nothing.
        let mut ids = Vec::new();
        for (number, home) in homes.iter().enumerate() {
            ids.push((home.device.id().await, number));
        }
        ids.sort();
        let leader = ids[0].1;
        mirror.behave(Manner::Stalling);
        let leading = homes[leader].begins_to_update(&maker, &mirrors, "b");
        homes[leader].fetches(&maker).await;
        mirror.behave(Manner::Honest);
        let others: Vec<_> = ids[1..].iter().map(|(_, number)| *number).collect();
        let updates: Vec<_> = others
            .iter()
            .map(|&number| homes[number].begins_to_update(&maker, &mirrors, "b"))
            .collect();
        homes[leader].is_waited_for(others.len()).await;
        // Pulled out of the wall.
        homes[leader].device.plug(false);
        homes[leader].cancel();
        for (&number, update) in others.iter().zip(updates) {
            let done = tokio::time::timeout(PATIENCE * 2, update).await;
            done.expect("it comes to an end").unwrap().unwrap();
            homes[number].holds(&maker, "0.2.0", "b");
        }
        let given_up = tokio::time::timeout(Duration::from_secs(180), leading).await;
        given_up.expect("it ends").unwrap().unwrap_err();
    });
}
