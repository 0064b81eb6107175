//! Each rule of the family's log, shown by somebody who tries to get around it.

mod common;

use std::collections::BTreeSet;

use common::{first, key, log_of, merge, rest};
use trust::{
    identity::Identity,
    log::{
        Action, EntryError, EntryId, Grant, Log, MAX_ENTRIES_OF_NON_OWNER, MAX_ENTRY_BYTES,
        MAX_PARENTS, MAX_REFUSALS, Refusal, Role, Until, WriteError, rotation_proof,
    },
    recovery::{Phrase, recover},
};

const YEAR: u64 = 365 * 24 * 3600;

fn added(device: &Identity, role: Role) -> Action {
    Action::Added {
        device: device.id(),
        role,
        name: "a device".into(),
    }
}

fn removed(device: &Identity) -> Action {
    Action::Removed {
        device: device.id(),
        lost: false,
    }
}

fn grant(from: &Identity, until: Until) -> Action {
    Action::GrantGiven(Grant {
        from: from.id(),
        to: None,
        interfaces: "hyper:clipboard/clipboard".parse().unwrap(),
        until,
    })
}

/// A family of owner devices 0, 1, 2… in that seniority.
fn owners(count: u8) -> Log {
    let mut log = Log::found(&key(0), "0", None, 0).unwrap();
    for number in 1..count {
        log.write(&key(0), added(&key(number), Role::Owner), 0)
            .unwrap();
    }
    log
}

fn role(log: &Log, number: u8) -> Option<Role> {
    log.family().role(key(number).id())
}

#[test]
fn what_a_removed_device_signs_after_or_at_the_same_time_is_void() {
    let mut here = owners(3);
    let mut there = here.clone();
    let before = here.heads().clone();
    // What 2 did before, and the removal has seen, stays.
    here.write(&key(2), added(&key(3), Role::Shared), 0)
        .unwrap();
    here.remove(&key(0), key(2).id(), false, 0).unwrap();
    // At the same time 2 adds 4, which adds 5, on its own replica…
    there
        .write(&key(2), added(&key(4), Role::Owner), 0)
        .unwrap();
    there
        .write(&key(4), added(&key(5), Role::Owner), 0)
        .unwrap();
    assert_eq!(role(&there, 5), Some(Role::Owner));
    // … and later it backdates another addition.
    there
        .write_on(&key(2), before, added(&key(6), Role::Owner), 0)
        .unwrap();
    merge(&mut here, &mut there);
    for log in [&here, &there] {
        assert_eq!(role(log, 3), Some(Role::Shared));
        for gone in [2, 4, 5, 6] {
            assert_eq!(role(log, gone), None, "{gone}");
        }
    }
    assert_eq!(here.family(), there.family());
}

#[test]
fn what_others_wrote_on_their_own_authority_stays_though_it_comes_after_what_is_void() {
    let mut here = owners(3);
    let mut there = here.clone();
    there
        .write(&key(2), added(&key(4), Role::Owner), 0)
        .unwrap();
    // 1 has seen that, and adds 5 on top of it.
    there
        .write(&key(1), added(&key(5), Role::Shared), 0)
        .unwrap();
    here.remove(&key(0), key(2).id(), false, 0).unwrap();
    merge(&mut here, &mut there);
    assert_eq!(role(&here, 4), None);
    assert_eq!(role(&here, 5), Some(Role::Shared));
}

#[test]
fn of_two_owners_who_remove_each_other_the_senior_stays() {
    let mut here = owners(3);
    let mut there = here.clone();
    here.write(&key(1), removed(&key(2)), 0).unwrap();
    there.write(&key(2), removed(&key(1)), 0).unwrap();
    merge(&mut here, &mut there);
    assert_eq!(role(&here, 1), Some(Role::Owner));
    assert_eq!(role(&here, 2), None);
    assert_eq!(here.family(), there.family());
}

#[test]
fn a_circle_of_removals_ends_with_the_most_senior() {
    let base = owners(4);
    let mut logs = vec![base.clone(), base.clone(), base];
    for (log, (author, gone)) in logs.iter_mut().zip([(1, 2), (2, 3), (3, 1)]) {
        log.write(&key(author), removed(&key(gone)), 0).unwrap();
    }
    let [mut one, mut two, mut three] = <[Log; 3]>::try_from(logs).unwrap();
    merge(&mut one, &mut two);
    merge(&mut one, &mut three);
    assert_eq!(role(&one, 1), Some(Role::Owner));
    assert_eq!(role(&one, 2), None);
    assert_eq!(role(&one, 3), Some(Role::Owner));
}

