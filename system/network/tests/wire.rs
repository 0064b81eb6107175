//! The network service on a wire of its own: two network namespaces, a cable between them, and
//! dnsmasq at the other end as DHCP server, router and server for names.
//!
//! It needs root, `ip` and `dnsmasq`; without them each test says that it was skipped.

use std::{
    fs,
    io::Write as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use bus::network::State;
use network::{Manager, Role, names::Names, secret::Secret};
use tokio::sync::watch;

/// Generous: what a test waits for comes within seconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// What our IPv6 addresses are made with.
const SECRET: [u8; 16] = [7; 16];

/// Our hardware address.
const HARDWARE: &str = "02:00:00:00:00:17";

/// A cable with a namespace at each end.
struct Wire {
    ours: String,
    theirs: String,
    folder: tempfile::TempDir,
    server: Option<Child>,
}

fn ip(arguments: &str) {
    let status = Command::new("ip")
        .args(arguments.split(' '))
        .status()
        .expect("running ip");
    assert!(status.success(), "ip {arguments}");
}

impl Wire {
    /// A new cable, or none where tests may not make one.
    fn new() -> Option<Wire> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let able = rustix::process::geteuid().is_root()
            && ["ip", "dnsmasq"].iter().all(|program| {
                let version = if *program == "ip" { "-V" } else { "--version" };
                Command::new(program)
                    .arg(version)
                    .stdout(Stdio::null())
                    .status()
                    .is_ok()
            });
        if !able {
            let message = "SKIPPED: this test needs root, ip (iproute2) and dnsmasq\n";
            // Straight to the terminal: the test harness hides what a passing test prints.
            let _ = std::io::stderr().write_all(message.as_bytes());
            return None;
        }
        let name = format!(
            "{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let wire = Wire {
            ours: format!("hyper-{name}-here"),
            theirs: format!("hyper-{name}-there"),
            folder: tempfile::tempdir().expect("a temporary folder"),
            server: None,
        };
        ip(&format!("netns add {}", wire.ours));
        ip(&format!("netns add {}", wire.theirs));
        ip(&format!(
            "link add eth0 netns {} type veth peer name eth0 netns {}",
            wire.ours, wire.theirs
        ));
        ip(&format!(
            "-n {} link set eth0 address {HARDWARE}",
            wire.ours
        ));
        ip(&format!("-n {} addr add 10.9.0.1/24 dev eth0", wire.theirs));
        ip(&format!("-n {} addr add 10.8.0.1/24 dev eth0", wire.theirs));
        ip(&format!(
            "-n {} addr add fd00:9::1/64 dev eth0 nodad",
            wire.theirs
        ));
        ip(&format!("-n {} link set lo up", wire.theirs));
        wire.plug(true);
        Some(wire)
    }

    /// Plugs the far end in or out.
    fn plug(&self, there: bool) {
        let to = if there { "up" } else { "down" };
        ip(&format!("-n {} link set eth0 {to}", self.theirs));
        if there {
            // Out of the plug, the far end lost its own address.
            ip(&format!(
                "-n {} addr replace fd00:9::1/64 dev eth0 nodad",
                self.theirs
            ));
        }
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// How often the server has said that.
    fn said(&self, what: &str) -> usize {
        fs::read_to_string(self.log())
            .unwrap_or_default()
            .matches(what)
            .count()
    }

    /// Starts the server at the far end, in place of one that runs.
    fn serve(&mut self, options: &[&str]) {
        self.stop();
        let lines = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log())
            .unwrap();
        let child = Command::new("ip")
            .args([
                "netns",
                "exec",
                &self.theirs,
                "dnsmasq",
                "--no-daemon",
                "--user=root",
            ])
            .args([
                "--conf-file=/dev/null",
                "--no-resolv",
                "--no-hosts",
                "--no-ping",
            ])
            .args([
                "--interface=eth0",
                "--bind-dynamic",
                "--log-dhcp",
                "--log-queries",
            ])
            .args([
                "--address=/example.test/192.0.2.7",
                "--address=/example.test/2001:db8::7",
            ])
            .arg(format!(
                "--dhcp-leasefile={}",
                self.folder.path().join("leases").display()
            ))
            .args(options)
            .stdout(Stdio::null())
            .stderr(lines)
            .spawn()
            .expect("starting dnsmasq");
        self.server = Some(child);
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.server.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Runs the service at our end, and the test beside it.
    fn run(self, test: impl AsyncFnOnce(Wire, Watcher) + Send) {
        std::thread::scope(|scope| {
            let path = format!("/run/netns/{}", self.ours);
            let thread = scope.spawn(move || {
                let namespace = fs::File::open(path).expect("the namespace is there");
                rustix::thread::move_into_link_name_space(
                    std::os::fd::AsFd::as_fd(&namespace),
                    Some(rustix::thread::LinkNameSpaceType::Network),
                )
                .expect("entering the namespace");
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(async {
                    let (enabled, on) = watch::channel(true);
                    let manager = Manager::new(Role::Manage, Secret::new(SECRET), on)
                        .expect("speaking to the kernel");
                    let state = manager.state();
                    let manager = tokio::spawn(manager.run());
                    test(self, Watcher { state, enabled }).await;
                    assert!(!manager.is_finished(), "the manager has given up");
                });
            });
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        });
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            eprintln!(
                "dnsmasq said:\n{}",
                fs::read_to_string(self.log()).unwrap_or_default()
            );
        }
        for namespace in [&self.ours, &self.theirs] {
            let _ = Command::new("ip")
                .args(["netns", "del", namespace])
                .status();
        }
    }
}

