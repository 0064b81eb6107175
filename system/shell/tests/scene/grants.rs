//! What devices ask of the owner, and what the owner has said.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bus::grants::{Grant, Party, Until};
use bus::questions::{Member, Question, Standing};
use bus::settings::Value;
use shell::scene::PowerKey;
use shell::scene::updates::Update;
use slint::ComponentHandle as _;
use slint::platform::Key;

use super::{Phone, changed, device};

/// How long a question stands before it can be answered, and some more.
const A_WHILE: Duration = Duration::from_millis(700);

fn id(name: &str) -> String {
    device(name, bus::family::Role::Shared).id
}

fn party(name: &str) -> Party {
    Party {
        id: id(name),
        name: name.into(),
    }
}

fn member(name: &str) -> Member {
    Member {
        id: id(name),
        name: name.into(),
    }
}

fn question(number: u64, wanted: &str) -> Question {
    Question {
        id: number,
        caller: member("Living room"),
        program: Some("music".into()),
        callee: member("Phone"),
        wanted: wanted.into(),
        purpose: bus::purpose(wanted).unwrap_or_default().into(),
    }
}

/// What was said about the Living room, in every way.
pub fn given() -> Vec<Grant> {
    let grant = |number: u8, caller: &str, callee: Option<&str>, interfaces: &str, until| Grant {
        id: format!("{number:02x}").repeat(32),
        caller: party(caller),
        callee: callee.map(party),
        interfaces: interfaces.into(),
        purpose: String::new(),
        until,
        by: party("Phone"),
        given: 1_795_350_000,
    };
    let soon = Until::Time(1_795_362_000);
    vec![
        grant(
            1,
            "Living room",
            Some("Phone"),
            "hyper:settings/settings",
            soon,
        ),
        grant(
            2,
            "Living room",
            Some("Phone"),
            "hyper:network/network",
            Until::Always,
        ),
        grant(
            3,
            "Living room",
            None,
            "hyper:services/services",
            Until::Never,
        ),
        grant(
            4,
            "Visitor",
            Some("Phone"),
            "hyper:device/device",
            Until::Once,
        ),
    ]
}

impl Phone {
    fn asks(&self, waiting: Vec<Question>) {
        let muted = Vec::new();
        self.scene
            .apply(Update::Questions(Standing { waiting, muted }));
        self.screen.settle();
    }

    fn consent(&self) -> ui::Consent<'_> {
        self.scene.window().global::<ui::Consent<'_>>()
    }

    /// Everything that is said from now on.
    fn replies(&self) -> Rc<RefCell<Vec<ui::Reply>>> {
        let replies = Rc::new(RefCell::new(Vec::new()));
        let said = Rc::clone(&replies);
        self.consent()
            .on_answer(move |reply| said.borrow_mut().push(reply));
        replies
    }
}

#[test]
fn a_question_stands_over_everything_of_an_open_screen_and_not_of_a_locked_one() {
    let phone = Phone::new();
    let before = phone.picture("lock-quiet");
    phone.asks(vec![question(1, "hyper:settings/settings")]);
    assert_eq!(phone.page(), "lock");
    assert!(!phone.consent().get_shown());
    let locked = phone.picture("lock-question");
    assert!(changed(&before, &locked) > 0.001, "it says that one waits");

    phone.swipe_up();
    assert_eq!(phone.page(), "question");
    let open = phone.picture("question");
    assert!(changed(&locked, &open) > 0.1);
    // Nothing leads past it but an answer or a lock.
    phone.scene.home_key();
    phone.go("settings");
    phone.scene.power_key(PowerKey::Long);
    phone.screen.settle();
    assert_eq!(phone.page(), "question");
    phone.picture("question-over-the-power-menu");
    phone.scene.lock();
    phone.screen.settle();
    assert_eq!(phone.page(), "lock");
    assert!(!phone.consent().get_shown());

    // Answered elsewhere, or its caller is gone.
    phone.swipe_up();
    assert_eq!(phone.page(), "question");
    phone.asks(vec![]);
    assert_ne!(phone.page(), "question");
    assert!(!phone.consent().get_waits());
}

