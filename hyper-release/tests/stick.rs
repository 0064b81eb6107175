//! A stick from which a new machine gets the system.

mod common;

use std::fs;

use common::{World, image, run};
use hyper_release::make;
use hyper_release::publish::Change;
use hyper_release::{stick, verify};
use release::wave::Wave;

#[test]
fn a_stick_starts_the_recovery_of_its_release_and_has_the_repository() {
    run(async {
        let world = World::new().await;
        image(&world.path("with-recovery"), "0.2.0", false);
        let recovery: Vec<u8> = (0..90_000_u32).map(|number| number as u8).collect();
        fs::write(world.path("with-recovery/recovery.efi"), &recovery).unwrap();
        let made = make::Image::in_folder(&world.path("with-recovery"), "phone");
        let made = make::make(&made, &world.repository(), "New.").unwrap();
        let publish = Change::Publish(Wave::default());
        world.change(&made.name, "stable", &publish).await.unwrap();

        let folder = world.path("stick");
        stick::make(&world.repository(), &made.name, &folder)
            .await
            .unwrap();
        assert_eq!(fs::read(folder.join(stick::STARTED)).unwrap(), recovery);
        let root = world.path("root-a.json");
        let copy = folder.join(stick::REPOSITORY);
        verify::verify(&copy, Some(&root), false).await.unwrap();
        // What was on it before is brought up to date.
        stick::make(&world.repository(), &made.name, &folder)
            .await
            .unwrap();
    });
}

#[test]
fn what_cannot_be_started_makes_no_stick() {
    run(async {
        let world = World::new().await;
        let without = world.publish("0.2.0", "stable").await;
        let folder = world.path("stick");
        for (name, reason) in [
            (without.as_str(), "has no recovery"),
            ("phone.global.9.9.9", "has no release phone.global.9.9.9"),
        ] {
            let error = stick::make(&world.repository(), name, &folder)
                .await
                .unwrap_err();
            assert!(format!("{error:#}").contains(reason), "{error:#}");
            assert!(!folder.exists());
        }
    });
}
