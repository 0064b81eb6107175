//! Devices that are apart and meet at the relay of their family: the real program and real devices, in
//! network namespaces without a route from one to the other.

#[path = "../../mesh/tests/common/mod.rs"]
mod common;
mod program;

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bus::Server;
use bus::pairing::Membership;
use bus::settings::Value;
use common::{Addresses, Capture, Device, Network, PATIENCE, contains, enter, ip, run};
use iroh::Watcher as _;
use iroh::endpoint::RelayStatus;
use iroh::tls::CaTlsConfig;
use program::{Program, refusal};

/// Where the relay listens: on no network of the devices.
const RELAY: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
const PORT: u16 = 3340;

fn url() -> String {
    format!("http://{RELAY}:{PORT}")
}

/// The settings.
fn services(folder: &Path) -> Server {
    let data = folder.join("data/settings");
    fs::create_dir_all(&data).unwrap();
    let ids = [bus::settings::ID, bus::following::ID];
    let mut server = Server::bind(&folder.join("bus"), &ids).unwrap();
    let keeper = settings::open(&data, &folder.join("system")).unwrap();
    for interface in settings::interfaces(keeper) {
        server.serve(interface);
    }
    server
}

/// Starts it where it can be reached from both networks, beside the sockets of the hub's mesh.
fn start(world: &World) -> Program {
    let program = Command::new("ip")
        .args(["netns", "exec", &world.outside.0])
        .arg(Program::path())
        .args(["--listen", &format!("{RELAY}:{PORT}"), "--bus"])
        .arg(common::bus_of(&world.hub.folder))
        .spawn();
    Program(program.expect("starting the relay"))
}

/// A namespace on both networks, which forwards nothing from one to the other.
struct Outside(String);

impl Outside {
    fn new(home: &Network, away: &Network) -> Self {
        let outside = Self(format!("{}-outside", home.switch));
        let there = &outside.0;
        ip(&format!("netns add {there}"));
        let forwards = [
            "netns",
            "exec",
            there,
            "sysctl",
            "-qw",
            "net.ipv4.ip_forward=0",
        ];
        let set = Command::new("ip").args(forwards).status();
        assert!(set.is_ok_and(|status| status.success()));
        ip(&format!("-n {there} link set lo up"));
        ip(&format!("-n {there} addr add {RELAY}/32 dev lo"));
        for (network, link, address) in
            [(home, "home", "10.77.0.200"), (away, "away", "10.78.0.200")]
        {
            let switch = &network.switch;
            ip(&format!(
                "link add {link} netns {there} type veth peer name outside netns {switch}"
            ));
            ip(&format!("-n {switch} link set outside master switch up"));
            ip(&format!("-n {there} addr add {address}/24 dev {link}"));
            ip(&format!("-n {there} link set {link} up"));
        }
        outside
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// A home and a network elsewhere; a hub that is on both and forwards nothing, and the place of the relay.
struct World {
    home: Arc<Network>,
    away: Arc<Network>,
    outside: Outside,
    hub: Device,
    phone: Device,
    tv: Device,
}

impl World {
    /// The three are of one family and at home; none where tests may not make networks.
    async fn new() -> Option<Self> {
        let home = Network::new(Addresses::Four)?;
        let away = Network::new(Addresses::Four)?;
        let device = |name| Device::with(&home, name, Some(services));
        let (hub, phone, tv) = (device("hub"), device("phone"), device("tv"));
        let outside = Outside::new(&home, &away);
        plug_in_away(&away, &hub);
        for device in [&hub, &phone, &tv] {
            let there = device.namespace();
            ip(&format!("-n {there} route add {RELAY} via 10.77.0.200"));
        }
        hub.takes_in(&phone, Membership::Owner).await;
        hub.takes_in(&tv, Membership::Owner).await;
        phone.sees("tv").await;
        tv.sees("phone").await;
        Some(Self {
            home,
            away,
            outside,
            hub,
            phone,
            tv,
        })
    }

    async fn set_relay(&self, url: &str) {
        for device in [&self.hub, &self.phone, &self.tv] {
            set_relay(device, url).await;
        }
    }

    /// The phone leaves home and is on the other network.
    fn phone_leaves(&self) {
        let phone = self.phone.namespace();
        ip(&format!("-n {phone} link del eth0"));
        plug_in_away(&self.away, &self.phone);
        ip(&format!("-n {phone} route add {RELAY} via 10.78.0.200"));
    }

    /// The phone is at home again.
    fn phone_comes_home(&self) {
        let (phone, switch, port) = (self.phone.namespace(), &self.home.switch, self.phone.port);
        ip(&format!("-n {phone} link del eth1"));
        ip(&format!(
            "link add eth0 netns {phone} type veth peer name port{port} netns {switch}"
        ));
        ip(&format!("-n {switch} link set port{port} master switch"));
        ip(&format!("-n {phone} addr add 10.77.0.{port}/24 dev eth0"));
        ip(&format!("-n {phone} link set eth0 up"));
        self.home.plug(port, true);
        ip(&format!("-n {phone} route add {RELAY} via 10.77.0.200"));
    }
}

/// Plugs a device into the other network.
fn plug_in_away(away: &Arc<Network>, device: &Device) {
    let (there, switch, port) = (device.namespace(), &away.switch, device.port);
    ip(&format!(
        "link add eth1 netns {there} type veth peer name port{port} netns {switch}"
    ));
    ip(&format!("-n {switch} link set port{port} master switch"));
    ip(&format!("-n {there} addr add 10.78.0.{port}/24 dev eth1"));
    ip(&format!("-n {there} link set eth1 up"));
    away.plug(port, true);
}

async fn set_relay(device: &Device, url: &str) {
    let value = Value::Text(url.to_owned());
    let set = bus::settings::set(&device.bus, "family.relay", &value).await;
    set.unwrap().unwrap();
}

/// Waits until a device stands so with its relay.
async fn stands(device: &Device, what: &str, holds: impl Fn(&[RelayStatus]) -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        loop {
            let (node, _) = device.mesh.as_ref().expect("it runs");
            let mut reach = node.watch_reach();
            let endpoint = reach.borrow_and_update().endpoint.clone();
            let mut status = endpoint.home_relay_status();
            loop {
                if holds(&status.get()) {
                    return;
                }
                tokio::select! {
                    _ = status.updated() => {}
                    _ = reach.changed() => break,
                }
            }
        }
    });
    assert!(waited.await.is_ok(), "{}: not {what}", device.name);
}

