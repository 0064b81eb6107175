//! Two devices that pair, and a third that tries to.

use proptest::prelude::*;

use super::{message::Message, *};
use crate::{
    identity::Identity,
    log::{Action, Role},
};

const NOW: u64 = 1_000;
const EXPORTER: [u8; 32] = [7; 32];

struct Devices {
    phone: Identity,
    tv: Identity,
    log: Log,
}

fn devices() -> Devices {
    let phone = Identity::generate().unwrap();
    Devices {
        log: Log::found(&phone, "Phone", None, NOW).unwrap(),
        phone,
        tv: Identity::generate().unwrap(),
    }
}

/// What one end sees of a connection between two devices; the first dialled.
fn connection(here: &Identity, there: &Identity, dialled: bool) -> Connection {
    Connection {
        here: here.id(),
        there: there.id(),
        exporter: EXPORTER,
        dialled,
    }
}

/// One end of a pairing, with what it has to say and what it has come to.
struct End {
    pairing: Pairing,
    outbox: Vec<Vec<u8>>,
    digits: Option<String>,
    asked: bool,
    admit: Option<(DeviceId, String)>,
    joined: Option<Box<Log>>,
    done: bool,
    refused: Option<Reason>,
}

impl End {
    fn new(mut pairing: Pairing) -> Self {
        let output = pairing.start();
        let mut end = Self {
            pairing,
            outbox: Vec::new(),
            digits: None,
            asked: false,
            admit: None,
            joined: None,
            done: false,
            refused: None,
        };
        end.note(output);
        end
    }

    fn note(&mut self, output: Vec<Output>) {
        for output in output {
            match output {
                Output::Send(bytes) => self.outbox.push(bytes),
                Output::Show { digits, .. } => self.digits = Some(digits),
                Output::Ask { .. } => self.asked = true,
                Output::Admit { device, name } => self.admit = Some((device, name)),
                Output::Joined(log) => self.joined = Some(log),
                Output::Done => self.done = true,
                Output::Refused(reason) => self.refused = Some(reason),
            }
        }
    }

    fn receive(&mut self, bytes: &[u8]) {
        let output = self.pairing.receive(bytes, NOW);
        self.note(output);
    }

    fn confirm(&mut self) {
        let output = self.pairing.confirm(NOW);
        self.note(output);
    }

    fn take(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.outbox)
    }

    fn messages(&mut self) -> Vec<Message> {
        self.take()
            .iter()
            .map(|bytes| Message::decode(bytes, MAX_MESSAGE_BYTES).unwrap())
            .collect()
    }
}

/// Carries messages until there are none.
fn carry(one: &mut End, other: &mut End) {
    carry_changed(one, other, |bytes| bytes);
}

fn carry_changed(one: &mut End, other: &mut End, change: impl Fn(Vec<u8>) -> Vec<u8>) {
    loop {
        let (to_other, to_one) = (one.take(), other.take());
        if to_other.is_empty() && to_one.is_empty() {
            return;
        }
        for bytes in to_other {
            other.receive(&change(bytes));
        }
        for bytes in to_one {
            one.receive(&change(bytes));
        }
    }
}

/// The owner's end writes the entry and sends the log.
fn admit(devices: &mut Devices, owner: &mut End, role: Role) {
    let (device, name) = owner.admit.clone().expect("the owner's end admits");
    let added = Action::Added { device, role, name };
    devices.log.write(&devices.phone, added, NOW).unwrap();
    let output = owner.pairing.admitted(&devices.log);
    owner.note(output);
}

fn finish(devices: &mut Devices, owner: &mut End, joiner: &mut End) {
    admit(devices, owner, Role::Shared);
    carry(owner, joiner);
    let log = joiner.joined.as_ref().expect("the joiner has the log");
    assert_eq!(log.id(), devices.log.id());
    assert_eq!(
        log.family().role(devices.tv.id()),
        Some(Role::Shared),
        "and is in it"
    );
    assert!(owner.done);
}