#[test]
fn a_junior_may_remove_a_senior_who_does_not_object() {
    let mut log = owners(2);
    log.remove(&key(1), key(0).id(), true, 0).unwrap();
    assert_eq!(role(&log, 0), None);
    assert!(log.family().removed(key(0).id()).unwrap().lost);
    assert!(matches!(
        log.write(&key(0), added(&key(3), Role::Owner), 0)
            .map(|_| ()),
        Ok(())
    ));
    assert_eq!(role(&log, 3), None, "it can be written and does nothing");
}

#[test]
fn who_leaves_by_itself_cannot_come_back_by_seniority() {
    let mut log = owners(2);
    let before = log.heads().clone();
    log.write(&key(0), removed(&key(0)), 0).unwrap();
    log.write_on(&key(0), before, removed(&key(1)), 0).unwrap();
    assert_eq!(role(&log, 0), None);
    assert_eq!(role(&log, 1), Some(Role::Owner));
}

#[test]
fn seniority_is_not_for_choosing_old_parents() {
    // 2 is junior to 1; it adds 3 with the oldest parents it can name, and 3 removes 1 while 1
    // removes 3.
    let mut here = owners(3);
    let mut there = here.clone();
    let oldest: BTreeSet<EntryId> = here
        .entries()
        .find(|entry| matches!(entry.action(), Action::Added { device, .. } if *device == key(2).id()))
        .map(|entry| entry.id())
        .into_iter()
        .collect();
    there
        .write_on(&key(2), oldest, added(&key(3), Role::Owner), 0)
        .unwrap();
    here.insert_all(rest(&there).iter().map(Vec::as_slice));
    here.write(&key(1), removed(&key(3)), 0).unwrap();
    there.write(&key(3), removed(&key(1)), 0).unwrap();
    merge(&mut here, &mut there);
    assert_eq!(role(&here, 1), Some(Role::Owner));
    assert_eq!(role(&here, 3), None);
}

#[test]
fn a_device_that_was_removed_can_be_added_again_and_has_nothing_of_before() {
    let mut log = owners(1);
    let tv = key(5);
    log.write(&key(0), added(&tv, Role::Shared), 0).unwrap();
    log.write(&key(0), grant(&tv, Until::Always), 0).unwrap();
    assert_eq!(log.family().grants().len(), 1);
    log.remove(&key(0), tv.id(), false, 0).unwrap();
    assert_eq!(log.family().grants().len(), 0);
    log.write(&key(0), added(&tv, Role::Shared), 0).unwrap();
    assert_eq!(role(&log, 5), Some(Role::Shared));
    assert_eq!(log.family().removed(tv.id()), None);
    assert_eq!(log.family().grants().len(), 0);
}

#[test]
fn a_removal_wins_over_an_addition_that_has_not_seen_it() {
    let mut here = owners(2);
    let mut there = here.clone();
    there
        .write(&key(1), added(&key(5), Role::Shared), 0)
        .unwrap();
    here.write(&key(0), added(&key(5), Role::Shared), 0)
        .unwrap();
    here.remove(&key(0), key(5).id(), true, 0).unwrap();
    merge(&mut here, &mut there);
    assert_eq!(role(&here, 5), None);
}

#[test]
fn of_two_changes_of_role_the_lesser_holds_and_the_owner_acts_of_between_are_void() {
    let mut here = owners(2);
    here.write(&key(0), added(&key(5), Role::Shared), 0)
        .unwrap();
    let mut there = here.clone();
    let to = |role| Action::RoleChanged {
        device: key(5).id(),
        role,
    };
    here.write(&key(0), to(Role::Guest), 0).unwrap();
    there.write(&key(1), to(Role::Owner), 0).unwrap();
    there
        .write(&key(5), added(&key(6), Role::Owner), 0)
        .unwrap();
    assert_eq!(role(&there, 6), Some(Role::Owner));
    merge(&mut here, &mut there);
    assert_eq!(role(&here, 5), Some(Role::Guest));
    assert_eq!(role(&here, 6), None);
    // Whoever has seen both decides anew, and it keeps its name.
    here.write(&key(1), to(Role::Owner), 0).unwrap();
    assert_eq!(role(&here, 5), Some(Role::Owner));
    assert_eq!(here.family().member(key(5).id()).unwrap().name, "a device");
}

