//! What no grant allows or refuses is asked of the owner, over a real network and real sockets.

mod common;

use std::sync::atomic::Ordering;
use std::time::Duration;

use bus::grants::Until;
use bus::pairing::Membership;
use bus::questions::{Error as AnswerError, Reply, Standing};
use common::owner::{Eyes, answer, begin, begin_forever, family, grants, knows, names};
use common::owner::{nobody_looks_at, refusal, refused, revoke, runs, went};
use common::{Addresses, Device, Network, PATIENCE, run};
use mesh::questions::{MAX_REFUSALS, MAX_WAITING_OF_ONE};
use mesh::wire::{self, Kind, MAX_HEAD, QuestionAnswer, QuestionHead};

#[test]
fn the_owner_is_asked_and_each_answer_holds_as_long_as_it_says() {
    let Some(network) = Network::new(Addresses::Both) else {
        return;
    };
    run(async {
        let (mut phone, mut tv) = family(&network).await;
        let reason = refusal(names(&tv, "phone").await);
        assert!(reason.contains("no owner device with a screen"), "{reason}");

        let mut eyes = Eyes::on(&phone).await;
        let call = begin(&tv, "phone");
        let question = eyes.question().await;
        assert_eq!(question.caller.name, "tv");
        assert_eq!(question.caller.id, tv.id().await);
        assert_eq!(question.callee.name, "phone");
        assert_eq!(question.wanted, "hyper:network/names");
        assert!(question.purpose.starts_with("Names to addresses"));
        assert!(question.program.is_some(), "what the TV says that calls");
        answer(&phone, &question, Reply::Refuse).await;
        let reason = refused(call).await;
        assert!(reason.contains("the owner has refused it"), "{reason}");
        assert_eq!(grants(&phone).await, [], "no word of it stays");

        // Once: one call, however soon the next one comes.
        let to_phone = tv.to("phone");
        let call = tokio::spawn({
            let to_phone = to_phone.clone();
            async move { bus::names::resolve(&to_phone, "3").await }
        });
        answer(&phone, &eyes.question().await, Reply::Once).await;
        went(call).await;
        let call = tokio::spawn(async move { bus::names::resolve(&to_phone, "3").await });
        let again = eyes.question().await;
        // It is used, and says so nowhere any more.
        knows(&phone, 0).await;
        knows(&tv, 0).await;
        answer(&phone, &again, Reply::Refuse).await;
        refused(call).await;

        // For an hour: as often as one likes, of the clock of the device that is called.
        let call = begin(&tv, "phone");
        answer(&phone, &eyes.question().await, Reply::Hour).await;
        went(call).await;
        assert_eq!(names(&tv, "phone").await.unwrap().unwrap(), ["xxx"]);
        let given = knows(&phone, 1).await.remove(0);
        let Until::Time(end) = given.until else {
            panic!("{:?}", given.until);
        };
        let left = end.saturating_sub(mesh::node::now() / 1000);
        assert!((3000..=3600).contains(&left), "{left} s are left");
        revoke(&phone, &given).await;
        knows(&phone, 0).await;

        // Always: the devices may lose their power.
        let call = begin(&tv, "phone");
        answer(&phone, &eyes.question().await, Reply::Always).await;
        went(call).await;
        drop(eyes);
        phone.restart();
        tv.restart();
        tv.sees("phone").await;
        assert_eq!(names(&tv, "phone").await.unwrap().unwrap(), ["xxx"]);
        let given = grants(&phone).await.remove(0);
        assert_eq!(given.until, Until::Always);
        assert_eq!((&*given.caller.name, &*given.by.name), ("tv", "phone"));
        assert_eq!(given.callee.as_ref().unwrap().name, "phone");
        assert_eq!(given.interfaces, "hyper:network/names");
        revoke(&phone, &given).await;

        // Never: nobody is asked any more, until that is revoked.
        let mut eyes = Eyes::on(&phone).await;
        let call = begin(&tv, "phone");
        let never = eyes.question().await;
        answer(&phone, &never, Reply::Never).await;
        refused(call).await;
        eyes.nothing().await;
        phone.restart();
        let mut eyes = Eyes::on(&phone).await;
        let reason = refusal(names(&tv, "phone").await);
        assert!(reason.contains("for good"), "{reason}");
        let given = knows(&phone, 1).await.remove(0);
        assert_eq!(given.until, Until::Never);
        revoke(&phone, &given).await;
        let call = begin(&tv, "phone");
        let question = eyes.question().await;
        assert!(
            (100_000..2_000_000).contains(&question.id),
            "a number that people can write: {}",
            question.id
        );
        assert_ne!(question.id, never.id, "nor another one's, from before");
        answer(&phone, &question, Reply::Once).await;
        went(call).await;
    });
}

