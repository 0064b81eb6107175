//! Other devices at this screen, and other devices' screens from here.

use std::rc::Rc;
use std::time::Duration;

use bus::input::{Error, Event, Finger, Key, Phase, Way};
use bus::questions::{Member, Question, Standing as Questions};
use bus::settings::Value;
use shell::platform::Look;
use shell::scene::PowerKey;
use shell::scene::updates::{Over, Reached, Seen, Update};
use shell::scene::visits::{Ending, Purpose, Standing, Visitor};
use shell::serve::{self, Measured};
use slint::ComponentHandle as _;
use tokio::sync::{Notify, watch};

use super::{Phone, changed, device};

fn visitor(name: &str) -> Visitor {
    Visitor {
        key: name.repeat(8).to_lowercase(),
        name: name.into(),
    }
}

/// A device that controls the phone.
struct Control<'a> {
    phone: &'a Phone,
    visitor: Visitor,
    session: u64,
    standing: watch::Receiver<Standing>,
}

impl<'a> Control<'a> {
    fn begin(phone: &'a Phone, name: &str) -> Result<Self, Ending> {
        let visitor = visitor(name);
        let (session, standing) = phone.scene.begin_visit(visitor.clone(), Purpose::Control)?;
        phone.screen.settle();
        Ok(Self {
            phone,
            visitor,
            session,
            standing,
        })
    }

    fn send(&self, events: &[Event]) -> Result<(), Error> {
        let sent = self
            .phone
            .scene
            .take_events(&self.visitor, self.session, events);
        self.phone.screen.settle();
        // Nobody is that quick; and so that the next ones are not too many.
        self.phone.screen.advance(Duration::from_millis(200));
        self.phone.screen.settle();
        sent
    }

    fn key(&self, key: Key) -> Result<(), Error> {
        self.send(&[Event::Key(key)])
    }

    /// A tap at logical pixels.
    fn tap(&self, x: f32, y: f32) -> Result<(), Error> {
        self.send(&[self.finger(Phase::Down, x, y)])?;
        self.send(&[self.finger(Phase::Up, x, y)])
    }

    fn finger(&self, phase: Phase, x: f32, y: f32) -> Event {
        let (width, height) = self.phone.size();
        Event::Touch(Finger {
            phase,
            x: x / width,
            y: y / height,
        })
    }

    fn stands(&self) -> Standing {
        *self.standing.borrow()
    }
}

fn question() -> Question {
    let member = |name: &str| Member {
        id: device(name, bus::family::Role::Shared).id,
        name: name.into(),
    };
    Question {
        id: 1,
        caller: member("Living room"),
        program: None,
        callee: member("Phone"),
        wanted: "hyper:settings/settings".into(),
        purpose: String::new(),
    }
}

impl Phone {
    fn is_asked(&self, questions: Vec<Question>) {
        self.scene.apply(Update::Questions(Questions {
            waiting: questions,
            muted: Vec::new(),
        }));
        self.screen.settle();
        // It has stood long enough to be answered.
        self.screen.advance(Duration::from_millis(700));
        self.screen.settle();
    }

    fn marks(&self) -> usize {
        let visits = self.scene.window().global::<ui::Visits<'_>>();
        slint::Model::row_count(&visits.get_all())
    }

    /// What is seen of it elsewhere, put together.
    fn seen(&self, watcher: u64, canvas: &mut Seeing) -> &'static str {
        match self.screen.screen().look(watcher) {
            Look::Nothing => "nothing",
            Look::Dark => "dark",
            Look::Hidden => "hidden",
            Look::Picture(captured) => {
                canvas.take(&captured);
                "picture"
            }
        }
    }
}

/// A picture that is put together from what was captured.
#[derive(Default)]
struct Seeing {
    width: u32,
    pixels: Vec<[u8; 3]>,
}

