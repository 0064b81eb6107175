//! What the devices of a family share, over a real network, with the real services.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use bus::home::Profile;
use bus::pairing::Membership;
use bus::replica::{Held, Refusal, Update};
use bus::settings::Value;
use bus::{Reason, Server};
use common::{Addresses, Device, Network, PATIENCE, run};
use futures::StreamExt as _;

/// The settings, and what the family shares.
fn services(folder: &Path) -> Server {
    let (bus, data) = (folder.join("bus"), folder.join("data"));
    for name in ["settings", "state"] {
        fs::create_dir_all(data.join(name)).unwrap();
    }
    let shared = format!("{}{}", bus::carry::SHARED, bus::replica::ID);
    let ids = [
        bus::settings::ID,
        bus::following::ID,
        bus::home::ID,
        bus::replica::ID,
        &shared,
    ];
    let mut server = Server::bind(&bus, &ids).unwrap();
    let keeper = settings::open(&data.join("settings"), &folder.join("system")).unwrap();
    for interface in settings::interfaces(keeper) {
        server.serve(interface);
    }
    state::start(&mut server, &data.join("state"), bus).unwrap();
    server
}

fn device(network: &Arc<Network>, name: &str) -> Device {
    Device::with(network, name, Some(services))
}

/// Waits until what a device knows of the family is as it should be.
async fn knows(at: &Device, what: &str, holds: impl Fn(&[Profile]) -> bool) {
    let mut lists = bus::home::watch(&at.bus).await.unwrap();
    let waited = tokio::time::timeout(PATIENCE, async {
        while let Some(list) = lists.next().await {
            if holds(&list.expect("what is known")) {
                return;
            }
        }
        panic!("the list of what is known ended");
    });
    if waited.await.is_err() {
        let known = bus::home::profiles(&at.bus).await;
        panic!("{}: not {what}: {known:?}", at.name);
    }
}

fn profile<'a>(profiles: &'a [Profile], id: &str) -> Option<&'a Profile> {
    profiles.iter().find(|profile| profile.id == id)
}

/// Waits until a device calls another one so.
async fn calls(at: &Device, id: &str, name: &str) {
    knows(at, &format!("{id} is {name}"), |profiles| {
        profile(profiles, id).is_some_and(|profile| profile.name == name)
    })
    .await;
}

async fn setting(at: &Device, key: &str) -> Value {
    bus::settings::get(&at.bus, key).await.unwrap().unwrap()
}

async fn choose(at: &Device, key: &str, value: Value) {
    let set = bus::settings::set(&at.bus, key, &value).await.unwrap();
    set.unwrap();
}

/// Waits until a setting of a device has a value.
async fn has_setting(at: &Device, key: &str, value: &Value) {
    let waited = tokio::time::timeout(PATIENCE, async {
        loop {
            let mut changes = bus::settings::watch(&at.bus).await.unwrap();
            if setting(at, key).await == *value {
                return;
            }
            while let Some(Ok(change)) = changes.next().await {
                if change.key == key && change.value == *value {
                    return;
                }
            }
        }
    });
    if waited.await.is_err() {
        let found = setting(at, key).await;
        panic!("{}: {key} is {found:?}, not {value:?}", at.name);
    }
}

fn text(word: &str) -> Value {
    Value::Text(word.into())
}

/// Where a device keeps a document.
fn copy_of(at: &Device, document: &str) -> Option<PathBuf> {
    let state = at.folder.join("data/state");
    let mut families = fs::read_dir(state)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let family = families.find(|path| path.is_dir())?;
    Some(family.join(document)).filter(|path| path.exists())
}

#[test]
fn names_rooms_and_facts_are_known_everywhere_and_survive() {
    let Some(network) = Network::new(Addresses::Both) else {
        return;
    };
    let (phone, mut tv) = (device(&network, "phone"), device(&network, "tv"));
    run(async {
        phone.takes_in(&tv, Membership::Shared).await;
        let id = tv.id().await;
        // What the TV says about itself comes without anybody asking.
        knows(&phone, "told what the TV is", |profiles| {
            profile(profiles, &id).is_some_and(|profile| {
                profile
                    .facts
                    .as_ref()
                    .is_some_and(|facts| !facts.model.is_empty())
            })
        })
        .await;

        let began = Instant::now();
        bus::home::rename(&phone.bus, "tv", "Television")
            .await
            .unwrap()
            .unwrap();
        calls(&tv, &id, "Television").await;
        println!("renamed on the other device after {:?}", began.elapsed());
        bus::home::set_room(&phone.bus, "Television", Some("Living room"))
            .await
            .unwrap()
            .unwrap();
        knows(&tv, "in the living room", |profiles| {
            profile(profiles, &id).is_some_and(|one| one.room.as_deref() == Some("Living room"))
        })
        .await;

        // It answers to its new name, and is shown by it, and knows it itself.
        phone.sees("Television").await;
        let about = bus::device::about(&phone.to("Television")).await.unwrap();
        assert_eq!(about.name, "tv", "the right one answers");
        let old = bus::device::about(&phone.to("tv")).await.unwrap_err();
        assert!(matches!(old.reason, Reason::UnknownDevice(_)), "{old}");
        has_setting(&tv, "device.name", &text("Television")).await;

        // A shared device reads this, and says none of it.
        let refused = bus::home::rename(&tv.bus, "phone", "Stolen").await.unwrap();
        assert!(
            matches!(refused, Err(bus::home::Error::Refused(_))),
            "{refused:?}"
        );
        let double = bus::home::rename(&phone.bus, "phone", "Television")
            .await
            .unwrap();
        assert!(
            matches!(double, Err(bus::home::Error::Refused(_))),
            "{double:?}"
        );

        // What a device is called on itself, the family calls it.
        choose(&phone, "device.name", text("Pocket phone")).await;
        let phone_id = phone.id().await;
        calls(&tv, &phone_id, "Pocket phone").await;

        // Power is lost on the TV, and nobody is there to tell it again.
        phone.plug(false);
        tv.restart();
        calls(&tv, &id, "Television").await;
        calls(&tv, &phone_id, "Pocket phone").await;
        // What was said meanwhile comes when they meet.
        bus::home::rename(&phone.bus, "Television", "Big screen")
            .await
            .unwrap()
            .unwrap();
        phone.plug(true);
        calls(&tv, &id, "Big screen").await;
        phone.sees("Big screen").await;
    });
}