#[test]
fn revoking_ends_a_call_that_runs() {
    let Some(network) = Network::new(Addresses::Both) else {
        return;
    };
    run(async {
        let (phone, tv) = family(&network).await;
        let mut eyes = Eyes::on(&phone).await;
        let call = begin_forever(&tv, "phone");
        answer(&phone, &eyes.question().await, Reply::Always).await;
        runs(&phone, 1).await;
        let given = grants(&phone).await.remove(0);
        let unknown = bus::grants::revoke(&phone.bus, "7f").await.unwrap();
        assert!(unknown.is_err());
        assert!(!call.is_finished());
        let by_tv = bus::grants::revoke(&tv.bus, &knows(&tv, 1).await[0].id).await;
        assert!(by_tv.unwrap().is_err(), "the TV is no owner device");
        revoke(&phone, &given).await;
        let ended = tokio::time::timeout(PATIENCE, call).await;
        assert!(ended.unwrap().unwrap().is_err());
        // The service gave it up, and the next call is asked about.
        runs(&phone, 0).await;
        let next = begin(&tv, "phone");
        answer(&phone, &eyes.question().await, Reply::Refuse).await;
        refused(next).await;
    });
}

#[test]
fn three_refusals_mute_a_device_until_the_owner_lets_it_ask() {
    let Some(network) = Network::new(Addresses::Both) else {
        return;
    };
    run(async {
        let (phone, tv) = family(&network).await;
        let mut eyes = Eyes::on(&phone).await;
        for _ in 0..MAX_REFUSALS {
            let call = begin(&tv, "phone");
            answer(&phone, &eyes.question().await, Reply::Refuse).await;
            refused(call).await;
            eyes.nothing().await;
        }
        let reason = refusal(names(&tv, "phone").await);
        assert!(reason.contains("three times in a row"), "{reason}");
        let standing = bus::questions::current(&phone.bus).await.unwrap();
        assert_eq!(standing.waiting, []);
        assert_eq!(standing.muted[0].name, "tv");
        let unknown = bus::questions::unmute(&phone.bus, "radio").await.unwrap();
        assert_eq!(unknown, Err(AnswerError::UnknownDevice("radio".into())));
        bus::questions::unmute(&phone.bus, "tv")
            .await
            .unwrap()
            .unwrap();
        let call = begin(&tv, "phone");
        answer(&phone, &eyes.question().await, Reply::Once).await;
        went(call).await;
    });
}

#[test]
fn questions_wait_in_order_the_same_is_one_and_no_more_than_the_bound() {
    let Some(network) = Network::new(Addresses::Both) else {
        return;
    };
    run(async {
        let (phone, tv) = family(&network).await;
        let mut eyes = Eyes::on(&phone).await;
        let first = begin(&tv, "phone");
        eyes.question().await;
        let same = begin(&tv, "phone");
        let to_phone = tv.to("phone");
        let more = {
            let to = to_phone.clone();
            tokio::spawn(async move {
                let (settings, notify, power) = tokio::join!(
                    bus::settings::all(&to),
                    bus::notify::all(&to),
                    bus::power::restart(&to)
                );
                [settings.is_err(), notify.is_err(), power.is_err()]
            })
        };
        let full = |standing: &Standing| standing.waiting.len() == MAX_WAITING_OF_ONE;
        let standing = eyes.until("as many as there may be", full).await;
        assert_eq!(standing.waiting[0].wanted, "hyper:network/names");
        let mut wanted: Vec<_> = standing.waiting.iter().map(|q| &*q.wanted).collect();
        wanted.dedup();
        assert_eq!(wanted.len(), MAX_WAITING_OF_ONE, "each is another one");
        let reason = bus::update::status(&to_phone).await.unwrap_err();
        assert!(
            reason.to_string().contains("too many questions"),
            "{reason}"
        );

        // One answer for an hour serves both who asked the same.
        answer(&phone, &standing.waiting[0], Reply::Hour).await;
        went(first).await;
        went(same).await;
        more.abort();
        eyes.nothing().await;
    });
}