impl Seeing {
    fn take(&mut self, captured: &shell::platform::Captured) {
        let (width, height) = captured.size;
        self.width = width;
        self.pixels.resize((width * height) as usize, [0; 3]);
        for (place, pixels) in &captured.parts {
            for (row, pixels) in pixels.chunks_exact(place.width as usize).enumerate() {
                let start = (place.y as usize + row) * width as usize + place.x as usize;
                for (to, from) in self.pixels[start..].iter_mut().zip(pixels) {
                    *to = from.colours();
                }
            }
        }
    }
}

#[test]
fn another_device_s_keys_text_pointer_and_finger_do_what_one_s_own_do() {
    let phone = Phone::new();
    let tv = Control::begin(&phone, "Living room").unwrap();
    assert_eq!(tv.stands(), Standing::Open);
    assert_eq!(phone.marks(), 1);
    // Any key opens the lock screen, as on the phone itself.
    tv.key(Key::Ok).unwrap();
    assert_eq!(phone.page(), "home");
    tv.tap(65.0, 735.0).unwrap();
    assert_eq!(phone.page(), "settings");
    tv.tap(180.0, 180.0).unwrap();
    tv.send(&[Event::Text("zoné".into())]).unwrap();
    let search = phone.scene.window().global::<ui::Search<'_>>();
    assert_eq!(search.get_text(), "zoné");
    tv.key(Key::Backspace).unwrap();
    assert_eq!(search.get_text(), "zon");
    tv.send(&vec![Event::Key(Key::Backspace); 3]).unwrap();
    assert_eq!(search.get_text(), "");
    tv.key(Key::Home).unwrap();
    assert_eq!(phone.page(), "home");

    // The pointer begins in the middle of 360 × 800.
    let way = |x, y| Event::Move(Way { x, y });
    tv.send(&[way(-100.0, 300.0), way(-15.0, 35.0)]).unwrap();
    tv.send(&[Event::Button(true)]).unwrap();
    tv.send(&[Event::Button(false)]).unwrap();
    assert_eq!(phone.page(), "settings");
    phone.picture("visit-pointer");
    let before = phone.screen.picture();
    let scroll = Way { x: 0.0, y: -300.0 };
    tv.send(&[way(100.0, -200.0), Event::Scroll(scroll)])
        .unwrap();
    assert!(
        changed(&before, &phone.screen.picture()) > 0.05,
        "it scrolled"
    );
    tv.key(Key::Back).unwrap();
    assert_eq!(phone.page(), "home");
    // By arrows, as a remote control.
    tv.send(&[Event::Key(Key::Down)]).unwrap();
    tv.send(&[Event::Key(Key::Ok)]).unwrap();
    assert_ne!(phone.page(), "home");

    tv.key(Key::Power).unwrap();
    assert!(!phone.scene.status().on);
    assert_eq!(tv.stands(), Standing::Open, "that was no end");
    tv.send(&[Event::Text("x".into())]).unwrap();
    assert!(!phone.scene.status().on);
    tv.key(Key::Left).unwrap();
    assert!(phone.scene.status().on, "any key turns it on");
    assert_eq!(phone.page(), "lock", "and does nothing else");
}

