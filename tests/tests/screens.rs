//! One device's screen from another: controlled, seen, and asked about. Real `mesh`es, each device in a
//! network namespace of its own, with the shell's own screen in memory.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bus::input::{Error, Event, Finger, Key, Phase, State};
use bus::view::Update as Seen;
use bus::{Address, Client, Incoming};
use futures::StreamExt as _;
use picture::Canvas;
use shell::platform::Headless;
use shell::scene::updates::Update;
use shell::scene::{Scene, Surroundings, reach};
use shell::serve;
use slint::ComponentHandle as _;
use system_tests::house::{Device, House};
use xtask::machine::LIMIT;

type Task = Box<dyn FnOnce(&Headless, &Scene) + Send>;

/// The screen of a device, on a thread of its own.
struct Shell {
    tasks: Option<mpsc::Sender<Task>>,
    threads: Vec<JoinHandle<()>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
}

impl Shell {
    fn start(bus: PathBuf, size: (u32, u32)) -> Result<Self> {
        let (tasks, inbox) = mpsc::channel::<Task>();
        let (serves, served) = mpsc::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let folder = bus.clone();
        let screen = std::thread::spawn(move || {
            let screen = Headless::new(size.0, size.1, 1.5);
            ui::fonts::register(&["/usr/share/fonts/opentype".into()], ui::fonts::Faces::All);
            let clock = screen.screen();
            let surroundings = Surroundings {
                ui: screen.ui(),
                now: Rc::new(move || clock.now()),
                wall: Rc::new(jiff::Timestamp::now),
                data: None,
                system: "/nonexistent".into(),
            };
            let scene = Scene::new(Rc::new(screen.screen()), surroundings).expect("a scene");
            serve::offer(&scene, Rc::new(screen.screen()));
            let stays_on = bus::settings::Value::Integer(0);
            scene.apply(Update::Setting("display.screen-off-after".into(), stays_on));
            let client = Client::new(Address::Here(folder));
            scene.connect(client, None).expect("a thread");
            let sent = serves.send((scene.notifications(), screen.ui()));
            sent.expect("somebody serves");
            let mut last = Instant::now();
            loop {
                let now = Instant::now();
                screen.advance(now - std::mem::replace(&mut last, now));
                match inbox.recv_timeout(Duration::from_millis(4)) {
                    Ok(task) => task(&screen, &scene),
                    Err(mpsc::RecvTimeoutError::Timeout) => {}
                    Err(mpsc::RecvTimeoutError::Disconnected) => return,
                }
            }
        });
        let (notifications, ui) = served.recv().context("the screen is made")?;
        let (ready, bound) = mpsc::channel();
        let server = std::thread::spawn(move || {
            block_on(async {
                let shared = |id: &str| format!("{}{id}", bus::carry::SHARED);
                let (input, view) = (shared(bus::input::ID), shared(bus::view::ID));
                let ids = [
                    bus::screen::ID,
                    bus::input::ID,
                    bus::view::ID,
                    &input,
                    &view,
                ];
                let mut server = bus::Server::bind(&bus, &ids).expect("sockets");
                let _alone = serve::fill(&mut server, &ui, notifications);
                ready.send(()).expect("somebody waits");
                tokio::select! {
                    ended = server.run() => ended.expect("serving"),
                    _ = stopped => {}
                }
            });
        });
        bound.recv().context("its sockets are made")?;
        Ok(Self {
            tasks: Some(tasks),
            threads: vec![screen, server],
            stop: Some(stop),
        })
    }