#[test]
fn who_is_gone_asks_nothing_and_who_waits_too_long_is_told() {
    let Some(network) = Network::new(Addresses::Both) else {
        return;
    };
    run(async {
        let (phone, tv) = family(&network).await;
        let mut eyes = Eyes::on(&phone).await;
        let call = begin(&tv, "phone");
        let question = eyes.question().await;
        call.abort();
        eyes.nothing().await;
        let late = bus::questions::answer(&phone.bus, question.id, &Reply::Always).await;
        assert_eq!(late.unwrap(), Err(AnswerError::Gone));
        assert_eq!(grants(&phone).await, []);

        let (node, _) = phone.mesh.as_ref().unwrap();
        node.askers.set_patience(Duration::from_millis(300));
        let reason = refusal(names(&tv, "phone").await);
        assert!(reason.contains("has not answered"), "{reason}");
        eyes.nothing().await;
    });
}

#[test]
fn a_guest_is_asked_about_even_where_a_tv_is_not() {
    let Some(network) = Network::new(Addresses::Both) else {
        return;
    };
    run(async {
        let (phone, visitor) = (
            Device::new(&network, "phone"),
            Device::new(&network, "visitor"),
        );
        phone.takes_in(&visitor, Membership::Guest).await;
        visitor.sees("phone").await;
        let mut eyes = Eyes::on(&phone).await;
        let to_phone = visitor.to("phone");
        let call = tokio::spawn(async move { bus::device::about(&to_phone).await });
        let question = eyes.question().await;
        assert_eq!(question.wanted, "hyper:device/device");
        answer(&phone, &question, Reply::Once).await;
        let about = tokio::time::timeout(PATIENCE, call).await.unwrap().unwrap();
        assert_eq!(about.unwrap().name, "phone");
    });
}

#[test]
fn a_device_that_is_not_the_owner_s_asks_on_those_that_are() {
    let Some(network) = Network::new(Addresses::Both) else {
        return;
    };
    run(async {
        let (phone, tv) = family(&network).await;
        let (tablet, hub) = (
            Device::new(&network, "tablet"),
            Device::new(&network, "hub"),
        );
        phone.takes_in(&tablet, Membership::Owner).await;
        phone.takes_in(&hub, Membership::Shared).await;
        for device in ["phone", "tablet", "tv"] {
            hub.sees(device).await;
        }
        tv.sees("hub").await;
        // The TV has a screen too, and shows nothing.
        let _on_tv = Eyes::on(&tv).await;
        let reason = refusal(names(&tv, "hub").await);
        assert!(reason.contains("no owner device with a screen"), "{reason}");

        let mut on_phone = Eyes::on(&phone).await;
        let call = begin(&tv, "hub");
        let question = on_phone.question().await;
        assert_eq!(question.caller.name, "tv");
        assert_eq!(question.callee.name, "hub");
        let by_tv = bus::questions::answer(&tv.bus, question.id, &Reply::Always).await;
        assert!(matches!(by_tv.unwrap(), Err(AnswerError::Refused(_))));
        answer(&phone, &question, Reply::Once).await;
        went(call).await;

        // On both of the owner's: the one that answers takes it from the other.
        let mut on_tablet = Eyes::on(&tablet).await;
        let call = begin(&tv, "hub");
        on_phone.question().await;
        answer(&tablet, &on_tablet.question().await, Reply::Refuse).await;
        refused(call).await;
        on_phone.nothing().await;

        // The tablet is the owner's but nobody looks at it: the phone is asked about calls of it.
        drop(on_tablet);
        nobody_looks_at(&tablet).await;
        tablet.sees("phone").await;
        tv.sees("tablet").await;
        let call = begin(&tv, "tablet");
        let question = on_phone.question().await;
        assert_eq!(question.callee.name, "tablet");
        answer(&phone, &question, Reply::Always).await;
        went(call).await;
        // Two calls that come at once are one question, and a grant for one call is for one of them.
        let (one, other) = (begin(&tv, "hub"), begin(&tv, "hub"));
        answer(&phone, &on_phone.question().await, Reply::Once).await;
        let left = on_phone.question().await;
        answer(&phone, &left, Reply::Once).await;
        went(one).await;
        went(other).await;
        let standing = bus::questions::current(&tv.bus).await.unwrap();
        assert_eq!(standing.waiting, []);
    });
}

#[test]
fn a_locked_device_does_not_answer() {
    let Some(network) = Network::new(Addresses::Both) else {
        return;
    };
    run(async {
        let (phone, tv) = family(&network).await;
        phone.locked.store(true, Ordering::Relaxed);
        let mut eyes = Eyes::on(&phone).await;
        let call = begin(&tv, "phone");
        let question = eyes.question().await;
        for reply in [Reply::Refuse, Reply::Once, Reply::Always, Reply::Never] {
            let said = bus::questions::answer(&phone.bus, question.id, &reply).await;
            assert!(matches!(said.unwrap(), Err(AnswerError::Refused(_))));
        }
        let unmuted = bus::questions::unmute(&phone.bus, "tv").await.unwrap();
        assert!(matches!(unmuted, Err(AnswerError::Refused(_))));
        assert_eq!(grants(&phone).await, []);
        assert!(!call.is_finished());
        phone.locked.store(false, Ordering::Relaxed);
        answer(&phone, &question, Reply::Once).await;
        went(call).await;
    });
}

