//! How grants end, and what does not make one: over a real network and real sockets.

mod common;

use std::fs;
use std::sync::Arc;

use bus::grants::Until as Shown;
use bus::pairing::Membership;
use bus::questions::Reply;
use common::owner::{Eyes, answer, begin, begin_forever, family, grants, knows};
use common::owner::{refused, revoke, runs, went};
use common::{Addresses, Device, Network, PATIENCE, run};
use ed25519_dalek::{Signer as _, SigningKey};
use mesh::wire::{self, Entries, Heads, Kind, MAX_LOG_MESSAGE, Used};
use trust::identity::{DeviceId, Identity};
use trust::log::{Action, EntryId, Grant, Log, Until};

async fn key(device: &Device) -> DeviceId {
    device.id().await.parse().unwrap()
}

/// A grant for a device to resolve names on another one.
async fn grant(from: &Device, to: &Device, until: Until) -> Grant {
    Grant {
        from: key(from).await,
        to: Some(key(to).await),
        interfaces: "hyper:network/names".parse().unwrap(),
        until,
    }
}

/// An owner device, one without a screen, and one that calls it.
async fn house(network: &Arc<Network>) -> (Device, Device, Device) {
    let (phone, tv) = family(network).await;
    let hub = Device::new(network, "hub");
    phone.takes_in(&hub, Membership::Shared).await;
    for device in ["phone", "tv"] {
        hub.sees(device).await;
    }
    tv.sees("hub").await;
    (phone, tv, hub)
}

#[test]
fn a_grant_for_a_time_ends_with_it_and_so_do_the_calls_that_it_allowed() {
    let Some(network) = Network::new(Addresses::Both) else {
        return;
    };
    run(async {
        let (phone, tv) = family(&network).await;
        let mut eyes = Eyes::on(&phone).await;
        let (node, _) = phone.mesh.as_ref().unwrap();
        // As long as this machine needs for a call to begin before the time is over.
        let mut seconds = 4;
        let call = loop {
            let end = mesh::node::now() / 1000 + seconds;
            node.grant(grant(&tv, &phone, Until::Time(end)).await)
                .unwrap();
            let call = begin_forever(&tv, "phone");
            tokio::select! {
                () = runs(&phone, 1) => break call,
                _ = eyes.question() => call.abort(),
            }
            eyes.nothing().await;
            seconds *= 2;
            assert!(seconds < PATIENCE.as_secs(), "no call begins");
        };
        let ended = tokio::time::timeout(PATIENCE, call).await;
        assert!(ended.unwrap().unwrap().is_err(), "its time is over");
        runs(&phone, 0).await;
        knows(&phone, 0).await;
        knows(&tv, 0).await;
        let next = begin(&tv, "phone");
        answer(&phone, &eyes.question().await, Reply::Refuse).await;
        refused(next).await;
    });
}

#[test]
fn a_grant_for_one_call_is_seen_as_long_as_the_call_lasts_and_nowhere_after() {
    let Some(network) = Network::new(Addresses::Both) else {
        return;
    };
    run(async {
        let (phone, tv, hub) = house(&network).await;
        let mut eyes = Eyes::on(&phone).await;
        for over_by_itself in [true, false] {
            let call = begin_forever(&tv, "hub");
            answer(&phone, &eyes.question().await, Reply::Once).await;
            runs(&hub, 1).await;
            for device in [&phone, &tv, &hub] {
                assert_eq!(knows(device, 1).await[0].until, Shown::Once);
            }
            if over_by_itself {
                call.abort();
            } else {
                revoke(&phone, &grants(&phone).await[0]).await;
                let ended = tokio::time::timeout(PATIENCE, call).await;
                assert!(ended.unwrap().unwrap().is_err(), "the owner ended it");
            }
            runs(&hub, 0).await;
            for device in [&phone, &tv, &hub] {
                knows(device, 0).await;
            }
        }
    });
}

