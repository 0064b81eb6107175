//! Deliveries that this device sends.
//!
//! What is to be sent is kept durably before it is said to have begun, so that it goes on after a
//! restart. To one device they go one after the other.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use bus::family::Device;
use bus::transfer::{Direction, Phase, Problem};
use bus::{Address, Client};
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use store::Store;
use tokio::sync::watch;

use super::attempt::{Attempt, Stop};
use super::book::Book;
use super::{names, scan};

/// What is to be sent, below the folder of received files.
const QUEUE: &str = ".state/to-send";
/// So many may wait.
const MAX_QUEUE: usize = 64;
/// How often a file may have been changed while it was sent.
const MAX_CHANGES: u32 = 3;
/// How often something may have arrived that was not what was sent.
const MAX_DAMAGES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A delivery to be sent, as it is kept.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Order {
    delivery: String,
    device: String,
    device_name: String,
    paths: Vec<PathBuf>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct Queue {
    #[serde(default)]
    orders: Vec<Order>,
}
store::first_version!(Queue);

/// What is known of the family.
type Family = Vec<Device>;

/// All deliveries that this device sends.
pub struct Sender {
    received: PathBuf,
    book: Arc<Book>,
    here: Client,
    bus: PathBuf,
    /// What is on the disk. Whoever locks it waits for the disk.
    queue: Mutex<Store<Queue>>,
    state: Mutex<State>,
    family: watch::Sender<Family>,
}

#[derive(Default)]
struct State {
    /// One turn for each device.
    turns: HashMap<String, Arc<tokio::sync::Mutex<()>>>,
    /// How to take back what is on its way, by its id in the book.
    cancel: HashMap<u64, watch::Sender<bool>>,
}

impl Sender {
    /// Goes on with what was to be sent. The strings are for the owner.
    pub fn open(
        received: &Path,
        book: Arc<Book>,
        bus: PathBuf,
    ) -> Result<(Arc<Self>, Vec<String>)> {
        let file = received.join(QUEUE);
        let opened = store::open::<Queue>(&file).context("reading what is to be sent")?;
        let orders = opened.store.value().orders.clone();
        let sender = Arc::new(Self {
            received: received.to_owned(),
            book,
            here: Client::new(Address::Here(bus.clone())),
            bus,
            queue: Mutex::new(opened.store),
            state: Mutex::default(),
            family: watch::Sender::new(Vec::new()),
        });
        for order in orders {
            sender.dispatch(order);
        }
        tokio::spawn(Arc::clone(&sender).follow_family());
        Ok((sender, opened.notices))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is kept of the queue, and answers when that is durable.
    async fn keep(
        self: &Arc<Self>,
        change: impl FnOnce(&mut Queue) -> Result<(), String> + Send + 'static,
    ) -> Result<(), String> {
        let sender = Arc::clone(self);
        let kept = tokio::task::spawn_blocking(move || {
            let mut store = sender.queue.lock().unwrap_or_else(PoisonError::into_inner);
            let mut queue = store.value().clone();
            change(&mut queue)?;
            store.replace(queue).map_err(|error| error.to_string())
        });
        kept.await.map_err(|error| error.to_string())?
    }

    async fn follow_family(self: Arc<Self>) {
        let mut pause = FIRST_PAUSE;
        loop {
            match bus::family::watch(&self.here).await {
                Ok(mut lists) => {
                    while let Some(Ok(devices)) = lists.next().await {
                        pause = FIRST_PAUSE;
                        self.family.send_replace(devices);
                    }
                }
                Err(error) => tracing::debug!("asking who belongs to the family: {error}"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Begins to send something, and answers the delivery's id in the book.
    pub async fn send(self: &Arc<Self>, device: &str, paths: &[String]) -> Result<u64, String> {
        let family = bus::family::devices(&self.here).await;
        let family = family.map_err(|error| format!("asking for the family: {error}"))?;
        let is_meant = |one: &&Device| one.id == device || one.name == device;
        let Some(found) = family.iter().find(is_meant) else {
            return Err(format!("there is no device {device:?} in the family"));
        };
        if found.here {
            return Err("this is that device".into());
        }
        let paths: Vec<PathBuf> = paths.iter().map(|path| self.received.join(path)).collect();
        for path in &paths {
            if path.starts_with(&self.received) && !self.is_received(path) {
                return Err(format!("{} was not received", path.display()));
            }
            scan::look(path)?;
        }
        if paths.is_empty() {
            return Err("say what to send".into());
        }
        let mut random = [0; 16];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
            .map_err(|error| format!("making an id: {error}"))?;
        let order = Order {
            delivery: random.iter().map(|byte| format!("{byte:02x}")).collect(),
            device: found.id.clone(),
            device_name: found.name.clone(),
            paths,
        };
        // What is kept is begun, also when whoever asked for it is gone by then.
        let sender = Arc::clone(self);
        let begun = tokio::spawn(async move {
            let kept = order.clone();
            let keeping = sender.keep(move |queue| {
                if queue.orders.len() >= MAX_QUEUE {
                    return Err(format!("{MAX_QUEUE} deliveries wait already"));
                }
                queue.orders.push(kept);
                Ok(())
            });
            keeping.await?;
            Ok(sender.dispatch(order))
        });
        begun.await.map_err(|error| error.to_string())?
    }

    /// Whether a path below the folder of received files is one, and not what this service keeps.
    fn is_received(&self, path: &Path) -> bool {
        let below = path.strip_prefix(&self.received).ok();
        let first = below.and_then(|below| below.components().next());
        first.is_some_and(|first| {
            let name = first.as_os_str().to_str();
            name.is_some_and(names::is_at_the_top)
        }) && !path.components().any(|part| part.as_os_str() == "..")
    }

    /// Has an order carried out, and answers its id in the book.
    fn dispatch(self: &Arc<Self>, order: Order) -> u64 {
        let names: Vec<String> = order
            .paths
            .iter()
            .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
            .collect();
        let direction = Direction::Sending;
        let id = self
            .book
            .add(direction, &order.device, &order.device_name, names);
        let (cancel, cancelled) = watch::channel(false);
        let turn = {
            let mut state = self.state();
            state.cancel.insert(id, cancel);
            Arc::clone(state.turns.entry(order.device.clone()).or_default())
        };
        let sender = Arc::clone(self);
        tokio::spawn(async move {
            let client = Client::new(Address::Device {
                bus: sender.bus.clone(),
                device: order.device.clone(),
            });
            let phase = sender
                .carry_out(&order, id, &client, &turn, cancelled)
                .await;
            tracing::info!("sending to {}: {phase:?}", order.device_name);
            sender.state().cancel.remove(&id);
            let delivery = order.delivery.clone();
            let forgotten = sender.keep(move |queue| {
                queue.orders.retain(|one| one.delivery != delivery);
                Ok(())
            });
            if let Err(error) = forgotten.await {
                // At worst it is begun once more, and the other device says that it has it.
                tracing::error!("noting that something was sent: {error}");
            }
            sender.is_over(&order, id, &client, phase).await;
        });
        id
    }

    /// Says how it ended, here and where something of it may be left.
    async fn is_over(&self, order: &Order, id: u64, client: &Client, phase: Phase) {
        let abandon = async || {
            if let Err(error) = bus::arrivals::abandon(client, &order.delivery).await {
                tracing::debug!("what was sent stays on the other device for some days: {error}");
            }
        };
        // What fails in another way was deleted there already.
        if let Phase::Failed(Problem::Unreadable(_) | Problem::Changed(_)) = phase {
            abandon().await;
        }
        let is_cancelled = phase == Phase::Cancelled;
        self.book.change(id, |delivery| {
            if phase == Phase::Finished {
                delivery.done = delivery.bytes;
            }
            delivery.phase = phase;
        });
        // The person does not wait for a device that may be away.
        if is_cancelled {
            abandon().await;
        }
    }

    async fn carry_out(
        &self,
        order: &Order,
        id: u64,
        client: &Client,
        turn: &tokio::sync::Mutex<()>,
        mut cancelled: watch::Receiver<bool>,
    ) -> Phase {
        let attempts = async {
            let _turn = turn.lock().await;
            self.attempts(order, id, client).await
        };
        tokio::select! {
            phase = attempts => phase,
            // Its other end is in the state until this is over.
            _ = cancelled.wait_for(|cancelled| *cancelled) => Phase::Cancelled,
        }
    }

    /// Tries until it has arrived or cannot.
    async fn attempts(&self, order: &Order, id: u64, client: &Client) -> Phase {
        let attempt = Attempt {
            client,
            delivery: &order.delivery,
            book: &self.book,
            id,
        };
        let (mut changes, mut damages) = (0, 0);
        let (mut pause, mut best) = (FIRST_PAUSE, 0);
        let mut family = self.family.subscribe();
        loop {
            let is_there = |family: &Family| {
                let found = family.iter().find(|one| one.id == order.device);
                // One that belongs to the family no more is not waited for: the attempt fails.
                found.map_or(!family.is_empty(), |one| one.online)
            };
            // Its other end is in this very object.
            let _ = family.wait_for(is_there).await;
            let paths = order.paths.clone();
            let scanned = tokio::task::spawn_blocking(move || scan::scan(&paths)).await;
            let stop = match scanned {
                Ok(Ok(scan)) => match attempt.run(&scan).await {
                    Ok(()) => return Phase::Finished,
                    Err(stop) => stop,
                },
                Ok(Err(reason)) => Stop::Failed(Problem::Unreadable(reason)),
                Err(error) => Stop::Broken(error.to_string()),
            };
            // Whoever came further than ever before may try again soon.
            let done = self.book.get(id).map_or(0, |delivery| delivery.done);
            if done > best {
                (best, pause, damages) = (done, FIRST_PAUSE, 0);
            }
            match stop {
                Stop::Failed(problem) => return Phase::Failed(problem),
                Stop::Cancelled => return Phase::Cancelled,
                Stop::Changed(path) => {
                    changes += 1;
                    tracing::info!("{path} was changed while it was being sent");
                    if changes == MAX_CHANGES {
                        return Phase::Failed(Problem::Changed(path));
                    }
                }
                Stop::Damaged(reason) => {
                    damages += 1;
                    tracing::warn!("what was sent did not arrive as it was: {reason}");
                    if damages == MAX_DAMAGES {
                        return Phase::Failed(Problem::Unsaved(reason));
                    }
                }
                Stop::Forgotten => tracing::info!("{} begins anew", order.device_name),
                Stop::Broken(reason) => {
                    tracing::info!("sending to {} is interrupted: {reason}", order.device_name);
                }
            }
            self.book
                .change(id, |delivery| delivery.phase = Phase::Waiting);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Takes back a delivery, by its id in the book. Whether there is one.
    pub fn cancel(&self, id: u64) -> bool {
        let state = self.state();
        let cancel = state.cancel.get(&id);
        cancel.is_some_and(|cancel| cancel.send(true).is_ok())
    }
}
