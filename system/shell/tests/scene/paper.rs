//! The paper phrase: written down on an owner device, and a family that is restored by it.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use bus::family::Role;
use bus::pairing::Candidate;
use bus::paper::{Error, Member, Stage};
use bus::settings::Value;
use bus::{Caller, Outgoing};
use futures::StreamExt as _;
use shell::scene::paper::PaperUpdate;
use shell::scene::updates::Update;
use slint::platform::Key;
use slint::{ComponentHandle as _, Model as _};

use super::{Phone, candidate, changed, device};

const WORDS: &str = "legal winner thank year wave sausage worth useful legal winner thank yellow";

/// What was asked of the service.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Set(String),
    Open,
    Close,
    Begin(String, String),
    Restore(Vec<String>),
}

/// Notes what is asked of it, and finds a wrong word where there is one that begins with `wrong`.
struct Service(Sender<Asked>);

impl Service {
    fn note(&self, asked: Asked) {
        self.0.send(asked).unwrap();
    }
}

impl bus::paper::Handler for Service {
    async fn has_phrase(&self, _: Caller) -> bool {
        false
    }
    async fn watch_phrase(&self, _: Caller) -> Outgoing<bool> {
        Box::pin(futures::stream::pending())
    }
    async fn generate(&self, _: Caller) -> Result<Vec<String>, Error> {
        Ok(WORDS.split(' ').map(str::to_owned).collect())
    }
    async fn set(&self, _: Caller, words: String) -> Result<(), Error> {
        self.note(Asked::Set(words));
        Ok(())
    }
    async fn open(&self, _: Caller) -> Result<(), Error> {
        self.note(Asked::Open);
        Err(Error::Refused("This family has no paper phrase.".into()))
    }
    async fn close(&self, _: Caller) {
        self.note(Asked::Close);
    }
    async fn candidates(&self, _: Caller) -> Vec<Candidate> {
        Vec::new()
    }
    async fn watch_candidates(&self, _: Caller) -> Outgoing<Vec<Candidate>> {
        let one = futures::stream::iter([vec![candidate()]]);
        Box::pin(one.chain(futures::stream::pending()))
    }
    async fn begin(
        &self,
        _: Caller,
        candidate: String,
        words: String,
        name: String,
    ) -> Result<(), Error> {
        assert_eq!(name, "");
        let wrong = words.split(' ').position(|word| word.starts_with("wrong"));
        self.note(Asked::Begin(candidate, words));
        match wrong {
            Some(at) => Err(Error::UnknownWord(at as u32 + 1)),
            None => Ok(()),
        }
    }
    async fn restore(&self, _: Caller, lost: Vec<String>) -> Result<(), Error> {
        self.note(Asked::Restore(lost));
        Ok(())
    }
    async fn watch(&self, _: Caller) -> Outgoing<Stage> {
        Box::pin(futures::stream::pending())
    }
}

/// An open phone that talks to such a service, and what it asks of it.
fn connected() -> (Phone, Receiver<Asked>) {
    let folder = tempfile::tempdir().unwrap();
    let (sender, asked) = channel();
    let mut server = bus::Server::bind(folder.path(), &[bus::paper::ID]).unwrap();
    server.serve(bus::paper::interface(Service(sender)));
    let at = folder.path().to_owned();
    std::thread::spawn(move || {
        let _folder = folder;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(server.run()).unwrap();
    });
    let phone = Phone::new();
    phone.unlock();
    let client = bus::Client::new(bus::Address::Here(at));
    phone
        .scene
        .connect(client, Some(phone.screen.clipboard()))
        .unwrap();
    (phone, asked)
}

fn heard(asked: &Receiver<Asked>) -> Asked {
    asked.recv_timeout(Duration::from_secs(180)).unwrap()
}

impl Phone {
    fn paper(&self) -> ui::Paper<'_> {
        self.scene.window().global::<ui::Paper<'_>>()
    }

    fn restore(&self) -> ui::Restore<'_> {
        self.scene.window().global::<ui::Restore<'_>>()
    }

    /// Waits for what a service answers.
    fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let begun = Instant::now();
        while !holds() {
            assert!(begun.elapsed() < Duration::from_secs(180), "not {what}");
            std::thread::sleep(Duration::from_millis(5));
            self.screen.settle();
        }
        self.screen.settle();
    }

    fn restoring(&self, stage: Stage) {
        self.scene.apply(Update::Paper(PaperUpdate::Stage(stage)));
        self.screen.settle();
    }

    /// It has no family.
    fn is_new(&self) {
        self.scene
            .apply(Update::Family(vec![device("Phone", Role::Owner)]));
    }

    /// It is what stands in the living room.
    fn is_shared(&self) {
        self.scene.apply(Update::Family(vec![
            device("Phone", Role::Shared),
            device("Tablet", Role::Owner),
        ]));
    }
}

