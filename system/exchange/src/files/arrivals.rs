//! Deliveries that arrive, of all devices.
//!
//! What a device sends goes into hidden folders; how many of them there may be is bounded here, what
//! may be in one in [`super::arriving`]. Whatever fails to be written is deleted whole, so that a full
//! disk is not left full.
//!
//! One call at a time works on a delivery. Whoever ends one waits for that call first, and a delivery
//! is listed for as long as its folder may be there: so no two ever write in one folder. What must not
//! stop half-way goes on when its caller goes away.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use bus::arrivals::{Error, Standing};
use bus::transfer::{Direction, Phase, Problem};
use tokio::sync::{OwnedMutexGuard, Semaphore};
use tokio::time::Instant;

use super::arriving::{About, Arriving};
use super::book::Book;
use super::settled::{Key, Settled};
use super::silence::FORGOTTEN;

/// Where deliveries are before they are finished, below the folder of received files.
const ARRIVING: &str = ".arriving";
/// Which ones are settled.
const SETTLED: &str = ".state/settled";
/// Unfinished deliveries of one device, and of all; a device that begins one more loses the one that
/// it left alone longest.
const MAX_OF_DEVICE: usize = 4;
const MAX_OF_ALL: usize = 32;
/// One that was left alone for so long makes room for that of another device.
const ALONE: Duration = Duration::from_secs(3600);

/// Where one delivery is worked on, by one call at a time. Nothing, when it is over.
pub(super) type Slot = Arc<tokio::sync::Mutex<Option<Arriving>>>;
type Guard = OwnedMutexGuard<Option<Arriving>>;

/// A delivery that is not over.
pub(super) struct Entry {
    /// In the book.
    pub(super) id: u64,
    pub(super) slot: Slot,
    pub(super) heard: Instant,
}

/// All deliveries that arrive.
pub struct Arrivals {
    received: PathBuf,
    pub(super) book: Arc<Book>,
    bus: bus::Client,
    entries: Mutex<HashMap<Key, Entry>>,
    settled: Arc<Settled>,
    /// One long piece of work with the disk at a time.
    disk: Arc<Semaphore>,
    /// Whether somebody notices senders that are silent.
    pub(super) watching: AtomicBool,
}

/// What an error means for the person.
fn problem(error: &Error) -> Problem {
    match error {
        Error::Full => Problem::Full,
        Error::Unsaved(reason) => Problem::Unsaved(reason.clone()),
        Error::Refused(reason) | Error::Damaged(reason) => Problem::Refused(reason.clone()),
        Error::Unknown | Error::Cancelled => Problem::Refused(String::new()),
    }
}

/// Whether nothing can come of the delivery after this.
fn is_fatal(error: &Error) -> bool {
    match error {
        Error::Full | Error::Unsaved(_) | Error::Refused(_) => true,
        Error::Damaged(_) | Error::Unknown | Error::Cancelled => false,
    }
}

fn delete(folder: &Path) {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::error!("deleting {}: {error}", folder.display());
        }
        _ => {}
    }
}

/// Does something that waits for the disk, elsewhere.
async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<R, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::Unsaved(error.to_string()))
}

/// Goes on to its end, also when whoever waits for it goes away.
async fn to_the_end<R: Send + 'static>(
    work: impl Future<Output = Result<R, Error>> + Send + 'static,
) -> Result<R, Error> {
    let done = tokio::spawn(work).await;
    done.unwrap_or_else(|error| Err(Error::Unsaved(error.to_string())))
}

/// Which delivery has to go so that one more fits; none, where it fits.
fn in_the_way(entries: &HashMap<Key, Entry>, device: &str) -> Result<Option<Key>, Error> {
    let of_device = |key: &Key| key.0 == device;
    let left_alone_longest = |is: &dyn Fn(&Key) -> bool| {
        let those = entries.iter().filter(|(key, _)| is(key));
        those.min_by_key(|(_, entry)| entry.heard)
    };
    if entries.keys().filter(|key| of_device(key)).count() >= MAX_OF_DEVICE {
        return Ok(left_alone_longest(&of_device).map(|(key, _)| key.clone()));
    }
    if entries.len() < MAX_OF_ALL {
        return Ok(None);
    }
    match left_alone_longest(&|_| true) {
        Some((key, entry)) if entry.heard.elapsed() > ALONE => Ok(Some(key.clone())),
        _ => Err(Error::Refused(format!(
            "{MAX_OF_ALL} deliveries are under way; try again when one is over"
        ))),
    }
}