#[test]
fn only_owner_devices_write_and_the_others_may_leave() {
    let mut log = owners(1);
    log.write(&key(0), added(&key(5), Role::Shared), 0).unwrap();
    log.write(&key(0), added(&key(6), Role::Guest), 0).unwrap();
    for member in [5, 6] {
        let author = key(member);
        for action in [
            added(&key(7), Role::Guest),
            removed(&key(0)),
            Action::RoleChanged {
                device: author.id(),
                role: Role::Owner,
            },
            Action::PaperKeySet { key: author.id() },
            Action::SecretSet { secret: [1; 32] },
            grant(&author, Until::Always),
            Action::GrantRevoked {
                grant: EntryId::from_bytes([1; 32]),
            },
            Action::Unknown {
                kind: 200,
                content: vec![1, 2, 3],
            },
        ] {
            let written = log.write(&author, action.clone(), 0).map(|_| ());
            assert!(
                matches!(written, Err(WriteError::Refused(Refusal::Role))),
                "{action:?}"
            );
        }
        log.write(&author, removed(&author), 0).unwrap();
        assert_eq!(role(&log, member), None);
    }
    assert!(matches!(
        log.write(&key(8), added(&key(8), Role::Owner), 0),
        Err(WriteError::NoMember)
    ));
}

#[test]
fn a_device_that_rotates_stays_the_same_device() {
    let mut log = owners(2);
    log.write(&key(0), added(&key(5), Role::Shared), 0).unwrap();
    log.write(&key(0), grant(&key(5), Until::Always), 0)
        .unwrap();
    let rotated = Action::KeyRotated {
        new: key(6).id(),
        proof: rotation_proof(&key(6), log.id(), key(5).id()),
    };
    let mut away = log.clone();
    log.write(&key(5), rotated.clone(), 0).unwrap();
    assert_eq!(role(&log, 5), None, "the old key proves nothing any more");
    assert_eq!(role(&log, 6), Some(Role::Shared));
    let family = log.family();
    assert_eq!(family.member(key(6).id()).unwrap().name, "a device");
    assert_eq!(family.current_key(key(5).id()), Some(key(6).id()));
    assert_eq!(family.grants().len(), 1, "it keeps its grants");
    // The old key is retired for whoever has seen it go.
    assert!(matches!(
        log.write(&key(5), removed(&key(5)), 0),
        Err(WriteError::Refused(Refusal::Retired))
    ));
    // Whoever removes it under its old name removes it under every name.
    away.remove(&key(1), key(5).id(), false, 0).unwrap();
    merge(&mut log, &mut away);
    assert_eq!(role(&log, 6), None);
    assert!(log.family().removed(key(6).id()).is_some());
}

#[test]
fn a_retired_key_is_not_given_anything_by_somebody_who_has_not_heard() {
    let mut here = owners(2);
    here.write(&key(0), added(&key(5), Role::Shared), 0)
        .unwrap();
    let mut there = here.clone();
    let rotate = |log: &mut Log, from: u8, to: u8| {
        let proof = rotation_proof(&key(to), log.id(), key(from).id());
        let new = key(to).id();
        log.write(&key(from), Action::KeyRotated { new, proof }, 0)
            .map(|_| ())
    };
    rotate(&mut here, 5, 6).unwrap();
    // 1 makes it an owner device, by the name that it has no more.
    let promote = |device: u8| Action::RoleChanged {
        device: key(device).id(),
        role: Role::Owner,
    };
    there.write(&key(1), promote(5), 0).unwrap();
    merge(&mut here, &mut there);
    assert_eq!(role(&here, 5), None);
    assert_eq!(role(&here, 6), Some(Role::Shared));
    assert!(here.write(&key(5), added(&key(7), Role::Owner), 0).is_err());
    // Whoever has heard names the new key.
    here.write(&key(1), promote(6), 0).unwrap();
    assert_eq!(role(&here, 6), Some(Role::Owner));
    // And a device may come back to a key that it had.
    rotate(&mut here, 6, 5).unwrap();
    assert_eq!(role(&here, 5), Some(Role::Owner));
    assert_eq!(role(&here, 6), None);
    assert!(!here.family().member(key(5).id()).unwrap().forked);
    here.write(&key(5), added(&key(7), Role::Shared), 0)
        .unwrap();
    assert_eq!(role(&here, 7), Some(Role::Shared));
}

