//! Names to addresses, without the C library, asked only of servers that the network offered.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bus::network::State;
use hickory_resolver::{
    TokioResolver,
    config::{LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig},
    net::runtime::TokioRuntimeProvider,
};
use tokio::sync::watch;

/// How long one server may take for one try.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long an answer may take in all: less than a caller on the bus waits.
const DEADLINE: Duration = Duration::from_secs(8);
/// The longest name that DNS can hold.
const LONGEST: usize = 253;

/// Asks for names.
pub struct Names {
    state: watch::Receiver<State>,
    /// The resolver for these servers; it holds what was answered lately.
    resolver: Mutex<Option<(Vec<IpAddr>, Arc<TokioResolver>)>>,
}

impl Names {
    /// Asks whatever servers that state names at the time.
    pub fn new(state: watch::Receiver<State>) -> Names {
        Names {
            state,
            resolver: Mutex::new(None),
        }
    }

    /// The addresses of a name, IPv6 and IPv4; the error says what failed.
    pub async fn resolve(&self, name: &str) -> Result<Vec<String>, String> {
        let name = name.trim_end_matches('.');
        if let Ok(address) = name.parse::<IpAddr>() {
            return Ok(vec![address.to_string()]);
        }
        let plain = |c: char| !c.is_control() && !c.is_whitespace();
        if name.is_empty() || name.len() > LONGEST || !name.chars().all(plain) {
            return Err(format!("{name:?} is no name of a host"));
        }
        let resolver = self.resolver()?;
        // With the dot it is a full name, to which no domain of ours is added.
        let lookup = tokio::time::timeout(DEADLINE, resolver.lookup_ip(format!("{name}.")));
        match lookup.await {
            Ok(Ok(addresses)) => {
                let addresses: Vec<_> = addresses.iter().map(|ip| ip.to_string()).collect();
                if addresses.is_empty() {
                    Err(format!("{name} has no address"))
                } else {
                    Ok(addresses)
                }
            }
            Ok(Err(error)) => Err(format!("looking up {name}: {error}")),
            Err(_) => Err(format!("looking up {name}: no server answered in time")),
        }
    }

    fn resolver(&self) -> Result<Arc<TokioResolver>, String> {
        // The resolver cannot say on which link to reach a link-local server, so those are left
        // to whoever can.
        let servers: Vec<IpAddr> = self
            .state
            .borrow()
            .name_servers
            .iter()
            .filter_map(|server| server.parse().ok())
            .collect();
        if servers.is_empty() {
            return Err("the network has offered no server for names".to_owned());
        }
        let mut kept = self.resolver.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, resolver)) = &*kept
            && *of == servers
        {
            return Ok(Arc::clone(resolver));
        }
        let config = ResolverConfig::from_name_servers(
            servers
                .iter()
                .map(|&server| NameServerConfig::udp_and_tcp(server))
                .collect(),
        );
        let mut builder =
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let options = builder.options_mut();
        options.timeout = PATIENCE;
        options.attempts = 2;
        options.ip_strategy = LookupIpStrategy::Ipv6AndIpv4;
        options.use_hosts_file = ResolveHosts::Never;
        let resolver = builder
            .build()
            .map_err(|error| format!("making a resolver: {error}"))?;
        let resolver = Arc::new(resolver);
        *kept = Some((servers, Arc::clone(&resolver)));
        Ok(resolver)
    }
}