#[test]
fn a_finger_that_was_on_its_way_answers_nothing() {
    let phone = Phone::new();
    phone.unlock();
    let replies = phone.replies();
    phone.asks(vec![question(1, "hyper:settings/settings")]);
    let (width, height) = phone.size();
    // Everywhere where a button may stand.
    let press_all = || {
        for y in (0..height as usize).step_by(12) {
            for x in [0.25, 0.75] {
                phone.screen.touch(width * x, y as f32);
                phone.screen.release(width * x, y as f32);
            }
        }
    };
    press_all();
    phone.scene.back_key();
    assert!(replies.borrow().is_empty(), "it has only just come");
    assert_eq!(phone.page(), "question");
    phone.screen.advance(A_WHILE);
    press_all();
    let mut said = replies.take();
    said.dedup();
    let all = [
        ui::Reply::Once,
        ui::Reply::Hour,
        ui::Reply::Always,
        ui::Reply::Refuse,
        ui::Reply::Never,
    ];
    for reply in all {
        assert!(said.contains(&reply), "{reply:?} has a button: {said:?}");
    }
    // Another one in its place begins anew.
    phone.asks(vec![question(2, "hyper:network/network")]);
    press_all();
    assert!(replies.borrow().is_empty());
}

#[test]
fn keys_reach_the_answers_and_back_is_a_no() {
    let phone = Phone::new();
    phone.unlock();
    let replies = phone.replies();
    let asked = vec![
        question(1, "hyper:settings/settings"),
        question(2, "hyper:network/network"),
        question(3, "hyper:somewhere/else"),
    ];
    phone.asks(asked.clone());
    phone.screen.advance(A_WHILE);
    assert_eq!(phone.consent().get_more(), 2);
    phone.screen.key(Key::Return);
    assert!(replies.borrow().is_empty(), "nothing is chosen yet");
    let unchosen = phone.picture("question-unchosen");
    for _ in 0..5 {
        phone.screen.key(Key::DownArrow);
        phone.screen.advance(Duration::from_millis(32));
        phone.screen.key(Key::Return);
    }
    let said = replies.take();
    assert_eq!(
        said,
        [
            ui::Reply::Once,
            ui::Reply::Hour,
            ui::Reply::Always,
            ui::Reply::Refuse,
            ui::Reply::Never
        ]
    );
    phone.picture("question-by-keys");
    // The next one comes in its place at once, and an answer that was not taken is asked again.
    phone.screen.key(Key::Escape);
    phone.screen.settle();
    assert_eq!(
        phone.consent().get_question().wanted,
        "hyper:network/network"
    );
    phone.screen.advance(A_WHILE);
    phone.screen.key(Key::Return);
    assert!(
        replies.borrow().is_empty(),
        "what was chosen for one question is not chosen for the next"
    );
    phone.scene.apply(Update::NotAnswered(1));
    assert_eq!(
        phone.consent().get_question().wanted,
        "hyper:settings/settings"
    );
    phone.screen.advance(A_WHILE);
    phone.screen.settle();
    let differs = changed(&unchosen, &phone.picture("question-unchosen-again"));
    assert!(differs < 0.0001, "and looks like it");
    phone.asks(asked[2..].to_vec());
    phone.screen.advance(A_WHILE);
    phone.screen.settle();
    phone.picture("question-of-another-release");
}

#[test]
fn what_others_can_do_to_a_screen_answers_nothing() {
    let phone = Phone::new();
    phone.unlock();
    let replies = phone.replies();
    phone.asks(vec![question(1, "hyper:settings/settings")]);
    phone.screen.advance(A_WHILE);
    let question = phone.picture("question");
    let all = [
        // Whatever is served to other programs and devices, beside reading.
        "beacon",
        "no beacon",
        "notification",
        "dark",
        "light",
        "lock",
    ];
    for done in all {
        match done {
            "beacon" => phone.scene.show_beacon("Living room".into(), A_WHILE * 10),
            "no beacon" => phone.scene.hide_beacon(),
            "notification" => {
                let (title, text) = ("Allow this".to_owned(), "Press once".to_owned());
                let notifications = phone.scene.notifications();
                notifications.say("music", "", title, text, true);
                phone.scene.apply(Update::Notifications);
            }
            "dark" => phone.scene.set_power(false),
            "light" => phone.scene.set_power(true),
            _ => phone.scene.lock(),
        }
        phone.screen.settle();
        phone.screen.advance(A_WHILE);
        if phone.page() == "question" {
            let differs = changed(&question, &phone.picture(done));
            assert!(differs < 0.0001, "{done}: nothing stands over the question");
        }
        assert!(replies.borrow().is_empty(), "{done}");
    }
    assert_eq!(phone.page(), "lock");
    phone.swipe_up();
    assert_eq!(phone.page(), "question", "it still waits");
}