#[test]
fn nobody_rotates_to_a_key_that_did_not_agree() {
    let mut log = owners(2);
    let id = log.id();
    let mut rotate = |proof| {
        let action = Action::KeyRotated {
            new: key(1).id(),
            proof,
        };
        log.write(&key(0), action, 0).map(|_| ())
    };
    assert!(rotate([0; 64]).is_err());
    // Signed, for another device.
    assert!(rotate(rotation_proof(&key(1), id, key(3).id())).is_err());
    // Signed, in another family.
    let other = Log::found(&key(9), "", None, 0).unwrap().id();
    assert!(rotate(rotation_proof(&key(1), other, key(0).id())).is_err());
    assert!(rotate(rotation_proof(&key(1), id, key(0).id())).is_ok());
}

#[test]
fn two_rotations_of_one_key_are_told() {
    let mut here = owners(2);
    here.write(&key(0), added(&key(5), Role::Shared), 0)
        .unwrap();
    let mut there = here.clone();
    for (log, new) in [(&mut here, 6), (&mut there, 7)] {
        let proof = rotation_proof(&key(new), log.id(), key(5).id());
        let new = key(new).id();
        log.write(&key(5), Action::KeyRotated { new, proof }, 0)
            .unwrap();
    }
    merge(&mut here, &mut there);
    assert!(here.family().member(key(6).id()).unwrap().forked);
    here.remove(&key(0), key(7).id(), true, 0).unwrap();
    assert_eq!(role(&here, 6), None, "a removal ends both");
}

#[test]
fn the_paper_key_outranks_all_even_a_stolen_founder_who_set_another() {
    let phrase = Phrase::generate().unwrap();
    let mut log = Log::found(&key(0), "0", Some(phrase.key().id()), 0).unwrap();
    log.write(&key(0), added(&key(5), Role::Shared), 0).unwrap();
    log.write(&key(0), added(&key(1), Role::Owner), 0).unwrap();
    let before_the_theft = log.heads().clone();
    // The thief of 0 sets a paper key of his own, takes in a device, puts the owner's other
    // device out, and goes on doing so into the past.
    let theirs = Phrase::generate().unwrap();
    let set = Action::PaperKeySet {
        key: theirs.key().id(),
    };
    log.write(&key(0), set.clone(), 0).unwrap();
    log.write(&theirs.key(), added(&key(7), Role::Owner), 0)
        .unwrap();
    log.write(&key(0), removed(&key(1)), 0).unwrap();
    log.write_on(&key(0), before_the_theft.clone(), set, 1)
        .unwrap();
    assert!(!log.family().is_paper(phrase.key().id()));

    // Without saying since when, the words do nothing, and say so.
    let before = log.len();
    assert!(
        recover(
            &mut log,
            &phrase,
            key(8).id(),
            "New",
            &[key(0).id()],
            None,
            2
        )
        .is_err()
    );
    assert_eq!(log.len(), before);
    let heads: Vec<_> = before_the_theft.into_iter().collect();
    recover(
        &mut log,
        &phrase,
        key(8).id(),
        "New",
        &[key(0).id()],
        Some(&heads),
        2,
    )
    .unwrap();
    assert_eq!(role(&log, 0), None);
    assert_eq!(role(&log, 7), None);
    assert_eq!(role(&log, 1), Some(Role::Owner));
    assert_eq!(role(&log, 8), Some(Role::Owner));
    assert_eq!(role(&log, 5), Some(Role::Shared));
    assert!(!log.family().secret_is_stale());
    // And the thief's own paper key cannot strike back.
    let _ = log.write_on(
        &theirs.key(),
        log.heads_before(log.heads().iter().next().copied().unwrap()),
        removed(&key(8)),
        3,
    );
    assert_eq!(role(&log, 8), Some(Role::Owner));
}

