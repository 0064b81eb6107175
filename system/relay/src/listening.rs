//! Where the relay listens, and how many strangers it listens to.
//!
//! A connection that has not yet proven a key costs memory and a while: so many at once of all, and so
//! many of one address, each for a few seconds. Those who were let in are bounded by
//! [`members`](crate::members).

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::future;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use iroh_relay::http::RELAY_PATH;
use iroh_relay::server::RelayService;
use iroh_relay::server::http_server::RelayServiceWithNotify;
use iroh_relay::server::streams::MaybeTlsStream;
use rustix::net::{Shutdown, shutdown};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;

/// Connections at once that have not said yet who they are.
const MOST_STRANGERS: usize = 256;
/// The same, of one address (of one network of a customer's, for IPv6).
const MOST_OF_ONE: usize = 32;
/// How long one may take to say it.
const ESTABLISHING: Duration = Duration::from_secs(10);
/// The pause after a connection could not be taken, as where there are no file descriptors left.
const PAUSE: Duration = Duration::from_millis(200);
/// Connections that wait to be taken, in the kernel.
const BACKLOG: u32 = 128;

/// Sockets that take connections.
#[derive(Debug)]
pub struct Listening {
    sockets: Vec<TcpListener>,
    strangers: Strangers,
}

impl Listening {
    /// Opens them.
    ///
    /// # Errors
    /// When an address cannot be listened at.
    pub fn open(addresses: &[SocketAddr]) -> Result<Self> {
        let open = |address: &SocketAddr| {
            open(*address).with_context(|| {
                let hint = match address {
                    SocketAddr::V6(_) => "; where there is no IPv6, give --listen 0.0.0.0:PORT",
                    SocketAddr::V4(_) => "",
                };
                format!("listening at {address}{hint}")
            })
        };
        Ok(Self {
            sockets: addresses.iter().map(open).collect::<Result<_>>()?,
            strangers: Strangers::default(),
        })
    }

    /// Where they are.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let addresses = self.sockets.iter().map(TcpListener::local_addr);
        addresses.filter_map(io::Result::ok).collect()
    }

    /// Serves whoever connects, as long as it is polled.
    pub async fn serve(self, service: RelayService, tls: Option<TlsAcceptor>) {
        let strangers = &self.strangers;
        let each = self.sockets.iter().map(|socket| {
            let (service, tls) = (service.clone(), tls.clone());
            async move {
                loop {
                    match socket.accept().await {
                        Ok((stream, address)) => {
                            take(stream, address.ip(), strangers, &service, tls.clone());
                        }
                        Err(error) => {
                            tracing::warn!("taking a connection: {error}");
                            tokio::time::sleep(PAUSE).await;
                        }
                    }
                }
            }
        });
        future::join_all(each).await;
    }
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // So that it may start again while connections of the last run are closing.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn take(
    stream: TcpStream,
    source: IpAddr,
    strangers: &Strangers,
    service: &RelayService,
    tls: Option<TlsAcceptor>,
) {
    // Who is one too many is not answered: the connection ends here.
    let Some(stranger) = strangers.note(source) else {
        return tracing::debug!("{source} has too many connections");
    };
    let service = service.clone();
    tokio::spawn(async move {
        if let Err(error) = meet(stream, service, tls).await {
            tracing::debug!("a connection from {source}: {error:#}");
        }
        drop(stranger);
    });
}

/// Serves a connection until it is a member's, or over.
///
/// The relay's server has no limit to how long somebody may take to prove a key, and passes the
/// connection on to a task of its own for that. So another handle of the socket stays here meanwhile, by
/// which it is ended.
async fn meet(stream: TcpStream, service: RelayService, tls: Option<TlsAcceptor>) -> Result<()> {
    let deadline = Instant::now() + ESTABLISHING;
    let held = stream.as_fd().try_clone_to_owned()?;
    let known = Arc::new(Notify::new());
    let mut is_known = Box::pin(Arc::clone(&known).notified_owned());
    is_known.as_mut().enable();
    let asks = AtomicBool::new(false);
    let service = RelayServiceWithNotify::new(service, known);
    let serving = async {
        let stream = match tls {
            Some(tls) => MaybeTlsStream::Tls(tls.accept(stream).await?),
            None => MaybeTlsStream::Plain(stream),
        };
        let service = service_fn(|request: Request<Incoming>| {
            asks.fetch_or(request.uri().path() == RELAY_PATH, Ordering::Relaxed);
            let answer = service.call(request).into_inner();
            std::future::ready(answer.map_err(io::Error::other))
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        connection
            .with_upgrades()
            .await
            .map_err(anyhow::Error::from)
    };
    let served = timeout_at(deadline, serving).await;
    let is_over = match served {
        Ok(Ok(())) if asks.load(Ordering::Relaxed) => timeout_at(deadline, is_known).await.is_err(),
        _ => true,
    };
    if is_over {
        // Not an error where it is closed already.
        let _ = shutdown(&held, Shutdown::Both);
    }
    served.context("it takes too long")?
}

/// Connections that have not said yet who they are, by where they come from.
#[derive(Clone, Debug, Default)]
struct Strangers(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One of them, as long as it is one.
#[derive(Debug)]
struct Stranger {
    all: Strangers,
    source: IpAddr,
}

impl Strangers {
    /// One more; none where there are too many.
    fn note(&self, source: IpAddr) -> Option<Stranger> {
        let source = network(source);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.values().sum::<usize>() >= MOST_STRANGERS {
            return None;
        }
        let count = counts.entry(source).or_default();
        if *count >= MOST_OF_ONE {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(Stranger {
            all: self.clone(),
            source,
        })
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut counts = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.source);
            }
        }
    }
}

/// What counts as one source: an address of IPv4, 64 bits of one of IPv6, which is what a customer has.
fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_leaves_room_for_others() {
        let strangers = Strangers::default();
        let address = |last: u8| IpAddr::from([192, 0, 2, last]);
        let held: Vec<_> = (0..MOST_OF_ONE)
            .map(|_| strangers.note(address(1)).unwrap())
            .collect();
        assert!(strangers.note(address(1)).is_none());
        assert!(
            strangers
                .note("::ffff:192.0.2.1".parse().unwrap())
                .is_none(),
            "it is the same one"
        );
        let other = strangers.note(address(2)).unwrap();
        drop((held, other));
        assert!(strangers.note(address(1)).is_some());
        assert!(strangers.0.lock().unwrap().is_empty(), "all have gone");
    }

    #[test]
    fn all_together_are_bounded_and_a_network_of_ipv6_is_one() {
        let strangers = Strangers::default();
        let mut held = Vec::new();
        for network in 0..MOST_STRANGERS / MOST_OF_ONE {
            for host in 1..=MOST_OF_ONE {
                let address = format!("2001:db8:0:{network:x}::{host:x}");
                held.push(strangers.note(address.parse().unwrap()).unwrap());
            }
            let address = format!("2001:db8:0:{network:x}:ffff::1");
            assert!(strangers.note(address.parse().unwrap()).is_none());
        }
        assert!(strangers.note("2001:db8:1::1".parse().unwrap()).is_none());
        held.pop();
        assert!(strangers.note("2001:db8:1::1".parse().unwrap()).is_some());
    }
}