fn by_digits(devices: &Devices, owner_dials: bool) -> (End, End) {
    let end = |here, there, side, name, dialled| {
        End::new(digits::pair(connection(here, there, dialled), side, name, NOW).unwrap())
    };
    (
        end(
            &devices.phone,
            &devices.tv,
            Side::Owner,
            "Phone",
            owner_dials,
        ),
        end(
            &devices.tv,
            &devices.phone,
            Side::Joiner,
            "TV",
            !owner_dials,
        ),
    )
}

#[test]
fn by_digits_whoever_dials() {
    for owner_dials in [true, false] {
        let mut devices = devices();
        let (mut phone, mut tv) = by_digits(&devices, owner_dials);
        carry(&mut phone, &mut tv);
        assert_eq!(phone.digits.as_ref().unwrap().len(), 6);
        assert_eq!(phone.digits, tv.digits);
        phone.confirm();
        carry(&mut phone, &mut tv);
        assert!(phone.admit.is_none(), "both persons must agree");
        tv.confirm();
        carry(&mut phone, &mut tv);
        assert_eq!(phone.admit, Some((devices.tv.id(), "TV".to_owned())));
        finish(&mut devices, &mut phone, &mut tv);
    }
}

#[test]
fn wrong_digits_are_refused_by_the_person_and_both_ends_know() {
    let devices = devices();
    let (mut phone, mut tv) = by_digits(&devices, true);
    carry(&mut phone, &mut tv);
    tv.confirm();
    let output = phone.pairing.refuse();
    phone.note(output);
    carry(&mut phone, &mut tv);
    assert_eq!(phone.refused, Some(Reason::Person));
    assert_eq!(tv.refused, Some(Reason::There(Told::Person)));
    phone.confirm();
    assert!(phone.admit.is_none(), "a no stays a no");
}

/// A connection between two devices that somebody in between holds as two.
fn two_connections(devices: &Devices, mallory: &Identity) -> (End, End, End, End) {
    let end = |here, there, side, name, dialled, exporter| {
        let connection = Connection {
            exporter,
            ..connection(here, there, dialled)
        };
        End::new(digits::pair(connection, side, name, NOW).unwrap())
    };
    let (near, far) = ([1; 32], [2; 32]);
    (
        end(&devices.phone, mallory, Side::Owner, "Phone", true, near),
        end(mallory, &devices.phone, Side::Joiner, "TV", false, near),
        end(mallory, &devices.tv, Side::Owner, "Phone", true, far),
        end(&devices.tv, mallory, Side::Joiner, "TV", false, far),
    )
}

#[test]
fn a_man_in_the_middle_makes_the_digits_differ() {
    let mallory = Identity::generate().unwrap();
    let devices = devices();
    // Each try has one chance in a million: two in a row are no accident.
    let tries: Vec<bool> = (0..2)
        .map(|_| {
            let (mut phone, mut near, mut far, mut tv) = two_connections(&devices, &mallory);
            carry(&mut phone, &mut near);
            carry(&mut far, &mut tv);
            assert!(phone.digits.is_some() && tv.digits.is_some());
            phone.digits == tv.digits
        })
        .collect();
    assert!(tries.contains(&false));
}

#[test]
fn a_man_in_the_middle_who_passes_everything_on_makes_the_digits_differ() {
    let mallory = Identity::generate().unwrap();
    let devices = devices();
    let (mut phone, _, _, mut tv) = two_connections(&devices, &mallory);
    // The TV sees a commitment that was made for another context.
    carry(&mut phone, &mut tv);
    assert_eq!(tv.refused, Some(Reason::Commitment));
    assert!(tv.digits.is_none());
}