#[test]
fn a_junior_thief_with_a_paper_key_of_his_own_is_no_more_than_junior() {
    let mut here = owners(3);
    let mut there = here.clone();
    let theirs = Phrase::generate().unwrap();
    let set = Action::PaperKeySet {
        key: theirs.key().id(),
    };
    there.write(&key(2), set, 0).unwrap();
    there.write(&theirs.key(), removed(&key(1)), 0).unwrap();
    here.remove(&key(1), key(2).id(), true, 0).unwrap();
    merge(&mut here, &mut there);
    assert_eq!(role(&here, 1), Some(Role::Owner));
    assert_eq!(role(&here, 2), None);
    assert!(!here.family().has_paper());
}

#[test]
fn the_paper_key_saves_a_family_and_does_nothing_else() {
    let phrase = Phrase::generate().unwrap();
    let mut log = Log::found(&key(0), "0", Some(phrase.key().id()), 0).unwrap();
    log.write(&key(0), added(&key(5), Role::Shared), 0).unwrap();
    assert!(matches!(
        log.write(&phrase.key(), grant(&key(5), Until::Always), 0),
        Err(WriteError::Refused(Refusal::Role))
    ));
    let other = Phrase::generate().unwrap();
    assert!(recover(&mut log, &other, key(1).id(), "", &[], None, 0).is_err());
    recover(&mut log, &phrase, key(1).id(), "", &[key(0).id()], None, 0).unwrap();
    // It reaches the TV, which was the only one left, as any entry.
    let tv = log_of(&first(&log), rest(&log).iter().map(Vec::as_slice));
    assert_eq!(role(&tv, 1), Some(Role::Owner));
    assert_eq!(role(&tv, 0), None);
}

#[test]
fn a_removed_device_does_not_learn_the_secret_of_after() {
    let mut log = owners(1);
    log.write(&key(0), added(&key(5), Role::Shared), 0).unwrap();
    let tv = log.clone();
    log.write(&key(0), removed(&key(5)), 0).unwrap();
    assert!(log.family().secret_is_stale(), "until it is renewed");
    log.renew_secret(&key(0), 0).unwrap();
    assert!(!log.family().secret_is_stale());
    let newest = log.family().discovery_keys()[0];
    assert!(!tv.family().discovery_keys().contains(&newest));
    for _ in 0..20 {
        log.renew_secret(&key(0), 0).unwrap();
    }
    assert_eq!(log.family().discovery_keys().len(), 8);
}

#[test]
fn clocks_that_are_a_year_apart_change_only_how_long_a_grant_with_an_end_lasts() {
    use trust::family::{Call, Policy, Verdict};
    let policy = Policy {
        sensitive: vec![],
        shared: vec![],
        guest: vec![],
    };
    let now = 50 * YEAR;
    let run = |skew: i64| {
        let at = |time: u64| time.checked_add_signed(skew).unwrap();
        let mut log = Log::found(&key(0), "0", None, at(now)).unwrap();
        log.write(&key(0), added(&key(5), Role::Shared), at(now))
            .unwrap();
        // The owner's clock is off; the grant ends by the serving device's, which asked.
        let given = log
            .write(&key(0), grant(&key(5), Until::Time(now + 3600)), at(now))
            .unwrap()
            .id();
        log.write(&key(0), added(&key(6), Role::Owner), 1).unwrap();
        log.write(&key(6), removed(&key(0)), at(now)).unwrap();
        let verdict = |now| {
            let call = Call {
                caller: key(5).id(),
                callee: key(6).id(),
                interface: "hyper:clipboard/clipboard@1.0.0",
                now,
            };
            log.family().may_call(&call, &policy, |_| false)
        };
        assert_eq!(verdict(now), Verdict::Allowed(Some(given)));
        assert_eq!(verdict(now + 3600), Verdict::Allowed(Some(given)));
        assert_eq!(verdict(now + 3601), Verdict::Ask);
        assert_eq!(verdict(now + YEAR), Verdict::Ask);
        // A serving device whose own clock is a year behind holds it for a year longer.
        assert_eq!(verdict(now - YEAR), Verdict::Allowed(Some(given)));
        let roles: Vec<_> = log.family().members().map(|member| member.role).collect();
        roles
    };
    assert_eq!(run(0), run(YEAR as i64));
    assert_eq!(run(0), run(-(YEAR as i64)));
}