#[test]
fn edits_made_apart_meet_without_loss() {
    let Some(network) = Network::new(Addresses::Both) else {
        return;
    };
    let [phone, mut tablet, tv] = ["phone", "tablet", "tv"].map(|name| device(&network, name));
    run(async {
        choose(&phone, "language", text("zh-CN")).await;
        choose(&tablet, "appearance.accent", text("rose")).await;
        phone.takes_in(&tablet, Membership::Owner).await;
        phone.takes_in(&tv, Membership::Shared).await;
        // Who joins takes the person's settings, also those that the person left alone.
        has_setting(&tablet, "language", &text("zh-CN")).await;
        has_setting(&tablet, "appearance.accent", &text("tide")).await;
        // And from then on has as much to say.
        choose(&tablet, "appearance.text-size", Value::Integer(130)).await;
        has_setting(&phone, "appearance.text-size", &Value::Integer(130)).await;
        // What is the device's stays there.
        choose(&phone, "display.brightness", Value::Integer(33)).await;

        for device in [&phone, &tablet] {
            device.sees("tv").await;
        }
        tablet.plug(false);
        let id = tv.id().await;
        bus::home::rename(&phone.bus, &id, "Phone's word")
            .await
            .unwrap()
            .unwrap();
        bus::home::rename(&tablet.bus, &id, "Tablet's word")
            .await
            .unwrap()
            .unwrap();
        bus::home::set_room(&phone.bus, &id, Some("Kitchen"))
            .await
            .unwrap()
            .unwrap();
        let tablet_id = tablet.id().await;
        bus::home::set_room(&tablet.bus, &tablet_id, Some("Study"))
            .await
            .unwrap()
            .unwrap();
        choose(&phone, "appearance.theme", text("dark")).await;
        choose(&tablet, "appearance.accent", text("moss")).await;
        choose(&phone, "appearance.text-size", Value::Integer(110)).await;
        choose(&tablet, "appearance.text-size", Value::Integer(160)).await;
        // One of the two also loses power meanwhile.
        tablet.restart();
        tablet.plug(true);

        for device in [&phone, &tablet, &tv] {
            knows(device, "what both said", |profiles| {
                let room = |id| profile(profiles, id)?.room.as_deref();
                room(&id) == Some("Kitchen") && room(&tablet_id) == Some("Study")
            })
            .await;
        }
        for device in [&phone, &tablet] {
            has_setting(device, "appearance.theme", &text("dark")).await;
            has_setting(device, "appearance.accent", &text("moss")).await;
        }
        // Where they said two things of one, all agree on one of the two.
        let named = |profiles: &[Profile]| profile(profiles, &id).unwrap().name.clone();
        let name = named(&bus::home::profiles(&phone.bus).await.unwrap());
        assert!(
            ["Phone's word", "Tablet's word"].contains(&&*name),
            "{name}"
        );
        for device in [&tablet, &tv] {
            calls(device, &id, &name).await;
        }
        let size = setting(&phone, "appearance.text-size").await;
        assert!([110, 160].map(Value::Integer).contains(&size), "{size:?}");
        has_setting(&tablet, "appearance.text-size", &size).await;
        assert_eq!(
            setting(&tablet, "display.brightness").await,
            Value::Integer(70)
        );

        // The TV has none of the person's.
        for (key, value) in [("language", "en"), ("appearance.accent", "tide")] {
            assert_eq!(setting(&tv, key).await, text(value));
        }
        assert_eq!(copy_of(&tv, "person"), None);
        assert!(copy_of(&phone, "person").is_some());
        assert!(copy_of(&tv, "family").is_some());
    });
}