fn members() -> Vec<Member> {
    let member = |name: &str, role| Member {
        id: device(name, role).id,
        name: name.into(),
        role,
    };
    vec![
        member("Anna’s phone", Role::Owner),
        member("Living room", Role::Shared),
        member("Tablet", Role::Owner),
    ]
}

#[test]
fn words_are_shown_and_set_once_they_are_written_down() {
    let (phone, asked) = connected();
    phone.go("devices");
    phone.picture("devices-without-phrase");
    phone.go("paper");
    assert!(phone.scene.is_reserved(), "nobody sees the words elsewhere");
    let none = phone.picture("paper-none");
    // By keys: the one button first.
    phone.screen.key(Key::DownArrow);
    phone.screen.key(Key::Return);
    phone.until("twelve words", || {
        phone.paper().get_words().row_count() == 12
    });
    let words = phone.picture("paper-words");
    assert!(changed(&none, &words) > 0.02);
    // Whoever goes elsewhere has not written them down.
    phone.go("settings");
    assert_eq!(phone.paper().get_words().row_count(), 0);
    phone.go("paper");
    assert!(changed(&none, &phone.picture("paper-again")) < 0.001);

    phone.paper().invoke_make();
    phone.until("twelve words", || {
        phone.paper().get_words().row_count() == 12
    });
    phone.screen.key(Key::DownArrow);
    phone.screen.key(Key::Return);
    assert_eq!(heard(&asked), Asked::Set(WORDS.into()));
    phone.until("set", || phone.paper().get_done());
    assert_eq!(phone.paper().get_words().row_count(), 0);
    phone.picture("paper-done");
    phone
        .scene
        .apply(Update::Paper(PaperUpdate::HasPhrase(true)));
    phone.screen.key(Key::DownArrow);
    phone.screen.key(Key::Return);
    phone.screen.settle();
    assert_eq!(phone.page(), "settings/devices");
    phone.go("paper");
    phone.picture("paper-known");
    phone.go("devices");
    phone.picture("devices-with-phrase");
    assert!(asked.try_recv().is_err(), "nothing else was asked");
}

#[test]
fn words_are_whole_in_every_theme_and_size() {
    let phone = Phone::new();
    phone.unlock();
    // The longest that the list has.
    let long = ["mushroom", "category", "universe", "daughter"]
        .repeat(3)
        .join(" ");
    let words = PaperUpdate::Words(shell::scene::paper::Words(long));
    for (theme, size, tag) in [
        ("light", 100, "zh-CN"),
        ("dark", 115, "es"),
        ("dark", 200, "en"),
    ] {
        phone.setting("appearance.theme", Value::Text(theme.into()));
        phone.setting("appearance.text-size", Value::Integer(size));
        phone.setting("language", Value::Text(tag.into()));
        phone.go("paper");
        let before = phone.picture(&format!("paper-none-{size}"));
        phone.scene.apply(Update::Paper(words.clone()));
        phone.screen.settle();
        let now = phone.picture(&format!("paper-words-{size}"));
        assert!(changed(&before, &now) > 0.01);
        phone.go("settings");
    }
}

