//! The thread that talks to the services, so that the screen never waits for one.
//!
//! It keeps a watch on each service that tells of changes. When a service goes away its watch is
//! made again, after a pause that grows to ten seconds; what was known stays on the screen
//! meanwhile, because it was true a moment ago and an empty page would help nobody.

use crate::clipboard::Clipboard;

use super::paper::{self, PaperUpdate};
use super::reach::{self, Wanted};
use super::updates::{Refresh, Request, Step, Trouble, Update};
use bus::Client;
use futures::StreamExt as _;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;

/// Takes an update to the thread of the screen.
pub type Sink = Arc<dyn Fn(Update) + Send + Sync>;

/// The longest pause before a watch is made again.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// For how many seconds a device that is looked for lights up.
const BEACON: u32 = 30;

/// The screen's end of the thread. Dropping it ends the thread.
#[derive(Debug, Clone)]
pub struct Link {
    requests: UnboundedSender<Request>,
    look: watch::Sender<bool>,
    look_for_family: watch::Sender<bool>,
    look_at_releases: watch::Sender<bool>,
    reach: Reach,
}

/// What another device's screen is wanted for.
#[derive(Debug, Clone)]
struct Reach {
    control: watch::Sender<Option<Wanted>>,
    events: UnboundedSender<bus::input::Event>,
    view: watch::Sender<Option<Wanted>>,
    room: watch::Sender<(u32, u32)>,
}

impl Link {
    /// Starts the thread.
    pub fn start(
        client: Client,
        clipboard: Option<Clipboard>,
        sink: Sink,
    ) -> std::io::Result<Self> {
        let (sender, requests) = unbounded_channel();
        let (look, looking) = watch::channel(false);
        let (look_for_family, looking_for_family) = watch::channel(false);
        let (look_at_releases, releases) = watch::channel(false);
        let (control, controlled) = watch::channel(None);
        let (events, to_send) = unbounded_channel();
        let (view, viewed) = watch::channel(None);
        let (room, rooms) = watch::channel((0, 0));
        std::thread::Builder::new()
            .name("services".into())
            .spawn(move || {
                match tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                {
                    Ok(runtime) => {
                        let reaching = async {
                            tokio::join!(
                                reach::control(&client, &sink, controlled, to_send),
                                reach::view(&client, &sink, viewed, rooms),
                            );
                        };
                        let all = run(
                            client.clone(),
                            clipboard,
                            sink.clone(),
                            requests,
                            Lookings {
                                nearby: looking,
                                family: looking_for_family,
                                releases,
                            },
                        );
                        runtime.block_on(async {
                            tokio::select! {
                                () = all => {}
                                () = reaching => {}
                            }
                        });
                    }
                    Err(error) => tracing::error!("cannot start the thread for services: {error}"),
                }
            })?;
        Ok(Self {
            requests: sender,
            look,
            look_for_family,
            look_at_releases,
            reach: Reach {
                control,
                events,
                view,
                room,
            },
        })
    }

    /// The device whose screen is to be controlled from here, if any.
    pub fn control(&self, device: Option<Wanted>) {
        set(&self.reach.control, device);
    }

    /// Has the device that is controlled do this.
    pub fn send(&self, event: bus::input::Event) {
        // As with `ask`.
        let _ = self.reach.events.send(event);
    }

    /// The device whose screen is to be seen here, if any.
    pub fn view(&self, device: Option<Wanted>) {
        set(&self.reach.view, device);
    }

    /// How much room there is for it, in pixels.
    pub fn room(&self, size: (u32, u32)) {
        set(&self.reach.room, size);
    }

    /// Asks for something. What comes of it arrives as updates.
    pub fn ask(&self, request: Request) {
        // The thread ends only when every `Link` is gone or the process is ending.
        let _ = self.requests.send(request);
    }

    /// Whether to look for devices nearby that are open for pairing. That sends packets, so it
    /// lasts only while somebody reads what is found.
    pub fn look_nearby(&self, on: bool) {
        set(&self.look, on);
    }

    /// Whether to look for devices nearby that let their family be restored, in the same way.
    pub fn look_for_family(&self, on: bool) {
        set(&self.look_for_family, on);
    }

    /// Whether to follow the releases of the other devices: only while somebody reads of them.
    pub fn look_at_releases(&self, on: bool) {
        set(&self.look_at_releases, on);
    }
}