#[test]
fn a_man_in_the_middle_who_chooses_his_nonce_late_is_refused() {
    let mallory = Identity::generate().unwrap();
    let devices = devices();
    let (mut phone, mut near, mut far, mut tv) = two_connections(&devices, &mallory);
    carry(&mut phone, &mut near);
    let wanted = phone.digits.clone().unwrap();
    // Towards the TV he commits, learns its nonce, and searches a nonce of his own that makes
    // the TV show what the phone shows: a million tries are nothing.
    for bytes in far.take() {
        tv.receive(&bytes);
    }
    let messages = tv.messages();
    let Message::Hello(hello) = &messages[0] else {
        panic!("the hello comes first");
    };
    let context = far.pairing.meet(hello.clone()).unwrap();
    tv.receive(&Message::Commitment(digits::commitment(&context, &[0; 32])).encode());
    let [Message::Nonce(theirs)] = tv.messages()[..] else {
        panic!("the TV answers with its nonce");
    };
    let found = (0_u64..)
        .map(|number| {
            let mut nonce = [0; 32];
            nonce[..8].copy_from_slice(&number.to_le_bytes());
            nonce
        })
        .find(|nonce| digits::digits(&context, nonce, &theirs) == wanted)
        .unwrap();
    tv.receive(&Message::Nonce(found).encode());
    // Without the commitment, the TV would now show the wanted digits.
    assert_eq!(digits::digits(&context, &found, &theirs), wanted);
    assert_eq!(tv.refused, Some(Reason::Commitment));
    assert!(tv.digits.is_none());
}

fn by_code(devices: &Devices) -> (code::Shown, End, End) {
    let shown = code::Shown::new(devices.tv.id(), NOW).unwrap();
    let scanned = shown.text().to_string().parse().unwrap();
    let phone = code::pair(
        connection(&devices.phone, &devices.tv, true),
        Side::Owner,
        "Phone",
        &scanned,
        NOW,
    );
    let tv = shown.pair(
        connection(&devices.tv, &devices.phone, false),
        Side::Joiner,
        "TV",
        NOW,
    );
    (shown, End::new(phone), End::new(tv))
}

#[test]
fn by_a_code_on_the_joining_device() {
    let mut devices = devices();
    let (shown, mut phone, mut tv) = by_code(&devices);
    assert!(shown.is_good(NOW));
    carry(&mut phone, &mut tv);
    assert!(!shown.is_good(NOW), "a code is good once");
    assert!(!phone.asked, "who scanned has said what they want");
    finish(&mut devices, &mut phone, &mut tv);
}

#[test]
fn by_a_code_on_the_owner_device_which_asks() {
    let mut devices = devices();
    let shown = code::Shown::new(devices.phone.id(), NOW).unwrap();
    let mut phone = End::new(shown.pair(
        connection(&devices.phone, &devices.tv, false),
        Side::Owner,
        "Phone",
        NOW,
    ));
    let mut tv = End::new(code::pair(
        connection(&devices.tv, &devices.phone, true),
        Side::Joiner,
        "TV",
        shown.text(),
        NOW,
    ));
    carry(&mut phone, &mut tv);
    assert!(phone.asked);
    assert!(phone.admit.is_none());
    phone.confirm();
    carry(&mut phone, &mut tv);
    finish(&mut devices, &mut phone, &mut tv);
}

#[test]
fn a_code_is_good_for_one_pairing() {
    let devices = devices();
    let (shown, mut phone, mut tv) = by_code(&devices);
    let mut again = End::new(shown.pair(
        connection(&devices.tv, &devices.phone, false),
        Side::Joiner,
        "TV",
        NOW,
    ));
    let mut second = End::new(code::pair(
        connection(&devices.phone, &devices.tv, true),
        Side::Owner,
        "Phone",
        shown.text(),
        NOW,
    ));
    carry(&mut phone, &mut tv);
    assert!(phone.admit.is_some());
    carry(&mut second, &mut again);
    assert_eq!(again.refused, Some(Reason::Used));
    assert_eq!(second.refused, Some(Reason::There(Told::Secret)));
}

#[test]
fn a_code_expires() {
    let devices = devices();
    let (shown, mut phone, mut tv) = by_code(&devices);
    assert!(!shown.is_good(NOW + code::TIME_LIMIT + 1));
    // The pairing itself would still be in time.
    tv.pairing.deadline = u64::MAX;
    for bytes in phone.take() {
        tv.receive(&bytes);
    }
    let hello = tv.take();
    phone.receive(&hello[0]);
    let late = NOW + code::TIME_LIMIT + 1;
    for bytes in phone.take() {
        let output = tv.pairing.receive(&bytes, late);
        tv.note(output);
    }
    assert_eq!(tv.refused, Some(Reason::Expired));
}

