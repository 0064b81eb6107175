//! What the kernel knows of the network, and telling it what to change.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use futures::{StreamExt as _, TryStreamExt as _, channel::mpsc::UnboundedReceiver};
use netlink_packet_core::NetlinkMessage;
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope, CacheInfo},
    link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage},
    route::{
        RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope,
        RouteType,
    },
};
use rtnetlink::{Handle, LinkUnspec, MulticastGroup, RouteMessageBuilder};

use crate::{dhcp::Lease, secret::Secret};

/// Routes of ours are less wanted than what anybody set by hand; two links' differ by their
/// index.
const METRIC: u32 = 1024;

/// A link as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number for it.
    pub index: u32,
    /// The kernel's name for it.
    pub name: String,
    /// What it is.
    pub medium: Medium,
    /// The hardware address, where it has one of six bytes.
    pub hardware: Option<[u8; 6]>,
    /// Whether it is switched on.
    pub up: bool,
    /// Whether a cable or a radio connects it.
    pub carrier: bool,
    /// Whether it is a device rather than something made of others, such as a bridge.
    pub device: bool,
}

/// What a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Medium {
    Ethernet,
    Loopback,
    Other,
}

/// An address of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The link.
    pub index: u32,
    /// The address.
    pub address: IpAddr,
    /// How many bits of it are the network's.
    pub prefix: u8,
    /// Whether other networks could know it.
    pub global: bool,
    /// Whether it has an end.
    pub dynamic: bool,
}

/// A way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The link.
    pub index: u32,
    /// The router.
    pub gateway: IpAddr,
}

/// Everything at one moment, each list in the kernel's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Snapshot {
    pub links: Vec<Link>,
    pub addresses: Vec<Address>,
    pub routes: Vec<Route>,
}

/// The kernel.
pub struct Kernel {
    handle: Handle,
    changes: UnboundedReceiver<(
        NetlinkMessage<RouteNetlinkMessage>,
        rtnetlink::sys::SocketAddr,
    )>,
}

impl Kernel {
    /// Speaks to the kernel, and hears of changes, from now on.
    pub fn open() -> io::Result<Kernel> {
        let (connection, handle, changes) = rtnetlink::new_multicast_connection(&[
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
        ])?;
        tokio::spawn(connection);
        Ok(Kernel { handle, changes })
    }

    /// Returns when something has changed, once for all that has; false when the kernel will say
    /// no more.
    pub async fn changed(&mut self) -> bool {
        let mut more = self.changes.next().await.is_some();
        // What is said is not looked at but asked for: then nothing that was missed matters.
        while let Some(next) = futures::FutureExt::now_or_never(self.changes.next()) {
            more &= next.is_some();
            if next.is_none() {
                break;
            }
        }
        more
    }

    /// Everything, now.
    pub async fn snapshot(&self) -> Result<Snapshot, rtnetlink::Error> {
        let links: Vec<LinkMessage> = self.handle.link().get().execute().try_collect().await?;
        let addresses: Vec<AddressMessage> =
            self.handle.address().get().execute().try_collect().await?;
        let mut routes = Vec::new();
        for route in [
            RouteMessageBuilder::<Ipv4Addr>::new().build(),
            RouteMessageBuilder::<std::net::Ipv6Addr>::new().build(),
        ] {
            let found: Vec<RouteMessage> = self
                .handle
                .route()
                .get(route)
                .execute()
                .try_collect()
                .await?;
            routes.extend(found.iter().filter_map(default_route));
        }
        Ok(Snapshot {
            links: links.iter().map(link).collect(),
            addresses: addresses.iter().filter_map(address).collect(),
            routes,
        })
    }

    /// Switches a link on or off. Off takes its IPv6 addresses and all its routes with it.
    pub async fn switch(&self, index: u32, on: bool) -> Result<(), rtnetlink::Error> {
        let link = LinkUnspec::new_with_index(index);
        let link = if on { link.up() } else { link.down() };
        self.handle.link().set(link.build()).execute().await
    }

    /// Has the IPv6 addresses that a link will make for itself be made from its network and a
    /// secret (RFC 7217): the same in the same network, and unlike those in any other.
    ///
    /// # Errors
    /// When the kernel does not take it; it then makes them as before.
    pub fn hide_hardware(&self, link: &str, secret: &Secret) -> io::Result<()> {
        let file = format!("/proc/sys/net/ipv6/conf/{link}/stable_secret");
        std::fs::write(file, secret.to_ipv6().to_string())
    }