#[test]
fn input_aimed_at_a_consent_screen_answers_nothing() {
    let phone = Phone::new();
    phone.unlock();
    let tv = Control::begin(&phone, "Living room").unwrap();
    let (width, height) = phone.size();
    // A finger that is down when the question comes, over a button of it.
    tv.send(&[tv.finger(Phase::Down, width * 0.5, height * 0.7)])
        .unwrap();
    phone.is_asked(vec![question()]);
    assert_eq!(phone.page(), "question");
    assert_eq!(tv.stands(), Standing::Reserved);
    phone.picture("visit-question");
    let mut aimed = vec![
        tv.finger(Phase::Up, width * 0.5, height * 0.7),
        Event::Button(true),
        Event::Button(false),
        Event::Text(" ".into()),
    ];
    aimed.extend([Key::Ok, Key::Back, Key::Down, Key::Home, Key::Power].map(Event::Key));
    for y in (0..height as usize).step_by(16) {
        for x in [0.25, 0.75] {
            let (x, y) = (width * x, y as f32);
            aimed.push(tv.finger(Phase::Down, x, y));
            aimed.push(tv.finger(Phase::Up, x, y));
        }
    }
    for event in &aimed {
        assert_eq!(
            tv.send(std::slice::from_ref(event)),
            Err(Error::Reserved),
            "{event:?}"
        );
        assert_eq!(phone.page(), "question", "{event:?}");
        assert!(phone.scene.status().on, "{event:?}");
    }
    // Several at once neither.
    assert_eq!(tv.send(&aimed[..40]), Err(Error::Reserved));
    assert_eq!(phone.page(), "question");

    // Whoever is at the phone answers as ever.
    phone.scene.back_key();
    phone.screen.settle();
    assert_eq!(phone.page(), "home");
    assert_eq!(tv.stands(), Standing::Open);
    // The finger that was down before is not any more: lifting it presses nothing.
    tv.send(&[tv.finger(Phase::Up, 65.0, 735.0)]).unwrap();
    assert_eq!(phone.page(), "home");
    tv.tap(65.0, 735.0).unwrap();
    assert_eq!(phone.page(), "settings");
}

#[test]
fn what_comes_between_two_events_is_seen_before_the_second() {
    let phone = Phone::new();
    phone.unlock();
    let tv = Control::begin(&phone, "Living room").unwrap();
    // While the screen is locked a question waits; the first key unlocks, and the second would answer it.
    phone.scene.lock();
    phone.is_asked(vec![question()]);
    assert_eq!(phone.page(), "lock");
    let keys = [Event::Key(Key::Ok), Event::Key(Key::Back)];
    assert_eq!(tv.send(&keys), Err(Error::Reserved));
    assert_eq!(phone.page(), "question");
}

#[test]
fn input_reaches_no_room_in_which_the_owner_says_whom_to_trust() {
    let phone = Phone::new();
    phone.unlock();
    let tv = Control::begin(&phone, "Living room").unwrap();
    for room in ["pairing", "grants"] {
        phone.go(room);
        assert_eq!(tv.stands(), Standing::Reserved, "{room}");
        let before = phone.screen.picture();
        for event in [
            Event::Key(Key::Ok),
            Event::Key(Key::Back),
            Event::Text("1".into()),
        ] {
            assert_eq!(tv.send(&[event]), Err(Error::Reserved), "{room}");
        }
        assert_eq!(tv.tap(180.0, 300.0), Err(Error::Reserved), "{room}");
        assert!(phone.page().ends_with(room), "{room}");
        assert!(changed(&before, &phone.screen.picture()) < 0.0001, "{room}");
        phone.scene.back_key();
        phone.screen.settle();
        assert_eq!(tv.stands(), Standing::Open, "{room}");
    }
    // Two digits to compare come before the person's eyes by themselves.
    let stage = bus::pairing::Stage::Compare(super::comparison());
    phone.scene.apply(Update::Pairing(stage));
    assert_eq!(tv.send(&[Event::Key(Key::Ok)]), Err(Error::Reserved));
    assert_eq!(phone.page(), "settings/pairing");
}