impl Arrivals {
    /// Takes up what was left in the folder of received files. The strings are for the owner.
    pub fn open(
        received: &Path,
        book: Arc<Book>,
        bus: bus::Client,
    ) -> Result<(Arc<Self>, Vec<String>)> {
        let file = received.join(SETTLED);
        let unfinished = received.join(ARRIVING);
        for folder in [file.parent(), Some(&*unfinished)].into_iter().flatten() {
            fs::create_dir_all(folder)
                .with_context(|| format!("making the folder {}", folder.display()))?;
        }
        let (settled, notices) = Settled::open(&file)?;
        let arrivals = Arc::new(Self {
            received: received.to_owned(),
            book,
            bus,
            entries: Mutex::default(),
            settled,
            disk: Arc::new(Semaphore::new(1)),
            watching: AtomicBool::new(false),
        });
        for entry in fs::read_dir(&unfinished).context("reading what has begun to arrive")? {
            arrivals.take_up(entry?.path());
        }
        tokio::spawn(Arc::clone(&arrivals).forget());
        Ok((arrivals, notices))
    }

    /// Takes up one delivery, or deletes what is of no use any more.
    fn take_up(&self, folder: PathBuf) {
        let mut arriving = match Arriving::open(folder.clone()) {
            Ok(arriving) if !arriving.about().delivery.is_empty() => arriving,
            _ => return delete(&folder),
        };
        let about = arriving.about().clone();
        let key = (about.device.clone(), about.delivery.clone());
        if about.placing {
            match arriving.finish(&self.received) {
                Ok(names) => {
                    self.settled.note_arrived(&key);
                    delete(&folder);
                    // Where all of them had got their names before, their names are not known here.
                    let names = if names.is_empty() { about.names } else { names };
                    self.tell(&about.device_name, &names);
                }
                Err(error) => tracing::error!("putting down what arrived: {error:?}"),
            }
            return;
        }
        let now = SystemTime::now();
        let age = arriving
            .begun()
            .map(|begun| now.duration_since(begun).unwrap_or_default());
        if !matches!(age, Ok(age) if age < FORGOTTEN) {
            return delete(&folder);
        }
        let id = self.book.add(
            Direction::Receiving,
            &about.device,
            &about.device_name,
            about.names,
        );
        self.book.change(id, |delivery| {
            delivery.files = about.files.try_into().unwrap_or(u32::MAX);
            delivery.bytes = about.bytes;
            delivery.done = arriving.used();
        });
        let entry = Entry {
            id,
            slot: Arc::new(tokio::sync::Mutex::new(Some(arriving))),
            heard: Instant::now(),
        };
        self.entries().insert(key, entry);
    }