    /// Does something as somebody at the device, or looks at it.
    async fn at<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Headless, &Scene) -> T + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        let task: Task = Box::new(move |screen, scene| {
            // Who asked waits.
            let _ = answer.send(act(screen, scene));
        });
        let tasks = self.tasks.as_ref().context("it runs")?;
        tasks.send(task).ok().context("the screen ended")?;
        Ok(answered.await?)
    }

    async fn until(
        &self,
        what: &str,
        is: impl Fn(&Scene) -> bool + Clone + Send + 'static,
    ) -> Result<()> {
        let begin = Instant::now();
        loop {
            let is = is.clone();
            let (is, page) = self
                .at(move |_, scene| (is(scene), scene.status().page))
                .await?;
            if is {
                return Ok(());
            }
            ensure!(begin.elapsed() < LIMIT, "{what}: it stays on {page}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn stands_on(&self, page: &'static str) -> Result<()> {
        self.until(page, move |scene| scene.status().page == page)
            .await
    }

    async fn shows_marks(&self, count: usize) -> Result<()> {
        self.until("who is there", move |scene| {
            let visits = scene.window().global::<ui::Visits<'_>>();
            slint::Model::row_count(&visits.get_all()) == count
        })
        .await
    }

    /// A question stands there for somebody to answer.
    async fn asks(&self) -> Result<()> {
        self.stands_on("question").await?;
        self.until("it can be answered", |scene| {
            scene.window().global::<ui::Consent<'_>>().get_armed()
        })
        .await
    }

    /// Somebody at the device answers it.
    async fn answers(&self, reply: ui::Reply) -> Result<()> {
        self.asks().await?;
        self.at(move |_, scene| {
            let consent = scene.window().global::<ui::Consent<'_>>();
            consent.invoke_answer(reply);
        })
        .await
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        drop(self.stop.take());
        drop(self.tasks.take());
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().expect("a runtime");
    runtime.block_on(future)
}

/// The way from one device to another.
fn way(from: &Device, to: &str) -> Client {
    Client::new(Address::Here(from.bus()))
        .to_device(to)
        .with_deadline(LIMIT)
}

/// A session in which one device controls another.
struct Session {
    there: Client,
    states: Incoming<State>,
    number: u64,
}

impl Session {
    async fn begin(there: Client) -> Result<Self> {
        let states = bus::input::begin(&there).await?;
        let mut session = Self {
            there,
            states,
            number: 0,
        };
        match session.next().await? {
            State::Taken(number) | State::Reserved(number) => session.number = number,
            State::Over(ending) => anyhow::bail!("it is over: {ending:?}"),
        }
        Ok(session)
    }

    async fn next(&mut self) -> Result<State> {
        let next = tokio::time::timeout(LIMIT, self.states.next());
        Ok(next.await?.context("the session ended")??)
    }

    async fn send(&self, events: &[Event]) -> Result<Result<(), Error>> {
        Ok(bus::input::send(&self.there, self.number, events).await?)
    }

    async fn key(&self, key: Key) -> Result<()> {
        let sent = self.send(&[Event::Key(key)]).await?;
        ensure!(sent.is_ok(), "{key:?}: {sent:?}");
        Ok(())
    }
}

/// Another device's screen, put together.
struct Seeing {
    updates: Incoming<Seen>,
    canvas: Canvas,
    pictures: u64,
}

impl Seeing {
    async fn begin(there: &Client) -> Result<Self> {
        Ok(Self {
            updates: bus::view::watch(there).await?,
            canvas: Canvas::default(),
            pictures: 0,
        })
    }

    /// The next thing that is no part of a picture that goes on.
    async fn next(&mut self) -> Result<Option<Seen>> {
        loop {
            let next = tokio::time::timeout(LIMIT, self.updates.next()).await?;
            match next.context("the view ended")?? {
                Seen::Picture(sent) => {
                    reach::put(&mut self.canvas, &sent)?;
                    if sent.whole {
                        self.pictures += 1;
                        return Ok(None);
                    }
                }
                other => return Ok(Some(other)),
            }
        }
    }

    /// Follows until what is seen is what is there.
    async fn until_it_is(&mut self, shell: &Shell) -> Result<()> {
        let begin = Instant::now();
        loop {
            let there = shell.at(|screen, _| screen.picture()).await?;
            if self.canvas.pixels() == there.pixels {
                return Ok(());
            }
            ensure!(begin.elapsed() < LIMIT, "another picture is seen");
            // What is on its way comes; where nothing is, it was the last look that was too early.
            let soon = Duration::from_millis(500);
            if let Ok(next) = tokio::time::timeout(soon, self.next()).await {
                next?;
            }
        }
    }
}

struct Home {
    phone: Device,
    tablet: Device,
    tv: Device,
    phone_shell: Shell,
    tv_shell: Shell,
}

#[test]
fn a_screen_is_controlled_and_seen_from_another_device_as_far_as_its_owner_says() {
    let Some(house) = House::new(&["mesh"]).unwrap() else {
        return;
    };
    check(&house).unwrap();
}

fn check(house: &Arc<House>) -> Result<()> {
    let (phone, tablet, tv) = (
        Device::new(house)?,
        Device::new(house)?,
        Device::new(house)?,
    );
    let home = Home {
        phone_shell: Shell::start(phone.bus(), (540, 1200))?,
        tv_shell: Shell::start(tv.bus(), (1280, 720))?,
        phone,
        tablet,
        tv,
    };
    home.phone.takes_in(&home.tablet, "tablet", "owner")?;
    home.phone.takes_in(&home.tv, "tv", "shared")?;
    home.tablet.sees("tv")?;
    home.tv.sees("tablet")?;
    block_on(async {
        a_television_by_the_owner_s_phone(&home).await?;
        how_quick(&home).await?;
        an_owner_s_device_asks(&home).await?;
        a_question_is_reached_by_nobody(&home).await?;
        ended_by_its_owner(&home).await
    })
}

/// The phone is the television's remote control, without a question, and sees what it does.
async fn a_television_by_the_owner_s_phone(home: &Home) -> Result<()> {
    let there = way(&home.phone, &home.tv.id()?);
    let mut seeing = Seeing::begin(&there).await?;
    seeing.until_it_is(&home.tv_shell).await?;
    let session = Session::begin(there).await?;
    home.tv_shell.shows_marks(1).await?;
    session.key(Key::Ok).await?;
    home.tv_shell.stands_on("home").await?;
    // As a person does: what has the focus is seen before it is chosen, and moves on where it leads nowhere.
    let begin = Instant::now();
    while home.tv_shell.at(|_, scene| scene.status().page).await? == "home" {
        ensure!(begin.elapsed() < LIMIT, "no room opens");
        session.key(Key::Down).await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
        session.key(Key::Ok).await?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    seeing.until_it_is(&home.tv_shell).await?;
    session.key(Key::Home).await?;
    home.tv_shell.stands_on("home").await?;
    seeing.until_it_is(&home.tv_shell).await?;
    // Both end with their streams.
    drop(session);
    drop(seeing);
    home.tv_shell.shows_marks(0).await
}

/// Says how quickly pictures follow what is done, on this machine.
async fn how_quick(home: &Home) -> Result<()> {
    let there = way(&home.phone, &home.tv.id()?);
    home.tv_shell
        .at(|_, scene| {
            let navigation = scene.window().global::<ui::Navigation<'_>>();
            navigation.invoke_go("settings".into());
        })
        .await?;
    let mut seeing = Seeing::begin(&there).await?;
    seeing.until_it_is(&home.tv_shell).await?;
    let session = Session::begin(there).await?;
    let finger = |phase, y| Event::Touch(Finger { phase, x: 0.5, y });
    let (begin, before) = (Instant::now(), seeing.pictures);
    let sent = session.send(&[finger(Phase::Down, 0.9)]).await?;
    ensure!(sent.is_ok(), "{sent:?}");
    for step in 0..60 {
        let to = 0.9 - 0.01 * step as f32;
        let moved = session.send(&[finger(Phase::Moved, to)]).await?;
        ensure!(moved.is_ok(), "{moved:?}");
        let next = tokio::time::timeout(Duration::from_millis(50), seeing.next()).await;
        if let Ok(next) = next {
            ensure!(next?.is_none(), "it is hidden");
        }
    }
    let (took, pictures) = (begin.elapsed(), seeing.pictures - before);
    let sent = session.send(&[finger(Phase::Cancelled, 0.3)]).await?;
    ensure!(sent.is_ok(), "{sent:?}");
    eprintln!(
        "scrolling Settings at 1280 × 720: {pictures} pictures in {took:?}, {:.0} a second",
        pictures as f32 / took.as_secs_f32()
    );
    ensure!(pictures >= 6, "{pictures} pictures of a scroll in {took:?}");
    session.key(Key::Home).await?;
    home.tv_shell.stands_on("home").await
}

/// A tablet of the same owner is let by whoever holds the phone, and by nothing else.
async fn an_owner_s_device_asks(home: &Home) -> Result<()> {
    home.phone_shell.at(|screen, _| screen.key(' ')).await?;
    home.phone_shell.stands_on("home").await?;
    let there = way(&home.tablet, &home.phone.id()?);
    let (refused, answered) = tokio::join!(
        Session::begin(there.clone()),
        home.phone_shell.answers(ui::Reply::Refuse)
    );
    answered?;
    ensure!(refused.is_err(), "the tablet controls the phone, refused");
    let (allowed, answered) = tokio::join!(
        Session::begin(there),
        home.phone_shell.answers(ui::Reply::Hour)
    );
    answered?;
    let session = allowed?;
    home.phone_shell.shows_marks(1).await?;
    let (x, y) = (65.0 / 360.0, 735.0 / 800.0);
    let finger = |phase| Event::Touch(Finger { phase, x, y });
    let tap = [finger(Phase::Down), finger(Phase::Up)];
    ensure!(session.send(&tap).await?.is_ok(), "a tap is not taken");
    home.phone_shell.stands_on("settings").await
}

/// What the television asks is answered by nobody but whoever holds the phone: not by the tablet, which may
/// control it, and sees no more of it than that it is there.
async fn a_question_is_reached_by_nobody(home: &Home) -> Result<()> {
    let there = way(&home.tablet, &home.phone.id()?);
    let mut session = Session::begin(there.clone()).await?;
    let (seeing, answered) = tokio::join!(
        Seeing::begin(&there),
        home.phone_shell.answers(ui::Reply::Hour)
    );
    answered?;
    let mut seeing = seeing?;
    seeing.until_it_is(&home.phone_shell).await?;

    let asking = way(&home.tv, &home.phone.id()?);
    let asked = tokio::spawn(async move { bus::view::watch(&asking).await.map(drop) });
    home.phone_shell.asks().await?;
    while !matches!(session.next().await?, State::Reserved(_)) {}
    while !matches!(seeing.next().await?, Some(Seen::Hidden)) {}
    let mut aimed = vec![
        Event::Text(" ".into()),
        Event::Button(true),
        Event::Button(false),
    ];
    aimed.extend([Key::Down, Key::Ok, Key::Back, Key::Home, Key::Power].map(Event::Key));
    for y in 0..40 {
        for x in [0.25, 0.75] {
            let y = y as f32 / 40.0;
            let finger = |phase| Event::Touch(Finger { phase, x, y });
            aimed.extend([finger(Phase::Down), finger(Phase::Up)]);
        }
    }
    for event in aimed {
        let sent = session.send(std::slice::from_ref(&event)).await?;
        ensure!(
            matches!(sent, Err(Error::Reserved)),
            "{event:?} was taken: {sent:?}"
        );
    }
    home.phone_shell.stands_on("question").await?;
    ensure!(!asked.is_finished(), "it was answered");
    home.phone_shell.answers(ui::Reply::Never).await?;
    ensure!(asked.await?.is_err(), "the television sees the phone");
    while !matches!(session.next().await?, State::Taken(_)) {}
    ensure!(seeing.next().await?.is_none(), "it is still hidden");
    seeing.until_it_is(&home.phone_shell).await
}

/// What the owner takes back ends at once; what somebody at the device ends stays ended.
async fn ended_by_its_owner(home: &Home) -> Result<()> {
    let there = way(&home.tablet, &home.phone.id()?);
    let mut session = Session::begin(there.clone()).await?;
    home.phone_shell.shows_marks(1).await?;
    let here = Client::new(Address::Here(home.phone.bus()));
    let grants = bus::grants::all(&here).await?;
    let of_input = grants
        .iter()
        .find(|grant| grant.interfaces == "hyper:input/input")
        .context("a grant for an hour")?;
    let revoked = bus::grants::revoke(&here, &of_input.id).await?;
    ensure!(revoked.is_ok(), "{revoked:?}");
    while session.next().await.is_ok() {}
    home.phone_shell.shows_marks(0).await?;

    let there = way(&home.phone, &home.tv.id()?);
    let mut session = Session::begin(there.clone()).await?;
    home.tv_shell.at(|_, scene| scene.stop_all_visits()).await?;
    let stopped = |state: &State| matches!(state, State::Over(bus::input::Ending::Stopped));
    while !stopped(&session.next().await?) {}
    ensure!(
        Session::begin(there).await.is_err(),
        "it begins again at once"
    );
    Ok(())
}
