//! What a mirror, or a thief of some keys, may try with a repository, and what a device makes of it.

mod common;

use std::fs;

use common::{World, image, run};
use hyper_release::mirror::{self, Site};
use hyper_release::publish::{self, Change, Keys, in_days};
use hyper_release::{keys, make, verify};
use release::repository::{Error, Standing};
use release::wave::Wave;

#[test]
fn a_release_is_offered_with_its_manifest_and_shares_what_it_has_in_common() {
    run(async {
        let world = World::new().await;
        world.publish("0.2.0", "stable").await;
        world.publish("0.3.0", "stable").await;
        let repository = world.device().await.unwrap();
        let offers = repository.offers();
        assert_eq!(offers.len(), 2);
        let manifest = repository.manifest(&offers[1]).await.unwrap();
        assert_eq!(manifest.version.to_string(), "0.3.0");
        assert_eq!(
            manifest.packs.len(),
            2,
            "half of it is in the pack of 0.2.0"
        );
        let verified = verify::verify(&world.repository(), Some(&world.path("root-a.json")), false)
            .await
            .unwrap();
        assert_eq!(verified.releases.len(), 2);
    });
}

#[test]
fn a_rollback_is_refused() {
    run(async {
        let world = World::new().await;
        let old = fs::read(world.metadata("timestamp.json")).unwrap();
        world.publish("0.2.0", "stable").await;
        assert_eq!(world.offers().await.len(), 1);
        fs::write(world.metadata("timestamp.json"), old).unwrap();
        assert!(matches!(world.device().await, Err(Error::Older(_))));
    });
}

#[test]
fn a_freeze_is_noticed_when_the_metadata_is_stale() {
    run(async {
        let world = World::new().await;
        publish::renew(&world.repository(), None, &world.key("online"), -1)
            .await
            .unwrap();
        assert!(matches!(world.device().await, Err(Error::Stale(_))));
        publish::renew(&world.repository(), None, &world.key("online"), 1)
            .await
            .unwrap();
        world.device().await.unwrap();
    });
}

#[test]
fn parts_of_two_snapshots_do_not_make_one() {
    run(async {
        let world = World::new().await;
        world.publish("0.2.0", "stable").await;
        world.publish("0.3.0", "stable").await;
        let older = fs::read(world.metadata("2.stable.json")).unwrap();
        fs::write(world.metadata("3.stable.json"), older).unwrap();
        let error = world.device().await.map(drop).unwrap_err();
        assert!(matches!(error, Error::Untrusted(_)), "{error:?}");
    });
}

#[test]
fn endless_data_is_not_read() {
    run(async {
        let world = World::new().await;
        for name in ["timestamp.json", "1.snapshot.json", "1.targets.json"] {
            let path = world.metadata(name);
            let before = fs::read(&path).unwrap();
            fs::write(&path, vec![b' '; 32 << 20]).unwrap();
            let error = world.device().await.map(drop).unwrap_err();
            assert!(
                matches!(error, Error::TooLong(_) | Error::Unreachable(_)),
                "{name}: {error:?}"
            );
            fs::write(&path, before).unwrap();
        }
        // A root that cannot be read is none: the one that is believed stays, until what it signed for
        // is stale.
        fs::write(world.metadata("2.root.json"), vec![b' '; 32 << 20]).unwrap();
        world.device().await.unwrap();
    });
}

#[test]
fn a_changed_file_is_refused_wherever_it_is_changed() {
    run(async {
        let world = World::new().await;
        world.publish("0.2.0", "stable").await;
        for name in [
            "timestamp.json",
            "2.snapshot.json",
            "1.targets.json",
            "2.stable.json",
        ] {
            let path = world.metadata(name);
            let before = fs::read(&path).unwrap();
            let mut changed = before.clone();
            // A digit of a signature or of what is signed.
            let at = changed
                .iter()
                .rposition(|byte| (b'0'..=b'8').contains(byte))
                .unwrap();
            changed[at] += 1;
            fs::write(&path, changed).unwrap();
            assert!(world.device().await.is_err(), "{name}");
            fs::write(&path, before).unwrap();
        }
        let repository = world.device().await.unwrap();
        let target = fs::read_dir(world.repository().join("targets"))
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        let mut bytes = fs::read(&target).unwrap();
        bytes[20] ^= 1;
        fs::write(&target, bytes).unwrap();
        let offers = repository.offers();
        assert!(repository.manifest(&offers[0]).await.is_err());
    });
}

