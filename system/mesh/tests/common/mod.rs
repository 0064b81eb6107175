//! Devices in network namespaces of their own, on one switch.
//!
//! Each device runs what `hyper service mesh` runs, on sockets of its own, beside a service that
//! answers `hyper:device`. It needs root and `ip` (iproute2); without them a test says that it was
//! skipped.

#![allow(dead_code, reason = "not every test needs all of it")]

pub mod owner;

use std::fs;
use std::io::Write as _;
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc as channel;
use std::time::Duration;

use bus::device::{Identity, Resources, Volume};
use bus::family::Device as Listed;
use bus::pairing::{Membership, Method, Secrets, Stage};
use bus::{Address, Caller, Client, Server};
use futures::StreamExt as _;
use mesh::node::Node;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

/// Generous: what a test waits for comes within a second or two on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Which addresses the links have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Addresses {
    /// Both kinds.
    Both,
    /// IPv4 alone.
    Four,
    /// IPv6 alone.
    Six,
}

pub fn ip(arguments: &str) {
    let status = Command::new("ip")
        .args(arguments.split(' '))
        .status()
        .expect("running ip");
    assert!(status.success(), "ip {arguments}");
}

fn able() -> bool {
    let ip = Command::new("ip").arg("-V").stdout(Stdio::null()).status();
    if rustix::process::geteuid().is_root() && ip.is_ok() {
        return true;
    }
    // Straight to the terminal: the test harness hides what a passing test prints.
    let _ = std::io::stderr().write_all(b"SKIPPED: this test needs root and ip (iproute2)\n");
    false
}

/// A switch. There is no router: no device has a route to anywhere else.
pub struct Network {
    pub switch: String,
    addresses: Addresses,
    ports: AtomicU32,
}

impl Network {
    /// A new one; none where tests may not make one.
    pub fn new(addresses: Addresses) -> Option<Arc<Self>> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        if !able() {
            return None;
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let switch = format!("mesh-{}-{number}", std::process::id());
        ip(&format!("netns add {switch}"));
        // Of an address of its own: else it takes the lowest of its ports', and who reached it a moment ago
        // reaches nobody once that port is gone.
        ip(&format!(
            "-n {switch} link add switch address 02:00:00:00:00:fe type bridge"
        ));
        ip(&format!("-n {switch} link set switch up"));
        Some(Arc::new(Self {
            switch,
            addresses,
            ports: AtomicU32::new(0),
        }))
    }

    /// Plugs a cable into a port, or out of it.
    pub fn plug(&self, port: u32, there: bool) {
        let to = if there { "up" } else { "down" };
        ip(&format!("-n {} link set port{port} {to}", self.switch));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = Command::new("ip")
            .args(["netns", "del", &self.switch])
            .status();
    }
}

/// A namespace that goes when it is dropped.
struct Namespace(String);

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// Enters a namespace with the calling thread.
pub fn enter(namespace: &str) {
    let namespace = fs::File::open(format!("/run/netns/{namespace}")).expect("a namespace");
    rustix::thread::move_into_link_name_space(
        namespace.as_fd(),
        Some(rustix::thread::LinkNameSpaceType::Network),
    )
    .expect("entering the namespace");
}

/// Answers `hyper:device`, and who asked.
struct About(String);

impl bus::device::Handler for About {
    async fn about(&self, caller: Caller) -> Identity {
        Identity {
            name: self.0.clone(),
            product: String::new(),
            model: caller.name(),
            release: caller
                .device()
                .map_or(String::new(), |device| device.id.to_string()),
            edition: String::new(),
            slot: None,
            kernel: String::new(),
            processors: 1,
            development: true,
            firmware: false,
            secure_boot: false,
        }
    }
    async fn volumes(&self, _: Caller) -> Vec<Volume> {
        Vec::new()
    }
    async fn usage(&self, _: Caller) -> Resources {
        Resources {
            memory_total: 0,
            memory_available: 0,
            cpu_busy: 0,
            uptime: 0,
        }
    }
}

/// Answers `hyper:names`, which only owner devices may call, with items of the size that is asked for.
/// A call for `forever` is counted as long as it runs, and has no end.
struct Names(Arc<watch::Sender<usize>>);