#[test]
fn a_mark_says_who_and_ends_it_and_the_device_is_refused_for_a_minute() {
    let phone = Phone::new();
    phone.setting("display.screen-off-after", Value::Integer(0));
    phone.unlock();
    let quiet = phone.picture("visit-none");
    let tv = Control::begin(&phone, "Living room").unwrap();
    let marked = phone.picture("visit-controlled");
    assert!(changed(&quiet, &marked) > 0.003);
    let other = visitor("Kitchen");
    assert_eq!(
        phone
            .scene
            .begin_visit(other.clone(), Purpose::Control)
            .err(),
        Some(Ending::Occupied)
    );
    let (view, _seen) = phone
        .scene
        .begin_visit(tv.visitor.clone(), Purpose::View)
        .unwrap();
    let (second, _other_seen) = phone.scene.begin_visit(other, Purpose::View).unwrap();
    phone.screen.settle();
    phone.picture("visit-two");
    assert_eq!(phone.marks(), 2, "one for each device");
    assert_eq!(
        phone.scene.begin_visit(visitor("Hub"), Purpose::View).err(),
        Some(Ending::Occupied)
    );
    phone.scene.end_visit(second);
    phone.screen.settle();
    phone.picture("visit-both");

    // Another session of the same device is not this one, nor is another device's word.
    let send = |visitor: &Visitor, session| {
        phone
            .scene
            .take_events(visitor, session, &[Event::Key(Key::Home)])
    };
    assert_eq!(send(&visitor("Kitchen"), tv.session), Err(Error::Over));
    assert_eq!(send(&tv.visitor, view), Err(Error::Over), "it only sees");

    // The mark stands at the top, in the middle.
    phone.screen.tap(180.0, 24.0);
    phone.screen.settle();
    assert_eq!(phone.marks(), 0);
    assert_eq!(tv.stands(), Standing::Over(Ending::Stopped));
    assert!(!phone.scene.is_visited(view));
    assert_eq!(tv.key(Key::Home), Err(Error::Over));
    let again = || Control::begin(&phone, "Living room").err();
    assert_eq!(again(), Some(Ending::Recently));
    phone.screen.advance(Duration::from_secs(61));
    assert_eq!(again(), None);
    assert_eq!(phone.marks(), 1);
}

#[test]
fn the_power_key_ends_it_and_so_does_the_device_that_goes() {
    let phone = Phone::new();
    phone.unlock();
    let tv = Control::begin(&phone, "Living room").unwrap();
    let again = Control::begin(&phone, "Living room").unwrap();
    assert_eq!(tv.stands(), Standing::Over(Ending::Replaced));
    assert_eq!(phone.marks(), 1);
    phone.scene.power_key(PowerKey::Short);
    assert_eq!(again.stands(), Standing::Over(Ending::Stopped));
    assert_eq!(phone.marks(), 0);
    phone.scene.power_key(PowerKey::Short);
    phone.unlock();
    // One that is gone leaves nothing held down behind.
    let kitchen = Control::begin(&phone, "Kitchen").unwrap();
    kitchen
        .send(&[kitchen.finger(Phase::Down, 65.0, 735.0)])
        .unwrap();
    phone.scene.end_visit(kitchen.session);
    phone.screen.settle();
    assert_eq!(phone.marks(), 0);
    assert_eq!(phone.page(), "home");
    phone.screen.tap(65.0, 735.0);
    phone.screen.settle();
    assert_eq!(phone.page(), "settings", "a finger here is a finger");
}

#[test]
fn whoever_is_at_the_screen_comes_first() {
    let phone = Phone::new();
    phone.unlock();
    let tv = Control::begin(&phone, "Living room").unwrap();
    // Held down for good, elsewhere.
    tv.send(&[tv.finger(Phase::Down, 300.0, 400.0)]).unwrap();
    tv.send(&[Event::Button(true)]).unwrap();
    phone.screen.touch(65.0, 735.0);
    phone.screen.advance(Duration::from_millis(60));
    // Meanwhile nothing from elsewhere is noticed.
    tv.send(&[
        tv.finger(Phase::Moved, 10.0, 10.0),
        tv.finger(Phase::Up, 10.0, 10.0),
    ])
    .unwrap();
    tv.send(&[Event::Button(false)]).unwrap();
    phone.screen.release(65.0, 735.0);
    phone.screen.settle();
    assert_eq!(phone.page(), "settings");
}