#[test]
fn what_was_used_stays_used_when_the_device_loses_its_power_and_its_file() {
    let Some(network) = Network::new(Addresses::Both) else {
        return;
    };
    run(async {
        let (phone, tv, mut hub) = house(&network).await;
        let mut eyes = Eyes::on(&phone).await;
        for damaged in [false, true] {
            let call = begin_forever(&tv, "hub");
            answer(&phone, &eyes.question().await, Reply::Once).await;
            runs(&hub, 1).await;
            hub.stop();
            let ended = tokio::time::timeout(PATIENCE, call).await;
            assert!(ended.unwrap().unwrap().is_err());
            let spent = hub.folder.join("data/spent");
            let mut bytes = fs::read(&spent).unwrap();
            if damaged {
                *bytes.last_mut().unwrap() ^= 1;
                fs::write(&spent, bytes).unwrap();
            }
            hub.start();
            for device in [&phone, &tv, &hub] {
                knows(device, 0).await;
            }
            hub.sees("phone").await;
            tv.sees("hub").await;
            let call = begin(&tv, "hub");
            answer(&phone, &eyes.question().await, Reply::Refuse).await;
            refused(call).await;
            // Not three refusals in a row.
            let call = begin(&tv, "phone");
            answer(&phone, &eyes.question().await, Reply::Once).await;
            went(call).await;
        }
    });
}

#[test]
fn a_log_that_lost_its_end_takes_the_owner_s_word_from_the_others_again() {
    let Some(network) = Network::new(Addresses::Both) else {
        return;
    };
    run(async {
        let (phone, tv, mut hub) = house(&network).await;
        let mut eyes = Eyes::on(&phone).await;
        let call = begin(&tv, "hub");
        answer(&phone, &eyes.question().await, Reply::Always).await;
        went(call).await;
        let given = knows(&phone, 1).await.remove(0);
        let file = hub.folder.join("data/family");
        let before = fs::metadata(&file).unwrap().len();
        revoke(&phone, &given).await;
        knows(&hub, 0).await;
        hub.stop();
        // All of the last entry but its beginning.
        let log = fs::OpenOptions::new().write(true).open(&file).unwrap();
        log.set_len(before + 5).unwrap();
        hub.start();
        knows(&hub, 0).await;
        hub.sees("phone").await;
        tv.sees("hub").await;
        let call = begin(&tv, "hub");
        answer(&phone, &eyes.question().await, Reply::Refuse).await;
        refused(call).await;
    });
}

/// An entry of the log as another program would make it.
fn forged(log: &Log, signer: &Identity, author: DeviceId, grant: &Grant) -> Vec<u8> {
    let by = log.entries().find(|entry| match entry.action() {
        Action::Founded { .. } => entry.author() == author,
        Action::Added { device, .. } => *device == author,
        _ => false,
    });
    let heads: Vec<EntryId> = log.heads().iter().copied().collect();
    let content = postcard::to_stdvec(grant).unwrap();
    let fields = (
        log.id(),
        author,
        by.expect("it is of the family").id(),
        heads,
        mesh::node::now() / 1000,
        7_u8,
        content,
    );
    let body = postcard::to_stdvec(&fields).unwrap();
    let signed = [b"HyperOS family log entry 1\0", &body[..]].concat();
    let signature = SigningKey::from_bytes(&signer.secret()).sign(&signed);
    [&signature.to_bytes()[..], &body].concat()
}

