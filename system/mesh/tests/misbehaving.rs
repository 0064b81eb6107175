//! Devices that speak the protocol themselves: one that was removed, one that floods, and strangers that do.

mod common;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use bus::pairing::Membership;
use common::{Addresses, Device, Network, PATIENCE, address, run};
use futures::future::join_all;
use iroh::endpoint::Connection;
use iroh::{Endpoint, EndpointAddr};
use mesh::wire::{self, CallHead, Heads, Kind, QuestionHead, Used};
use mesh::{node, transport};

/// Streams of a connection: so many at once, and so many a second after that, as PROTOCOL.md says; and as many
/// may be under way.
const STREAMS: f64 = 256.0;
const STREAMS_A_SECOND: f64 = 128.0;
const STREAMS_AT_ONCE: f64 = 64.0;

/// The same of the handshakes of an address.
const HANDSHAKES: f64 = 16.0;
const HANDSHAKES_A_SECOND: f64 = 4.0;

const KINDS: [Kind; 6] = [
    Kind::Call,
    Kind::Log,
    Kind::Probe,
    Kind::Question,
    Kind::Used,
    Kind::Removed,
];

/// Where a device takes connections.
fn whereabouts(device: &Device) -> EndpointAddr {
    let (node, _) = device.mesh.as_ref().unwrap();
    let (port, _) = transport::ports(&node.endpoint());
    let at = SocketAddr::new(address(device), port.unwrap());
    transport::address(node.id(), [at], None).unwrap()
}

/// Does something beside the mesh of a device, with its key and its sockets.
async fn beside<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    device: &Device,
    work: impl FnOnce(Endpoint) -> F,
) -> T {
    let (node, runtime) = device.mesh.as_ref().unwrap();
    runtime.spawn(work(node.endpoint())).await.unwrap()
}

/// Opens a stream for something and says what is said then. Whether anything is said in answer.
async fn is_answered(connection: &Connection, kind: Kind) -> Result<bool> {
    let (mut send, mut receive) = connection.open_bi().await?;
    wire::begin(&mut send, kind).await?;
    match kind {
        Kind::Call => {
            let head = CallHead {
                interface: bus::device::ID.into(),
                program: None,
            };
            wire::write(&mut send, &head).await?;
        }
        Kind::Log => wire::write(&mut send, &Heads::default()).await?,
        Kind::Question => {
            let head = QuestionHead {
                caller: *connection.remote_id().as_bytes(),
                program: None,
                interface: "hyper:network/names".into(),
                now: node::now() / 1000,
            };
            wire::write(&mut send, &head).await?;
        }
        Kind::Used => wire::write(&mut send, &Used::default()).await?,
        Kind::Removed => wire::write_bytes(&mut send, b"nothing").await?,
        Kind::Probe => {}
    }
    Ok(receive.read(&mut [0]).await?.is_some_and(|read| read > 0))
}

/// Which kinds of streams a device answers to another one that connects anew for each.
async fn answered(to: EndpointAddr, endpoint: Endpoint, kinds: Vec<Kind>) -> Vec<Kind> {
    let mut answered = Vec::new();
    for kind in kinds {
        let asked = async {
            let connection = endpoint.connect(to.clone(), wire::ALPN).await?;
            is_answered(&connection, kind).await
        };
        let asked = tokio::time::timeout(PATIENCE, asked).await;
        if asked
            .expect("it answers, or ends the connection")
            .unwrap_or(false)
        {
            answered.push(kind);
        }
    }
    answered
}

#[test]
fn a_removed_device_that_speaks_for_itself_gets_not_one_byte() {
    let Some(network) = Network::new(Addresses::Four) else {
        return;
    };
    let (phone, tablet) = (
        Device::new(&network, "phone"),
        Device::new(&network, "tablet"),
    );
    run(async {
        phone.takes_in(&tablet, Membership::Owner).await;
        let at = whereabouts(&phone);
        let ask = |kinds: Vec<Kind>| {
            let at = at.clone();
            beside(&tablet, move |endpoint| answered(at, endpoint, kinds))
        };
        let asked = vec![Kind::Call, Kind::Log, Kind::Probe];
        assert_eq!(ask(asked.clone()).await, asked, "a member is answered");

        let removed = bus::family::remove(&phone.bus, "tablet").await;
        removed.unwrap().unwrap();
        assert_eq!(ask(KINDS.to_vec()).await, [], "and a removed one not");

        // Nor over the door for devices that want to come in, which nobody has opened.
        let pairing = beside(&tablet, move |endpoint| async move {
            let connection = endpoint.connect(at, wire::PAIRING_ALPN).await?;
            let (mut send, mut receive) = connection.open_bi().await?;
            wire::write_bytes(&mut send, b"let me in").await?;
            anyhow::Ok(receive.read(&mut [0]).await?)
        });
        let pairing = tokio::time::timeout(PATIENCE, pairing).await.unwrap();
        assert!(!matches!(pairing, Ok(Some(_))), "{pairing:?}");
        assert_eq!(phone.devices().await.len(), 1);
    });
}

