//! Families that are saved with their paper phrase, over a real network and real sockets.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;

use bus::family::Role;
use bus::pairing::Membership;
use bus::paper::{Error, Member, Stage};
use common::{Addresses, Device, Network, PATIENCE, address, run};
use futures::StreamExt as _;
use mesh::wire::{self, Greetings, RecoveryAnswer};
use mesh::{transport, wire::MAX_HEAD};
use trust::identity::Identity;
use trust::log::EntryId;
use trust::recovery::Claim;

/// The words of a phrase that is no family's.
const NOBODYS: &str =
    "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";

/// Gives a family a phrase.
async fn sets_phrase(device: &Device) -> String {
    let words = bus::paper::generate(&device.bus).await.unwrap().unwrap();
    assert_eq!(words.len(), 12);
    let words = words.join(" ");
    let set = bus::paper::set(&device.bus, &words).await.unwrap();
    assert_eq!(set, Ok(()));
    assert!(bus::paper::has_phrase(&device.bus).await.unwrap());
    words
}

/// Waits until a device has heard that its family has a phrase.
async fn hears_of_a_phrase(device: &Device) {
    let mut answers = bus::paper::watch_phrase(&device.bus).await.unwrap();
    let heard = async {
        while let Some(answer) = answers.next().await {
            if answer.unwrap() {
                return;
            }
        }
        panic!("it goes on");
    };
    let heard = tokio::time::timeout(PATIENCE, heard).await;
    heard.unwrap_or_else(|_| panic!("{} hears of no phrase", device.name));
}

/// An owner device and a television with a phrase that both know.
async fn family(network: &Arc<Network>, name: &str) -> (Device, Device, String) {
    let phone = Device::new(network, &format!("{name} phone"));
    let tv = Device::new(network, &format!("{name} tv"));
    phone.takes_in(&tv, Membership::Shared).await;
    let words = sets_phrase(&phone).await;
    hears_of_a_phrase(&tv).await;
    (phone, tv, words)
}

async fn opens(device: &Device) {
    assert_eq!(bus::paper::open(&device.bus).await.unwrap(), Ok(()));
    let stage = stage(device, |_| true).await;
    assert_eq!(stage, Stage::Open);
}

/// Waits until a device finds another one that lets its family be restored.
async fn finds(device: &Device, id: &str) {
    let mut lists = bus::paper::watch_candidates(&device.bus).await.unwrap();
    let found = async {
        while let Some(list) = lists.next().await {
            if list.unwrap().iter().any(|candidate| candidate.id == id) {
                return;
            }
        }
        panic!("it goes on");
    };
    let found = tokio::time::timeout(PATIENCE, found).await;
    found.expect("the device is found");
}

async fn stage(device: &Device, is: impl Fn(&Stage) -> bool) -> Stage {
    let mut stages = bus::paper::watch(&device.bus).await.unwrap();
    let mut last = None;
    let waited = tokio::time::timeout(PATIENCE, async {
        loop {
            let stage = stages.next().await.expect("it goes on").unwrap();
            if is(&stage) {
                return stage;
            }
            last = Some(stage);
        }
    });
    let waited = waited.await;
    waited.unwrap_or_else(|_| panic!("{}: {last:?}", device.name))
}

async fn begins(new: &Device, id: &str, words: &str) -> Result<(), Error> {
    bus::paper::begin(&new.bus, id, words, "").await.unwrap()
}

/// Begins, up to where the person has to choose.
async fn chooses(new: &Device, id: &str, words: &str) -> Vec<Member> {
    assert_eq!(begins(new, id, words).await, Ok(()));
    let decided = |stage: &Stage| matches!(stage, Stage::Choosing(_) | Stage::Failed(_));
    match stage(new, decided).await {
        Stage::Choosing(members) => members,
        other => panic!("{other:?}"),
    }
}

/// Begins with what is refused by the other device, or by its silence.
async fn fails(new: &Device, id: &str, words: &str) -> Error {
    assert_eq!(begins(new, id, words).await, Ok(()));
    let decided = |stage: &Stage| matches!(stage, Stage::Choosing(_) | Stage::Failed(_));
    match stage(new, decided).await {
        Stage::Failed(error) => error,
        other => panic!("{other:?}"),
    }
}