impl bus::names::Handler for Names {
    async fn resolve(&self, _: Caller, name: String) -> Result<Vec<String>, String> {
        if name == "forever" {
            struct Running<'a>(&'a watch::Sender<usize>);
            impl Drop for Running<'_> {
                fn drop(&mut self) {
                    self.0.send_modify(|count| *count -= 1);
                }
            }
            self.0.send_modify(|count| *count += 1);
            let _running = Running(&self.0);
            return std::future::pending().await;
        }
        let length = name.parse().map_err(|_| "no number".to_owned())?;
        Ok(vec!["x".repeat(length)])
    }
}

/// Makes a server of more services in the folder of a device, each time that it starts.
pub type More = fn(&Path) -> Server;

/// Answers `hyper:screen` as far as whether the device is locked.
struct Lock(Arc<AtomicBool>);

impl bus::screen::Handler for Lock {
    async fn status(&self, _: Caller) -> bus::screen::State {
        bus::screen::State {
            on: true,
            locked: self.0.load(Ordering::Relaxed),
            page: String::new(),
            width: 0,
            height: 0,
            scale: 1.0,
        }
    }
    async fn lock(&self, _: Caller) {}
    async fn power(&self, _: Caller, _: bool) {}
    async fn statistics(&self, _: Caller) -> bus::screen::Measurements {
        bus::screen::Measurements {
            frames: 0,
            touch_to_flip: Vec::new(),
            redraws: Vec::new(),
            first_frame: None,
        }
    }
    async fn reset_statistics(&self, _: Caller) {}
    async fn redraw(&self, _: Caller) {}
}

/// A device.
pub struct Device {
    pub name: String,
    pub port: u32,
    pub folder: PathBuf,
    pub bus: Client,
    /// Whether its screen is locked.
    pub locked: Arc<AtomicBool>,
    /// How many calls for `forever` run at its service for names.
    pub forever: Arc<watch::Sender<usize>>,
    /// Its mesh, and the runtime that this runs in: for a test that has it misbehave.
    pub mesh: Option<(Arc<Node>, Handle)>,
    network: Arc<Network>,
    namespace: Namespace,
    more: Option<More>,
    running: Option<(oneshot::Sender<()>, std::thread::JoinHandle<()>)>,
    _data: tempfile::TempDir,
}

impl Device {
    /// Makes a device, plugs it in and starts it.
    pub fn new(network: &Arc<Network>, name: &str) -> Self {
        Self::with(network, name, None)
    }

    /// As [`Device::new`], with more services.
    pub fn with(network: &Arc<Network>, name: &str, more: Option<More>) -> Self {
        let port = network.ports.fetch_add(1, Ordering::Relaxed) + 1;
        let namespace = Namespace(format!("{}-{port}", network.switch));
        let (there, switch) = (&namespace.0, &network.switch);
        ip(&format!("netns add {there}"));
        if network.addresses == Addresses::Four {
            let sysctl = "net.ipv6.conf.default.disable_ipv6=1";
            let set = Command::new("ip")
                .args(["netns", "exec", there, "sysctl", "-qw", sysctl])
                .status();
            assert!(set.is_ok_and(|status| status.success()), "sysctl {sysctl}");
        }
        ip(&format!("-n {there} link set lo up"));
        ip(&format!(
            "link add eth0 netns {there} type veth peer name port{port} netns {switch}"
        ));
        ip(&format!("-n {switch} link set port{port} master switch"));
        if network.addresses != Addresses::Six {
            ip(&format!("-n {there} addr add 10.77.0.{port}/24 dev eth0"));
        }
        if network.addresses == Addresses::Six {
            ip(&format!(
                "-n {there} addr add fd77::{port}/64 dev eth0 nodad"
            ));
        }
        ip(&format!("-n {there} link set eth0 up"));
        network.plug(port, true);
        let data = tempfile::tempdir().expect("a temporary folder");
        let folder = data.path().to_owned();
        let mut device = Self {
            name: name.to_owned(),
            port,
            bus: client(&folder),
            folder,
            locked: Arc::default(),
            forever: Arc::new(watch::Sender::new(0)),
            mesh: None,
            network: Arc::clone(network),
            namespace,
            more,
            running: None,
            _data: data,
        };
        device.start();
        device
    }

