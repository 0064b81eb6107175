//! The service that reaches the network for updates, and nothing else.
//!
//! It gets bytes of files from static web servers, by HTTP with ranges. It keeps nothing, has no
//! disk, and is not believed by whoever calls it: signatures and hashes are compared there. HTTPS is
//! spoken where a mirror asks for it, with the authorities that the release carries.
//!
//! A mirror that stalls is given up after [`STALL`]; one that sends more than was asked for is not
//! read further.

use std::fmt;
use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bus::fetch::{Handler, Piece};
use bus::{Caller, Outgoing};
use futures::stream;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use ureq::http::Uri;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, config::Config};

/// How long nothing may come.
pub const STALL: Duration = Duration::from_secs(30);

/// How much is read before it is handed on.
const PIECE: usize = 32 << 10;

/// How many addresses of a name are tried.
const MOST_ADDRESSES: usize = 8;

/// How much may wait for whoever called.
const AHEAD: usize = 4;

/// The authorities that Debian trusts, in the root.
const CERTIFICATES: &str = "/system/share/certificates";

/// Serves until it is told to stop.
pub fn run() -> Result<()> {
    service::run(async || {
        let agent = agent(bus::Client::from_environment(), Path::new(CERTIFICATES));
        let mut server = bus::Server::from_environment().context("taking the socket over")?;
        server.serve(interface(agent));
        Ok(server)
    })
}

/// The interface, answered by a client.
#[must_use]
pub fn interface(agent: Agent) -> bus::Interface {
    bus::fetch::interface(Fetcher(agent))
}

/// A client that asks the service of names, and knows these authorities.
#[must_use]
pub fn agent(bus: bus::Client, certificates: &Path) -> Agent {
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(authorities(certificates))))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .build();
    let config = Config::builder()
        .http_status_as_error(false)
        .max_redirects(3)
        .user_agent("HyperOS")
        .accept_encoding("identity")
        .max_idle_connections(2)
        .timeout_resolve(Some(STALL))
        .timeout_connect(Some(STALL))
        .timeout_recv_response(Some(STALL))
        .timeout_per_read(Some(STALL))
        .tls_config(tls)
        .build();
    Agent::with_parts(config, DefaultConnector::default(), Names(bus))
}

fn authorities(folder: &Path) -> Vec<ureq::tls::Certificate<'static>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(text) = std::fs::read(entry.path()) else {
            continue;
        };
        found.extend(parse_pem(&text).filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        }));
    }
    found
}

/// Answers `hyper:update/fetch`.
struct Fetcher(Agent);

impl Handler for Fetcher {
    async fn get(
        &self,
        _: Caller,
        mirror: String,
        path: String,
        offset: u64,
        length: u64,
    ) -> Outgoing<Piece> {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let agent = self.0.clone();
        tokio::task::spawn_blocking(move || {
            let last = match get(&agent, &mirror, &path, offset, length, &sender) {
                Ok(()) => return,
                Err(Failure::Missing) => Piece::Missing,
                Err(Failure::Other(reason)) => Piece::Failed(reason),
            };
            // Who asked may be gone.
            let _ = sender.blocking_send(last);
        });
        Box::pin(stream::unfold(receiver, async |mut receiver| {
            Some((receiver.recv().await?, receiver))
        }))
    }
}

enum Failure {
    Missing,
    Other(String),
}

