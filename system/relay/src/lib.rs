//! The relay of one family: carries what its devices say to each other when they are apart.
//!
//! It runs on a machine of the owner's that can be reached from outside, beside that machine's mesh
//! ([`members`]), which says who belongs to the family: nobody else is let in. What it passes on is
//! sealed between the two devices; what it sees all the same stands in `system/mesh/PROTOCOL.md`.
//! The protocol is iroh's, and so is the server ([`listening`] is who may talk to it at all).
//!
//! # What it promises
//!
//! - **The family only.** A key is proven before anything else, and one that the family's log does
//!   not list as a member is refused, with the reason. A device that is removed is sent away within
//!   seconds of this machine's mesh having heard of it.
//! - **Without a mesh, nobody.** As long as there is none to ask, nobody is let in; who was in before
//!   stays for a minute, so that a mesh may start anew.
//! - **Nothing is kept.** What waits for a device that is slow is bounded, and what is not taken is
//!   dropped: devices send again what matters.
//! - **Bounds**, at the head of each module: connections that have not yet said who they are, of one
//!   address and of all; connections of a device; bytes a second of each.

pub mod listening;
pub mod members;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use http::Method;
use http_body_util::Empty;
use hyper::body::Bytes;
use iroh_relay::KeyCache;
use iroh_relay::http::RELAY_PROBE_PATH;
use iroh_relay::server::http_server::{BytesBody, Handlers};
use iroh_relay::server::{ClientRateLimit, Metrics, RelayService, reloading_resolver};
use rustls::ServerConfig;
use rustls::crypto::ring;
use tokio_rustls::TlsAcceptor;

use listening::Listening;
use members::Members;

/// How often the files of the certificate are read again, for they are renewed every few weeks.
const CERTIFICATE_AGAIN: Duration = Duration::from_secs(60 * 60);
/// Keys of devices that are kept in the form in which they are compared.
const KEYS: usize = 1024;

/// Runs the relay of a family, which its devices use when they are apart.
///
/// It asks the mesh of this machine who belongs to the family, and lets nobody else in.
#[derive(Clone, Debug, Parser)]
#[command(name = "hyper-relay", version)]
pub struct Options {
    /// Where to listen: an address with a port. May be given several times.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "[::]:3340")]
    pub listen: Vec<SocketAddr>,
    /// The certificate of this machine's name with those that vouch for it, as PEM; then devices use
    /// https. The file is read again every hour.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub certificate: Option<PathBuf>,
    /// The certificate's private key, as PEM.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub key: Option<PathBuf>,
    /// The folder with the sockets of this machine's mesh; HYPER_BUS otherwise, or that of the layer
    /// of the user who runs this.
    #[arg(long, value_name = "FOLDER")]
    pub bus: Option<PathBuf>,
    /// How many bytes a second each connection may send.
    #[arg(long, value_name = "BYTES", default_value = "4194304")]
    pub rate: NonZeroU32,
}

/// Runs the relay until it is told to end.
///
/// # Errors
/// When it cannot listen where it is told to, or the certificate cannot be used.
pub fn run(options: Options) -> Result<()> {
    service::run_until_ended(async || begin(options).await)
}

async fn begin(options: Options) -> Result<impl Future<Output = std::io::Result<()>>> {
    let certificate = options.certificate.clone().zip(options.key.clone());
    let tls = match certificate {
        Some((certificate, key)) => Some(tls(certificate, key).await?),
        None => None,
    };
    let listening = Listening::open(&options.listen)?;
    let bus = options.bus.clone().unwrap_or_else(bus_folder);
    let members = Arc::new(Members::default());
    let service = service(Arc::clone(&members), options.rate);
    let scheme = if tls.is_some() { "https" } else { "http" };
    for address in listening.addresses() {
        tracing::info!("devices of the family are awaited at {address} ({scheme})");
    }
    if tls.is_none() {
        tracing::warn!(
            "without a certificate, who is on the way sees which devices talk to each other, though \
             not what they say"
        );
    }
    Ok(async move {
        tokio::select! {
            () = members::follow(bus, members, service.clone()) => {}
            () = listening.serve(service, tls) => {}
        }
        Ok(())
    })
}

/// The server, which answers the relay's protocol and, to whoever asks, that it is there.
fn service(members: Arc<Members>, rate: NonZeroU32) -> RelayService {
    let mut handlers = Handlers::default();
    handlers.insert(
        (Method::GET, RELAY_PROBE_PATH),
        Box::new(|_, response| {
            let nothing: BytesBody = Box::new(Empty::<Bytes>::new());
            Ok(response.body(nothing)?)
        }),
    );
    RelayService::new(
        handlers,
        http::HeaderMap::new(),
        Some(ClientRateLimit::new(rate)),
        KeyCache::new(KEYS),
        members,
        Arc::new(Metrics::default()),
    )
}

async fn tls(certificate: PathBuf, key: PathBuf) -> Result<TlsAcceptor> {
    let provider = Arc::new(ring::default_provider());
    let name = certificate.display().to_string();
    let resolver = reloading_resolver(&provider, certificate, key, CERTIFICATE_AGAIN)
        .await
        .map_err(|error| anyhow::anyhow!("{error:#}"))
        .with_context(|| format!("reading the certificate {name} and its key, both as PEM"))?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("choosing versions of TLS")?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The folder of the sockets: of a device, or of the layer that this user runs.
fn bus_folder() -> PathBuf {
    let layer = std::env::var_os("XDG_RUNTIME_DIR")
        .map(|runtime| PathBuf::from(runtime).join("hyperos").join("bus"));
    match layer {
        Some(layer) if std::env::var_os("HYPER_BUS").is_none() && layer.is_dir() => layer,
        _ => bus::folder(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn a_certificate_comes_with_its_key_or_not_at_all() {
        Options::command().debug_assert();
        let parse =
            |arguments: &[&str]| Options::try_parse_from(["hyper-relay"].iter().chain(arguments));
        assert_eq!(parse(&[]).unwrap().listen, ["[::]:3340".parse().unwrap()]);
        assert!(parse(&["--certificate", "a.pem"]).is_err());
        assert!(parse(&["--key", "a.key"]).is_err());
        assert!(parse(&["--certificate", "a.pem", "--key", "a.key"]).is_ok());
        assert!(parse(&["--rate", "0"]).is_err());
    }
}