#[test]
fn one_time_grants_are_spent_and_refusals_for_good_win() {
    use trust::family::{Call, NotAllowed, Policy, Verdict};
    let policy = Policy {
        sensitive: vec!["hyper:clipboard/*".parse().unwrap()],
        shared: vec!["hyper:clipboard/clipboard".parse().unwrap()],
        guest: vec![],
    };
    let mut log = owners(2);
    log.write(&key(0), added(&key(6), Role::Guest), 0).unwrap();
    let ask = |log: &Log, caller: u8, spent: &[EntryId]| {
        let call = Call {
            caller: key(caller).id(),
            callee: key(0).id(),
            interface: "hyper:clipboard/clipboard@2.1.0",
            now: 0,
        };
        log.family()
            .may_call(&call, &policy, |grant| spent.contains(&grant))
    };
    assert_eq!(
        ask(&log, 1, &[]),
        Verdict::Ask,
        "sensitive even for an owner"
    );
    assert_eq!(ask(&log, 6, &[]), Verdict::Ask);
    let once = log
        .write(&key(0), grant(&key(6), Until::Once), 0)
        .unwrap()
        .id();
    assert_eq!(ask(&log, 6, &[]), Verdict::Once(once));
    assert_eq!(ask(&log, 6, &[once]), Verdict::Ask);
    assert_eq!(ask(&log, 1, &[]), Verdict::Ask, "the grant is to another");
    let never = log
        .write(&key(0), grant(&key(6), Until::Never), 0)
        .unwrap()
        .id();
    log.write(&key(0), grant(&key(6), Until::Always), 0)
        .unwrap();
    assert_eq!(ask(&log, 6, &[]), Verdict::Refused(NotAllowed::Never));
    log.write(&key(0), Action::GrantRevoked { grant: never }, 0)
        .unwrap();
    assert!(matches!(ask(&log, 6, &[]), Verdict::Allowed(Some(_))));
    assert_eq!(ask(&log, 9, &[]), Verdict::Refused(NotAllowed::Stranger));
}

#[test]
fn entries_of_another_family_and_entries_without_their_parents_are_refused() {
    let mut log = owners(2);
    let mut other = Log::found(&key(0), "0", None, 0).unwrap();
    let foreign = rest(&other);
    assert_eq!(log.insert(&foreign[0]), Err(Refusal::Foreign));
    assert_eq!(log.insert(&first(&other)), Err(Refusal::Foreign));
    let parent = other
        .write(&key(0), added(&key(1), Role::Owner), 0)
        .unwrap()
        .id();
    let child = other
        .write(&key(1), added(&key(2), Role::Owner), 0)
        .unwrap()
        .bytes()
        .to_vec();
    let mut behind = Log::open(&first(&other)).unwrap();
    behind.insert(&foreign[0]).unwrap();
    assert_eq!(behind.insert(&child), Err(Refusal::Missing(vec![parent])));
}

#[test]
fn a_changed_signature_or_body_is_no_entry() {
    let log = owners(2);
    let entry = rest(&log).pop().unwrap();
    let mut log = log_of(&first(&log), rest(&log)[..1].iter().map(Vec::as_slice));
    for at in 0..entry.len() {
        for flip in [1, 0x80] {
            let mut changed = entry.clone();
            changed[at] ^= flip;
            assert!(log.insert(&changed).is_err(), "byte {at}");
        }
    }
    // S + L is the classical second signature of the same message.
    const L: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut malleable = entry.clone();
    let mut carry = 0_u16;
    for (byte, added) in malleable[32..64].iter_mut().zip(L) {
        carry += u16::from(*byte) + u16::from(added);
        *byte = carry as u8;
        carry >>= 8;
    }
    assert_eq!(
        log.insert(&malleable),
        Err(Refusal::Entry(EntryError::Signature))
    );
}

