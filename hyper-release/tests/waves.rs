//! A release spreads over a multitude of devices, each of which works out for itself whether its turn
//! has come; the server has nothing but files.
//!
//! `WAVE_DEVICES` says how many there are; `cargo xtask soak` asks for a hundred millions.

mod common;

use std::thread;

use common::{World, run};
use hyper_release::publish::Change;
use release::Version;
use release::repository::{Offer, Standing};
use release::wave::{ALL, Step, Wave};
use update::find::{Device, Wish, choose};

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
/// When the wave begins: 2026-12-01.
const BEGIN: u64 = 1_796_083_200;

/// One device in so many has a clock that is a year ahead, one a year behind, and one was set up from
/// the backup of the device before it.
const ODD: u64 = 10_000;

/// What the share may differ by, of all.
const TOLERANCE: f64 = 0.001;

fn wave() -> Wave {
    let step = |time, share| Step { time, share };
    Wave(vec![
        step(BEGIN, ALL / 100),
        step(BEGIN + 2 * DAY, ALL / 10),
        step(BEGIN + 7 * DAY, ALL),
    ])
}

fn devices() -> u64 {
    std::env::var("WAVE_DEVICES").map_or(200_000, |count| {
        count.parse().expect("WAVE_DEVICES is a number")
    })
}

/// A device's seed is 32 random bytes; here they come from its number.
fn seed(number: u64) -> Vec<u8> {
    let number = if number % ODD == 2 {
        number - 1
    } else {
        number
    };
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut seed = Vec::with_capacity(32);
    for _ in 0..4 {
        state = (state ^ state >> 31).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        seed.extend_from_slice(&state.to_le_bytes());
    }
    seed
}

/// How many of the devices are offered the release at a time, by what each makes of the metadata.
fn reached(offers: &[Offer], time: u64) -> u64 {
    let parts = thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let count = devices();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..parts)
            .map(|part| {
                scope.spawn(move || {
                    let mut device = Device {
                        product: "phone".into(),
                        edition: "global".into(),
                        installed: Version::new(0, 1, 0),
                        channel: "stable".into(),
                        seed: Vec::new(),
                        now: 0,
                    };
                    let mut reached = 0;
                    for number in (part..count).step_by(parts as usize) {
                        device.now = match number % ODD {
                            3 => time + 365 * DAY,
                            4 => time - 365 * DAY,
                            _ => time,
                        };
                        device.seed = seed(number);
                        reached += u64::from(choose(&device, offers, &Wish::Turn).is_some());
                    }
                    reached
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap())
            .sum()
    })
}

#[test]
fn the_share_of_devices_follows_the_wave_whatever_some_clocks_say() {
    run(async {
        let world = World::new().await;
        let name = world.publish("0.2.0", "stable").await;
        let change = Change::Publish(wave());
        world.change(&name, "stable", &change).await.unwrap();
        let offers = world.offers().await;
        // Chance alone makes a share of so many devices differ by this, seldom more than four times.
        let chance = 4.0 * 0.5 / (devices() as f64).sqrt();
        for time in [
            BEGIN - HOUR,
            BEGIN,
            BEGIN + DAY,
            BEGIN + 2 * DAY,
            BEGIN + 4 * DAY,
            BEGIN + 7 * DAY,
            BEGIN + 30 * DAY,
        ] {
            let expected = f64::from(wave().share(time)) / f64::from(ALL);
            let found = reached(&offers, time) as f64 / devices() as f64;
            println!(
                "{:>4} h: {found:.5}, by the wave {expected:.5}",
                (time as i64 - BEGIN as i64) / 3600
            );
            // One in ten thousand has its turn early, and one late.
            let odd = 1.0 / ODD as f64;
            assert!(
                (found - expected).abs() <= TOLERANCE.max(odd + chance),
                "{found} of the devices have it, and {expected} should"
            );
        }
    });
}

#[test]
fn what_is_paused_or_withdrawn_reaches_nobody_new() {
    run(async {
        let world = World::new().await;
        let name = world.publish("0.2.0", "stable").await;
        let middle = BEGIN + 4 * DAY;
        let change = async |change: Change| {
            world.change(&name, "stable", &change).await.unwrap();
            reached(&world.offers().await, middle)
        };
        let open = change(Change::Publish(wave())).await;
        assert!(open > 0);
        assert_eq!(change(Change::Stand(Standing::Paused)).await, 0);
        assert_eq!(
            change(Change::Stand(Standing::Open)).await,
            open,
            "the same devices as before"
        );
        assert_eq!(change(Change::Stand(Standing::Withdrawn)).await, 0);
    });
}
