//! The screen of a device in memory, beside the real services of a [`House`](crate::house::House), and
//! what another device does with it: controls it, and sees it.

use std::path::PathBuf;
use std::rc::Rc;
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
use xtask::machine::LIMIT;

use crate::house::Device;

type Task = Box<dyn FnOnce(&Headless, &Scene) + Send>;

/// The screen of a device, on a thread of its own. Its clock runs as ours; the time that it shows stands, so
/// that nothing on it changes by itself.
#[derive(Debug)]
pub struct Shell {
    tasks: Option<mpsc::Sender<Task>>,
    threads: Vec<JoinHandle<()>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
}

impl Shell {
    /// Makes a screen of so many pixels, which serves others at the device whose sockets are in `bus`.
    ///
    /// # Errors
    ///
    /// Fails when its threads end before it is there.
    pub fn start(bus: PathBuf, size: (u32, u32)) -> Result<Self> {
        let (tasks, inbox) = mpsc::channel::<Task>();
        let (serves, served) = mpsc::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let folder = bus.clone();
        let started = jiff::Timestamp::now();
        let screen = std::thread::spawn(move || {
            let screen = Headless::new(size.0, size.1, 1.5);
            ui::fonts::register(&["/usr/share/fonts/opentype".into()], ui::fonts::Faces::All);
            let clock = screen.screen();
            let surroundings = Surroundings {
                ui: screen.ui(),
                now: Rc::new(move || clock.now()),
                wall: Rc::new(move || started),
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
    ///
    /// # Errors
    ///
    /// Fails when the screen has ended.
    pub async fn at<T: Send + 'static>(
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

    /// Waits until the screen is as it should be.
    ///
    /// # Errors
    ///
    /// Fails when it is not for long.
    pub async fn until(
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

    /// Waits until a page is on the screen.
    ///
    /// # Errors
    ///
    /// Fails when it does not come for long.
    pub async fn stands_on(&self, page: &'static str) -> Result<()> {
        self.until(page, move |scene| scene.status().page == page)
            .await
    }

    /// Waits until the screen says that so many visit it.
    ///
    /// # Errors
    ///
    /// Fails when it does not for long.
    pub async fn shows_marks(&self, count: usize) -> Result<()> {
        self.until("who is there", move |scene| {
            let visits = scene.window().global::<ui::Visits<'_>>();
            slint::Model::row_count(&visits.get_all()) == count
        })
        .await
    }

    /// Waits until a question stands there for somebody to answer.
    ///
    /// # Errors
    ///
    /// Fails when none comes.
    pub async fn asks(&self) -> Result<()> {
        self.stands_on("question").await?;
        self.until("it can be answered", |scene| {
            scene.window().global::<ui::Consent<'_>>().get_armed()
        })
        .await
    }

    /// Waits for a question, which somebody at the device answers.
    ///
    /// # Errors
    ///
    /// Fails when none comes.
    pub async fn answers(&self, reply: ui::Reply) -> Result<()> {
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

/// Waits for something on a runtime of its own.
///
/// # Panics
///
/// When there can be none.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().expect("a runtime");
    runtime.block_on(future)
}

/// The way from one device to another.
#[must_use]
pub fn way(from: &Device, to: &str) -> Client {
    Client::new(Address::Here(from.bus()))
        .to_device(to)
        .with_deadline(LIMIT)
}

/// A session in which one device controls another, until it is dropped.
#[derive(Debug)]
pub struct Session {
    there: Client,
    states: Incoming<State>,
    number: u64,
}

impl Session {
    /// Begins one.
    ///
    /// # Errors
    ///
    /// Fails when the other device does not let it begin.
    pub async fn begin(there: Client) -> Result<Self> {
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

    /// How it stands, when that changes.
    ///
    /// # Errors
    ///
    /// Fails when it has ended, and when nothing comes for long.
    pub async fn next(&mut self) -> Result<State> {
        let next = tokio::time::timeout(LIMIT, self.states.next());
        Ok(next.await?.context("the session ended")??)
    }

    /// Sends what a person does, and answers what became of it.
    ///
    /// # Errors
    ///
    /// Fails when the other device does not answer.
    pub async fn send(&self, events: &[Event]) -> Result<Result<(), Error>> {
        Ok(bus::input::send(&self.there, self.number, events).await?)
    }

    /// As a person does it: it has to be taken.
    ///
    /// # Errors
    ///
    /// Fails when it is not.
    pub async fn does(&self, events: &[Event]) -> Result<()> {
        let sent = self.send(events).await?;
        ensure!(sent.is_ok(), "{events:?}: {sent:?}");
        Ok(())
    }

    /// A key that has to be taken.
    ///
    /// # Errors
    ///
    /// Fails when it is not.
    pub async fn key(&self, key: Key) -> Result<()> {
        self.does(&[Event::Key(key)]).await
    }
}

/// A finger on the screen, by shares of its width and height.
#[must_use]
pub fn finger(phase: Phase, x: f32, y: f32) -> Event {
    Event::Touch(Finger { phase, x, y })
}

/// Another device's screen, put together as it comes.
#[derive(Debug)]
pub struct Seeing {
    updates: Incoming<Seen>,
    /// What is seen.
    pub canvas: Canvas,
    /// How often all that had changed was there.
    pub pictures: u64,
}

impl Seeing {
    /// Begins to watch.
    ///
    /// # Errors
    ///
    /// Fails when the other device does not answer.
    pub async fn begin(there: &Client) -> Result<Self> {
        Ok(Self {
            updates: bus::view::watch(there).await?,
            canvas: Canvas::default(),
            pictures: 0,
        })
    }

    /// The next thing that is no part of a picture that goes on; none: a picture, which was put in.
    ///
    /// # Errors
    ///
    /// Fails when nothing comes for long, and at what no screen sends.
    pub async fn next(&mut self) -> Result<Option<Seen>> {
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
    ///
    /// # Errors
    ///
    /// Fails when it is not for long.
    pub async fn until_it_is(&mut self, shell: &Shell) -> Result<()> {
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