fn get(
    agent: &Agent,
    mirror: &str,
    path: &str,
    offset: u64,
    length: u64,
    sender: &mpsc::Sender<Piece>,
) -> Result<(), Failure> {
    let other = |reason: &dyn fmt::Display| Failure::Other(reason.to_string());
    let address = address(mirror, path).map_err(|reason| other(&reason))?;
    if length == 0 {
        return Ok(());
    }
    let last = offset.saturating_add(length - 1);
    let response = agent
        .get(&address)
        .header("Range", format!("bytes={offset}-{last}"))
        .call()
        .map_err(|error| Failure::Other(in_words(&error)))?;
    // A server without ranges sends the file from its beginning.
    let skip = match response.status().as_u16() {
        206 => 0,
        200 => offset,
        404 | 410 => return Err(Failure::Missing),
        status => return Err(Failure::Other(format!("it answers with status {status}"))),
    };
    let mut body = response
        .into_body()
        .into_with_config()
        .limit(u64::MAX)
        .reader();
    std::io::copy(&mut (&mut body).take(skip), &mut std::io::sink())
        .map_err(|error| other(&error))?;
    let mut rest = body.take(length);
    loop {
        let mut piece = vec![0; PIECE];
        let count = rest.read(&mut piece).map_err(|error| other(&error))?;
        if count == 0 {
            return Ok(());
        }
        piece.truncate(count);
        if sender.blocking_send(Piece::Data(piece.into())).is_err() {
            return Ok(());
        }
    }
}

/// What a failed request is to the owner.
fn in_words(error: &ureq::Error) -> String {
    use std::io::ErrorKind;
    match error {
        ureq::Error::Io(error) => match error.kind() {
            ErrorKind::NetworkUnreachable => "this device is not connected to a network".into(),
            ErrorKind::HostUnreachable => "it cannot be reached from this network".into(),
            ErrorKind::ConnectionRefused => "no mirror answers at that address".into(),
            _ => error.to_string(),
        },
        ureq::Error::HostNotFound => "this network does not know its name".into(),
        ureq::Error::Timeout(_) => format!("it has not answered for {} s", STALL.as_secs()),
        error => error.to_string(),
    }
}

/// The address of a file. Paths are those of a repository: plain words between slashes.
fn address(mirror: &str, path: &str) -> Result<String, String> {
    if !mirror.starts_with("http://") && !mirror.starts_with("https://") {
        return Err(format!("{mirror:?} is no mirror (http://…, https://…)"));
    }
    let plain = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".-_+%".contains(&byte))
    };
    if !path.split('/').all(plain) {
        return Err(format!("{path:?} is no path of a repository"));
    }
    Ok(format!("{}/{path}", mirror.trim_end_matches('/')))
}

/// Names by the service that asks the network's own servers: a static program has no other way.
struct Names(bus::Client);

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Names")
    }
}

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        _: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().ok_or(ureq::Error::HostNotFound)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(match uri.scheme_str() {
            Some("https") => 443,
            _ => 80,
        });
        let addresses: Vec<IpAddr> = match host.parse() {
            Ok(address) => vec![address],
            Err(_) => {
                let bus = self.0.with_deadline((*timeout.after).min(STALL));
                // This runs on a thread for what blocks; the answer comes on the other one.
                let answer = Handle::current()
                    .block_on(bus::names::resolve(&bus, host))
                    .map_err(|error| ureq::Error::Io(std::io::Error::other(error.to_string())))?;
                answer
                    .map_err(|reason| ureq::Error::Io(std::io::Error::other(reason)))?
                    .iter()
                    .filter_map(|address| address.parse().ok())
                    .collect()
            }
        };
        let mut resolved = self.empty();
        for address in addresses.into_iter().take(MOST_ADDRESSES) {
            resolved.push(SocketAddr::new(address, port));
        }
        if resolved.is_empty() {
            return Err(ureq::Error::HostNotFound);
        }
        Ok(resolved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_paths_of_mirrors_are_asked_for() {
        assert_eq!(
            address("http://mirror:8080/os/", "metadata/1.root.json").unwrap(),
            "http://mirror:8080/os/metadata/1.root.json"
        );
        for (mirror, path) in [
            ("file:///etc", "passwd"),
            ("http://mirror", "../secret"),
            ("http://mirror", "a//b"),
            ("http://mirror", "a?b"),
            ("http://mirror", ""),
            ("http://mirror", "a b"),
        ] {
            address(mirror, path).unwrap_err();
        }
    }
}