struct Watcher {
    state: watch::Receiver<State>,
    enabled: watch::Sender<bool>,
}

impl Watcher {
    /// Waits until the state is such; answers it.
    async fn until(&mut self, what: &str, such: impl FnMut(&State) -> bool) -> State {
        let mut state = self.state.clone();
        let waiting = state.wait_for(such);
        if let Ok(state) = tokio::time::timeout(PATIENCE, waiting).await {
            return state.expect("the manager goes on").clone();
        }
        panic!("never {what}: {:#?}", *self.state.borrow())
    }

    async fn resolve(&self, name: &str) -> Result<Vec<String>, String> {
        let mut answer = Err("never asked".to_owned());
        // The server may still be starting.
        for _ in 0..10 {
            answer = Names::new(self.state.clone()).resolve(name).await;
            if answer.is_ok() {
                break;
            }
        }
        answer
    }
}

/// Waits for what no state tells.
async fn eventually(what: &str, mut such: impl FnMut() -> bool) {
    let waiting = async {
        while !such() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    assert!(
        tokio::time::timeout(PATIENCE, waiting).await.is_ok(),
        "never {what}"
    );
}

fn has(state: &State, start: &str) -> bool {
    state
        .links
        .iter()
        .filter(|link| link.name == "eth0")
        .any(|link| {
            link.addresses
                .iter()
                .any(|address| address.starts_with(start))
        })
}

const DHCP: &str = "--dhcp-range=10.9.0.50,10.9.0.99,255.255.255.0,2m";
const TIME: &str = "--dhcp-option=option:ntp-server,10.9.0.1";
const ROUTER: &[&str] = &["--enable-ra", "--dhcp-range=fd00:9::,ra-only,64,10m"];

#[test]
fn it_gets_everything_resolves_and_notices_the_cable() {
    let Some(mut wire) = Wire::new() else { return };
    wire.serve(&[&[DHCP, TIME], ROUTER].concat());
    wire.run(async |wire, mut watcher| {
        let everything = |state: &State| {
            has(state, "10.9.0.") && has(state, "fd00:9:") && state.name_servers.len() >= 2
        };
        let state = watcher.until("both addresses", everything).await;
        assert!(state.online);
        assert_eq!(state.time_servers, ["10.9.0.1"]);
        let link = state.links.iter().find(|link| link.name == "eth0").unwrap();
        assert_eq!(link.sources, ["DHCP", "router advertisement"]);
        assert!(
            link.gateways.contains(&"10.9.0.1".to_owned()),
            "{:?}",
            link.gateways
        );
        assert!(
            state
                .links
                .iter()
                .any(|link| link.addresses.contains(&"127.0.0.1/8".into()))
        );

        let mut addresses = watcher
            .resolve("example.test")
            .await
            .expect("the server knows it");
        addresses.sort();
        assert_eq!(addresses, ["192.0.2.7", "2001:db8::7"]);
        let refusal = watcher
            .resolve("nothing.test")
            .await
            .expect_err("nobody knows it");
        assert!(refusal.contains("nothing.test"), "{refusal}");

        wire.plug(false);
        let state = watcher
            .until("unplugged", |state| {
                !has(state, "10.") && !has(state, "fd00:")
            })
            .await;
        assert!(!state.online && state.name_servers.is_empty() && state.time_servers.is_empty());
        wire.plug(true);
        watcher.until("both addresses again", everything).await;

        watcher.enabled.send_replace(false);
        watcher
            .until("switched off", |state| {
                state
                    .links
                    .iter()
                    .all(|link| link.name != "eth0" || link.addresses.is_empty())
            })
            .await;
        watcher.enabled.send_replace(true);
        watcher
            .until("both addresses a third time", everything)
            .await;
    });
}

#[test]
fn it_renews_with_its_server_before_the_lease_ends() {
    let Some(mut wire) = Wire::new() else { return };
    wire.serve(&[
        DHCP,
        "--dhcp-option=option:T1,5",
        "--dhcp-option=option:T2,60",
    ]);
    wire.run(async |wire, mut watcher| {
        watcher
            .until("an address", |state| has(state, "10.9.0."))
            .await;
        let discovered = wire.said("DHCPDISCOVER(");
        eventually("renewed twice", || wire.said("DHCPACK(") >= 3).await;
        assert_eq!(
            wire.said("DHCPDISCOVER("),
            discovered,
            "it asked its server only"
        );
        assert!(has(&watcher.state.borrow(), "10.9.0."));
    });
}

#[test]
fn with_ipv4_only_it_is_online() {
    let Some(mut wire) = Wire::new() else { return };
    wire.serve(&[DHCP]);
    wire.run(async |_wire, mut watcher| {
        let state = watcher.until("online", |state| state.online).await;
        assert_eq!(state.name_servers, ["10.9.0.1"]);
        watcher
            .resolve("example.test")
            .await
            .expect("the server knows it");
    });
}

#[test]
fn with_ipv6_only_it_is_online() {
    let Some(mut wire) = Wire::new() else {
        return;
    };
    wire.serve(&[ROUTER, &["--dhcp-option=option6:dns-server,[fd00:9::1]"]].concat());
    wire.run(async |_wire, mut watcher| {
        let such = |state: &State| state.online && !state.name_servers.is_empty();
        let state = watcher.until("online", such).await;
        assert!(has(&state, "fd00:9:") && !has(&state, "10."));
        watcher
            .resolve("example.test")
            .await
            .expect("the server knows it");
    });
}

#[test]
fn a_link_local_server_for_names_is_reached_on_its_link() {
    let Some(mut wire) = Wire::new() else {
        return;
    };
    // dnsmasq offers its link-local address unless it is told another.
    wire.serve(ROUTER);
    wire.run(async |_wire, mut watcher| {
        let such = |state: &State| state.online && !state.name_servers.is_empty();
        let state = watcher.until("online", such).await;
        let server = &state.name_servers[0];
        assert!(
            server.starts_with("fe80:") && server.ends_with("%eth0"),
            "{server}"
        );
        watcher
            .resolve("example.test")
            .await
            .expect("the server knows it");
    });
}

/// More addresses than fit into an answer over UDP.
const MANY: u8 = 120;

#[test]
fn an_answer_that_is_too_long_for_udp_is_fetched_by_tcp_on_its_link() {
    let Some(mut wire) = Wire::new() else {
        return;
    };
    let records: Vec<_> = (1..=MANY)
        .map(|number| format!("--host-record=many.test,192.0.2.{number}"))
        .collect();
    let records: Vec<_> = records.iter().map(String::as_str).collect();
    wire.serve(&[ROUTER, &records].concat());
    wire.run(async |_wire, mut watcher| {
        let such = |state: &State| state.online && !state.name_servers.is_empty();
        let state = watcher.until("online", such).await;
        assert!(state.name_servers[0].ends_with("%eth0"));
        let addresses = watcher.resolve("many.test").await.expect("it is known");
        assert_eq!(addresses.len(), usize::from(MANY));
    });
}

#[test]
fn an_address_that_another_host_has_is_declined_and_never_used() {
    let Some(mut wire) = Wire::new() else { return };
    // The server means to give us this address, and somebody has it.
    let fixed = format!("--dhcp-host={HARDWARE},10.9.0.60");
    ip(&format!(
        "-n {} addr add 10.9.0.60/32 dev eth0",
        wire.theirs
    ));
    wire.serve(&[DHCP, &fixed]);
    wire.run(async |wire, mut watcher| {
        let mut used = false;
        let state = watcher
            .until("an address", |state| {
                used |= has(state, "10.9.0.60/");
                has(state, "10.9.0.")
            })
            .await;
        assert!(!used && !has(&state, "10.9.0.60/"), "{state:?}");
        assert_eq!(wire.said("DHCPDECLINE(eth0) 10.9.0.60"), 1);
    });
}

#[test]
fn classless_routes_are_set_in_place_of_the_router_and_go_with_the_lease() {
    let Some(mut wire) = Wire::new() else { return };
    wire.serve(&[
        DHCP,
        "--dhcp-option=3,10.9.0.99",
        "--dhcp-option=121,198.51.100.0/24,10.9.0.7,0.0.0.0/0,10.9.0.1",
    ]);
    wire.run(async |wire, mut watcher| {
        let state = watcher.until("online", |state| state.online).await;
        let link = state.links.iter().find(|link| link.name == "eth0").unwrap();
        assert_eq!(link.gateways, ["10.9.0.1"]);
        let routes = || {
            let output = Command::new("ip")
                .args(["-n", &wire.ours, "-4", "route"])
                .output()
                .expect("running ip");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let ours = "198.51.100.0/24 via 10.9.0.7 dev eth0";
        assert!(routes().contains(ours), "{}", routes());
        wire.plug(false);
        eventually("without routes", || !routes().contains("198.51.100.")).await;
    });
}

/// The IPv6 address in the network of the router.
fn global(state: &State) -> String {
    let links = state.links.iter().filter(|link| link.name == "eth0");
    links
        .flat_map(|link| &link.addresses)
        .find(|address| address.starts_with("fd00:9:"))
        .expect("it has one")
        .clone()
}

#[test]
fn ipv6_addresses_tell_nothing_of_the_hardware_and_stay_the_same_in_a_network() {
    let Some(mut wire) = Wire::new() else {
        return;
    };
    wire.serve(ROUTER);
    wire.run(async |wire, mut watcher| {
        let such = |state: &State| has(state, "fd00:9:") && has(state, "fe80:");
        let state = watcher.until("both addresses", such).await;
        let first = global(&state);
        let links = state.links.iter().filter(|link| link.name == "eth0");
        for address in links.flat_map(|link| &link.addresses) {
            assert!(!address.contains("ff:fe00:17"), "{address}");
        }
        wire.plug(false);
        watcher
            .until("unplugged", |state| !has(state, "fd00:9:"))
            .await;
        wire.plug(true);
        let state = watcher.until("both addresses again", such).await;
        assert_eq!(global(&state), first);
    });
}

#[test]
fn with_no_server_it_waits_and_takes_the_first_that_comes() {
    let Some(wire) = Wire::new() else { return };
    wire.run(async |mut wire, mut watcher| {
        let state = watcher
            .until("connected", |state| has(state, "fe80:"))
            .await;
        assert!(!state.online && state.name_servers.is_empty());
        let refusal = Names::new(watcher.state.clone())
            .resolve("example.test")
            .await;
        assert!(refusal.is_err_and(|refusal| refusal.contains("offered no server")));
        wire.serve(&[DHCP]);
        watcher
            .until("an address", |state| has(state, "10.9.0."))
            .await;
    });
}

#[test]
fn an_address_that_is_refused_is_given_up_for_another() {
    let Some(mut wire) = Wire::new() else { return };
    let soon = "--dhcp-option=option:T1,5";
    wire.serve(&[DHCP, soon]);
    wire.run(async |mut wire, mut watcher| {
        watcher
            .until("an address", |state| has(state, "10.9.0."))
            .await;
        wire.stop();
        let _ = fs::remove_file(wire.folder.path().join("leases"));
        ip(&format!("-n {} addr del 10.9.0.1/24 dev eth0", wire.theirs));
        // The server knows only another network now; the old one it refuses.
        wire.serve(&[
            "--dhcp-authoritative",
            "--dhcp-range=10.8.0.50,10.8.0.99,2m",
            soon,
        ]);
        ip(&format!("-n {} addr add 10.9.0.1/32 dev eth0", wire.theirs));
        let such = |state: &State| has(state, "10.8.0.") && !has(state, "10.9.0.");
        watcher.until("the other address", such).await;
        assert!(wire.said("DHCPNAK(") > 0, "it was refused");
    });
}

#[test]
fn what_an_earlier_life_left_is_cleared() {
    let Some(mut wire) = Wire::new() else { return };
    ip(&format!("-n {} link set eth0 up", wire.ours));
    ip(&format!("-n {} addr add 10.7.7.7/24 dev eth0", wire.ours));
    ip(&format!(
        "-n {} addr add fd00:7::7/64 dev eth0 nodad",
        wire.ours
    ));
    wire.serve(&[DHCP]);
    wire.run(async |_wire, mut watcher| {
        let such =
            |state: &State| has(state, "10.9.0.") && !has(state, "10.7.") && !has(state, "fd00:7:");
        watcher.until("only the new address", such).await;
    });
}