/// Says it only where it is something else.
fn set<T: PartialEq>(to: &watch::Sender<T>, value: T) {
    to.send_if_modified(|now| {
        let other = *now != value;
        *now = value;
        other
    });
}

/// Whether to look for what is looked for only while somebody reads what is found.
struct Lookings {
    nearby: watch::Receiver<bool>,
    family: watch::Receiver<bool>,
    releases: watch::Receiver<bool>,
}

async fn run(
    client: Client,
    clipboard: Option<Clipboard>,
    sink: Sink,
    mut requests: UnboundedReceiver<Request>,
    lookings: Lookings,
) {
    let local = tokio::task::LocalSet::new();
    let watches = async {
        tokio::join!(
            forever("settings", || settings(&client, &sink)),
            forever("network", || network(&client, &sink)),
            forever("time", || time(&client, &sink)),
            forever("services", || services(&client, &sink)),
            forever("device", || device(&client, &sink)),
            forever("family", || family(&client, &sink)),
            forever("whether this device is lost", || loss(&client, &sink)),
            forever("profiles", || profiles(&client, &sink)),
            forever("pairing", || pairing(&client, &sink)),
            forever("grants", || grants(&client, &sink)),
            forever("questions", || questions(&client, &sink)),
            forever("candidates", || candidates(
                || bus::pairing::watch_candidates(&client),
                |found| sink(Update::Candidates(found)),
                lookings.nearby.clone()
            )),
            forever("whether there is a paper phrase", || paper::watch_phrase(
                &client, &sink
            )),
            forever("restoring a family", || paper::watch(&client, &sink)),
            forever("families to restore", || candidates(
                || bus::paper::watch_candidates(&client),
                |found| sink(Update::Paper(PaperUpdate::Candidates(found))),
                lookings.family.clone()
            )),
            forever("files", || files(&client, &sink)),
            forever("update", || update(&client, &sink)),
            forever("other releases", || other_releases(
                &client,
                &sink,
                lookings.releases.clone()
            )),
            forever("clipboard", || keep(&client, clipboard.as_ref(), &sink)),
        );
    };
    let answers = async {
        while let Some(request) = requests.recv().await {
            let (client, sink) = (client.clone(), Arc::clone(&sink));
            tokio::task::spawn_local(async move { answer(&client, &sink, request).await });
        }
    };
    local
        .run_until(async {
            tokio::select! {
                () = watches => {}
                () = answers => {}
            }
        })
        .await;
}