#[test]
fn a_wrong_secret_proves_nothing_and_spends_nothing() {
    let devices = devices();
    let (shown, _, mut tv) = by_code(&devices);
    let other = code::Shown::new(devices.tv.id(), NOW).unwrap();
    let mut guess = End::new(code::pair(
        connection(&devices.phone, &devices.tv, true),
        Side::Owner,
        "Phone",
        other.text(),
        NOW,
    ));
    carry(&mut guess, &mut tv);
    assert_eq!(tv.refused, Some(Reason::Proof));
    assert!(shown.is_good(NOW), "a stranger cannot use a code up");
}

#[test]
fn a_scanned_code_of_another_device_is_refused_before_anything_is_proven() {
    let devices = devices();
    let mallory = Identity::generate().unwrap();
    let shown = code::Shown::new(devices.tv.id(), NOW).unwrap();
    let mut phone = End::new(code::pair(
        connection(&devices.phone, &mallory, true),
        Side::Owner,
        "Phone",
        shown.text(),
        NOW,
    ));
    let mut there = End::new(shown.pair(
        connection(&mallory, &devices.phone, false),
        Side::Joiner,
        "TV",
        NOW,
    ));
    for bytes in there.take() {
        phone.receive(&bytes);
    }
    assert_eq!(phone.refused, Some(Reason::OtherDevice));
    assert!(
        phone
            .messages()
            .iter()
            .all(|message| !matches!(message, Message::Proof(_)))
    );
}

#[test]
fn a_proof_is_bound_to_its_connection_and_its_direction() {
    let devices = devices();
    // Recorded on one connection…
    let (shown, mut phone, mut tv) = by_code(&devices);
    let hello = tv.take();
    phone.receive(&hello[0]);
    let recorded = phone.take();
    drop((phone, tv));
    // … and replayed on another, whose exporter differs.
    let connection = Connection {
        exporter: [8; 32],
        ..connection(&devices.tv, &devices.phone, false)
    };
    tv = End::new(shown.pair(connection, Side::Joiner, "TV", NOW));
    for bytes in &recorded {
        tv.receive(bytes);
    }
    assert_eq!(tv.refused, Some(Reason::Proof));

    // A shower's own proof sent back to it proves nothing.
    let (_, mut phone, mut tv) = by_code(&devices);
    phone.receive(&tv.take()[0]);
    let [_, proof] = &phone.messages()[..] else {
        panic!("hello and proof");
    };
    phone.receive(&proof.encode());
    assert_eq!(phone.refused, Some(Reason::Proof));
}

#[test]
fn every_field_that_a_proof_is_bound_to_matters() {
    let devices = devices();
    let mallory = Identity::generate().unwrap();
    let honest = connection(&devices.phone, &devices.tv, true);
    let hello = |name: &str| Hello {
        version: message::VERSION,
        side: Side::Joiner,
        method: MethodName::Digits,
        dialled: false,
        name: name.to_owned(),
    };
    let context = |connection: Connection, mine: &str, theirs: &str| {
        let mut pairing = digits::pair(connection, Side::Owner, mine, NOW).unwrap();
        pairing.meet(hello(theirs)).unwrap().0
    };
    let right = context(honest, "Phone", "TV");
    assert_eq!(right, context(honest, "Phone", "TV"));
    let here = Connection {
        here: mallory.id(),
        ..honest
    };
    let there = Connection {
        there: mallory.id(),
        ..honest
    };
    let exporter = Connection {
        exporter: [9; 32],
        ..honest
    };
    for wrong in [
        context(here, "Phone", "TV"),
        context(there, "Phone", "TV"),
        context(exporter, "Phone", "TV"),
        context(honest, "Fone", "TV"),
        context(honest, "Phone", "VT"),
    ] {
        assert_ne!(right, wrong);
    }
}