async fn is_at_relay(device: &Device) {
    stands(device, "at the relay", |relays| {
        relays.iter().any(RelayStatus::is_connected)
    })
    .await;
}

/// Calls until there is an answer: who just moved may not know yet where the other one is.
async fn calls(from: &Device, to: &str) {
    let client = from.to(to).with_deadline(Duration::from_secs(15));
    let answered = async {
        loop {
            match bus::device::about(&client).await {
                Ok(about) => return assert_eq!(about.name, to),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    };
    let answered = tokio::time::timeout(PATIENCE, answered).await;
    assert!(answered.is_ok(), "{} does not reach {to}", from.name);
}

/// Source and destination of a packet of IPv4.
fn ends(packet: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let address = |from: usize| -> Option<Ipv4Addr> {
        let bytes: [u8; 4] = packet.get(from..from + 4)?.try_into().ok()?;
        Some(bytes.into())
    };
    (packet.get(12..14)? == [8, 0]).then_some(())?;
    Some((address(26)?, address(30)?))
}

#[test]
fn devices_that_are_apart_reach_each_other_by_the_relay() {
    run(async {
        let Some(world) = World::new().await else {
            return;
        };
        let World {
            home, phone, tv, ..
        } = &world;
        let program = start(&world);
        world.set_relay(&url()).await;
        is_at_relay(phone).await;
        is_at_relay(tv).await;
        // At home it goes as ever.
        calls(phone, "tv").await;
        calls(tv, "phone").await;

        let captures = [Capture::begin(home), Capture::begin(&world.away)];
        world.phone_leaves();
        calls(phone, "tv").await;
        calls(tv, "phone").await;
        phone.sees("tv").await;
        tv.sees("phone").await;
        let about = bus::device::about(&phone.to("tv")).await.unwrap();
        assert_eq!(
            about.release,
            phone.id().await,
            "the caller is known by its key"
        );
        let names = bus::names::resolve(&phone.to("tv"), "4000").await.unwrap();
        assert_eq!(names.unwrap()[0].len(), 4000);

        // On the other network it spoke to the relay and the hub, which is there too, and to nobody else.
        let [at_home, elsewhere] = captures.map(|capture| capture.take());
        let own = Ipv4Addr::new(10, 78, 0, phone.port as u8);
        let hub = Ipv4Addr::new(10, 78, 0, world.hub.port as u8);
        let sent: Vec<_> = elsewhere.iter().filter_map(|packet| ends(packet)).collect();
        assert!(sent.contains(&(own, RELAY)), "the capture works");
        for (from, to) in sent {
            let known = [RELAY, hub].contains(&to) || to.is_multicast();
            assert!(from != own || known, "a packet went to {to}");
        }
        for packet in at_home.iter().chain(&elsewhere) {
            for text in ["hyper:", "xxxxxxxx"] {
                assert!(!contains(packet, text.as_bytes()), "{text} is in a packet");
            }
        }

        // It was the relay that carried it: without it they are away, and with it there again.
        drop(program);
        let away = |name: &'static str| {
            move |devices: &[bus::family::Device]| {
                let away = |device: &bus::family::Device| device.name == name && !device.online;
                devices.iter().any(away)
            }
        };
        phone.until("without the TV", away("tv")).await;
        tv.until("without the phone", away("phone")).await;
        let program = start(&world);
        phone.sees("tv").await;
        tv.sees("phone").await;
        calls(phone, "tv").await;
        calls(tv, "phone").await;

        // At home again they need no relay.
        world.phone_comes_home();
        calls(phone, "tv").await;
        drop(program);
        calls(phone, "tv").await;
        calls(tv, "phone").await;
    });
}

#[test]
fn a_removed_device_is_sent_away_from_the_relay_and_a_stranger_never_let_in() {
    run(async {
        let Some(world) = World::new().await else {
            return;
        };
        let World { hub, phone, tv, .. } = &world;
        let _program = start(&world);
        world.set_relay(&url()).await;
        is_at_relay(phone).await;
        is_at_relay(tv).await;

        // In a thread of its own, for that stays in the namespace.
        let namespace = tv.namespace().to_owned();
        let reason = std::thread::spawn(move || {
            enter(&namespace);
            refusal(&url(), CaTlsConfig::default(), PATIENCE)
        });
        let reason = reason.join().expect("a stranger is refused");
        assert!(reason.contains("another family"), "{reason}");

        // Pairing goes as ever while those who pair are at the relay, or look for who else is there.
        let radio = Device::with(&world.home, "radio", Some(services));
        ip(&format!(
            "-n {} route add {RELAY} via 10.77.0.200",
            radio.namespace()
        ));
        set_relay(&radio, &url()).await;
        hub.takes_in(&radio, Membership::Shared).await;
        is_at_relay(&radio).await;
        calls(&radio, "tv").await;

        world.phone_leaves();
        calls(phone, "tv").await;
        calls(phone, "radio").await;
        bus::family::remove(&hub.bus, "phone")
            .await
            .unwrap()
            .unwrap();
        stands(phone, "refused", |relays| {
            let reason = relays.iter().find_map(RelayStatus::auth_denied_reason);
            reason.is_some_and(|reason| reason.contains("removed"))
        })
        .await;
        tv.until("rid of the phone", |devices| {
            devices.iter().all(|device| device.name != "phone")
        })
        .await;
        phone
            .until("alone", |devices| {
                devices.iter().all(|device| device.here || !device.online)
            })
            .await;
        let to_tv = phone.to("tv").with_deadline(Duration::from_secs(8));
        assert!(bus::device::about(&to_tv).await.is_err());
        // The others are there as before.
        is_at_relay(tv).await;
        calls(hub, "tv").await;
    });
}

#[test]
fn without_a_relay_set_nothing_goes_to_it() {
    run(async {
        let Some(world) = World::new().await else {
            return;
        };
        let World { hub, phone, .. } = &world;
        let _program = start(&world);
        let captures = [Capture::begin(&world.home), Capture::begin(&world.away)];
        world.phone_leaves();
        // The hub is on the other network too: so the phone is at work there.
        calls(phone, "hub").await;
        calls(hub, "phone").await;
        let to_relay = |capture: &Capture| {
            let packets = capture.take();
            let ends = packets.iter().filter_map(|packet| ends(packet));
            ends.filter(|(_, to)| *to == RELAY).count()
        };
        for capture in &captures {
            assert_eq!(to_relay(capture), 0, "packets went to the relay");
        }

        // It would have been seen, and ends when the setting does.
        set_relay(phone, &url()).await;
        is_at_relay(phone).await;
        assert!(to_relay(&captures[1]) > 0, "the capture works");
        set_relay(phone, "").await;
        let ended = async {
            while has_connection(phone) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let ended = tokio::time::timeout(PATIENCE, ended).await;
        assert!(ended.is_ok(), "it still has a connection to the relay");
        to_relay(&captures[1]);
        calls(phone, "hub").await;
        // Longer than the pauses in which it was asked before whether it is there.
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(to_relay(&captures[1]), 0, "packets went to the relay");
    });
}

/// Whether a device has a connection of TCP to the relay that is not over.
fn has_connection(device: &Device) -> bool {
    let list = Command::new("ip")
        .args(["netns", "exec", device.namespace(), "cat", "/proc/net/tcp"])
        .output()
        .expect("asking for connections");
    let list = String::from_utf8(list.stdout).unwrap();
    let relay = format!("{:08X}:{PORT:04X}", u32::from_ne_bytes(RELAY.octets()));
    // Its end, and the state: what waits for late packets (06) sends nothing.
    list.lines().any(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        fields.get(2) == Some(&&*relay) && fields.get(3) != Some(&"06")
    })
}