#[test]
fn no_more_is_taken_than_a_person_does() {
    let phone = Phone::new();
    phone.unlock();
    let tv = Control::begin(&phone, "Living room").unwrap();
    let keys = |count| vec![Event::Key(Key::Left); count];
    assert_eq!(tv.send(&keys(65)), Err(Error::TooMany));
    let at_once = |events: &[Event]| phone.scene.take_events(&tv.visitor, tv.session, events);
    phone.screen.advance(Duration::from_secs(2));
    let taken = (0..100).take_while(|_| at_once(&keys(40)).is_ok()).count();
    assert_eq!(taken, 10, "400 in a second");
    phone.screen.advance(Duration::from_secs(1));
    assert_eq!(at_once(&keys(40)), Ok(()));
    // One that is no event takes those before it along.
    let odd = [Event::Key(Key::Home), Event::Text("\u{1b}".into())];
    phone.go("settings");
    phone.screen.advance(Duration::from_secs(1));
    assert!(matches!(at_once(&odd), Err(Error::Unfit(_))));
    phone.screen.settle();
    assert_eq!(phone.page(), "settings");
}

#[test]
fn what_is_seen_elsewhere_is_what_is_on_the_screen_and_never_what_is_reserved() {
    let phone = Phone::new();
    let screen = phone.screen.screen();
    serve::offer(&phone.scene, Rc::new(phone.screen.screen()));
    phone.unlock();
    let mut seeing = Seeing::default();
    let woken = Rc::new(std::cell::Cell::new(0));
    let wakes = Rc::clone(&woken);
    assert!(Measured::watch(
        &screen,
        7,
        Box::new(move || wakes.set(wakes.get() + 1))
    ));
    assert_eq!(phone.seen(7, &mut seeing), "picture");
    let is_seen = |seeing: &Seeing| {
        let picture = phone.screen.picture();
        seeing.pixels.as_flattened() == picture.pixels
    };
    assert!(is_seen(&seeing));
    for room in ["settings", "display", "about"] {
        phone.go(room);
        phone
            .screen
            .drag((180.0, 600.0), (180.0, 300.0), Duration::from_millis(200));
        phone.screen.settle();
        assert_eq!(phone.seen(7, &mut seeing), "picture", "{room}");
        assert!(is_seen(&seeing), "{room}");
    }
    // Where nothing changes nobody is woken, and there is nothing to send.
    let before = woken.get();
    phone.screen.advance(Duration::from_secs(3));
    assert_eq!(woken.get(), before);
    assert_eq!(phone.seen(7, &mut seeing), "nothing");

    // A question, from before it is drawn until it is drawn away.
    phone.scene.apply(Update::Questions(Questions {
        waiting: vec![question()],
        muted: Vec::new(),
    }));
    assert_eq!(phone.seen(7, &mut seeing), "hidden");
    phone.screen.settle();
    assert_eq!(phone.seen(7, &mut seeing), "nothing", "it was said already");
    phone.screen.advance(Duration::from_millis(700));
    phone.scene.back_key();
    assert_eq!(
        phone.seen(7, &mut seeing),
        "nothing",
        "it is answered, and still in the picture"
    );
    phone.screen.settle();
    assert_eq!(phone.seen(7, &mut seeing), "picture");
    assert!(is_seen(&seeing), "all of it again");

    for room in ["pairing", "grants"] {
        phone.go(room);
        assert_eq!(phone.seen(7, &mut seeing), "hidden", "{room}");
        phone.scene.back_key();
        phone.screen.settle();
        assert_eq!(phone.seen(7, &mut seeing), "picture", "{room}");
        assert!(is_seen(&seeing), "{room}");
    }
    phone.scene.set_power(false);
    assert_eq!(phone.seen(7, &mut seeing), "dark");
    phone.scene.set_power(true);
    phone.screen.settle();
    assert_eq!(phone.seen(7, &mut seeing), "picture");
    assert!(is_seen(&seeing));
    Measured::unwatch(&screen, 7);
    phone.swipe_up();
    assert_eq!(phone.seen(7, &mut seeing), "nothing");
}

