//! The other devices of the family as a source of releases: asked before any mirror for chunks and
//! manifests, and for metadata when they have newer.
//!
//! Nothing that they answer is believed. A chunk or a manifest counts when its hash fits, metadata when
//! its signatures do; a device that gives something else, or nothing for long, is named and left out.
//!
//! # Who fetches what a home lacks
//!
//! Devices that want the same agree without a word between all: each makes known what it wants before it
//! asks the others ([`crate::shelf`]), waits for a piece that another one is fetching, or wants too
//! and has the lesser id, and otherwise fetches it itself. So the device with the least id goes outside
//! and the others have each piece from it as it comes. When it goes away or gives up, it answers no more
//! or says so, and the next one takes its place. Whoever only says that it fetches is waited for no
//! longer than [`LONGEST_WAIT`].

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bus::family::Role;
use bus::pieces::{self, Piece, Whereabouts};
use bus::{Address, Client, Reason};
use futures::StreamExt as _;
use futures::future::join_all;
use release::{Chunk, Hash, chunk};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use crate::archive::{TIMESTAMP, version};
use crate::shelf::{Claim, Shelf};
use crate::source::Trouble;
use crate::supply::Problem;

/// For the beginning of an answer and from one part to the next: a device on the same network has it at
/// once, unless it is busy.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long an answer is put off by whoever is fetching what was asked for.
const STEP: Duration = Duration::from_secs(3);
/// So long it may say that it is fetching something without anything coming of it.
pub const LONGEST_WAIT: Duration = Duration::from_secs(120);
/// How often it is looked who is there.
const LIST: Duration = Duration::from_secs(5);
/// A device that has nothing of what is wanted is not asked again before, unless it asks itself.
const REST: Duration = Duration::from_secs(5);
/// A device that cannot be reached, or does not take part.
const LONG_REST: Duration = Duration::from_secs(60);
/// How soon it is asked again all the same, and how often, where there is no other source.
const AGAIN: Duration = Duration::from_secs(2);
const MOST_TRIES: usize = 10;
/// A device that is busy with others.
const BUSY: Duration = Duration::from_millis(200);
/// No more is asked of a device at once.
const MOST_AT_ONCE: u64 = 1 << 20;
/// And no more chunks.
const MOST_CHUNKS: usize = 64;
/// No timestamp is longer.
const LONGEST_TIMESTAMP: u64 = 64 << 10;

/// Another device.
#[derive(Clone, Debug)]
pub struct Peer {
    id: String,
    name: String,
    client: Client,
}

impl Peer {
    /// What the owner calls it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A file of the repository that it believed last.
    ///
    /// # Errors
    ///
    /// Fails when it does not answer, or with more than `most` bytes.
    pub async fn read(&self, path: &str, most: u64) -> Result<Vec<u8>, Trouble> {
        match self.file(path, most, Duration::ZERO).await {
            Ok(Answer::Here(bytes)) => Ok(bytes),
            Ok(Answer::Absent(_)) => Err(Trouble::Missing),
            Ok(Answer::Busy) => Err(Trouble::Failed(
                "too many devices ask it at once".to_owned(),
            )),
            Err(Fault::Away(reason) | Fault::Bad(reason)) => Err(Trouble::Failed(reason)),
        }
    }

    async fn file(
        &self,
        path: &str,
        most: u64,
        patience: Duration,
    ) -> Result<Answer<Vec<u8>>, Fault> {
        let bus = self.client.with_deadline(PATIENCE);
        let parts = pieces::file(&bus, path, milliseconds(patience)).await;
        let mut parts = parts.map_err(Fault::of)?;
        let mut bytes = Vec::new();
        loop {
            match next(&mut parts).await? {
                None => return Ok(Answer::Here(bytes)),
                Some(Piece::Absent(whereabouts)) => return Ok(Answer::Absent(whereabouts)),
                Some(Piece::Busy) => return Ok(Answer::Busy),
                Some(Piece::Data(data)) => {
                    bytes.extend_from_slice(&data);
                    if bytes.len() as u64 > most {
                        return Err(Fault::Bad(format!("its {path} has no end")));
                    }
                }
            }
        }
    }

