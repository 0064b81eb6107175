//! The network on the bus.

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;
use bus::{Caller, Outgoing, names as names_wire, network as wire, settings::Value};
use futures::stream;
use tokio::sync::watch;

use crate::{
    following::follow,
    manager::{Manager, Role},
    names::Names,
    secret::Secret,
};

/// How long the settings may take to say whether there is to be a network at all.
const SETTINGS_PATIENCE: Duration = Duration::from_secs(10);

/// Serves the network of this device until it is told to stop.
pub fn run() -> anyhow::Result<()> {
    service::run(|| async {
        let enabled = watch::Sender::new(false);
        let manager = Manager::new(role(), secret()?, enabled.subscribe())
            .context("speaking to the kernel about the network")?;
        let mut server = bus::Server::from_environment().context("taking the sockets over")?;
        let (network, names) = interfaces(manager.state());
        server.serve(network);
        server.serve(names);
        tokio::spawn(switch(bus::Client::from_environment(), enabled));
        tokio::spawn(async {
            if let Err(error) = manager.run().await {
                // Without the kernel there is nothing to serve: process 1 starts us again.
                tracing::error!("the network is no longer managed: {error:#}");
                std::process::exit(1);
            }
        });
        Ok(server)
    })
}

/// The secret of this device; where it cannot be kept, one that lasts until the next start.
fn secret() -> anyhow::Result<Secret> {
    let folder = std::env::var_os("HYPER_DATA")
        .map_or_else(|| PathBuf::from("/data/network"), PathBuf::from);
    Secret::kept(&folder.join("addresses")).or_else(|error| {
        tracing::warn!("the IPv6 addresses will be others after the next start: {error:#}");
        Secret::random().context("making a secret for IPv6 addresses")
    })
}

/// The interfaces `network` and `names`, answered from that state.
pub fn interfaces(state: watch::Receiver<wire::State>) -> (bus::Interface, bus::Interface) {
    let names = Names::new(state.clone());
    (
        wire::interface(Network(state)),
        names_wire::interface(Resolver(names)),
    )
}

/// The links are ours on a device, whose system is at `/system`, and if we may change them.
pub(crate) fn role() -> Role {
    const NET_ADMIN: u32 = 12;
    if on_device() && has_capability(NET_ADMIN) {
        Role::Manage
    } else {
        Role::Observe
    }
}

/// Whether this is a device of its own rather than a layer on another system: started by hand on
/// a developer's machine, even by root, no service touches that machine's network or clock.
pub(crate) fn on_device() -> bool {
    const SYSTEM: &str = "/system";
    std::env::var_os("HYPER_SYSTEM").is_none_or(|system| system == SYSTEM)
        && std::path::Path::new(SYSTEM).join("release.toml").exists()
}

/// Whether this process has a capability in effect.
pub(crate) fn has_capability(number: u32) -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| capable(&status, number))
}

fn capable(status: &str, number: u32) -> bool {
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
        .is_some_and(|bits| bits >> number & 1 == 1)
}

/// Switches the network as the setting says. Until it is known, off, so that nothing is sent
/// against the owner's wish; but settings that do not answer must not cost the network.
async fn switch(bus: bus::Client, enabled: watch::Sender<bool>) {
    let mut setting = follow(bus, "network.enabled");
    if tokio::time::timeout(SETTINGS_PATIENCE, setting.changed())
        .await
        .is_err()
    {
        tracing::warn!("the settings do not answer: the network is switched on");
        enabled.send_replace(true);
    }
    loop {
        match *setting.borrow_and_update() {
            Some(Value::Boolean(on)) => drop(enabled.send_replace(on)),
            None => {}
            Some(_) => tracing::warn!("the setting network.enabled is no boolean"),
        }
        if setting.changed().await.is_err() {
            return;
        }
    }
}

struct Network(watch::Receiver<wire::State>);

impl wire::Handler for Network {
    async fn status(&self, _: Caller) -> wire::State {
        self.0.borrow().clone()
    }

    async fn watch(&self, _: Caller) -> Outgoing<wire::State> {
        Box::pin(states(self.0.clone()))
    }
}

/// The state as it is and as it changes. Who reads slowly misses states in between, and sees the
/// newest.
pub(crate) fn states<T: Clone + Send + Sync + 'static>(
    mut state: watch::Receiver<T>,
) -> impl futures::Stream<Item = T> + Send {
    state.mark_changed();
    stream::unfold(state, async |mut state| {
        state.changed().await.ok()?;
        let now = state.borrow_and_update().clone();
        Some((now, state))
    })
}

struct Resolver(Names);

impl names_wire::Handler for Resolver {
    async fn resolve(&self, _: Caller, name: String) -> Result<Vec<String>, String> {
        self.0.resolve(&name).await
    }
}

#[cfg(test)]
mod tests {
    use super::capable;

    #[test]
    fn capabilities_in_effect_are_read() {
        let status = "Name:\thyper\nCapInh:\t0000000000000000\nCapEff:\t0000000000001400\n";
        assert!(capable(status, 12) && capable(status, 10));
        assert!(!capable(status, 25));
        assert!(!capable("", 12));
    }
}
