//! The time on the bus.

use std::{
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use anyhow::Context as _;
use bus::{Caller, Client, Outgoing, settings::Value, time as wire};
use futures::StreamExt as _;
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::debug;

use super::{
    clock::{self, Clock, SystemClock},
    keeper::{Keeper, Known, Resolve, Servers, Wish},
    ntp::Moment,
};
use crate::{
    following::follow,
    served::{has_capability, on_device, states},
};

/// 2026-01-01, for a release that does not say when it was built.
const FLOOR: Moment = 1_767_225_600_000_000_000;

/// The longest pause before the network is asked again after it went away.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Serves the time of this device until it is told to stop.
///
/// What it remembers is in `HYPER_DATA`; when the release was built is read from `HYPER_SYSTEM`.
pub fn run() -> anyhow::Result<()> {
    service::run(async || {
        let folder = |name, default: &str| {
            std::env::var_os(name).map_or_else(|| PathBuf::from(default), PathBuf::from)
        };
        let mut server = bus::Server::from_environment().context("taking the socket over")?;
        let bus = Client::from_environment();
        let (wishes, wished) = mpsc::channel(1);
        let data = folder("HYPER_DATA", "/data/time");
        let known = if settable() {
            let floor = built(&folder("HYPER_SYSTEM", "/system"));
            let keeper = Keeper::new(SystemClock, Names(bus.clone()), &data, floor);
            let known = keeper.known();
            tokio::spawn(keeper.run(servers(bus), wished));
            known
        } else {
            let keeper = Keeper::new(HostClock, Names(bus), &data, Moment::MIN);
            let known = keeper.known();
            let (nobody, servers) = watch::channel(Servers::default());
            tokio::spawn(async move {
                keeper.run(servers, wished).await;
                drop(nobody);
            });
            known
        };
        server.serve(wire::interface(Time { known, wishes }));
        Ok(server)
    })
}

/// Whether the clock is ours: on a device, with the right to set it.
fn settable() -> bool {
    const SYS_TIME: u32 = 25;
    on_device() && has_capability(SYS_TIME)
}

/// When the release was built: `built` in its file, in seconds since 1970, or the file's date.
fn built(system: &Path) -> Moment {
    #[derive(Deserialize)]
    struct Release {
        built: Option<i64>,
    }
    let path = system.join("release.toml");
    let said = std::fs::read_to_string(&path)
        .ok()
        .and_then(|text| toml::from_str::<Release>(&text).ok()?.built)
        .map(|seconds| Moment::from(seconds) * 1_000_000_000);
    let date = || {
        let since = std::fs::metadata(&path)
            .ok()?
            .modified()
            .ok()?
            .duration_since(UNIX_EPOCH);
        Some(since.ok()?.as_nanos() as Moment)
    };
    said.or_else(date).unwrap_or(FLOOR).max(FLOOR)
}

/// The clock of a host on which the system is a layer: read, and left alone.
struct HostClock;

impl Clock for HostClock {
    fn now(&self) -> Moment {
        clock::now()
    }

    fn step(&mut self, _to: Moment) -> io::Result<()> {
        Err(io::Error::other(
            "the clock belongs to the host; set it there",
        ))
    }

    fn slew(&mut self, _offset: i64) -> io::Result<()> {
        Err(io::Error::other("the clock belongs to the host"))
    }

    fn keep(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Names, asked of the service `network`.
struct Names(Client);

impl Resolve for Names {
    async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, String> {
        let found = bus::names::resolve(&self.0, name)
            .await
            .map_err(|error| error.to_string())??;
        Ok(found
            .iter()
            .filter_map(|address| address.parse().ok())
            .collect())
    }
}

/// The servers to ask, of the setting and of the network, as they change.
fn servers(bus: Client) -> watch::Receiver<Servers> {
    let (sender, receiver) = watch::channel(Servers::default());
    let change = |sender: &watch::Sender<Servers>, change: &dyn Fn(&mut Servers)| {
        sender.send_if_modified(|servers| {
            let before = servers.clone();
            change(servers);
            *servers != before
        });
    };
    let mut setting = follow(bus.clone(), "time.servers");
    let by_setting = sender.clone();
    tokio::spawn(async move {
        while setting.changed().await.is_ok() {
            if let Some(Value::Texts(servers)) = setting.borrow_and_update().clone() {
                change(&by_setting, &|now| now.owner.clone_from(&servers));
            }
        }
    });
    tokio::spawn(async move {
        let first = Duration::from_millis(250);
        let mut pause = first;
        loop {
            match bus::network::watch(&bus).await {
                Ok(mut states) => {
                    while let Some(Ok(state)) = states.next().await {
                        pause = first;
                        change(&sender, &|now| {
                            now.network.clone_from(&state.time_servers);
                            now.name_servers.clone_from(&state.name_servers);
                            now.online = state.online;
                        });
                    }
                }
                Err(error) => debug!("watching the network: {error}"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    });
    receiver
}

struct Time {
    known: watch::Receiver<Known>,
    wishes: mpsc::Sender<Wish>,
}

/// What is known, with what the clock says now.
fn state(known: Known) -> wire::State {
    let milliseconds = |moment: Moment| u64::try_from(moment / 1_000_000).unwrap_or(0);
    wire::State {
        now: milliseconds(clock::now()),
        source: known.source,
        synchronised: known.synchronised.map(milliseconds),
        offset: known.offset.map(|offset| offset / 1_000_000),
        problem: known.problem,
    }
}

impl wire::Handler for Time {
    async fn status(&self, _: Caller) -> wire::State {
        state(self.known.borrow().clone())
    }

    async fn set(&self, caller: Caller, now: u64) -> Result<(), String> {
        tracing::info!("{} sets the clock", caller.name());
        let (done, outcome) = oneshot::channel();
        let wish = Wish {
            milliseconds: now,
            done,
        };
        self.wishes
            .send(wish)
            .await
            .map_err(|_| "the clock is not kept any more".to_owned())?;
        outcome
            .await
            .map_err(|_| "the clock is not kept any more".to_owned())?
    }

    async fn watch(&self, _: Caller) -> Outgoing<wire::State> {
        Box::pin(states(self.known.clone()).map(state))
    }
}