    pub fn namespace(&self) -> &str {
        &self.namespace.0
    }

    /// Starts its services.
    pub fn start(&mut self) {
        let (ready, wait) = channel::channel();
        let (stop, stopped) = oneshot::channel();
        let (name, namespace) = (self.name.clone(), self.namespace.0.clone());
        let folder = self.folder.clone();
        let more = self.more;
        let (locked, forever) = (Arc::clone(&self.locked), Arc::clone(&self.forever));
        let thread = std::thread::spawn(move || {
            enter(&namespace);
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let bus = folder.join("bus");
                fs::create_dir_all(folder.join("data")).unwrap();
                let ids = [
                    bus::family::ID,
                    bus::naming::ID,
                    bus::pairing::ID,
                    bus::paper::ID,
                    bus::calls::ID,
                    bus::grants::ID,
                    bus::questions::ID,
                ];
                let mut server = Server::bind(&bus, &ids).unwrap();
                let data = folder.join("data");
                let node = mesh::start(&mut server, &data, bus.clone(), name.clone())
                    .await
                    .unwrap();
                let shared = |id: &str| format!("{}{id}", bus::carry::SHARED);
                let (device, names) = (shared(bus::device::ID), shared(bus::names::ID));
                // Shared, and served by nobody: enough to ask whether they may be called.
                let unserved = [
                    bus::settings::ID,
                    bus::notify::ID,
                    bus::update::ID,
                    bus::power::ID,
                ];
                let _unserved = unserved.map(|id| bus::listen(&bus, &shared(id)).unwrap());
                let ids = [
                    bus::device::ID,
                    &device,
                    bus::names::ID,
                    &names,
                    bus::screen::ID,
                ];
                let mut others = Server::bind(&bus, &ids).unwrap();
                others.serve(bus::device::interface(About(name)));
                others.serve(bus::names::interface(Names(forever)));
                others.serve(bus::screen::interface(Lock(locked)));
                let more = more.map(|more| more(&folder));
                let more = async {
                    match more {
                        Some(more) => more.run().await.unwrap(),
                        None => std::future::pending().await,
                    }
                };
                ready.send((node, Handle::current())).unwrap();
                tokio::select! {
                    done = server.run() => done.unwrap(),
                    done = others.run() => done.unwrap(),
                    () = more => {}
                    _ = stopped => {}
                }
            });
        });
        self.mesh = Some(wait.recv_timeout(PATIENCE).expect("the device starts"));
        self.running = Some((stop, thread));
    }

    /// Ends its services, as a loss of power would.
    pub fn stop(&mut self) {
        self.mesh = None;
        if let Some((stop, thread)) = self.running.take() {
            let _ = stop.send(());
            thread.join().expect("the device ended by itself");
        }
    }

    /// A loss of power, and a start. Whoever asked it before has the connections of before.
    pub fn restart(&mut self) {
        self.stop();
        self.start();
        self.bus = client(&self.folder);
    }

    /// A client of another device, from here.
    pub fn to(&self, device: &str) -> Client {
        Client::new(Address::Device {
            bus: self.folder.join("bus"),
            device: device.to_owned(),
        })
        .with_deadline(PATIENCE)
    }

    pub fn plug(&self, there: bool) {
        self.network.plug(self.port, there);
        if there && self.network.addresses == Addresses::Six {
            // Out of the plug, the link lost its own address.
            let (namespace, port) = (self.namespace(), self.port);
            ip(&format!(
                "-n {namespace} addr replace fd77::{port}/64 dev eth0 nodad"
            ));
        }
    }

    pub async fn devices(&self) -> Vec<Listed> {
        bus::family::devices(&self.bus).await.unwrap()
    }

    pub async fn id(&self) -> String {
        self.devices().await[0].id.clone()
    }

    /// Waits until the list of devices is as it should be.
    pub async fn until(&self, what: &str, holds: impl Fn(&[Listed]) -> bool) {
        let mut lists = bus::family::watch(&self.bus).await.unwrap();
        let waited = tokio::time::timeout(PATIENCE, async {
            while let Some(list) = lists.next().await {
                if holds(&list.expect("the list of devices")) {
                    return;
                }
            }
            panic!("the list of devices ended");
        });
        if waited.await.is_err() {
            panic!("{}: not {what}: {:?}", self.name, self.devices().await);
        }
    }

    /// Waits until another device is online.
    pub async fn sees(&self, name: &str) {
        self.until(&format!("online: {name}"), |devices| {
            devices
                .iter()
                .any(|device| device.name == name && device.online)
        })
        .await;
    }

    /// Waits for a stage of pairing, and answers it.
    pub async fn stage(&self, is: impl Fn(&Stage) -> bool) -> Stage {
        let mut stages = bus::pairing::watch(&self.bus).await.unwrap();
        let mut seen = Vec::new();
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                let stage = stages.next().await.expect("stages go on").unwrap();
                if is(&stage) {
                    return stage;
                }
                seen.push(stage);
            }
        });
        match waited.await {
            Ok(stage) => stage,
            Err(_) => panic!("{}: stages {seen:?}", self.name),
        }
    }

    pub async fn open(&self) -> Secrets {
        bus::pairing::open(&self.bus).await.unwrap().unwrap()
    }

    /// Waits until this device sees another one that is open for pairing.
    pub async fn finds_open(&self, id: &str) {
        let mut lists = bus::pairing::watch_candidates(&self.bus).await.unwrap();
        let found = tokio::time::timeout(PATIENCE, async {
            while let Some(list) = lists.next().await {
                if list.unwrap().iter().any(|candidate| candidate.id == id) {
                    return;
                }
            }
            panic!("the list of candidates ended");
        });
        found.await.expect("the candidate is found");
    }

    /// Begins to take another device in.
    pub async fn begin(
        &self,
        id: &str,
        method: Method,
        secret: &str,
        membership: Membership,
    ) -> Result<(), String> {
        bus::pairing::begin(&self.bus, id, &method, secret, "", &membership)
            .await
            .unwrap()
    }

    /// Takes another device in, by its PIN.
    pub async fn takes_in(&self, other: &Device, membership: Membership) {
        let id = other.id().await;
        let secrets = other.open().await;
        self.finds_open(&id).await;
        self.begin(&id, Method::Pin, &secrets.pin, membership)
            .await
            .unwrap();
        let paired = |stage: &Stage| matches!(stage, Stage::Paired(_) | Stage::Failed(_));
        for side in [self, other] {
            let stage = side.stage(paired).await;
            assert!(
                matches!(stage, Stage::Paired(_)),
                "{}: {stage:?}",
                side.name
            );
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            let _ = stop.send(());
            let _ = thread.join();
        }
    }
}

