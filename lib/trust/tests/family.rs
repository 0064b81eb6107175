//! The life of a family, by its log alone.

use trust::{
    family::{Call, NotAllowed, Policy, Verdict},
    identity::Identity,
    log::{Action, Grant, Inserted, Log, Refusal, Role, Until, WriteError},
};

fn policy() -> Policy {
    Policy {
        sensitive: vec!["hyper:screen/*".parse().unwrap()],
        shared: vec!["hyper:device/device".parse().unwrap()],
        guest: vec![],
    }
}

fn copy(log: &Log) -> Log {
    let mut entries = log.entries().map(|entry| entry.bytes().to_vec());
    let mut copy = Log::open(&entries.next().unwrap()).unwrap();
    for entry in entries {
        assert_eq!(copy.insert(&entry).unwrap(), Inserted::New);
    }
    copy
}

#[test]
fn a_family_is_founded_grows_and_shrinks() {
    let [phone, tv] = [(); 2].map(|()| Identity::generate().unwrap());
    let mut log = Log::found(&phone, "Phone", None, 1).unwrap();
    let added = Action::Added {
        device: tv.id(),
        role: Role::Shared,
        name: "TV".into(),
    };
    log.write(&phone, added, 2).unwrap();
    let family = log.family();
    assert_eq!(family.role(phone.id()), Some(Role::Owner));
    assert_eq!(family.role(tv.id()), Some(Role::Shared));
    assert_eq!(family.member(tv.id()).unwrap().name, "TV");
    assert_eq!(family.discovery_keys().len(), 1);

    let other = copy(&log);
    assert_eq!(
        other.family().discovery_keys(),
        log.family().discovery_keys()
    );
    assert_eq!(other.heads(), log.heads());

    log.remove(&phone, tv.id(), true, 3).unwrap();
    let family = log.family();
    assert_eq!(family.role(tv.id()), None);
    assert!(family.removed(tv.id()).unwrap().lost);
    assert!(!family.secret_is_stale());
    assert_ne!(
        other.family().discovery_keys()[0],
        family.discovery_keys()[0]
    );
}

#[test]
fn a_tv_that_writes_itself_a_grant_is_refused() {
    let [phone, tv] = [(); 2].map(|()| Identity::generate().unwrap());
    let mut log = Log::found(&phone, "Phone", None, 1).unwrap();
    let added = Action::Added {
        device: tv.id(),
        role: Role::Shared,
        name: "TV".into(),
    };
    log.write(&phone, added, 2).unwrap();
    let grant = Action::GrantGiven(Grant {
        from: tv.id(),
        to: None,
        interfaces: "*".parse().unwrap(),
        until: Until::Always,
    });
    assert!(matches!(
        log.write(&tv, grant.clone(), 3),
        Err(WriteError::Refused(Refusal::Role))
    ));
    let call = Call {
        caller: tv.id(),
        callee: phone.id(),
        interface: "hyper:clipboard/clipboard@1.0.0",
        now: 10,
    };
    let ask = |log: &Log| log.family().may_call(&call, &policy(), |_| false);
    assert_eq!(ask(&log), Verdict::Ask);
    let given = log.write(&phone, grant, 3).unwrap().id();
    assert_eq!(ask(&log), Verdict::Allowed(Some(given)));
    log.write(&phone, Action::GrantRevoked { grant: given }, 4)
        .unwrap();
    assert_eq!(ask(&log), Verdict::Ask);
    log.remove(&phone, tv.id(), false, 5).unwrap();
    assert_eq!(ask(&log), Verdict::Refused(NotAllowed::Removed));
}
