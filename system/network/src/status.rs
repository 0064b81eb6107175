//! What is told of the network: made of what the kernel says, the leases and the offers.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
};

use bus::network::{Link, LinkKind, State};

use crate::{
    dhcp::Lease,
    kernel::{Medium, Snapshot},
};

/// The state of the network.
///
/// `advertised` are the servers for names that routers offered, by link; `host` are those of the
/// host, where it is the host that manages.
pub fn describe(
    snapshot: &Snapshot,
    leases: &BTreeMap<u32, Lease>,
    advertised: &[(u32, Ipv6Addr)],
    host: &[IpAddr],
) -> State {
    let links: Vec<_> = snapshot
        .links
        .iter()
        // Tunnels and the like that the kernel keeps ready, switched off, connect nothing.
        .filter(|link| link.device || link.up)
        .map(|link| {
            let addresses = || snapshot.addresses.iter().filter(|a| a.index == link.index);
            let mut sources = Vec::new();
            if leases.contains_key(&link.index) {
                sources.push("DHCP".to_owned());
            }
            if addresses().any(|a| a.address.is_ipv6() && a.global && a.dynamic) {
                sources.push("router advertisement".to_owned());
            }
            let gateways = snapshot
                .routes
                .iter()
                .filter(|route| route.index == link.index)
                .map(|route| route.gateway.to_string());
            Link {
                name: link.name.clone(),
                kind: match link.medium {
                    Medium::Loopback => LinkKind::Loopback,
                    Medium::Ethernet => LinkKind::Ethernet,
                    Medium::Other => LinkKind::Other,
                },
                connected: link.up && link.carrier,
                addresses: addresses()
                    .map(|a| format!("{}/{}", a.address, a.prefix))
                    .collect(),
                gateways: unique(gateways),
                sources,
            }
        })
        .collect();
    let online = snapshot.links.iter().any(|link| {
        link.medium != Medium::Loopback
            && link.up
            && link.carrier
            && snapshot.routes.iter().any(|route| {
                route.index == link.index
                    && snapshot.addresses.iter().any(|a| {
                        a.index == link.index
                            && a.global
                            && a.address.is_ipv4() == route.gateway.is_ipv4()
                    })
            })
    });
    let name = |index: u32| snapshot.links.iter().find(|link| link.index == index);
    let advertised = advertised.iter().map(|(index, server)| match name(*index) {
        // A link-local address means nothing without its link.
        Some(link) if server.is_unicast_link_local() => format!("{server}%{}", link.name),
        _ => server.to_string(),
    });
    let by_dhcp = leases.values().flat_map(|lease| &lease.name_servers);
    State {
        links,
        name_servers: unique(
            by_dhcp
                .map(ToString::to_string)
                .chain(advertised)
                .chain(host.iter().map(ToString::to_string)),
        ),
        time_servers: unique(
            leases
                .values()
                .flat_map(|lease| &lease.time_servers)
                .map(ToString::to_string),
        ),
        online,
    }
}

fn unique(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut unique = Vec::new();
    for text in texts {
        if !unique.contains(&text) {
            unique.push(text);
        }
    }
    unique
}

/// The servers for names in the text of a `resolv.conf`.
pub fn host_servers(text: &str) -> Vec<IpAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            (words.next() == Some("nameserver"))
                .then(|| words.next()?.parse().ok())
                .flatten()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Address, Route};
    use proptest::prelude::*;

    fn snapshot() -> Snapshot {
        Snapshot {
            links: vec![crate::kernel::Link {
                index: 2,
                name: "eth0".into(),
                medium: Medium::Ethernet,
                hardware: None,
                up: true,
                carrier: true,
                device: true,
            }],
            addresses: vec![Address {
                index: 2,
                address: "fec0::15".parse().unwrap(),
                prefix: 64,
                global: true,
                dynamic: true,
            }],
            routes: vec![Route {
                index: 2,
                gateway: "fe80::2".parse().unwrap(),
            }],
        }
    }

    #[test]
    fn it_is_online_with_an_address_and_a_way_out_of_the_same_family() {
        let mut snapshot = snapshot();
        let state = |snapshot: &Snapshot| describe(snapshot, &BTreeMap::new(), &[], &[]);
        assert!(state(&snapshot).online);
        assert_eq!(state(&snapshot).links[0].sources, ["router advertisement"]);
        snapshot.links[0].carrier = false;
        assert!(!state(&snapshot).online);
        snapshot.links[0].carrier = true;
        snapshot.routes[0].gateway = "10.0.2.2".parse().unwrap();
        assert!(!state(&snapshot).online);
    }

    #[test]
    fn a_tunnel_that_is_switched_off_is_not_told() {
        let mut snapshot = snapshot();
        snapshot.links.push(crate::kernel::Link {
            index: 3,
            name: "sit0".into(),
            medium: Medium::Other,
            hardware: None,
            up: false,
            carrier: false,
            device: false,
        });
        let state = describe(&snapshot, &BTreeMap::new(), &[], &[]);
        assert_eq!(state.links.len(), 1);
        snapshot.links[1].up = true;
        let state = describe(&snapshot, &BTreeMap::new(), &[], &[]);
        assert_eq!(state.links.len(), 2);
    }

    #[test]
    fn a_link_local_server_is_told_with_its_link_and_each_server_once() {
        let servers = [
            (2, "fe80::1".parse().unwrap()),
            (2, "fe80::1".parse().unwrap()),
        ];
        let state = describe(&snapshot(), &BTreeMap::new(), &servers, &[]);
        assert_eq!(state.name_servers, ["fe80::1%eth0"]);
    }

    #[test]
    fn the_servers_of_a_host_are_read() {
        let text = "# comment\nnameserver 10.0.2.3\nsearch lan\nnameserver fe80::1%eth0\n";
        assert_eq!(host_servers(text), ["10.0.2.3".parse::<IpAddr>().unwrap()]);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            host_servers(&text);
        }
    }
}