/// Runs a test on a runtime of its own.
pub fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(test);
}

/// Every packet that crosses a switch, from now on.
pub struct Capture {
    packets: channel::Receiver<Vec<u8>>,
}

impl Capture {
    pub fn begin(network: &Arc<Network>) -> Self {
        let (sender, packets) = channel::channel();
        let (ready, wait) = channel::channel();
        let switch = network.switch.clone();
        std::thread::spawn(move || {
            enter(&switch);
            const ETH_P_ALL: i32 = 3;
            let protocol = i32::from((ETH_P_ALL as u16).to_be());
            let socket = socket2::Socket::new(
                socket2::Domain::PACKET,
                socket2::Type::RAW,
                Some(socket2::Protocol::from(protocol)),
            )
            .unwrap();
            ready.send(()).unwrap();
            let mut buffer = vec![0; 65536];
            use std::io::Read as _;
            while let Ok(length) = (&socket).read(&mut buffer) {
                if sender.send(buffer[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        wait.recv().unwrap();
        Self { packets }
    }

    /// What has been captured so far.
    pub fn take(&self) -> Vec<Vec<u8>> {
        self.packets.try_iter().collect()
    }
}

pub fn contains(packet: &[u8], text: &[u8]) -> bool {
    packet.windows(text.len()).any(|window| window == text)
}

/// For a test that makes sockets of its own in the namespace of a device.
pub fn address(device: &Device) -> IpAddr {
    format!("10.77.0.{}", device.port).parse().unwrap()
}

pub fn bus_of(folder: &Path) -> PathBuf {
    folder.join("bus")
}

/// A client of the services of the device whose folder this is.
fn client(folder: &Path) -> Client {
    Client::new(Address::Here(folder.join("bus"))).with_deadline(PATIENCE)
}