    pub(super) fn entries(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a delivery is not over yet.
    fn is_listed(&self, key: &Key, id: u64) -> bool {
        self.entries().get(key).is_some_and(|entry| entry.id == id)
    }

    fn folder(&self, (device, delivery): &Key) -> PathBuf {
        let name = format!("{device}-{delivery}");
        self.received.join(ARRIVING).join(name)
    }

    /// Begins a delivery, or goes on with it.
    pub(super) async fn begin(self: &Arc<Self>, key: Key, about: About) -> Result<Standing, Error> {
        if self.settled.has_arrived(&key) {
            return Ok(Standing::Finished);
        }
        if self.settled.is_cancelled(&key) {
            return Err(Error::Cancelled);
        }
        to_the_end(Arc::clone(self).begin_here(key, about)).await
    }

    async fn begin_here(self: Arc<Self>, key: Key, about: About) -> Result<Standing, Error> {
        let (id, slot) = self.enter(&key, &about).await?;
        let mut slot = slot.lock_owned().await;
        if !self.is_listed(&key, id) {
            // It was over before this had its turn; how, the sender hears when it begins again.
            return Err(Error::Unknown);
        }
        // What an attempt before this one had open goes.
        *slot = None;
        let folder = self.folder(&key);
        let begun = self.long(move || Arriving::begin(folder, about)).await?;
        match begun {
            Ok((arriving, _)) if arriving.about().placing => {
                // The loss of power, or whatever it was, came when all was here.
                *slot = Some(arriving);
                self.put_down(&key, id, slot).await?;
                Ok(Standing::Finished)
            }
            Ok((arriving, resuming)) => {
                let about = arriving.about();
                self.book.change(id, |delivery| {
                    delivery.files = about.files.try_into().unwrap_or(u32::MAX);
                    delivery.bytes = about.bytes;
                    delivery.done = arriving.used();
                    delivery.resumed = arriving.used();
                    delivery.phase = Phase::Running;
                });
                *slot = Some(arriving);
                drop(slot);
                self.watch_over();
                Ok(if resuming {
                    Standing::Resuming
                } else {
                    Standing::Fresh
                })
            }
            Err(error) => {
                let phase = Phase::Failed(problem(&error));
                self.end(&key, id, slot, phase).await;
                Err(error)
            }
        }
    }

    /// Lists a delivery, if it is not listed yet and when there is room for it.
    async fn enter(self: &Arc<Self>, key: &Key, about: &About) -> Result<(u64, Slot), Error> {
        loop {
            let other = {
                let mut entries = self.entries();
                if let Some(entry) = entries.get_mut(key) {
                    entry.heard = Instant::now();
                    return Ok((entry.id, Arc::clone(&entry.slot)));
                }
                match in_the_way(&entries, &key.0)? {
                    Some(other) => other,
                    None => {
                        let (device, names) = (&about.device_name, about.names.clone());
                        tracing::info!("{device} begins to send {names:?}");
                        let id = self.book.add(Direction::Receiving, &key.0, device, names);
                        let slot = Slot::default();
                        let entry = Entry {
                            id,
                            slot: Arc::clone(&slot),
                            heard: Instant::now(),
                        };
                        entries.insert(key.clone(), entry);
                        return Ok((id, slot));
                    }
                }
            };
            let reason = "it was left alone while others began".into();
            let phase = Phase::Failed(Problem::Refused(reason));
            self.give_up(&other, phase).await;
        }
    }

    /// Works on a delivery. So many bytes of files have come for it.
    pub(super) async fn on<R>(
        self: &Arc<Self>,
        key: &Key,
        received: u64,
        work: impl FnOnce(&mut Arriving) -> Result<R, Error> + Send,
    ) -> Result<R, Error> {
        let (id, slot) = self.find(key)?;
        let mut slot = slot.lock_owned().await;
        let done = work(slot.as_mut().ok_or(Error::Unknown)?);
        self.worked(key, id, slot, received, done).await
    }

    /// Works long on a delivery: others go on meanwhile.
    pub(super) async fn long_on<R: Send + 'static>(
        self: &Arc<Self>,
        key: &Key,
        work: impl FnOnce(&mut Arriving) -> Result<R, Error> + Send + 'static,
    ) -> Result<R, Error> {
        let (id, slot) = self.find(key)?;
        let mut slot = slot.lock_owned().await;
        let (slot, done) = self
            .long(move || {
                let done = slot.as_mut().ok_or(Error::Unknown).and_then(work);
                (slot, done)
            })
            .await?;
        self.worked(key, id, slot, 0, done).await
    }

    async fn long<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, Error> {
        let turn = Arc::clone(&self.disk).acquire_owned().await;
        let turn = turn.map_err(|error| Error::Unsaved(error.to_string()))?;
        blocking(move || {
            let _turn = turn;
            work()
        })
        .await
    }

    fn find(&self, key: &Key) -> Result<(u64, Slot), Error> {
        if self.settled.is_cancelled(key) {
            return Err(Error::Cancelled);
        }
        let mut entries = self.entries();
        let entry = entries.get_mut(key).ok_or(Error::Unknown)?;
        entry.heard = Instant::now();
        Ok((entry.id, Arc::clone(&entry.slot)))
    }

    /// Notes how a piece of work came out.
    async fn worked<R>(
        self: &Arc<Self>,
        key: &Key,
        id: u64,
        slot: Guard,
        received: u64,
        done: Result<R, Error>,
    ) -> Result<R, Error> {
        match &done {
            Ok(_) => {
                let used = slot.as_ref().map_or(0, Arriving::used);
                drop(slot);
                self.book.change(id, |delivery| {
                    delivery.done = used;
                    delivery.carried += received;
                    delivery.phase = Phase::Running;
                });
                self.watch_over();
            }
            Err(error) if is_fatal(error) => {
                let phase = Phase::Failed(problem(error));
                self.end(key, id, slot, phase).await;
            }
            Err(error) => tracing::debug!("a delivery is interrupted: {error:?}"),
        }
        done
    }