/// What somebody has had so far, and whether it is enough.
#[derive(Debug, Default)]
struct Flood {
    had: AtomicU32,
    over: AtomicBool,
}

impl Flood {
    fn count(&self) {
        self.had.fetch_add(1, Ordering::Relaxed);
    }

    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }
}

/// Lets a device flood until it had so much, while others do what they do, again and again. How much it had at
/// least, and in how many seconds at most.
async fn while_flooded<F: Future<Output = ()> + Send + 'static>(
    who: &Device,
    enough: u32,
    begin: impl FnOnce(Endpoint, Arc<Flood>) -> F,
    mut others: impl AsyncFnMut(),
) -> (f64, f64) {
    let flood = Arc::new(Flood::default());
    let since = Instant::now();
    let flooding = beside(who, |endpoint| begin(endpoint, Arc::clone(&flood)));
    let others = async {
        while flood.had.load(Ordering::Relaxed) < enough {
            others().await;
        }
        let had = flood.had.load(Ordering::Relaxed);
        flood.over.store(true, Ordering::Relaxed);
        (f64::from(had), since.elapsed().as_secs_f64())
    };
    let both = async { tokio::join!(others, flooding).0 };
    tokio::time::timeout(PATIENCE, both)
        .await
        .expect("the flood gets its share")
}

#[test]
fn who_floods_a_device_with_streams_gets_a_share_and_the_others_are_answered() {
    let Some(network) = Network::new(Addresses::Four) else {
        return;
    };
    let (phone, tablet) = (
        Device::new(&network, "phone"),
        Device::new(&network, "tablet"),
    );
    let tv = Device::new(&network, "tv");
    run(async {
        phone.takes_in(&tablet, Membership::Owner).await;
        phone.takes_in(&tv, Membership::Shared).await;
        tablet.sees("phone").await;
        let at = whereabouts(&phone);
        let streams = move |endpoint: Endpoint, flood: Arc<Flood>| async move {
            let connection = endpoint.connect(at, wire::ALPN).await.unwrap();
            let one_after_another = async || {
                while flood.goes_on() {
                    // A stream may also end unanswered, as when the phone prefers another connection.
                    if is_answered(&connection, Kind::Probe)
                        .await
                        .is_ok_and(|said| said)
                    {
                        flood.count();
                    }
                }
            };
            join_all((0..100).map(|_| one_after_another())).await;
        };
        let call = async || {
            let about = bus::device::about(&tablet.to("phone")).await;
            assert_eq!(about.unwrap().name, "phone");
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let (had, seconds) = while_flooded(&tv, 600, streams, call).await;
        let share = STREAMS + STREAMS_AT_ONCE + STREAMS_A_SECOND * seconds;
        assert!(had <= share, "{had} streams in {seconds} s");
    });
}

#[test]
fn who_floods_a_device_with_connections_gets_a_share_and_the_others_come_in() {
    let Some(network) = Network::new(Addresses::Four) else {
        return;
    };
    let (phone, mut tablet) = (
        Device::new(&network, "phone"),
        Device::new(&network, "tablet"),
    );
    let thief = Device::new(&network, "thief");
    run(async {
        phone.takes_in(&tablet, Membership::Owner).await;
        tablet.sees("phone").await;
        let at = whereabouts(&phone);
        let connections = |endpoint: Endpoint, flood: Arc<Flood>| async move {
            let one_after_another = async || {
                while flood.goes_on() {
                    let connected = endpoint.connect(at.clone(), wire::ALPN);
                    let connected = tokio::time::timeout(Duration::from_secs(1), connected);
                    if matches!(connected.await, Ok(Ok(_))) {
                        flood.count();
                    }
                }
            };
            join_all((0..8).map(|_| one_after_another())).await;
        };
        let begin_anew = async || {
            tablet.restart();
            tablet.sees("phone").await;
        };
        let (had, seconds) = while_flooded(&thief, 40, connections, begin_anew).await;
        let share = HANDSHAKES + HANDSHAKES_A_SECOND * seconds + 1.0;
        assert!(had <= share, "{had} connections in {seconds} s");
    });
}