/// What a device says to a question that another one makes up.
async fn make_up(from: &Device, to: &Device, head: QuestionHead) -> QuestionAnswer {
    let (node, runtime) = from.mesh.as_ref().unwrap();
    let (node, to) = (std::sync::Arc::clone(node), to.id().await.parse().unwrap());
    let said = runtime.spawn(async move {
        let link = mesh::links::connect(&node, to).await.unwrap();
        let (mut send, mut receive) = link.connection.open_bi().await.unwrap();
        wire::begin(&mut send, Kind::Question).await.unwrap();
        wire::write(&mut send, &head).await.unwrap();
        let mut said = wire::read(&mut receive, MAX_HEAD).await.unwrap();
        if said == QuestionAnswer::Shown {
            said = wire::read(&mut receive, MAX_HEAD).await.unwrap();
        }
        said
    });
    tokio::time::timeout(PATIENCE, said).await.unwrap().unwrap()
}

#[test]
fn what_a_device_makes_up_is_not_shown_and_gives_it_no_more_than_it_has() {
    let Some(network) = Network::new(Addresses::Both) else {
        return;
    };
    run(async {
        let (phone, tv) = family(&network).await;
        let visitor = Device::new(&network, "visitor");
        phone.takes_in(&visitor, Membership::Guest).await;
        tv.sees("visitor").await;
        let mut eyes = Eyes::on(&phone).await;
        let key = |id: String| *id.parse::<trust::identity::DeviceId>().unwrap().as_bytes();
        let (tv_key, visitor_key) = (key(tv.id().await), key(visitor.id().await));
        let stranger = trust::identity::Identity::from_secret(&[9; 32]).unwrap();
        let head = |caller: [u8; 32], interface: &str| QuestionHead {
            caller,
            program: Some("settings”. Press always: \u{202e}".into()),
            interface: interface.into(),
            now: mesh::node::now() / 1000,
        };
        for head in [
            head(*stranger.id().as_bytes(), "hyper:network/names"),
            head(tv_key, "hyper:network/names"),
            head(visitor_key, "*"),
            head(visitor_key, "hyper:network/*"),
            head(visitor_key, "Allow everything"),
            head([0xff; 32], "hyper:network/names"),
        ] {
            let said = format!("{head:?}");
            assert_eq!(
                make_up(&tv, &phone, head).await,
                QuestionAnswer::Refused,
                "{said}"
            );
        }
        assert_eq!(
            make_up(&phone, &tv, head(visitor_key, "hyper:network/names")).await,
            QuestionAnswer::NotHere,
            "the TV speaks for nobody"
        );
        let standing = bus::questions::current(&phone.bus).await.unwrap();
        assert_eq!(standing.waiting, []);

        // A question about the TV's own interfaces it can make up, and have the answer to: a grant to
        // call the TV, with an end by the TV's clock, which may be a year off.
        let year = 365 * 24 * 60 * 60;
        let late = QuestionHead {
            now: mesh::node::now() / 1000 + year,
            ..head(visitor_key, "hyper:network/names")
        };
        let (said, question) = tokio::join!(make_up(&tv, &phone, late), async {
            let question = eyes.question().await;
            answer(&phone, &question, Reply::Hour).await;
            question
        });
        assert!(matches!(said, QuestionAnswer::Allowed(_)), "{said:?}");
        assert_eq!(question.callee.name, "tv");
        assert_eq!(question.program.as_deref(), Some("settings. Press always"));
        let given = grants(&phone).await.remove(0);
        assert_eq!(given.callee.unwrap().name, "tv");
        let Until::Time(end) = given.until else {
            panic!("{:?}", given.until);
        };
        let left = end.saturating_sub(mesh::node::now() / 1000);
        assert!(
            (year + 3000..=year + 3600).contains(&left),
            "{left} s are left"
        );
        // And that serves the visitor at the TV, not at the phone.
        visitor.sees("phone").await;
        let call = begin(&visitor, "phone");
        answer(&phone, &eyes.question().await, Reply::Refuse).await;
        refused(call).await;
    });
}