    /// Everything was sent.
    pub(super) async fn finish(self: &Arc<Self>, key: Key) -> Result<(), Error> {
        if self.settled.has_arrived(&key) {
            return Ok(());
        }
        let (id, slot) = self.find(&key)?;
        let arrivals = Arc::clone(self);
        to_the_end(async move {
            let slot = slot.lock_owned().await;
            arrivals.put_down(&key, id, slot).await
        })
        .await
    }

    /// Puts all of a delivery under its names.
    async fn put_down(self: &Arc<Self>, key: &Key, id: u64, mut slot: Guard) -> Result<(), Error> {
        let received = self.received.clone();
        let (mut slot, finished) = self
            .long(move || {
                let arriving = slot.as_mut().ok_or(Error::Unknown);
                let finished = arriving.and_then(|arriving| {
                    let names = arriving.finish(&received)?;
                    Ok((names, arriving.about().clone()))
                });
                (slot, finished)
            })
            .await?;
        let (names, about) = match finished {
            Ok(finished) => finished,
            Err(error) => return self.worked(key, id, slot, 0, Err(error)).await,
        };
        *slot = None;
        let (settled, folder, noted) = (Arc::clone(&self.settled), self.folder(key), key.clone());
        blocking(move || {
            settled.note_arrived(&noted);
            delete(&folder);
        })
        .await?;
        self.entries().remove(key);
        let names = if names.is_empty() { about.names } else { names };
        self.tell(&about.device_name, &names);
        self.book.change(id, |delivery| {
            delivery.done = delivery.bytes;
            delivery.names = names;
            delivery.phase = Phase::Finished;
        });
        Ok(())
    }

    /// Tells the owner. Where nobody shows notifications there is nobody to tell.
    fn tell(&self, from: &str, names: &[String]) {
        use bus::notify::{Importance, Notification};
        tracing::info!("{names:?} arrived from {from}");
        let cut = |text: String, most: usize| text[..text.floor_char_boundary(most)].to_owned();
        let notification = Notification {
            title: cut(format!("Received from {from}"), 80),
            text: cut(names.join(", "), 500),
            importance: Importance::Normal,
            tag: None,
        };
        let bus = self.bus.clone();
        tokio::spawn(async move {
            match bus::notify::post(&bus, &notification).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::warn!("telling that something arrived: {error}"),
                Err(error) => tracing::debug!("telling that something arrived: {error}"),
            }
        });
    }

    /// Deletes what is here of a delivery. Whether there was one.
    pub(super) async fn give_up(self: &Arc<Self>, key: &Key, phase: Phase) -> bool {
        let found = {
            let entries = self.entries();
            entries
                .get(key)
                .map(|entry| (entry.id, Arc::clone(&entry.slot)))
        };
        let Some((id, slot)) = found else {
            return false;
        };
        let slot = slot.lock_owned().await;
        self.end(key, id, slot, phase).await
    }

    /// Deletes what is here of a delivery that nobody else works on. Whether it was not over before.
    async fn end(self: &Arc<Self>, key: &Key, id: u64, mut slot: Guard, phase: Phase) -> bool {
        if !self.is_listed(key, id) {
            return false;
        }
        let (arrivals, key) = (Arc::clone(self), key.clone());
        let ended = to_the_end(async move {
            tracing::info!("a delivery of {} ends: {phase:?}", key.0);
            *slot = None;
            let folder = arrivals.folder(&key);
            blocking(move || delete(&folder)).await?;
            arrivals.entries().remove(&key);
            arrivals.book.change(id, |delivery| {
                delivery.done = 0;
                delivery.phase = phase;
            });
            Ok(())
        });
        ended.await.is_ok()
    }

    /// Takes back a delivery, by its id in the book. Whether there was one to take back.
    pub async fn cancel(self: &Arc<Self>, id: u64) -> bool {
        let key = {
            let entries = self.entries();
            let found = entries.iter().find(|(_, entry)| entry.id == id);
            match found {
                Some((key, _)) => key.clone(),
                None => return false,
            }
        };
        let arrivals = Arc::clone(self);
        let cancelled = to_the_end(async move {
            let (settled, noted) = (Arc::clone(&arrivals.settled), key.clone());
            blocking(move || settled.note_cancelled(&noted)).await?;
            Ok(arrivals.give_up(&key, Phase::Cancelled).await)
        });
        cancelled.await.unwrap_or(false)
    }
}

#[cfg(test)]
#[path = "arrivals_tests.rs"]
mod tests;