    /// The first of these chunks, as many as it has.
    async fn chunks(
        &self,
        wanted: &[Chunk],
        patience: Duration,
    ) -> Result<Answer<Vec<Vec<u8>>>, Fault> {
        let hashes: Vec<u8> = wanted.iter().flat_map(|chunk| chunk.hash).collect();
        let bus = self.client.with_deadline(PATIENCE);
        let answered = pieces::chunks(&bus, &hashes, milliseconds(patience)).await;
        let mut answered = answered.map_err(Fault::of)?;
        let mut found = Vec::new();
        for entry in wanted {
            let absent = match next(&mut answered).await {
                // What came until then is good.
                Err(fault) if found.is_empty() => return Err(fault),
                Err(_) => break,
                Ok(Some(Piece::Data(data))) => {
                    if data.len() as u64 != u64::from(entry.length)
                        || chunk::hash(&data) != entry.hash
                    {
                        return Err(Fault::Bad(
                            "a chunk that it gave is not the one that its hash names".to_owned(),
                        ));
                    }
                    found.push(data.to_vec());
                    continue;
                }
                Ok(Some(Piece::Absent(whereabouts))) => Answer::Absent(whereabouts),
                Ok(Some(Piece::Busy)) => Answer::Busy,
                Ok(None) => Answer::Absent(Whereabouts::Missing),
            };
            if found.is_empty() {
                return Ok(absent);
            }
            break;
        }
        Ok(Answer::Here(found))
    }

    async fn look(&self, hashes: &[u8]) -> Result<Whereabouts, Fault> {
        let bus = self.client.with_deadline(PATIENCE);
        let looked = pieces::look(&bus, hashes).await.map_err(Fault::of)?;
        Ok(looked.first().copied().unwrap_or(Whereabouts::Missing))
    }
}

/// What a device says to a question.
enum Answer<T> {
    Here(T),
    Absent(Whereabouts),
    Busy,
}

/// Why it does not answer it.
enum Fault {
    /// It is not there, or has nothing to do with this.
    Away(String),
    /// It lies or stalls.
    Bad(String),
}

impl Fault {
    fn of(error: bus::Error) -> Self {
        let text = error.to_string();
        match error.reason {
            Reason::Deadline(_) | Reason::Answer(_) => Self::Bad(text),
            _ => Self::Away(text),
        }
    }
}

async fn next(parts: &mut bus::Incoming<Piece>) -> Result<Option<Piece>, Fault> {
    match timeout(PATIENCE, parts.next()).await {
        Err(_) => Err(Fault::Bad(format!(
            "nothing came for {} s",
            PATIENCE.as_secs()
        ))),
        Ok(None) => Ok(None),
        Ok(Some(piece)) => piece.map(Some).map_err(Fault::of),
    }
}

fn milliseconds(time: Duration) -> u32 {
    time.as_millis().try_into().unwrap_or(u32::MAX)
}

/// A piece that is looked for.
enum Wanted<'a> {
    Chunks(&'a [Chunk]),
    Manifest {
        path: &'a str,
        hash: Hash,
        most: u64,
    },
}

impl Wanted<'_> {
    async fn ask(&self, peer: &Peer, patience: Duration) -> Result<Answer<Vec<Vec<u8>>>, Fault> {
        match *self {
            Self::Chunks(chunks) => peer.chunks(chunks, patience).await,
            Self::Manifest { path, hash, most } => match peer.file(path, most, patience).await? {
                Answer::Here(bytes) if chunk::hash(&bytes) != hash => {
                    Err(Fault::Bad(format!("its {path} is not what its hash names")))
                }
                Answer::Here(bytes) => Ok(Answer::Here(vec![bytes])),
                Answer::Absent(whereabouts) => Ok(Answer::Absent(whereabouts)),
                Answer::Busy => Ok(Answer::Busy),
            },
        }
    }

    fn first(&self) -> Hash {
        match self {
            Self::Chunks(chunks) => chunks.first().map(|chunk| chunk.hash).unwrap_or_default(),
            Self::Manifest { hash, .. } => *hash,
        }
    }
}

