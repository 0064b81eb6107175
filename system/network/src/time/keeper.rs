//! Who keeps the clock right: asks, corrects, remembers, and tells.

use std::{net::IpAddr, net::SocketAddr, path::Path, time::Duration};

use bus::time::Source;
use serde::{Deserialize, Serialize};
use store::Store;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{info, warn};

use super::{
    clock::Clock,
    ntp::{self, Moment},
    policy::{Correction, Rhythm, correction},
};

const SECOND: Moment = 1_000_000_000;

/// The time is remembered anew when it has moved on by so much: a device without a hardware
/// clock begins at most this far back, and storage is hardly written.
const REMEMBERED: Moment = 6 * 3600 * SECOND;

/// The end of time for a kernel whose timers count nanoseconds in 64 bits, with room to spare.
const LATEST: Moment = 7_258_118_400 * SECOND; // 2200-01-01

const NTP_PORT: u16 = 123;

/// What is known of the clock, beside what it says.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// Where its time comes from.
    pub source: Source,
    /// When it was last compared with a server.
    pub synchronised: Option<Moment>,
    /// How far it was off then, in nanoseconds.
    pub offset: Option<i64>,
    /// Why no server answers, when one should.
    pub problem: Option<String>,
}

/// What is remembered over a restart, first shape.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// The time when this was written, in seconds since 1970.
    pub seconds: i64,
}

store::first_version!(Memory);

/// Where to ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Servers {
    /// Those that the owner named; they come before those of the network.
    pub owner: Vec<String>,
    /// Those that the network offered.
    pub network: Vec<String>,
    /// Whether there is a way to any.
    pub online: bool,
    /// The servers for names: with others, an answer may be another.
    pub name_servers: Vec<String>,
}

impl Servers {
    fn chosen(&self) -> &[String] {
        if self.owner.is_empty() {
            &self.network
        } else {
            &self.owner
        }
    }
}

/// The owner's wish to set the clock, to that many milliseconds since 1970.
pub struct Wish {
    /// The time.
    pub milliseconds: u64,
    /// Where the outcome is told.
    pub done: oneshot::Sender<Result<(), String>>,
}

/// How a name becomes addresses.
pub trait Resolve: Send + 'static {
    /// The addresses of a name; the error says what failed.
    fn resolve(&self, name: &str) -> impl Future<Output = Result<Vec<IpAddr>, String>> + Send;
}

/// Keeps one clock.
pub struct Keeper<C, R> {
    clock: C,
    resolver: R,
    /// What is remembered; none where it cannot be.
    memory: Option<Store<Memory>>,
    known: watch::Sender<Known>,
    rhythm: Rhythm,
    compared: bool,
}

impl<C: Clock, R: Resolve> Keeper<C, R> {
    /// Takes a clock into care: it is set at once if it says less than `floor` or than what is
    /// remembered in that folder.
    pub fn new(mut clock: C, resolver: R, folder: &Path, floor: Moment) -> Self {
        let memory = match store::open::<Memory>(&folder.join("time")) {
            Ok(opened) => {
                opened.notices.iter().for_each(|notice| warn!("{notice}"));
                Some(opened.store)
            }
            Err(error) => {
                warn!("the time will not be remembered: {error}");
                None
            }
        };
        let remembered = memory
            .as_ref()
            .map_or(0, |memory| Moment::from(memory.value().seconds) * SECOND);
        let floor = floor.max(remembered.min(LATEST));
        if clock.now() < floor {
            info!("the clock was before this release was built, or before it was last right");
            if let Err(error) = clock.step(floor) {
                warn!("setting the clock: {error}");
            }
        }
        let known = watch::Sender::new(Known {
            source: Source::HardwareClock,
            synchronised: None,
            offset: None,
            problem: None,
        });
        Keeper {
            clock,
            resolver,
            memory,
            known,
            rhythm: Rhythm::default(),
            compared: false,
        }
    }

    /// What is known, now and whenever it changes.
    pub fn known(&self) -> watch::Receiver<Known> {
        self.known.subscribe()
    }