fn by_pin(devices: &Devices, opening: &pin::Opening, pin: &str) -> (End, End) {
    (
        End::new(pin::pair(
            connection(&devices.phone, &devices.tv, true),
            "Phone",
            pin,
            NOW,
        )),
        End::new(opening.pair(
            connection(&devices.tv, &devices.phone, false),
            "Lamp post",
            NOW,
        )),
    )
}

fn wrong(pin: &str) -> String {
    let last = if pin.ends_with('0') { '1' } else { '0' };
    format!("{}{last}", &pin[..5])
}

#[test]
fn by_pin_with_a_space_in_it() {
    let mut devices = devices();
    let opening = pin::Opening::new(NOW).unwrap();
    let pin = opening.pin();
    let typed = format!("{} {}", &pin[..3], &pin[3..]);
    let (mut phone, mut tv) = by_pin(&devices, &opening, &typed);
    carry(&mut phone, &mut tv);
    assert!(!opening.is_open(NOW), "a PIN is good once");
    finish(&mut devices, &mut phone, &mut tv);
}

#[test]
fn five_wrong_pins_end_the_opening_even_for_the_right_one() {
    let devices = devices();
    let opening = pin::Opening::new(NOW).unwrap();
    let right = opening.pin();
    for attempt in 1..=pin::TRIES {
        assert!(opening.is_open(NOW));
        let (mut phone, mut tv) = by_pin(&devices, &opening, &wrong(&right));
        carry(&mut phone, &mut tv);
        assert_eq!(tv.refused, Some(Reason::Proof), "try {attempt}");
        assert_eq!(phone.refused, Some(Reason::There(Told::Secret)));
        assert!(phone.admit.is_none());
    }
    assert!(!opening.is_open(NOW));
    let (mut phone, mut tv) = by_pin(&devices, &opening, &right);
    carry(&mut phone, &mut tv);
    assert_eq!(tv.refused, Some(Reason::Tries));
}

#[test]
fn hanging_up_early_costs_a_try_too() {
    let devices = devices();
    let opening = pin::Opening::new(NOW).unwrap();
    let right = opening.pin();
    for _ in 0..pin::TRIES {
        let (mut phone, mut tv) = by_pin(&devices, &opening, &right);
        phone.receive(&tv.take()[0]);
        for bytes in phone.take() {
            tv.receive(&bytes);
        }
        // The device has told its element; the peer, who could now think about it, leaves.
        assert!(matches!(tv.messages()[..], [Message::Element(_)]));
    }
    assert!(!opening.is_open(NOW));
}

#[test]
fn a_pin_expires_and_two_cannot_use_it_at_once() {
    let devices = devices();
    let opening = pin::Opening::new(NOW).unwrap();
    assert!(!opening.is_open(NOW + pin::TIME_LIMIT + 1));
    let right = opening.pin();
    let (mut phone, mut tv) = by_pin(&devices, &opening, &right);
    let (mut second, mut again) = by_pin(&devices, &opening, &right);
    // Both have their elements before either proves.
    for (phone, tv) in [(&mut phone, &mut tv), (&mut second, &mut again)] {
        phone.receive(&tv.take()[0]);
        for bytes in phone.take() {
            tv.receive(&bytes);
        }
    }
    carry(&mut phone, &mut tv);
    carry(&mut second, &mut again);
    assert!(phone.admit.is_some());
    assert_eq!(again.refused, Some(Reason::Used));

    let opening = pin::Opening::new(NOW).unwrap();
    let (mut phone, mut tv) = by_pin(&devices, &opening, &opening.pin());
    tv.pairing.deadline = u64::MAX;
    phone.receive(&tv.take()[0]);
    for bytes in phone.take() {
        let output = tv.pairing.receive(&bytes, NOW + pin::TIME_LIMIT + 1);
        tv.note(output);
    }
    assert_eq!(tv.refused, Some(Reason::Expired));
}