#[test]
fn the_key_of_one_channel_says_nothing_of_another() {
    run(async {
        let world = World::new().await;
        let name = world.publish("0.2.0", "beta").await;
        let (repository, key, online) =
            (world.repository(), world.key("beta"), world.key("online"));
        let everyone = Change::Publish(Wave::default());
        publish::change(&repository, "stable", &name, &everyone, &key, &online)
            .await
            .unwrap_err();
        let channels: Vec<_> = world
            .offers()
            .await
            .into_iter()
            .map(|offer| offer.channel)
            .collect();
        assert_eq!(channels, ["beta"]);
    });
}

#[test]
fn keys_change_across_roots_and_a_device_follows_from_the_first() {
    run(async {
        let world = World::new().await;
        world.publish("0.2.0", "stable").await;
        let roots = [
            (
                world.keys(&["root-2", "root-3"], "online-2"),
                "root-a.json",
                "root-b.json",
                "root-1",
            ),
            (
                world.keys(&["root-3"], "online"),
                "root-b.json",
                "root-c.json",
                "root-2",
            ),
        ];
        for (keys, before, after, leaving) in roots {
            let after = world.path(after);
            publish::root(
                &after,
                &keys,
                Some(&world.path(before)),
                &[world.key(leaving)],
                in_days(100),
            )
            .await
            .unwrap();
            publish::renew(&world.repository(), Some(&after), &keys.online, 7)
                .await
                .unwrap();
            assert_eq!(world.offers().await.len(), 1);
        }
    });
}

#[test]
fn a_root_that_too_few_of_the_old_keys_signed_is_refused() {
    run(async {
        let world = World::new().await;
        // One of two root keys was stolen, and the thief makes a root of their own.
        let stolen = Keys {
            root: vec![world.key("thief")],
            threshold: 1,
            targets: world.key("thief"),
            online: world.key("thief"),
        };
        let root = world.path("root-stolen.json");
        publish::root(
            &root,
            &stolen,
            Some(&world.path("root-a.json")),
            &[world.key("root-1")],
            in_days(100),
        )
        .await
        .unwrap();
        publish::renew(&world.repository(), Some(&root), &world.key("thief"), 7)
            .await
            .unwrap();
        assert!(matches!(world.device().await, Err(Error::Untrusted(_))));
    });
}

#[test]
fn a_release_is_paused_goes_on_and_is_withdrawn_for_good() {
    run(async {
        let world = World::new().await;
        let name = world.publish("0.2.0", "stable").await;
        for standing in [Standing::Paused, Standing::Open, Standing::Withdrawn] {
            world
                .change(&name, "stable", &Change::Stand(standing))
                .await
                .unwrap();
            assert_eq!(world.offers().await[0].terms.standing, standing);
        }
        world
            .change(&name, "stable", &Change::Stand(Standing::Open))
            .await
            .unwrap_err();
    });
}

#[test]
fn what_development_keys_can_sign_for_is_refused() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("key.pem"), keys::DEVELOPMENT_KEY).unwrap();
        fs::write(path("root.json"), keys::DEVELOPMENT_ROOT).unwrap();
        let channels = [("stable".to_owned(), path("key.pem"))];
        publish::init(
            &path("repository"),
            &path("root.json"),
            &channels,
            &path("key.pem"),
            &path("key.pem"),
        )
        .await
        .unwrap();
        let error = verify::verify(&path("repository"), None, false)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("development key"), "{error:#}");
        verify::verify(&path("repository"), None, true)
            .await
            .unwrap();

        let world = World::new().await;
        let image = image(&world.path("image"), "0.2.0", true);
        let made = make::make(&image, &world.repository(), "").unwrap();
        world
            .change(&made.name, "stable", &Change::Publish(Wave::default()))
            .await
            .unwrap();
        let error = verify::verify(&world.repository(), None, false)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("development image"), "{error:#}");
    });
}

#[test]
fn a_damaged_pack_is_found_and_a_mirror_is_as_good_as_what_it_copies() {
    run(async {
        let world = World::new().await;
        world.publish("0.2.0", "stable").await;
        let mirror = world.path("mirror");
        let site = Site::Folder(mirror.clone());
        mirror::copy(&world.repository(), &site).await.unwrap();
        verify::verify(&mirror, Some(&world.path("root-a.json")), false)
            .await
            .unwrap();
        assert_eq!(
            mirror::copy(&world.repository(), &site).await.unwrap(),
            fs::metadata(world.metadata("timestamp.json"))
                .unwrap()
                .len(),
            "what is there is not copied again"
        );
        let pack = fs::read_dir(mirror.join("packs"))
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        let mut bytes = fs::read(&pack).unwrap();
        bytes[1000] ^= 1;
        fs::write(&pack, bytes).unwrap();
        let error = verify::verify(&mirror, None, false).await.unwrap_err();
        assert!(format!("{error:#}").contains("damaged"), "{error:#}");
    });
}