    /// Works until nobody can wish any more.
    pub async fn run(
        mut self,
        mut servers: watch::Receiver<Servers>,
        mut wishes: mpsc::Receiver<Wish>,
    ) {
        loop {
            let now = servers.borrow_and_update().clone();
            // Nobody to ask, nothing to wait for but change.
            let mut pause = None;
            if now.chosen().is_empty() {
                self.known
                    .send_if_modified(|known| known.problem.take().is_some());
            } else if now.online {
                pause = Some(self.compare(now.chosen()).await);
            }
            loop {
                tokio::select! {
                    // What is said before the network is up would be repeated as soon as it is.
                    Ok(()) = servers.changed() => break,
                    wish = wishes.recv() => {
                        let Some(wish) = wish else { return };
                        // Nobody waiting for the outcome is no error.
                        let _ = wish.done.send(self.set(wish.milliseconds));
                    }
                    () = sleep(pause) => break,
                }
            }
        }
    }

    /// Asks the servers in turn until one answers; answers when to ask again.
    async fn compare(&mut self, servers: &[String]) -> Duration {
        let mut problems = Vec::new();
        for server in servers {
            match self.ask(server).await {
                Ok(offset) => match self.correct(server, offset) {
                    Ok(()) => return self.rhythm.succeeded(),
                    Err(reason) => problems.push(format!("{server}: {reason}")),
                },
                Err(reason) => problems.push(format!("{server}: {reason}")),
            }
        }
        let problem = problems.join("; ");
        self.known.send_if_modified(|known| {
            let changed = known.problem.as_deref() != Some(&problem);
            if changed {
                warn!("no time: {problem}");
                known.problem = Some(problem.clone());
            }
            changed
        });
        self.rhythm.failed()
    }

    async fn ask(&self, server: &str) -> Result<i64, String> {
        let addresses: Vec<SocketAddr> = if let Ok(address) = server.parse() {
            vec![address]
        } else if let Ok(address) = server.parse::<IpAddr>() {
            vec![(address, NTP_PORT).into()]
        } else {
            let addresses = self.resolver.resolve(server).await?;
            addresses
                .into_iter()
                .map(|address| (address, NTP_PORT).into())
                .collect()
        };
        let mut last = "it has no address".to_owned();
        // One of each family is enough to find out whether it can be reached.
        for address in addresses.iter().take(4) {
            match ntp::ask(*address, || self.clock.now()).await {
                Ok(offset) => return Ok(offset),
                Err(error) => last = error.to_string(),
            }
        }
        Err(last)
    }

    fn correct(&mut self, server: &str, offset: i64) -> Result<(), String> {
        let right = self.clock.now() + Moment::from(offset);
        if !(0..LATEST).contains(&right) {
            return Err("the time that it gives cannot be".to_owned());
        }
        let first = !self.compared;
        let milliseconds = offset / 1_000_000;
        let done = match correction(offset, first) {
            Correction::Step => {
                info!("the clock is set by {milliseconds} ms, by {server}");
                self.clock.step(right)
            }
            Correction::Slew => self.clock.slew(offset),
        };
        done.map_err(|error| format!("correcting the clock: {error}"))?;
        self.compared = true;
        self.remember(first);
        self.known.send_replace(Known {
            source: Source::Server(server.to_owned()),
            synchronised: Some(self.clock.now()),
            offset: Some(offset),
            problem: None,
        });
        Ok(())
    }

    fn set(&mut self, milliseconds: u64) -> Result<(), String> {
        let to = Moment::from(milliseconds) * 1_000_000;
        if to >= LATEST {
            return Err("the year is beyond 2200".to_owned());
        }
        self.clock
            .step(to)
            .map_err(|error| format!("setting the clock: {error}"))?;
        info!("the owner set the clock");
        self.remember(true);
        self.known.send_modify(|known| known.source = Source::Owner);
        Ok(())
    }

    /// Writes the time to where it survives: always, or if it has moved on enough.
    fn remember(&mut self, always: bool) {
        let now = self.clock.now();
        let Some(memory) = &mut self.memory else {
            return;
        };
        let before = Moment::from(memory.value().seconds) * SECOND;
        if !always && (now - before).abs() < REMEMBERED {
            return;
        }
        let seconds = now.div_euclid(SECOND) as i64;
        if let Err(error) = memory.replace(Memory { seconds }) {
            warn!("remembering the time: {error}");
        }
        if let Err(error) = self.clock.keep() {
            // Many devices have none.
            info!("the hardware clock is not set: {error}");
        }
    }
}

async fn sleep(pause: Option<Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => std::future::pending().await,
    }
}
