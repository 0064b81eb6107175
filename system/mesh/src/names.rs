//! The name of a relay, resolved by this device's own service for names.
//!
//! iroh would ask the name servers of the system, and public ones where there are none. Here it asks
//! `hyper:network/names`; where nobody serves that, as in a layer on another system, the name servers of that
//! system, and never anybody else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use bus::{Address, Client};
use futures::future::BoxFuture;
use iroh::dns::{BoxIter, DnsError, DnsResolver, Resolver, TxtRecordData};

/// How long resolving may take.
const RESOLVING: Duration = Duration::from_secs(5);

/// Resolves names by the services of this device.
pub fn resolver(bus: PathBuf) -> DnsResolver {
    DnsResolver::custom(Names { bus })
}

#[derive(Clone, Debug)]
struct Names {
    bus: PathBuf,
}

impl Names {
    async fn addresses(&self, host: &str) -> Vec<IpAddr> {
        let client = Client::new(Address::Here(self.bus.clone())).with_deadline(RESOLVING);
        let reason = match bus::names::resolve(&client, host).await {
            Ok(Ok(addresses)) => {
                let addresses = addresses.iter().filter_map(|address| address.parse().ok());
                return addresses.collect();
            }
            Ok(Err(reason)) => reason,
            Err(error) => error.to_string(),
        };
        tracing::debug!("looking for {host}: {reason}");
        Vec::new()
    }

    /// The addresses of one kind, by this device's own service, or else by what is asked `elsewhere`.
    async fn lookup<T: Send + 'static, I: Iterator<Item = IpAddr>>(
        &self,
        host: &str,
        kind: impl Fn(IpAddr) -> Option<T>,
        elsewhere: impl Future<Output = Result<I, DnsError>>,
    ) -> Result<BoxIter<T>, DnsError> {
        let addresses = self.addresses(host).await;
        let found = match addresses.is_empty() {
            false => addresses.into_iter().filter_map(kind).collect(),
            true => elsewhere.await?.filter_map(kind).collect(),
        };
        Ok(each(found))
    }

    /// That of the system below a layer. A device has none, and this one then asks nobody.
    fn system() -> DnsResolver {
        DnsResolver::builder()
            .with_system_defaults()
            .disable_fallback()
            .build()
    }
}

fn each<T: Send + 'static>(found: Vec<T>) -> BoxIter<T> {
    Box::new(found.into_iter())
}

impl Resolver for Names {
    fn lookup_ipv4(&self, host: String) -> BoxFuture<'static, Result<BoxIter<Ipv4Addr>, DnsError>> {
        let this = self.clone();
        Box::pin(async move {
            let four = |address| match address {
                IpAddr::V4(address) => Some(address),
                IpAddr::V6(_) => None,
            };
            let system = Self::system();
            let elsewhere = system.lookup_ipv4(host.as_str(), RESOLVING);
            this.lookup(&host, four, elsewhere).await
        })
    }

    fn lookup_ipv6(&self, host: String) -> BoxFuture<'static, Result<BoxIter<Ipv6Addr>, DnsError>> {
        let this = self.clone();
        Box::pin(async move {
            let six = |address| match address {
                IpAddr::V6(address) => Some(address),
                IpAddr::V4(_) => None,
            };
            let system = Self::system();
            let elsewhere = system.lookup_ipv6(host.as_str(), RESOLVING);
            this.lookup(&host, six, elsewhere).await
        })
    }

    fn lookup_txt(
        &self,
        host: String,
    ) -> BoxFuture<'static, Result<BoxIter<TxtRecordData>, DnsError>> {
        Box::pin(async move {
            let system = Self::system();
            let found = system.lookup_txt(host, RESOLVING).await?;
            Ok(each(found.collect()))
        })
    }

    /// Nothing is kept here.
    fn clear_cache(&self) {}

    fn reset(&self) -> Box<dyn Resolver> {
        Box::new(self.clone())
    }
}