    /// Gives a link the address and the ways out of a lease that was asked for so long ago.
    pub async fn configure(
        &self,
        index: u32,
        lease: &Lease,
        ago: Duration,
    ) -> Result<(), rtnetlink::Error> {
        let mut request = self
            .handle
            .address()
            .add(index, lease.address.into(), lease.prefix)
            .replace();
        // The kernel ends it with the lease, whatever becomes of us.
        let seconds = lease.lasts.map_or(u32::MAX, |lasts| {
            u32::try_from(lasts.saturating_sub(ago).as_secs())
                .unwrap_or(u32::MAX)
                .max(1)
        });
        let mut lifetime = CacheInfo::default();
        (lifetime.ifa_valid, lifetime.ifa_preferred) = (seconds, seconds);
        request
            .message_mut()
            .attributes
            .push(AddressAttribute::CacheInfo(lifetime));
        request.execute().await?;
        for route in routes_by(index, lease) {
            self.handle.route().add(route).replace().execute().await?;
        }
        Ok(())
    }

    /// Takes away what [`configure`](Kernel::configure) gave. What is gone already is no error.
    pub async fn remove(&self, index: u32, lease: &Lease) {
        for route in routes_by(index, lease) {
            let _ = self.handle.route().del(route).execute().await;
        }
        self.remove_address(index, lease.address, lease.prefix)
            .await;
    }

    /// Takes an IPv4 address away. What is gone already is no error.
    pub async fn remove_address(&self, index: u32, address: Ipv4Addr, prefix: u8) {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.index = index;
        message.header.prefix_len = prefix;
        message
            .attributes
            .push(AddressAttribute::Local(address.into()));
        let _ = self.handle.address().del(message).execute().await;
    }
}

/// The routes of a lease: those to some networks before the one to all others, which may need them.
fn routes_by(index: u32, lease: &Lease) -> Vec<RouteMessage> {
    let to = |network: Ipv4Addr, prefix: u8, gateway: Option<Ipv4Addr>| {
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(network, prefix)
            .output_interface(index)
            .pref_source(lease.address)
            .protocol(RouteProtocol::Dhcp)
            .priority(METRIC + index);
        match gateway {
            // A router outside of the subnet is odd, and offered all the same.
            Some(gateway) => route.gateway(gateway).onlink(),
            None => route.scope(RouteScope::Link),
        }
        .build()
    };
    let others = lease.routes.iter();
    others
        .map(|route| to(route.network, route.prefix, route.gateway))
        .chain(
            lease
                .router
                .map(|router| to(Ipv4Addr::UNSPECIFIED, 0, Some(router))),
        )
        .collect()
}

fn link(message: &LinkMessage) -> Link {
    let header = &message.header;
    let mut link = Link {
        index: header.index,
        name: String::new(),
        medium: match header.link_layer_type {
            LinkLayerType::Ether => Medium::Ethernet,
            LinkLayerType::Loopback => Medium::Loopback,
            _ => Medium::Other,
        },
        hardware: None,
        up: header.flags.contains(LinkFlags::Up),
        carrier: header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp),
        device: true,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(hardware) => {
                link.hardware = hardware.as_slice().try_into().ok();
            }
            LinkAttribute::LinkInfo(infos) => {
                // A veth is how a container's network is plugged in: a cable for all purposes.
                link.device = !infos
                    .iter()
                    .any(|info| matches!(info, LinkInfo::Kind(kind) if *kind != InfoKind::Veth));
            }
            _ => {}
        }
    }
    link
}

fn address(message: &AddressMessage) -> Option<Address> {
    let mut found = None;
    let mut flags = AddressFlags::from_bits_retain(message.header.flags.bits().into());
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => found = Some(*address),
            AddressAttribute::Address(address) => found = found.or(Some(*address)),
            AddressAttribute::Flags(all) => flags = *all,
            _ => {}
        }
    }
    // One that is still being checked, or was found to be taken, cannot be used.
    let usable = !flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed);
    usable.then_some(Address {
        index: message.header.index,
        address: found?,
        prefix: message.header.prefix_len,
        global: matches!(
            message.header.scope,
            AddressScope::Universe | AddressScope::Site
        ),
        dynamic: !flags.contains(AddressFlags::Permanent),
    })
}

fn default_route(message: &RouteMessage) -> Option<Route> {
    let header = &message.header;
    let mut table = u32::from(header.table);
    let (mut index, mut gateway) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(oif) => index = Some(*oif),
            RouteAttribute::Gateway(RouteAddress::Inet(address)) => {
                gateway = Some(IpAddr::V4(*address));
            }
            RouteAttribute::Gateway(RouteAddress::Inet6(address)) => {
                gateway = Some(IpAddr::V6(*address));
            }
            RouteAttribute::Table(full) => table = *full,
            _ => {}
        }
    }
    let default = header.destination_prefix_length == 0
        && header.kind == RouteType::Unicast
        && table == u32::from(RouteHeader::RT_TABLE_MAIN);
    default.then_some(Route {
        index: index?,
        gateway: gateway?,
    })
}