/// Watches again whenever a watch ends, for as long as the screen lives.
async fn forever<F: Future<Output = Result<(), bus::Error>>>(name: &str, watch: impl Fn() -> F) {
    let mut pause = Duration::from_millis(100);
    loop {
        let began = tokio::time::Instant::now();
        if let Err(error) = watch().await {
            tracing::debug!("watching {name}: {error}");
        }
        if began.elapsed() > LONGEST_PAUSE {
            pause = Duration::from_millis(100);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn settings(client: &Client, sink: &Sink) -> Result<(), bus::Error> {
    // The watch comes first, so that no change falls between it and the list.
    let mut changes = bus::settings::watch(client).await?;
    for setting in bus::settings::all(client).await? {
        sink(Update::Setting(setting.key, setting.value));
    }
    while let Some(change) = changes.next().await {
        let change = change?;
        sink(Update::Setting(change.key, change.value));
    }
    Ok(())
}

async fn network(client: &Client, sink: &Sink) -> Result<(), bus::Error> {
    let mut states = bus::network::watch(client).await?;
    while let Some(state) = states.next().await {
        sink(Update::Network(state?));
    }
    Ok(())
}

async fn time(client: &Client, sink: &Sink) -> Result<(), bus::Error> {
    let mut states = bus::time::watch(client).await?;
    sink(Update::Time(bus::time::status(client).await?.into()));
    while let Some(state) = states.next().await {
        sink(Update::Time(state?.into()));
    }
    Ok(())
}

async fn services(client: &Client, sink: &Sink) -> Result<(), bus::Error> {
    let mut changes = bus::services::watch(client).await?;
    sink(Update::Services(bus::services::all(client).await?));
    while let Some(service) = changes.next().await {
        sink(Update::Service(Box::new(service?)));
    }
    Ok(())
}

async fn family(client: &Client, sink: &Sink) -> Result<(), bus::Error> {
    let mut families = bus::family::watch(client).await?;
    while let Some(devices) = families.next().await {
        sink(Update::Family(devices?));
    }
    Ok(())
}

async fn loss(client: &Client, sink: &Sink) -> Result<(), bus::Error> {
    let mut losses = bus::family::watch_lost(client).await?;
    while let Some(loss) = losses.next().await {
        sink(Update::Lost(loss?));
    }
    Ok(())
}

async fn profiles(client: &Client, sink: &Sink) -> Result<(), bus::Error> {
    let mut lists = bus::home::watch(client).await?;
    while let Some(profiles) = lists.next().await {
        sink(Update::Profiles(profiles?));
    }
    Ok(())
}

async fn pairing(client: &Client, sink: &Sink) -> Result<(), bus::Error> {
    let mut stages = bus::pairing::watch(client).await?;
    while let Some(stage) = stages.next().await {
        sink(Update::Pairing(stage?));
    }
    Ok(())
}

async fn grants(client: &Client, sink: &Sink) -> Result<(), bus::Error> {
    let mut lists = bus::grants::watch(client).await?;
    while let Some(grants) = lists.next().await {
        sink(Update::Grants(grants?));
    }
    Ok(())
}

/// What waits for the owner. Watching is what brings questions to this screen.
async fn questions(client: &Client, sink: &Sink) -> Result<(), bus::Error> {
    let mut standings = bus::questions::watch(client).await?;
    let watched = async {
        while let Some(standing) = standings.next().await {
            sink(Update::Questions(standing?));
        }
        Ok(())
    };
    let ended = watched.await;
    // Who kept the questions is gone, and so are they: nobody shall answer what is not asked any more.
    sink(Update::Questions(bus::questions::Standing {
        waiting: Vec::new(),
        muted: Vec::new(),
    }));
    ended
}

/// Who is nearby, for as long as that is wanted: the watch is what makes the service look.
async fn candidates<F>(
    watch: impl Fn() -> F,
    tell: impl Fn(Vec<bus::pairing::Candidate>),
    mut looking: watch::Receiver<bool>,
) -> Result<(), bus::Error>
where
    F: Future<Output = Result<bus::Incoming<Vec<bus::pairing::Candidate>>, bus::Error>>,
{
    // Fails only when the screen ends, and then nobody waits for this.
    let _ = looking.wait_for(|on| *on).await;
    let mut lists = watch().await?;
    loop {
        tokio::select! {
            _ = looking.wait_for(|on| !*on) => {
                tell(Vec::new());
                return Ok(());
            }
            candidates = lists.next() => match candidates {
                Some(candidates) => tell(candidates?),
                None => return Ok(()),
            },
        }
    }
}

async fn update(client: &Client, sink: &Sink) -> Result<(), bus::Error> {
    let mut states = bus::update::watch(client).await?;
    while let Some(state) = states.next().await {
        sink(Update::Release(Box::new(state?)));
    }
    Ok(())
}

/// A task that ends when it is dropped.
struct Task(tokio::task::JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The releases of the other devices, for as long as that is wanted. Of a device that is not the owner's
/// nobody is asked: the owner would be, each time.
async fn other_releases(
    client: &Client,
    sink: &Sink,
    mut looking: watch::Receiver<bool>,
) -> Result<(), bus::Error> {
    use bus::family::Role;
    // Fails only when the screen ends, and then nobody waits for this.
    let _ = looking.wait_for(|on| *on).await;
    let mut families = bus::family::watch(client).await?;
    let mut tasks: BTreeMap<String, Task> = BTreeMap::new();
    loop {
        let devices = tokio::select! {
            _ = looking.wait_for(|on| !*on) => return Ok(()),
            devices = families.next() => match devices {
                Some(devices) => devices?,
                None => return Ok(()),
            },
        };
        let owner = |device: &bus::family::Device| device.here && device.role == Role::Owner;
        let owner = devices.iter().any(owner);
        let mut there: Vec<String> = Vec::new();
        for device in devices {
            if owner && device.online && !device.here && device.role != Role::Guest {
                there.push(device.id);
            }
        }
        tasks.retain(|id, _| there.contains(id));
        for id in there {
            tasks.entry(id.clone()).or_insert_with(|| {
                Task(tokio::task::spawn_local(other_release(
                    id,
                    Arc::clone(sink),
                )))
            });
        }
    }
}

async fn other_release(id: String, sink: Sink) {
    let client = Client::of_device(&id);
    forever("another device's release", || async {
        let watched = async {
            let mut states = bus::update::watch(&client).await?;
            while let Some(state) = states.next().await {
                sink(Update::OtherRelease(id.clone(), Some(Box::new(state?))));
            }
            Ok(())
        };
        let ended = watched.await;
        sink(Update::OtherRelease(id.clone(), None));
        ended
    })
    .await;
}

async fn files(client: &Client, sink: &Sink) -> Result<(), bus::Error> {
    use bus::transfer::Phase;
    let mut lists = bus::transfer::watch(client).await?;
    let mut arrived = None;
    while let Some(deliveries) = lists.next().await {
        let deliveries = deliveries?;
        let is_there = |one: &&bus::transfer::Delivery| one.phase == Phase::Finished;
        let newest = deliveries.iter().filter(is_there).map(|one| one.id).max();
        let count = deliveries.iter().filter(is_there).count();
        if arrived != Some((newest, count)) {
            sink(Update::Received(bus::transfer::files(client).await?));
            arrived = Some((newest, count));
        }
        sink(Update::Deliveries(deliveries));
    }
    Ok(())
}

async fn keep(
    client: &Client,
    clipboard: Option<&Clipboard>,
    sink: &Sink,
) -> Result<(), bus::Error> {
    match clipboard {
        Some(clipboard) => {
            let tell = |can_paste| sink(Update::CanPaste(can_paste));
            clipboard.keep(client, tell).await
        }
        None => std::future::pending().await,
    }
}

/// The device does not change; it is asked once, and then only for what is in use.
async fn device(client: &Client, sink: &Sink) -> Result<(), bus::Error> {
    sink(Update::Device(bus::device::about(client).await?));
    sink(Update::Volumes(bus::device::volumes(client).await?));
    sink(Update::Resources(bus::device::usage(client).await?));
    std::future::pending().await
}

async fn answer(client: &Client, sink: &Sink, request: Request) {
    let done = match request {
        Request::Set(key, value) => match bus::settings::set(client, key, &value).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                // The screen shows what was asked for already; show again what is.
                if let Ok(Ok(value)) = bus::settings::get(client, key).await {
                    sink(Update::Setting(key.into(), value));
                }
                Err(match error {
                    bus::settings::Error::UnknownKey(key) => format!("`{key}` is no setting."),
                    bus::settings::Error::Unfit(reason)
                    | bus::settings::Error::NotSaved(reason) => reason,
                })
            }
            Err(error) => Err(error.to_string()),
        },
        Request::RestartService(name) => match bus::services::restart(client, &name).await {
            Ok(Ok(())) => {
                sink(Update::Restarted(name));
                Ok(())
            }
            Ok(Err(error)) => Err(match error {
                bus::services::Error::UnknownService(name) => format!("`{name}` is no service."),
                bus::services::Error::Refused(reason) => reason,
            }),
            Err(error) => Err(error.to_string()),
        },
        Request::Refresh(what) => {
            // A refresh that fails is made again by the next one, and is not worth a word.
            if let Err(error) = refresh(client, sink, what).await {
                tracing::debug!("asking again for {what:?}: {error}");
            }
            Ok(())
        }
        Request::RenameDevice(id, name) => noted(bus::home::rename(client, &id, &name).await),
        Request::SetRoom(id, room) => {
            noted(bus::home::set_room(client, &id, room.as_deref()).await)
        }
        Request::LightUp(id) => bus::beacon::show(&Client::of_device(id), BEACON)
            .await
            .map_err(|error| error.to_string()),
        Request::RemoveDevice(id) => in_family(bus::family::remove(client, &id).await),
        Request::MarkLost(id) => in_family(bus::family::mark_lost(client, &id).await),
        // Its secrets come by the watch.
        Request::OpenPairing => said(bus::pairing::open(client).await).map(drop),
        Request::ClosePairing => bus::pairing::close(client)
            .await
            .map_err(|error| error.to_string()),
        Request::Pair {
            candidate,
            method,
            secret,
            membership,
        } => {
            // By the name that it gives itself.
            let name = "";
            let begun =
                bus::pairing::begin(client, &candidate, &method, &secret, name, &membership);
            said(begun.await)
        }
        Request::ConfirmPairing => said(bus::pairing::confirm(client).await),
        Request::RefusePairing => bus::pairing::refuse(client)
            .await
            .map_err(|error| error.to_string()),
        Request::Paper(request) => paper::answer(client, sink, request).await,
        Request::SendFiles(device, names) => {
            said(bus::transfer::send(client, &device, &names).await).map(drop)
        }
        Request::DeleteFiles(names) => {
            let mut done = Ok(());
            for name in names {
                done = done.and(said(bus::transfer::delete(client, &name).await));
            }
            if let Err(error) = refresh(client, sink, Refresh::Files).await {
                tracing::debug!("asking for files: {error}");
            }
            done
        }
        Request::CancelDelivery(id) => said(bus::transfer::cancel(client, id).await),
        Request::RevokeGrant(id) => revoke(client, &id).await,
        Request::Unmute(device) => in_questions(bus::questions::unmute(client, &device).await),
        Request::Answer(question, reply) => {
            let answered = bus::questions::answer(client, question, &reply).await;
            match answered {
                // It was answered elsewhere, or nobody waits for the answer any more.
                Ok(Err(bus::questions::Error::Gone)) => Ok(()),
                answered => {
                    in_questions(answered).inspect_err(|_| sink(Update::NotAnswered(question)))
                }
            }
        }
        Request::CheckForRelease => said(bus::update::check(client).await),
        Request::InstallRelease => said(bus::update::install(client).await),
        Request::CancelInstallation => said(bus::update::cancel(client).await),
        Request::RestartIntoRelease => said(bus::update::restart(client).await),
        Request::UpdateOther(id, step) => {
            let there = Client::of_device(id);
            said(match step {
                Step::Check => bus::update::check(&there).await,
                Step::Install => bus::update::install(&there).await,
                Step::Restart => bus::update::restart(&there).await,
            })
        }
        Request::PowerOff => bus::power::power_off(client)
            .await
            .map_err(|e| e.to_string()),
        Request::Restart => bus::power::restart(client).await.map_err(|e| e.to_string()),
    };
    if let Err(reason) = done {
        sink(Update::Trouble(Trouble::NotDone(reason)));
    }
}

/// What a call came to, where its error is a sentence for the person.
fn said<T>(answer: Result<Result<T, String>, bus::Error>) -> Result<T, String> {
    answer.map_err(|error| error.to_string())?
}

/// What a call to the family came to, in a sentence.
fn in_family(answer: Result<Result<(), bus::family::Error>, bus::Error>) -> Result<(), String> {
    use bus::family::Error;
    answer
        .map_err(|error| error.to_string())?
        .map_err(|error| match error {
            Error::UnknownDevice(name) => format!("`{name}` is no device of your family."),
            Error::NoFamily => "This device has no family yet.".to_owned(),
            Error::Refused(reason) | Error::NotSaved(reason) => reason,
        })
}

/// What came of telling the family something, in a sentence.
fn noted(answer: Result<Result<(), bus::home::Error>, bus::Error>) -> Result<(), String> {
    use bus::home::Error;
    answer
        .map_err(|error| error.to_string())?
        .map_err(|error| match error {
            Error::UnknownDevice(name) => format!("`{name}` is no device of your family."),
            Error::NoFamily => "This device has no family yet.".to_owned(),
            Error::Refused(reason) | Error::NotSaved(reason) => reason,
        })
}

async fn revoke(client: &Client, id: &str) -> Result<(), String> {
    use bus::grants::Error;
    bus::grants::revoke(client, id)
        .await
        .map_err(|error| error.to_string())?
        .or_else(|error| match error {
            // Another device was quicker.
            Error::UnknownGrant(_) => Ok(()),
            Error::NoFamily => Err("This device has no family yet.".to_owned()),
            Error::Refused(reason) | Error::NotSaved(reason) => Err(reason),
        })
}

/// What the owner's word came to, in a sentence.
fn in_questions(
    answer: Result<Result<(), bus::questions::Error>, bus::Error>,
) -> Result<(), String> {
    use bus::questions::Error;
    answer
        .map_err(|error| error.to_string())?
        .map_err(|error| match error {
            Error::Gone => "Nobody waits for that answer any more.".to_owned(),
            Error::UnknownDevice(name) => format!("`{name}` is no device of your family."),
            Error::Refused(reason) | Error::NotSaved(reason) => reason,
        })
}

async fn refresh(client: &Client, sink: &Sink, what: Refresh) -> Result<(), bus::Error> {
    match what {
        Refresh::Services => sink(Update::Services(bus::services::all(client).await?)),
        Refresh::Storage => sink(Update::Volumes(bus::device::volumes(client).await?)),
        Refresh::Files => sink(Update::Received(bus::transfer::files(client).await?)),
        Refresh::Device => sink(Update::Resources(bus::device::usage(client).await?)),
    }
    Ok(())
}