/// The devices of the family that can be asked, and what is known of them. Clones share it.
#[derive(Clone, Debug)]
pub struct Family {
    shelf: Arc<Shelf>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    bus: PathBuf,
    here: Client,
    /// This device's id; none while it has no family.
    own: Option<String>,
    others: Vec<Other>,
    listed: Option<Instant>,
    /// Whoever had the last piece.
    last: Option<String>,
    problems: Vec<Problem>,
    cancelled: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Other {
    peer: Peer,
    online: bool,
    /// It is not asked before.
    rests: Option<Instant>,
    /// It could not be reached when it was last asked.
    is_away: bool,
    /// It lied or stalled.
    is_out: bool,
    /// For how long it has been waited since something came from it.
    waited: Duration,
}

impl Family {
    /// Of the device whose sockets are in this folder. Once `cancelled` is set nothing is waited for.
    #[must_use]
    pub fn new(bus: &Path, shelf: Arc<Shelf>, cancelled: Arc<AtomicBool>) -> Self {
        Self {
            shelf,
            state: Arc::new(Mutex::new(State {
                bus: bus.to_owned(),
                here: Client::new(Address::Here(bus.to_owned())),
                own: None,
                others: Vec::new(),
                listed: None,
                last: None,
                problems: Vec::new(),
                cancelled,
            })),
        }
    }

    /// What this device itself has, for the others.
    #[must_use]
    pub fn shelf(&self) -> &Arc<Shelf> {
        &self.shelf
    }

    /// From now on these are wanted by this device.
    #[must_use]
    pub fn claim(&self, wanted: impl IntoIterator<Item = Hash>) -> Claim {
        self.shelf.claim(wanted.into_iter().collect())
    }

    /// Those that lied or stalled since this was last asked.
    pub async fn take_problems(&self) -> Vec<Problem> {
        std::mem::take(&mut self.state.lock().await.problems)
    }

    /// Whether there is anybody to ask.
    pub async fn is_there(&self) -> bool {
        let mut state = self.state.lock().await;
        state.list().await;
        state.others.iter().any(|other| other.online)
    }

    /// The devices that say they have a newer timestamp than this one, the newest first.
    pub async fn newer_than(&self, timestamp: u64) -> Vec<(u64, Peer)> {
        let mut state = self.state.lock().await;
        state.list().await;
        // Also those that had nothing else of what was wanted.
        let others = state.others.iter();
        let asked = others.filter(|other| other.online && !other.is_out);
        let asked: Vec<_> = asked.map(|other| other.peer.clone()).collect();
        let asked = asked.into_iter().map(|peer| async move {
            let read = peer.file(TIMESTAMP, LONGEST_TIMESTAMP, Duration::ZERO);
            let answer = read.await;
            (peer, answer)
        });
        let answers = join_all(asked).await;
        let mut newer = Vec::new();
        for (peer, answer) in answers {
            match answer {
                Ok(Answer::Here(bytes)) => {
                    if let Some(version) = version(&bytes)
                        && version > timestamp
                    {
                        newer.push((version, peer));
                    }
                }
                Ok(Answer::Absent(_) | Answer::Busy) => {}
                Err(fault) => state.fault(&peer.id, fault),
            }
        }
        newer.sort_by(|(one, _), (other, _)| other.cmp(one));
        newer
    }

    /// The first of these chunks, as many as a device of the family has; none when they are for this
    /// device to fetch, which it can if `outside`.
    pub async fn chunks(&self, wanted: &[Chunk], outside: bool) -> Option<Vec<Vec<u8>>> {
        let mut length = 0;
        let most = wanted.iter().take(MOST_CHUNKS).take_while(|chunk| {
            length += u64::from(chunk.length);
            length <= MOST_AT_ONCE
        });
        let wanted = &wanted[..most.count().max(1).min(wanted.len())];
        if wanted.is_empty() {
            return None;
        }
        let mut state = self.state.lock().await;
        state
            .piece(&Wanted::Chunks(wanted), &self.shelf, outside)
            .await
    }

