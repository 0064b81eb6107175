//! Names to addresses, without the C library, asked only of servers that the network offered.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bus::network::State;
use hickory_resolver::{
    Resolver,
    config::{LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig},
    net::runtime::{RuntimeProvider, TokioRuntimeProvider, iocompat::AsyncIoTokioAsStd},
};
use tokio::{
    net::{TcpSocket, UdpSocket},
    sync::watch,
};

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
    resolver: Mutex<Option<Kept>>,
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

    fn resolver(&self) -> Result<Arc<Resolver<Sockets>>, String> {
        let servers: Vec<Server> = self
            .state
            .borrow()
            .name_servers
            .iter()
            .filter_map(|text| server(text))
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
                .map(|(address, _)| NameServerConfig::udp_and_tcp(*address))
                .collect(),
        );
        let mut builder = Resolver::builder_with_config(config, Sockets::new(&servers));
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

/// A resolver with the servers that it asks.
type Kept = (Vec<Server>, Arc<Resolver<Sockets>>);

/// A server for names; one whose address means something only on its link has the link's name.
type Server = (IpAddr, Option<String>);

/// The server in a text such as `10.0.2.3` or `fe80::1%eth0`.
fn server(text: &str) -> Option<Server> {
    match text.split_once('%') {
        Some((address, link)) => Some((address.parse().ok()?, Some(link.to_owned()))),
        None => Some((text.parse().ok()?, None)),
    }
}

/// The sockets of the resolver, which itself knows addresses only: one for a link-local server is
/// bound to its link.
#[derive(Clone)]
struct Sockets {
    inner: TokioRuntimeProvider,
    links: Arc<[Server]>,
}

impl Sockets {
    fn new(servers: &[Server]) -> Sockets {
        Sockets {
            inner: TokioRuntimeProvider::default(),
            links: servers.into(),
        }
    }

    /// The link on which alone this server can be reached.
    fn link(&self, server: IpAddr) -> Option<String> {
        let (_, link) = self.links.iter().find(|(address, _)| *address == server)?;
        link.clone()
    }
}

impl RuntimeProvider for Sockets {
    type Handle = <TokioRuntimeProvider as RuntimeProvider>::Handle;
    type Timer = <TokioRuntimeProvider as RuntimeProvider>::Timer;
    type Udp = UdpSocket;
    type Tcp = <TokioRuntimeProvider as RuntimeProvider>::Tcp;

    fn create_handle(&self) -> Self::Handle {
        self.inner.create_handle()
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        here: Option<SocketAddr>,
        timeout: Option<Duration>,
    ) -> Pin<Box<dyn Send + Future<Output = Result<Self::Tcp, io::Error>>>> {
        let Some(link) = self.link(server.ip()) else {
            return self.inner.connect_tcp(server, here, timeout);
        };
        Box::pin(async move {
            let socket = TcpSocket::new_v6()?;
            socket.bind_device(Some(link.as_bytes()))?;
            if let Some(here) = here {
                socket.bind(here)?;
            }
            let connecting = socket.connect(server);
            let stream = tokio::time::timeout(timeout.unwrap_or(PATIENCE), connecting)
                .await
                .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            // A question and its answer, each in one segment: nothing is gained by waiting.
            stream.set_nodelay(true)?;
            Ok(AsyncIoTokioAsStd(stream))
        })
    }

    fn bind_udp(
        &self,
        here: SocketAddr,
        server: SocketAddr,
    ) -> Pin<Box<dyn Send + Future<Output = Result<UdpSocket, io::Error>>>> {
        let link = self.link(server.ip());
        Box::pin(async move {
            let socket = UdpSocket::bind(here).await?;
            if let Some(link) = link {
                socket2::SockRef::from(&socket).bind_device(Some(link.as_bytes()))?;
            }
            Ok(socket)
        })
    }
}