#[test]
fn the_remote_control_says_how_things_stand_and_every_key_of_it_is_one() {
    for (width, height, scale) in [(540, 1200, 1.5), (1280, 720, 1.0), (360, 640, 1.0)] {
        // One screen a thread.
        std::thread::spawn(move || {
            let phone = Phone::of_size(width, height, scale);
            phone.unlock();
            phone.go("family-device");
            phone.go("remote");
            let mut seen = vec![phone.picture(&format!("{width}-remote-connecting"))];
            for (word, standing) in [
                ("there", Reached::There),
                ("reserved", Reached::Reserved),
                ("stopped", Reached::Over(Over::Stopped)),
                (
                    "lost",
                    Reached::Over(Over::Lost("The device cannot be reached: no route.".into())),
                ),
            ] {
                phone.scene.apply(Update::Controlled(standing));
                phone.screen.settle();
                let picture = phone.picture(&format!("{width}-remote-{word}"));
                assert!(
                    seen.iter().all(|other| changed(other, &picture) > 0.0005),
                    "{word}"
                );
                seen.push(picture);
            }
            phone.scene.apply(Update::Controlled(Reached::There));
            for tag in ["zh-CN", "es"] {
                phone.setting("language", Value::Text(tag.into()));
                phone.screen.settle();
                phone.picture(&format!("{width}-remote-{tag}"));
            }
            phone.setting("appearance.theme", Value::Text("light".into()));
            phone.setting("appearance.text-size", Value::Integer(200));
            phone.screen.settle();
            phone.picture(&format!("{width}-remote-light-200"));
            phone.setting("appearance.text-size", Value::Integer(100));
            every_key(&phone);
        })
        .join()
        .unwrap();
    }
}

/// Presses everywhere, and types.
fn every_key(phone: &Phone) {
    use std::cell::RefCell;
    let remote = phone.scene.window().global::<ui::Remote<'_>>();
    let done = Rc::new(RefCell::new(Vec::new()));
    let (keys, clicks, typed) = (Rc::clone(&done), Rc::clone(&done), Rc::clone(&done));
    let (moves, scrolls) = (Rc::clone(&done), Rc::clone(&done));
    remote.on_press(move |key| keys.borrow_mut().push(format!("{key:?}")));
    remote.on_clicked(move || clicks.borrow_mut().push("click".into()));
    remote.on_moved(move |_, _| moves.borrow_mut().push("move".into()));
    remote.on_scrolled(move |_| scrolls.borrow_mut().push("scroll".into()));
    remote.on_typed(move |text| typed.borrow_mut().push(format!("typed {text}")));
    let (width, height) = phone.size();
    // Below the header, where the way back is.
    for y in (100..height as usize).step_by(18) {
        for x in (24..width as usize - 24).step_by(if width > 700.0 { 32 } else { 18 }) {
            let (x, y) = (x as f32, y as f32);
            phone.screen.touch(x, y);
            phone.screen.touch_move(x, y + 1.0);
            phone.screen.release(x, y + 1.0);
            // What is typed in stands over the touchpad.
            phone
                .scene
                .window()
                .global::<ui::Keyboard<'_>>()
                .set_shown(false);
            phone.scene.window().invoke_focus_screen();
        }
    }
    phone.screen.settle();
    assert_eq!(phone.page(), "settings/remote");
    // What is typed is told as it stands in the field.
    phone.screen.tap(width * 0.6, 122.0);
    phone.screen.type_text("ab");
    phone.screen.key(slint::platform::Key::Backspace);
    for wanted in [
        "typed a", "typed ab", "Up", "Down", "Left", "Right", "Ok", "Back", "Home", "Power",
        "click", "move", "scroll",
    ] {
        assert!(done.borrow().iter().any(|one| one == wanted), "{wanted}");
    }
}

/// Something that can be looked at.
fn gradient(width: u32, height: u32) -> slint::SharedPixelBuffer<slint::Rgb8Pixel> {
    let mut buffer = slint::SharedPixelBuffer::new(width, height);
    let pixels: &mut [slint::Rgb8Pixel] = buffer.make_mut_slice();
    for (pixel, index) in pixels.iter_mut().zip(0..) {
        let share = |at: u32, of: u32| (at * 255 / of) as u8;
        *pixel = slint::Rgb8Pixel::new(
            share(index % width, width),
            share(index / width, height),
            120,
        );
    }
    buffer
}