#[test]
fn a_new_device_restores_a_family() {
    let (phone, asked) = connected();
    phone.is_new();
    phone.go("devices");
    phone.picture("devices-alone");
    phone.go("restore");
    assert!(phone.scene.is_reserved());
    phone.until("a device nearby", || {
        phone.restore().get_candidates().row_count() == 1
    });
    phone.picture("restore-form");
    // Into the field by keys, and the words with it.
    phone.screen.key(Key::DownArrow);
    let typed = WORDS.replace("thank year", "thank wrongyear");
    phone.screen.type_text(&typed);
    phone.screen.settle();
    assert_eq!(phone.restore().get_typed().row_count(), 12);
    phone.picture("restore-typing");
    phone
        .scene
        .window()
        .global::<ui::Keyboard<'_>>()
        .invoke_close();
    phone.restore().invoke_choose(candidate().id.into());
    phone.screen.settle();
    phone.picture("restore-typed");
    phone.restore().invoke_begin();
    assert_eq!(heard(&asked), Asked::Begin(candidate().id, typed.clone()));
    phone.until("told which word is wrong", || {
        phone.restore().get_stage() == ui::RestoreStage::Failed
    });
    assert_eq!(phone.restore().get_number(), 4);
    phone.picture("restore-failed");
    phone.restore().invoke_close();
    assert_eq!(heard(&asked), Asked::Close);
    phone.restoring(Stage::Closed);
    assert_eq!(
        phone.restore().get_words(),
        typed.as_str(),
        "what was typed is not typed again"
    );

    phone.restoring(Stage::Connecting);
    phone.restoring(Stage::Choosing(members()));
    let chosen = phone.picture("restore-choosing");
    let ids: Vec<String> = members().into_iter().map(|member| member.id).collect();
    phone.restore().invoke_toggle(ids[1].as_str().into());
    phone.restore().invoke_toggle(ids[2].as_str().into());
    phone.screen.settle();
    assert!(changed(&chosen, &phone.picture("restore-chosen")) > 0.0001);
    // By keys: behind the three devices.
    for _ in 0..4 {
        phone.screen.key(Key::DownArrow);
    }
    phone.screen.key(Key::Return);
    let mut lost = vec![ids[0].clone(), ids[1].clone()];
    lost.sort();
    assert_eq!(heard(&asked), Asked::Restore(lost));
    phone.restoring(Stage::Waiting);
    phone.picture("restore-waiting");
    phone.restoring(Stage::Restored(device("Living room", Role::Shared).id));
    phone.scene.apply(Update::Family(vec![
        device("Phone", Role::Owner),
        device("Living room", Role::Shared),
    ]));
    phone.screen.settle();
    phone.picture("restore-restored");
    assert_eq!(phone.restore().get_other(), "Living room");
    phone.go("settings");
    assert_eq!(phone.restore().get_words(), "", "and is not kept");
}

#[test]
fn a_television_lets_its_family_be_restored() {
    // One screen a thread.
    std::thread::spawn(|| {
        let phone = Phone::of_size(1280, 720, 1.0);
        phone.is_shared();
        phone.unlock();
        assert!(!phone.paper().get_may_set(), "it is no owner device");
        let search = phone.scene.window().global::<ui::Search<'_>>();
        let found = || {
            search.invoke_search("paper phrase".into());
            search.get_found().row_count()
        };
        assert_eq!(found(), 0, "there is nothing to restore it by");
        phone
            .scene
            .apply(Update::Paper(PaperUpdate::HasPhrase(true)));
        assert_eq!(found(), 1);
        phone.go("devices");
        phone.picture("tv-devices");
        phone.go("restore");
        let mut before = phone.picture("tv-restore");
        let stages = [
            ("open", Stage::Open),
            ("waiting", Stage::Waiting),
            (
                "restored",
                Stage::Restored(device("Tablet", Role::Owner).id),
            ),
            ("failed", Stage::Failed(Error::OtherWords)),
        ];
        for (name, stage) in stages {
            phone.restoring(stage);
            let now = phone.picture(&format!("tv-restore-{name}"));
            assert!(changed(&before, &now) > 0.005, "{name} is not seen");
            before = now;
        }
    })
    .join()
    .unwrap();

    let (phone, asked) = connected();
    phone.is_shared();
    phone.go("restore");
    phone.screen.key(Key::DownArrow);
    phone.screen.key(Key::Return);
    assert_eq!(heard(&asked), Asked::Open);
    phone.until("told why not", || {
        phone.restore().get_stage() == ui::RestoreStage::Failed
    });
    phone.picture("restore-refused");
}

#[test]
fn each_problem_has_its_words() {
    let phone = Phone::new();
    phone.is_new();
    phone.unlock();
    phone.go("restore");
    let problems = [
        ("count", Error::Count(11)),
        ("word", Error::UnknownWord(5)),
        ("checksum", Error::Checksum),
        ("other-words", Error::OtherWords),
        ("not-open", Error::NotOpen),
        ("too-soon", Error::TooSoon),
        ("unreachable", Error::Unreachable("gone".into())),
        ("refused", Error::Refused("It is not allowed.".into())),
    ];
    let mut seen = Vec::new();
    for (name, problem) in problems {
        phone.restoring(Stage::Failed(problem));
        let picture = phone.picture(&format!("restore-problem-{name}"));
        let is_new = seen.iter().all(|other| changed(other, &picture) > 0.0002);
        assert!(is_new, "{name} looks like another");
        seen.push(picture);
    }
}