#[test]
fn a_man_in_the_middle_cannot_pass_a_pin_on() {
    let devices = devices();
    let mallory = Identity::generate().unwrap();
    let opening = pin::Opening::new(NOW).unwrap();
    let right = opening.pin();
    // The phone speaks with Mallory, and Mallory with the TV; he passes every message on.
    let mut phone = End::new(pin::pair(
        connection(&devices.phone, &mallory, true),
        "Phone",
        &right,
        NOW,
    ));
    let mut tv = End::new(opening.pair(
        Connection {
            exporter: [8; 32],
            ..connection(&devices.tv, &mallory, false)
        },
        "TV",
        NOW,
    ));
    carry(&mut phone, &mut tv);
    assert_eq!(tv.refused, Some(Reason::Proof));
    assert!(phone.admit.is_none());
}

#[test]
fn a_pairing_ends_when_its_time_is_over() {
    let devices = devices();
    let (mut phone, mut tv) = by_digits(&devices, true);
    carry(&mut phone, &mut tv);
    assert!(phone.pairing.tick(NOW + TIME_LIMIT).is_empty());
    let output = phone.pairing.tick(NOW + TIME_LIMIT + 1);
    phone.note(output);
    assert_eq!(phone.refused, Some(Reason::Expired));
    let output = tv.pairing.confirm(NOW + TIME_LIMIT + 1);
    tv.note(output);
    assert_eq!(tv.refused, Some(Reason::Expired));
}

#[test]
fn a_joiner_takes_no_log_that_does_not_hold_it() {
    let mut devices = devices();
    let stranger = Identity::generate().unwrap();
    let ready = |devices: &Devices| {
        let (_, mut phone, mut tv) = by_code(devices);
        carry(&mut phone, &mut tv);
        assert!(phone.admit.is_some());
        (phone, tv)
    };
    // The log of another family, which does not have this one's owner.
    let (_, mut tv) = ready(&devices);
    let other = Log::found(&stranger, "Stranger", None, NOW).unwrap();
    let entries = other
        .entries()
        .map(|entry| entry.bytes().to_vec())
        .collect();
    for message in [
        Message::Welcome { family: other.id() },
        Message::Entries(entries),
        Message::End,
    ] {
        tv.receive(&message.encode());
    }
    assert!(matches!(tv.refused, Some(Reason::Log(_))));
    // The right log, and another welcome.
    let (mut phone, mut tv) = ready(&devices);
    admit(&mut devices, &mut phone, Role::Shared);
    let mut messages = phone.messages();
    messages[0] = Message::Welcome { family: other.id() };
    for message in &messages {
        tv.receive(&message.encode());
    }
    assert!(matches!(tv.refused, Some(Reason::Log(_))));
    // A log that does not name this device.
    let fresh = self::devices();
    let (_, mut tv) = ready(&fresh);
    let entries = fresh
        .log
        .entries()
        .map(|entry| entry.bytes().to_vec())
        .collect();
    for message in [
        Message::Welcome {
            family: fresh.log.id(),
        },
        Message::Entries(entries),
        Message::End,
    ] {
        tv.receive(&message.encode());
    }
    assert!(matches!(tv.refused, Some(Reason::Log(_))));
}

#[test]
fn an_owner_sends_its_log_to_nobody_it_has_not_written_in() {
    let devices = devices();
    let (_, mut phone, mut tv) = by_code(&devices);
    carry(&mut phone, &mut tv);
    let output = phone.pairing.admitted(&devices.log);
    phone.note(output);
    assert!(matches!(phone.refused, Some(Reason::Log(_))));
    assert!(
        phone
            .messages()
            .iter()
            .all(|message| matches!(message, Message::Refused(_)))
    );
}

#[test]
fn agreeing_before_proving_is_refused_and_so_is_every_message_out_of_turn() {
    let devices = devices();
    let messages = [
        Message::Agreed,
        Message::Joined,
        Message::End,
        Message::Entries(Vec::new()),
        Message::Welcome {
            family: devices.log.id(),
        },
        Message::Nonce([0; 32]),
        Message::Proof([0; 32]),
    ];
    for message in messages {
        let (_, mut phone, tv) = by_code(&devices);
        let mut ends = vec![phone_greeted(&devices), tv];
        phone.receive(&message.encode());
        assert!(phone.refused.is_some(), "{message:?} before the hello");
        for end in &mut ends {
            end.receive(&message.encode());
            assert!(end.refused.is_some(), "{message:?}");
            assert!(end.admit.is_none() && end.joined.is_none());
        }
    }
}