/// Restores the family, with all owner devices lost.
async fn restores(new: &Device, member: &Device, words: &str) {
    let id = member.id().await;
    opens(member).await;
    finds(new, &id).await;
    let members = chooses(new, &id, words).await;
    let waits = stage(member, |stage| matches!(stage, Stage::Waiting)).await;
    assert_eq!(waits, Stage::Waiting);
    let owners = members.iter().filter(|member| member.role == Role::Owner);
    let lost: Vec<String> = owners.map(|member| member.id.clone()).collect();
    let said = bus::paper::restore(&new.bus, &lost).await.unwrap();
    assert_eq!(said, Ok(()));
    for (here, there) in [(new, member), (member, new)] {
        let over = |stage: &Stage| matches!(stage, Stage::Restored(_) | Stage::Failed(_));
        let over = stage(here, over).await;
        assert_eq!(over, Stage::Restored(there.id().await), "{}", here.name);
    }
}

fn heads(device: &Device) -> Option<BTreeSet<EntryId>> {
    let (node, _) = device.mesh.as_ref().unwrap();
    node.with_log(|log| log.heads().clone())
}

async fn is_answered(from: &Device, to: &Device) {
    from.sees(&to.name).await;
    let answered = async {
        while bus::names::resolve(&from.to(&to.name), "3").await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    let answered = tokio::time::timeout(PATIENCE, answered).await;
    answered.unwrap_or_else(|_| panic!("{} does not answer {}", to.name, from.name));
}

async fn locks_itself(device: &Device) {
    let mut losses = bus::family::watch_lost(&device.bus).await.unwrap();
    let lost = async { while losses.next().await.expect("it goes on").unwrap().is_none() {} };
    let lost = tokio::time::timeout(PATIENCE, lost).await;
    lost.expect("it is told that it is lost");
    assert_eq!(bus::family::id(&device.bus).await.unwrap(), None);
}

#[test]
fn a_family_whose_owner_devices_are_lost_is_saved_by_its_words() {
    let Some(network) = Network::new(Addresses::Both) else {
        return;
    };
    let (mut new, radio) = (
        Device::new(&network, "new phone"),
        Device::new(&network, "radio"),
    );
    run(async {
        let (mut phone, mut tv, words) = family(&network, "our").await;
        let home = bus::family::id(&tv.bus).await.unwrap();
        let old = phone.id().await;
        // Gone, with a copy of what it had, which somebody else may start some day.
        phone.stop();

        let id = tv.id().await;
        opens(&tv).await;
        finds(&new, &id).await;
        let members = chooses(&new, &id, &words.to_uppercase()).await;
        let listed: Vec<_> = members.iter().map(|one| (&*one.name, one.role)).collect();
        assert_eq!(
            listed,
            [("our phone", Role::Owner), ("our tv", Role::Shared)]
        );
        // Nothing has changed until the person says so, and this person goes back.
        bus::paper::close(&new.bus).await.unwrap();
        stage(&new, |stage| *stage == Stage::Closed).await;
        stage(&tv, |stage| {
            matches!(stage, Stage::Failed(Error::Unreachable(_)))
        })
        .await;
        assert_eq!(new.devices().await.len(), 1);
        assert_eq!(tv.devices().await.len(), 2);

        restores(&new, &tv, &words).await;
        assert_eq!(bus::family::id(&new.bus).await.unwrap(), home);
        for device in [&new, &tv] {
            let is = |name: &str, role: Role| {
                let name = name.to_owned();
                move |device: &bus::family::Device| device.name == name && device.role == role
            };
            device
                .until("as it is to be", |devices| {
                    devices.len() == 2
                        && devices.iter().any(is("new phone", Role::Owner))
                        && devices.iter().any(is("our tv", Role::Shared))
                })
                .await;
        }
        // The words of a family are still its words.
        assert!(bus::paper::has_phrase(&new.bus).await.unwrap());
        is_answered(&new, &tv).await;
        new.restart();
        tv.restart();
        is_answered(&new, &tv).await;

        // It is an owner device as any other, and the television's family goes on.
        new.takes_in(&radio, Membership::Shared).await;
        tv.sees("radio").await;

        phone.start();
        assert_eq!(phone.id().await, old);
        locks_itself(&phone).await;
        phone.restart();
        locks_itself(&phone).await;
        // Lost, it saves no family either, whoever has the words.
        let refused = begins(&phone, &id, &words).await;
        assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
    });
}

#[test]
fn what_is_no_way_to_save_a_family_leaves_it_as_it_was() {
    let Some(network) = Network::new(Addresses::Both) else {
        return;
    };
    let new = Device::new(&network, "new phone");
    run(async {
        let (phone, tv, words) = family(&network, "our").await;
        let (theirs, _their_tv, their_words) = family(&network, "their").await;
        let id = tv.id().await;
        let before = heads(&tv);

        // Nobody has opened it.
        assert_eq!(begins(&new, &id, &words).await, Err(Error::NotOpen));
        opens(&tv).await;
        finds(&new, &id).await;
        // No words of a phrase.
        let eleven = words.rsplit_once(' ').unwrap().0;
        assert_eq!(begins(&new, &id, eleven).await, Err(Error::Count(11)));
        let misspelt = format!("xylophon {}", words.split_once(' ').unwrap().1);
        assert_eq!(
            begins(&new, &id, &misspelt).await,
            Err(Error::UnknownWord(1))
        );
        let apart = NOBODYS.replace("about", "abandon");
        assert_eq!(begins(&new, &id, &apart).await, Err(Error::Checksum));
        // Those of nobody, and of another family.
        assert_eq!(fails(&new, &id, NOBODYS).await, Error::OtherWords);
        assert_eq!(fails(&new, &id, &their_words).await, Error::OtherWords);
        assert_eq!(heads(&tv), before);
        assert_eq!(
            stage(&tv, |_| true).await,
            Stage::Open,
            "it waits for the right ones"
        );

        // Those of before, once there are others.
        let newer = sets_phrase(&phone).await;
        let heard = async {
            while heads(&tv) == before {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, heard)
            .await
            .expect("it hears of them");
        let before = heads(&tv);
        assert_eq!(fails(&new, &id, &words).await, Error::OtherWords);

        // Who is of a family already, and who may not.
        let refused = |answer: Result<(), Error>| matches!(answer, Err(Error::Refused(_)));
        assert!(refused(begins(&theirs, &id, &newer).await));
        let made = bus::paper::generate(&tv.bus).await.unwrap();
        assert!(refused(made.map(|_| ())), "a television sets no words");
        assert!(refused(bus::paper::set(&tv.bus, NOBODYS).await.unwrap()));
        assert!(refused(bus::paper::set(&new.bus, NOBODYS).await.unwrap()));
        assert!(refused(bus::paper::open(&new.bus).await.unwrap()));
        assert!(refused(bus::paper::restore(&new.bus, &[]).await.unwrap()));

        // Of devices that are not of the family nobody says that they are lost.
        chooses(&new, &id, &newer).await;
        let stranger = theirs.id().await;
        assert!(refused(
            bus::paper::restore(&new.bus, &[stranger]).await.unwrap()
        ));
        // The person at the television may have it stop, too.
        stage(&tv, |stage| matches!(stage, Stage::Waiting)).await;
        bus::paper::close(&tv.bus).await.unwrap();
        stage(&tv, |stage| *stage == Stage::Closed).await;
        let ended = stage(&new, |stage| matches!(stage, Stage::Failed(_))).await;
        assert!(
            matches!(ended, Stage::Failed(Error::Unreachable(_))),
            "{ended:?}"
        );

        // It is heard of as open for a while yet, and is not.
        assert_eq!(fails(&new, &id, &newer).await, Error::NotOpen);
        assert_eq!(heads(&tv), before);
        assert_eq!(tv.devices().await.len(), 2);
        assert_eq!(bus::family::id(&new.bus).await.unwrap(), None);

        // So many tries, and then there is a pause, also for the right words.
        opens(&tv).await;
        let mut tries = 0;
        while fails(&new, &id, NOBODYS).await != Error::TooSoon {
            tries += 1;
            assert!(tries < 30, "there is no end to them");
        }
        assert_eq!(heads(&tv), before);
    });
}

#[test]
fn who_lost_the_power_before_it_was_noted_does_the_same_again() {
    let Some(network) = Network::new(Addresses::Four) else {
        return;
    };
    let mut new = Device::new(&network, "new phone");
    run(async {
        let (mut phone, tv, words) = family(&network, "our").await;
        phone.stop();
        restores(&new, &tv, &words).await;
        new.stop();
        let log = new.folder.join("data/family");
        fs::remove_file(&log).expect("the log is a file");
        new.start();
        assert_eq!(bus::family::id(&new.bus).await.unwrap(), None);

        restores(&new, &tv, &words).await;
        is_answered(&new, &tv).await;
        assert_eq!(tv.devices().await.len(), 2);
        assert_eq!(new.devices().await[0].name, "new phone");
    });
}

/// What a stranger says after it was greeted, and what it is told then.
async fn claims(to: &Device, from: &Device, claim: Vec<u8>) -> anyhow::Result<RecoveryAnswer> {
    let (member, (stranger, runtime)) = (&to.mesh.as_ref().unwrap().0, from.mesh.as_ref().unwrap());
    let port = transport::ports(&member.endpoint()).0.unwrap();
    let at = transport::address(member.id(), [SocketAddr::new(address(to), port)], None)?;
    let endpoint = stranger.endpoint();
    let spoken = runtime.spawn(async move {
        let connection = endpoint.connect(at, wire::RECOVERY_ALPN).await?;
        let (mut send, mut receive) = connection.open_bi().await?;
        send.write_all(&[1]).await?;
        let Greetings(greetings) = wire::read(&mut receive, MAX_HEAD).await?;
        anyhow::ensure!(greetings.len() == 1, "it greets");
        wire::write_bytes(&mut send, &claim).await?;
        let answer = wire::read(&mut receive, MAX_HEAD).await?;
        let more = receive.read(&mut [0]).await?;
        anyhow::ensure!(more.is_none(), "something follows {answer:?}");
        Ok(answer)
    });
    tokio::time::timeout(PATIENCE, spoken).await??
}

#[test]
fn a_stranger_without_the_words_hears_nothing_of_the_family() {
    let Some(network) = Network::new(Addresses::Four) else {
        return;
    };
    let (new, thief) = (
        Device::new(&network, "new phone"),
        Device::new(&network, "thief"),
    );
    run(async {
        let (phone, tv, words) = family(&network, "our").await;
        let own = Identity::generate().unwrap();
        let made_up = Claim::new(&own, own.id(), own.id(), &[0; 32]).encode();
        assert!(
            claims(&tv, &thief, made_up.to_vec()).await.is_err(),
            "it is not open"
        );
        opens(&tv).await;
        let answer = claims(&tv, &thief, made_up.to_vec()).await.unwrap();
        assert_eq!(answer, RecoveryAnswer::OtherWords);
        for nothing in [Vec::new(), vec![0; 96], vec![0; 95], vec![0; 5000]] {
            let answer = claims(&tv, &thief, nothing).await;
            assert!(answer.is_err(), "{answer:?}");
        }
        assert_eq!(stage(&tv, |_| true).await, Stage::Open);
        assert_eq!(tv.devices().await.len(), 2);

        // Who has the words is heard all the while; nobody has to be lost for that.
        let id = tv.id().await;
        finds(&new, &id).await;
        chooses(&new, &id, &words).await;
        assert_eq!(bus::paper::restore(&new.bus, &[]).await.unwrap(), Ok(()));
        stage(&new, |stage| matches!(stage, Stage::Restored(_))).await;
        phone.sees("new phone").await;
        is_answered(&phone, &new).await;
    });
}