#[test]
fn limits_hold() {
    let mut log = owners(1);
    assert_eq!(
        log.insert(&vec![0; MAX_ENTRY_BYTES + 1]),
        Err(Refusal::Entry(EntryError::Size(MAX_ENTRY_BYTES + 1)))
    );
    let long = Action::Added {
        device: key(1).id(),
        role: Role::Owner,
        name: "n".repeat(65),
    };
    assert!(log.write(&key(0), long, 0).is_err());
    let big = Action::Unknown {
        kind: 99,
        content: vec![0; MAX_ENTRY_BYTES],
    };
    assert!(log.write(&key(0), big, 0).is_err());
    // More heads than an entry can name: writing takes as many as it can, and goes on.
    let base = log.heads().clone();
    for number in 0..MAX_PARENTS as u8 + 4 {
        log.write_on(
            &key(0),
            base.clone(),
            Action::SecretSet {
                secret: [number; 32],
            },
            0,
        )
        .unwrap();
    }
    assert!(log.heads().len() > MAX_PARENTS);
    let entry = log.write(&key(0), added(&key(1), Role::Owner), 0).unwrap();
    assert_eq!(entry.parents().len(), MAX_PARENTS);
    // A shared device that rotates for ever comes to an end.
    log.write(&key(0), added(&key(5), Role::Shared), 0).unwrap();
    let on = log.heads().clone();
    let mut written = 0;
    for number in 0..=MAX_ENTRIES_OF_NON_OWNER as u8 {
        let new = key(20 + number);
        let proof = rotation_proof(&new, log.id(), key(5).id());
        let rotated = Action::KeyRotated {
            new: new.id(),
            proof,
        };
        written += usize::from(
            log.write_on(&key(5), on.iter().take(16).copied().collect(), rotated, 0)
                .is_ok(),
        );
    }
    assert_eq!(written, MAX_ENTRIES_OF_NON_OWNER);
}

#[test]
fn what_a_later_release_says_is_kept_and_passed_on() {
    let mut log = owners(2);
    let before = log.family();
    let unknown = Action::Unknown {
        kind: 77,
        content: b"later".to_vec(),
    };
    log.write(&key(0), unknown.clone(), 0).unwrap();
    log.write(&key(1), added(&key(5), Role::Shared), 0).unwrap();
    let copy = log_of(&first(&log), rest(&log).iter().map(Vec::as_slice));
    assert_eq!(copy.len(), log.len());
    assert!(copy.entries().any(|entry| *entry.action() == unknown));
    assert_eq!(role(&copy, 5), Some(Role::Shared));
    assert_eq!(
        before.members().count() + 1,
        copy.family().members().count()
    );
}

#[test]
fn a_peer_is_sent_what_it_lacks_and_nothing_else() {
    let mut here = owners(2);
    let there = here.clone();
    here.write(&key(0), added(&key(5), Role::Shared), 0)
        .unwrap();
    here.write(&key(1), added(&key(6), Role::Shared), 0)
        .unwrap();
    let missing: Vec<_> = here.since(there.heads().iter().copied()).collect();
    assert_eq!(missing.len(), 2);
    assert_eq!(here.since(here.heads().iter().copied()).count(), 0);
    assert_eq!(
        here.since([EntryId::from_bytes([3; 32])]).count(),
        here.len()
    );
}

#[test]
fn entries_that_come_backwards_again_or_with_rubbish_between_are_taken_once() {
    let mut log = owners(4);
    for number in 0..200_u8 {
        let secret = Action::SecretSet {
            secret: [number; 32],
        };
        log.write(&key(number % 4), secret, 0).unwrap();
    }
    let mut entries = rest(&log);
    entries.reverse();
    let again = entries.clone();
    let rubbish = vec![vec![7; 300]; MAX_REFUSALS / 2];
    let mut copy = Log::open(&first(&log)).unwrap();
    let sent = entries.iter().chain(&rubbish).chain(&again);
    let (new, refused) = copy.insert_all(sent.map(Vec::as_slice));
    assert_eq!(new.len(), log.len() - 1);
    assert_eq!(refused.len(), rubbish.len());
    assert_eq!(copy.family(), log.family());
    // Whoever sends nothing but rubbish is not listened to for long.
    let rubbish = vec![vec![7; 300]; 10 * MAX_REFUSALS];
    let (new, refused) = copy.insert_all(rubbish.iter().map(Vec::as_slice));
    assert_eq!((new.len(), refused.len()), (0, MAX_REFUSALS));
    // A known entry with another signature is known: what is kept is the one that was verified.
    let mut unsigned = again[0].clone();
    unsigned[..64].fill(0);
    assert!(copy.insert(&unsigned).is_ok());
    assert!(copy.entries().all(|entry| entry.bytes() != unsigned));
}