fn phone_greeted(devices: &Devices) -> End {
    let (_, mut phone, mut tv) = by_code(devices);
    phone.receive(&tv.take()[0]);
    phone
}

#[test]
fn devices_that_do_not_mean_the_same_refuse() {
    let devices = devices();
    let with = |change: fn(&mut Hello)| {
        let (mut phone, mut tv) = by_digits(&devices, true);
        let Message::Hello(mut hello) = tv.messages().remove(0) else {
            panic!("the hello comes first");
        };
        change(&mut hello);
        phone.receive(&Message::Hello(hello).encode());
        phone.refused
    };
    assert_eq!(with(|_| ()), None);
    for change in [
        (|hello| hello.version += 1) as fn(&mut Hello),
        |hello| hello.side = Side::Owner,
        |hello| hello.method = MethodName::Pin,
        |hello| hello.dialled = true,
    ] {
        assert!(matches!(with(change), Some(Reason::Mismatch(_))));
    }
    assert!(matches!(
        with(|hello| hello.name = "a\nb".into()),
        Some(Reason::Message(_))
    ));
}

#[test]
fn before_it_is_proven_a_peer_can_send_only_little() {
    let devices = devices();
    let (mut phone, _) = by_digits(&devices, true);
    phone.receive(&vec![0; MAX_SHORT_MESSAGE_BYTES + 1]);
    assert!(matches!(phone.refused, Some(Reason::Message(_))));
}

proptest! {
    #[test]
    fn any_one_changed_byte_keeps_the_joiner_out(
        method in 0..3_u8,
        nth in 0..8_usize,
        at in any::<prop::sample::Index>(),
        flip in 1_u8..,
    ) {
        let devices = devices();
        let opening = pin::Opening::new(NOW).unwrap();
        let (mut phone, mut tv) = match method {
            0 => by_digits(&devices, true),
            1 => { let (_, phone, tv) = by_code(&devices); (phone, tv) }
            _ => by_pin(&devices, &opening, &opening.pin()),
        };
        let count = std::cell::Cell::new(0);
        let changed = std::cell::Cell::new(false);
        carry_changed(&mut phone, &mut tv, |mut bytes| {
            if count.replace(count.get() + 1) == nth && Message::decode(&bytes, MAX_MESSAGE_BYTES)
                .is_ok_and(|message| !matches!(message, Message::Agreed))
            {
                let at = at.index(bytes.len());
                bytes[at] ^= flip;
                changed.set(true);
            }
            bytes
        });
        if changed.get() {
            // By digits the machines may go on, and the person sees that the digits differ.
            let differ = phone.digits.is_some() && phone.digits != tv.digits;
            prop_assert!(differ || phone.refused.is_some() || tv.refused.is_some());
            prop_assert!(phone.admit.is_none() || tv.refused.is_some());
        }
    }

    #[test]
    fn no_bytes_make_a_pairing_panic_or_let_anybody_in(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..6),
        method in 0..3_u8,
    ) {
        let devices = devices();
        let opening = pin::Opening::new(NOW).unwrap();
        let (phone, tv) = match method {
            0 => by_digits(&devices, true),
            1 => { let (_, phone, tv) = by_code(&devices); (phone, tv) }
            _ => by_pin(&devices, &opening, &opening.pin()),
        };
        for mut end in [phone, tv] {
            for bytes in &messages {
                end.receive(bytes);
            }
            prop_assert!(end.admit.is_none() && end.joined.is_none());
        }
    }

    #[test]
    fn no_text_makes_the_code_panic_and_none_but_its_own_is_read(
        text in ".{0,120}", tail in "[A-Z2-7]{0,90}",
    ) {
        let _ = text.parse::<code::CodeText>();
        if let Ok(code) = format!("HYPEROS:1:{tail}").parse::<code::CodeText>() {
            prop_assert_eq!(code.to_string(), format!("HYPEROS:1:{tail}"));
        }
    }
}