#[test]
fn a_tv_that_writes_itself_a_grant_is_asked_about_all_the_same() {
    let Some(network) = Network::new(Addresses::Both) else {
        return;
    };
    run(async {
        let (phone, tv) = family(&network).await;
        let (phone_key, tv_key) = (key(&phone).await, key(&tv).await);
        let wanted = grant(&tv, &phone, Until::Always).await;
        let (node, runtime) = tv.mesh.as_ref().unwrap();
        let (phone_node, _) = phone.mesh.as_ref().unwrap();
        assert!(node.grant(wanted.clone()).is_err(), "its own mesh does not");
        // Nor can it answer for the owner from afar: nobody is even asked about that.
        let to_phone = tv.to("phone");
        let answered = bus::questions::answer(&to_phone, 0, &Reply::Always).await;
        let reason = answered.unwrap_err().to_string();
        assert!(reason.contains("does not share"), "{reason}");
        let revoked = bus::grants::revoke(&to_phone, "7f").await;
        assert!(revoked.unwrap_err().to_string().contains("does not share"));

        // So it writes entries with a program of its own: in its name, and in the phone's.
        let forge = |signer: &Identity, author| {
            let entry = |log: &Log| forged(log, signer, author, &wanted);
            node.with_log(entry).unwrap()
        };
        let entries = vec![
            forge(&node.identity, tv_key),
            forge(&node.identity, phone_key),
        ];
        // They would be entries if the owner had signed them.
        let signed = forge(&phone_node.identity, phone_key);
        let here = Arc::clone(node);
        let sent = entries.clone();
        let exchange = runtime.spawn(async move {
            let link = mesh::links::connect(&here, phone_key).await.unwrap();
            let (mut send, mut receive) = link.connection.open_bi().await.unwrap();
            wire::begin(&mut send, Kind::Log).await.unwrap();
            let heads =
                here.with_log(|log| Heads(log.heads().iter().map(|h| *h.as_bytes()).collect()));
            wire::write(&mut send, &heads.unwrap()).await.unwrap();
            let _: Heads = wire::read(&mut receive, MAX_LOG_MESSAGE).await.unwrap();
            wire::write(&mut send, &Entries(sent)).await.unwrap();
            wire::write(&mut send, &Entries::default()).await.unwrap();
            send.finish().unwrap();
            loop {
                let Entries(lacking) = wire::read(&mut receive, MAX_LOG_MESSAGE).await.unwrap();
                if lacking.is_empty() {
                    return;
                }
            }
        });
        tokio::time::timeout(PATIENCE, exchange)
            .await
            .unwrap()
            .unwrap();
        let mut eyes = Eyes::on(&phone).await;
        let call = begin(&tv, "phone");
        answer(&phone, &eyes.question().await, Reply::Refuse).await;
        refused(call).await;
        assert!(!phone_node.take_entries(&entries).unwrap(), "nothing new");
        assert_eq!(grants(&phone).await, []);
        assert!(phone_node.take_entries(&[signed]).unwrap());
        assert_eq!(knows(&phone, 1).await[0].until, Shown::Always);
    });
}

#[test]
fn a_device_says_of_its_own_one_time_grants_alone_that_they_were_used() {
    let Some(network) = Network::new(Addresses::Both) else {
        return;
    };
    run(async {
        let (phone, tv, hub) = house(&network).await;
        let (node, runtime) = tv.mesh.as_ref().unwrap();
        let (phone_node, _) = phone.mesh.as_ref().unwrap();
        // The hub's, for one call; the TV's own, for every call; and the TV's, for one call.
        let mut given = Vec::new();
        for wanted in [
            grant(&tv, &hub, Until::Once).await,
            grant(&hub, &tv, Until::Always).await,
            grant(&hub, &tv, Until::Once).await,
        ] {
            given.push(*phone_node.grant(wanted).unwrap().as_bytes());
        }
        let (here, phone_key) = (Arc::clone(node), key(&phone).await);
        let sent = given.clone();
        let told = runtime.spawn(async move {
            let link = mesh::links::connect(&here, phone_key).await.unwrap();
            let (mut send, mut receive) = link.connection.open_bi().await.unwrap();
            wire::begin(&mut send, Kind::Used).await.unwrap();
            wire::write(&mut send, &Used(sent)).await.unwrap();
            wire::read_kind(&mut receive).await.unwrap()
        });
        let told = tokio::time::timeout(PATIENCE, told).await;
        assert_eq!(told.unwrap().unwrap(), Kind::Used);
        let mut left: Vec<_> = knows(&phone, 2).await;
        left.retain(|grant| grant.id == EntryId::from_bytes(given[2]).to_string());
        assert_eq!(left, [], "it is the last one that is ended");
    });
}