/// What another device asks by itself, as a program of somebody who means harm would.
async fn ask(at: &Device, other: &str, document: &str) -> (Vec<String>, Result<Vec<u8>, Refusal>) {
    let have = [Held {
        document: document.to_owned(),
        version: replica::nothing().into(),
    }];
    let given = bus::replica::exchange(&at.to(other), &have).await.unwrap();
    let update = Update {
        document: document.to_owned(),
        version: replica::nothing().into(),
        content: Some(vec![0, 0].into()),
    };
    let taken = bus::replica::give(&at.to(other), &update).await.unwrap();
    (
        given.into_iter().map(|update| update.document).collect(),
        taken,
    )
}

#[test]
fn each_reads_what_is_its_own_to_read_and_a_removed_device_gets_nothing() {
    let Some(network) = Network::new(Addresses::Both) else {
        return;
    };
    let [phone, tablet, tv, guest] =
        ["phone", "tablet", "tv", "guest"].map(|name| device(&network, name));
    run(async {
        phone.takes_in(&tablet, Membership::Owner).await;
        phone.takes_in(&tv, Membership::Shared).await;
        phone.takes_in(&guest, Membership::Guest).await;
        let [phone_id, tv_id, guest_id] = [phone.id().await, tv.id().await, guest.id().await];
        for device in [&phone, &tv, &guest] {
            device.sees("phone").await;
        }
        let own = |id: &str| format!("device/{id}");
        // Once what the TV is has come to the phone, the phone knows that it belongs.
        for id in [&tv_id, &guest_id] {
            knows(&phone, "told what it is", |profiles| {
                profile(profiles, id).is_some_and(|profile| profile.facts.is_some())
            })
            .await;
        }
        for document in ["person", "family", &own(&phone_id), "device/..", "nonsense"] {
            let (given, taken) = ask(&tv, "phone", document).await;
            assert_eq!(given, ["family".to_owned(), own(&tv_id)], "{document}");
            assert!(
                matches!(taken, Err(Refusal::NotAllowed)),
                "{document}: {taken:?}"
            );
            let (given, taken) = ask(&guest, "phone", document).await;
            assert_eq!(given, [own(&guest_id)], "{document}");
            assert!(
                matches!(taken, Err(Refusal::NotAllowed)),
                "{document}: {taken:?}"
            );
        }
        // Its own it may write, if it is an update.
        let (_, taken) = ask(&tv, "phone", &own(&tv_id)).await;
        assert!(
            matches!(taken, Err(Refusal::Unusable(_) | Refusal::Behind(_))),
            "{taken:?}"
        );

        bus::home::rename(&phone.bus, "tv", "Before")
            .await
            .unwrap()
            .unwrap();
        calls(&tablet, &tv_id, "Before").await;
        bus::family::remove(&phone.bus, "tablet")
            .await
            .unwrap()
            .unwrap();
        tv.until("the tablet out", |devices| {
            devices.iter().all(|one| one.name != "tablet")
        })
        .await;
        bus::home::rename(&phone.bus, "Before", "After")
            .await
            .unwrap()
            .unwrap();
        calls(&tv, &tv_id, "After").await;
        // It asks by itself, and is refused; and it has not heard of what was said since.
        let refused = bus::replica::exchange(&tablet.to(&phone_id), &[]).await;
        assert!(refused.is_err(), "{refused:?}");
        let known = bus::home::profiles(&tablet.bus).await.unwrap();
        assert!(
            known.iter().all(|profile| profile.name != "After"),
            "{known:?}"
        );
    });
}

#[test]
fn a_damaged_copy_comes_back_from_the_others() {
    let Some(network) = Network::new(Addresses::Both) else {
        return;
    };
    let (phone, mut tablet) = (device(&network, "phone"), device(&network, "tablet"));
    run(async {
        phone.takes_in(&tablet, Membership::Owner).await;
        let id = phone.id().await;
        calls(&tablet, &id, "phone").await;
        for room in ["Hall", "Kitchen", "Study"] {
            bus::home::set_room(&phone.bus, &id, Some(room))
                .await
                .unwrap()
                .unwrap();
            knows(&tablet, room, |profiles| {
                profile(profiles, &id).is_some_and(|one| one.room.as_deref() == Some(room))
            })
            .await;
        }
        tablet.stop();
        let file = copy_of(&tablet, "family").unwrap();
        let mut bytes = fs::read(&file).unwrap();
        bytes[30] ^= 1;
        fs::write(&file, bytes).unwrap();
        tablet.start();
        knows(&tablet, "the study", |profiles| {
            profile(profiles, &id).is_some_and(|one| one.room.as_deref() == Some("Study"))
        })
        .await;
        let folder = file.parent().unwrap();
        let names = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        assert!(
            names
                .map(|name| name.into_string().unwrap())
                .any(|name| { name.starts_with("family") && name != "family" }),
            "the damaged file is kept"
        );
        // And it has its say again.
        bus::home::set_room(&tablet.bus, &id, Some("Loft"))
            .await
            .unwrap()
            .unwrap();
        knows(&phone, "the loft", |profiles| {
            profile(profiles, &id).is_some_and(|one| one.room.as_deref() == Some("Loft"))
        })
        .await;
    });
}