    /// A manifest, by its path and the hash in it, in the same way.
    pub async fn manifest(
        &self,
        path: &str,
        hash: Hash,
        most: u64,
        outside: bool,
    ) -> Option<Vec<u8>> {
        let wanted = Wanted::Manifest { path, hash, most };
        let mut state = self.state.lock().await;
        let found = state.piece(&wanted, &self.shelf, outside).await?;
        found.into_iter().next()
    }
}

impl State {
    /// Looks who is there, unless that was done a moment ago.
    async fn list(&mut self) {
        if self.listed.is_some_and(|when| when.elapsed() < LIST) {
            return;
        }
        self.listed = Some(Instant::now());
        let devices = match bus::family::devices(&self.here).await {
            Ok(devices) => devices,
            Err(error) => {
                tracing::debug!("asking who belongs to the family: {error}");
                Vec::new()
            }
        };
        let here = devices.iter().find(|device| device.here);
        // A guest asks nothing of a family that is not its owner's.
        self.own = here
            .filter(|here| here.role != Role::Guest)
            .map(|here| here.id.clone());
        for other in &mut self.others {
            other.online = false;
        }
        if self.own.is_none() {
            return;
        }
        for device in devices {
            if device.here || !device.online || device.role == Role::Guest {
                continue;
            }
            match self
                .others
                .iter_mut()
                .find(|other| other.peer.id == device.id)
            {
                Some(other) => {
                    other.online = true;
                    other.peer.name = device.name;
                }
                None => {
                    let address = Address::Device {
                        bus: self.bus.clone(),
                        device: device.id.clone(),
                    };
                    self.others.push(Other {
                        peer: Peer {
                            id: device.id,
                            name: device.name,
                            client: Client::new(address),
                        },
                        online: true,
                        rests: None,
                        is_away: false,
                        is_out: false,
                        waited: Duration::ZERO,
                    });
                }
            }
        }
    }

    /// A piece from whoever has it, when it has it; none when it is for this device to go outside.
    async fn piece(
        &mut self,
        wanted: &Wanted<'_>,
        shelf: &Shelf,
        outside: bool,
    ) -> Option<Vec<Vec<u8>>> {
        let mut tries = 0;
        loop {
            if self.cancelled.load(Ordering::Relaxed) {
                return None;
            }
            self.list().await;
            let own = self.own.clone()?;
            for asker in shelf.take_askers() {
                if let Some(other) = self.other(&asker)
                    && !other.is_out
                {
                    other.rests = None;
                }
            }
            // It probably has the next one too.
            if let Some(last) = self.last.take()
                && self.other(&last).is_some_and(|other| other.may_be_asked())
                && let Some(found) = self.ask(&last, wanted, Duration::ZERO).await
            {
                return Some(found);
            }
            let seen = self.look(wanted.first()).await;
            let mut have: Vec<&String> = seen
                .iter()
                .filter(|(_, seen)| *seen == Whereabouts::Here)
                .map(|(id, _)| id)
                .collect();
            fastrand::shuffle(&mut have);
            for id in &have {
                if let Some(found) = self.ask(id, wanted, Duration::ZERO).await {
                    return Some(found);
                }
            }
            if !have.is_empty() {
                // Each of them was busy, or is out by now.
                continue;
            }
            let is = |whereabouts| move |(_, seen): &&(String, Whereabouts)| *seen == whereabouts;
            let fetches = seen.iter().find(is(Whereabouts::Fetching));
            let wants = seen.iter().find(is(Whereabouts::Wanted));
            let awaited = fetches.or(wants.filter(|(id, _)| !outside || *id < own));
            if let Some((id, _)) = awaited {
                if let Some(found) = self.ask(id, wanted, STEP).await {
                    return Some(found);
                }
                continue;
            }
            // Where there is nobody else, whoever is away for a moment is worth it.
            tries += 1;
            if outside || tries > MOST_TRIES || !self.call_back() {
                return None;
            }
            sleep(AGAIN).await;
        }
    }