#[test]
fn another_device_s_screen_is_seen_and_touched_where_it_is_shown() {
    for (width, height, scale) in [(540, 1200, 1.5), (1280, 720, 1.0)] {
        // One screen a thread.
        std::thread::spawn(move || {
            let phone = Phone::of_size(width, height, scale);
            // What is shown: the home screen of a phone, as large as there is room.
            phone.unlock();
            phone.go("family-device");
            phone.go("view");
            phone.picture(&format!("{width}-view-connecting"));
            let view = phone.scene.window().global::<ui::View<'_>>();
            // One that comes while none is wanted is not shown, and does not hold the sender up.
            let taken = std::sync::Arc::new(Notify::new());
            let unwanted = gradient(width / 2, height / 2);
            let seen = Seen::Picture(unwanted.clone(), std::sync::Arc::clone(&taken));
            phone.scene.apply(Update::Seen(seen));
            assert_eq!(view.get_image().size().width, 0);
            let told = std::pin::pin!(taken.notified());
            assert!(futures::FutureExt::now_or_never(told).is_some());
            view.set_state(ui::Reached::There);
            view.set_image(slint::Image::from_rgb8(unwanted));
            phone.screen.settle();
            let there = phone.picture(&format!("{width}-view"));
            let touches = Rc::new(std::cell::RefCell::new(Vec::new()));
            let touched = Rc::clone(&touches);
            view.on_touch(move |finger, x, y| touched.borrow_mut().push((finger, x, y)));
            // In the middle of the page's room, which is that of the picture.
            let (wide, high) = phone.size();
            let middle = (wide / 2.0, (88.0 + high - 72.0) / 2.0);
            phone.screen.tap(middle.0, middle.1);
            phone.screen.settle();
            let near = |at: f32| (at - 0.5).abs() < 0.03;
            for (finger, x, y) in touches.borrow().iter() {
                assert!(near(*x) && near(*y), "{finger:?} at {x} × {y}");
            }
            let fingers: Vec<_> = touches
                .borrow()
                .iter()
                .map(|(finger, ..)| *finger)
                .collect();
            assert_eq!(fingers.first(), Some(&ui::Finger::Down));
            assert_eq!(fingers.last(), Some(&ui::Finger::Up));
            // The keyboard, which is the fourth button.
            let left = (wide - (wide - 40.0).min(600.0)) / 2.0;
            phone.screen.tap(left + 3.0 * 60.0 + 24.0, high - 36.0);
            phone.screen.settle();
            phone.picture(&format!("{width}-view-typing"));
            for (word, standing) in [("hidden", Reached::Reserved), ("dark", Reached::Dark)] {
                phone.scene.apply(Update::Seen(Seen::Nothing(standing)));
                phone.screen.settle();
                assert_eq!(
                    view.get_image().size().width,
                    0,
                    "nothing of before is shown"
                );
                assert!(changed(&there, &phone.picture(&format!("{width}-view-{word}"))) > 0.1);
            }
        })
        .join()
        .unwrap();
    }
}

#[test]
fn marks_are_read_in_every_language_and_on_wide_screens() {
    for (width, height, scale) in [(540, 1200, 1.5), (1280, 720, 1.0)] {
        // One screen a thread.
        std::thread::spawn(move || {
            let phone = Phone::of_size(width, height, scale);
            phone.unlock();
            let (_, _both) = phone
                .scene
                .begin_visit(visitor("Living room"), Purpose::Control)
                .unwrap();
            let (_, _sees) = phone
                .scene
                .begin_visit(visitor("Living room"), Purpose::View)
                .unwrap();
            for tag in ["en", "zh-CN", "es"] {
                phone.setting("language", Value::Text(tag.into()));
                phone.screen.settle();
                phone.picture(&format!("{width}-visit-{tag}"));
            }
            phone.setting("appearance.text-size", Value::Integer(200));
            phone.setting("appearance.theme", Value::Text("light".into()));
            phone.go("settings");
            phone.picture(&format!("{width}-visit-light-200"));
        })
        .join()
        .unwrap();
    }
}