#[test]
fn a_question_of_a_service_that_began_anew_is_a_new_one() {
    let phone = Phone::new();
    phone.unlock();
    phone.asks(vec![question(1, "hyper:settings/settings")]);
    phone.screen.advance(A_WHILE);
    phone.scene.back_key();
    assert_ne!(phone.page(), "question", "it is answered");
    // The service is gone with its questions, and gives the number to another one.
    phone.asks(vec![]);
    phone.scene.set_power(false);
    phone.asks(vec![question(1, "hyper:network/network")]);
    assert!(phone.scene.status().on);
    phone.swipe_up();
    assert_eq!(phone.page(), "question");
}

#[test]
fn a_question_lights_a_screen_that_is_off_unless_the_owner_wants_quiet() {
    let phone = Phone::new();
    phone.scene.set_power(false);
    phone.setting("notifications.do-not-disturb", Value::Boolean(true));
    phone.asks(vec![question(1, "hyper:settings/settings")]);
    assert!(!phone.scene.status().on);
    phone.setting("notifications.do-not-disturb", Value::Boolean(false));
    phone.asks(vec![question(1, "hyper:settings/settings")]);
    assert!(!phone.scene.status().on, "it is the same one");
    phone.asks(vec![question(2, "hyper:settings/settings")]);
    let status = phone.scene.status();
    assert!(status.on && status.locked);
}

#[test]
fn a_question_is_read_in_every_language_at_every_size_and_in_both_themes() {
    for (width, height, scale) in [(540, 1200, 1.5), (1280, 720, 1.0), (360, 640, 1.0)] {
        // One screen a thread.
        std::thread::spawn(move || {
            let phone = Phone::of_size(width, height, scale);
            phone.unlock();
            let elsewhere = Question {
                callee: member("Kitchen"),
                program: None,
                ..question(1, "hyper:services/services")
            };
            phone.asks(vec![
                question(0, "hyper:settings/settings"),
                elsewhere.clone(),
            ]);
            phone.screen.advance(A_WHILE);
            for tag in ["en", "zh-CN", "es"] {
                phone.setting("language", Value::Text(tag.into()));
                phone.screen.settle();
                phone.picture(&format!("{width}-question-{tag}"));
            }
            phone.setting("appearance.theme", Value::Text("light".into()));
            phone.setting("language", Value::Text("en".into()));
            phone.asks(vec![elsewhere]);
            phone.screen.advance(A_WHILE);
            phone.screen.settle();
            phone.picture(&format!("{width}-question-light"));
            phone.setting("appearance.text-size", Value::Integer(200));
            phone.screen.settle();
            phone.picture(&format!("{width}-question-200"));
        })
        .join()
        .unwrap();
    }
}

#[test]
fn what_was_said_stands_on_the_page_of_its_device_and_is_taken_back_there() {
    let phone = Phone::new();
    phone.unlock();
    let grants = phone.scene.window().global::<ui::Grants<'_>>();
    let revoked = Rc::new(RefCell::new(Vec::new()));
    let said = Rc::clone(&revoked);
    grants.on_revoke(move |id| said.borrow_mut().push(id.to_string()));
    phone.go("grants");
    let all = phone.picture("grants");
    assert_eq!(slint::Model::row_count(&grants.get_all()), 4);
    grants.set_chosen(given()[0].id.as_str().into());
    phone.screen.settle();
    assert!(changed(&all, &phone.picture("grants-chosen")) > 0.005);

    phone.go("family-device");
    let living_room = grants.get_of_shown();
    let callers: Vec<_> = slint::Model::iter(&living_room)
        .map(|given| given.caller.to_string())
        .collect();
    assert_eq!(callers, ["Living room"; 3], "and not what the visitor may");
    phone.picture("device-grants");
    // By keys: what takes the first of them back.
    let mut presses = 0;
    while revoked.borrow().is_empty() {
        presses += 1;
        assert!(presses < 12, "no key leads to it");
        phone.go("devices");
        phone.go("grants");
        grants.set_chosen(given()[0].id.as_str().into());
        phone.screen.settle();
        for _ in 0..presses {
            phone.screen.key(Key::DownArrow);
            phone.screen.advance(Duration::from_millis(32));
        }
        phone.screen.key(Key::Return);
        phone.screen.settle();
    }
    assert_eq!(*revoked.borrow(), [given()[0].id.clone()]);

    assert!(!grants.get_shown_muted());
    phone.scene.apply(Update::Questions(Standing {
        waiting: vec![],
        muted: vec![member("Living room")],
    }));
    phone.screen.settle();
    assert!(grants.get_shown_muted());
    phone.picture("device-muted");
    phone.go("grants");
    phone.picture("grants-muted");
}