    /// Those that can be asked now.
    fn askable(&self) -> Vec<Peer> {
        let others = self.others.iter().filter(|other| other.may_be_asked());
        others.map(|other| other.peer.clone()).collect()
    }

    fn other(&mut self, id: &str) -> Option<&mut Other> {
        self.others.iter_mut().find(|other| other.peer.id == id)
    }

    /// Where the ones that can be asked have it.
    async fn look(&mut self, hash: Hash) -> Vec<(String, Whereabouts)> {
        let asked = self.askable().into_iter().map(|peer| async move {
            let answer = peer.look(&hash).await;
            (peer.id, answer)
        });
        let answers = join_all(asked).await;
        let mut seen = Vec::new();
        for (id, answer) in answers {
            match answer {
                Ok(whereabouts) => {
                    if whereabouts == Whereabouts::Missing
                        && let Some(other) = self.other(&id)
                    {
                        other.rests = Some(Instant::now() + REST);
                    }
                    seen.push((id, whereabouts));
                }
                Err(fault) => self.fault(&id, fault),
            }
        }
        // Which one is waited for must not depend on how they are listed.
        seen.sort();
        seen
    }

    /// Has those asked again that could not be reached; whether there are any.
    fn call_back(&mut self) -> bool {
        let mut any = false;
        for other in &mut self.others {
            if other.is_away && !other.is_out {
                (other.is_away, other.rests) = (false, None);
                any = true;
            }
        }
        any
    }

    /// Asks one of them for it.
    async fn ask(
        &mut self,
        id: &str,
        wanted: &Wanted<'_>,
        patience: Duration,
    ) -> Option<Vec<Vec<u8>>> {
        let begun = Instant::now();
        let peer = self.other(id)?.peer.clone();
        let answer = wanted.ask(&peer, patience).await;
        let other = self.other(id)?;
        match answer {
            Ok(Answer::Here(found)) => {
                (other.waited, other.is_away) = (Duration::ZERO, false);
                self.last = Some(id.to_owned());
                return Some(found);
            }
            Ok(Answer::Absent(Whereabouts::Fetching | Whereabouts::Wanted)) => {
                // That it is on its way is what the question without patience is about.
                if !patience.is_zero() {
                    other.waited += begun.elapsed();
                }
            }
            Ok(Answer::Absent(Whereabouts::Missing)) => {
                other.rests = Some(Instant::now() + REST);
            }
            // It says that it is here, and does not give it.
            Ok(Answer::Absent(Whereabouts::Here) | Answer::Busy) => {
                sleep(BUSY.mul_f64(0.5 + fastrand::f64())).await;
                other.waited += begun.elapsed();
            }
            Err(fault) => self.fault(id, fault),
        }
        if let Some(other) = self.other(id)
            && other.waited > LONGEST_WAIT
        {
            let reason = format!(
                "it has let this device wait for {} s",
                LONGEST_WAIT.as_secs()
            );
            self.fault(id, Fault::Bad(reason));
        }
        None
    }

    /// Does without one of them.
    fn fault(&mut self, id: &str, fault: Fault) {
        let Some(other) = self.other(id) else {
            return;
        };
        match fault {
            Fault::Away(reason) => {
                tracing::debug!("{}: {reason}", other.peer.name);
                other.is_away = true;
                other.rests = Some(Instant::now() + LONG_REST);
            }
            Fault::Bad(reason) => {
                tracing::warn!("{}: {reason}; going on without it", other.peer.name);
                other.is_out = true;
                let source = other.peer.name.clone();
                self.problems.push(Problem { source, reason });
            }
        }
    }
}

impl Other {
    fn may_be_asked(&self) -> bool {
        self.online && !self.is_out && self.rests.is_none_or(|until| until <= Instant::now())
    }
}
