//! The owner of a family, and calls of its devices about which the owner is asked.

use std::sync::Arc;
use std::time::Duration;

use bus::grants::Grant;
use bus::pairing::Membership;
use bus::questions::{Question, Reply, Standing};
use bus::{Client, Incoming, Reason};
use futures::StreamExt as _;

use super::{Device, Network, PATIENCE};

pub type Called = Result<Result<Vec<String>, String>, bus::Error>;

/// Calls what a device without a grant may not.
pub async fn names(from: &Device, to: &str) -> Called {
    resolve(from.to(to)).await
}

/// The same beside what the test does next.
pub fn begin(from: &Device, to: &str) -> tokio::task::JoinHandle<Called> {
    tokio::spawn(resolve(from.to(to)))
}

/// A device that began anew is elsewhere, and who calls it hears of that when it hears of it.
async fn resolve(to: Client) -> Called {
    let reached = async {
        loop {
            let called = bus::names::resolve(&to, "3").await;
            let away =
                |error: &bus::Error| matches!(error.reason, Reason::DeviceUnreachable { .. });
            if !called.as_ref().is_err_and(away) {
                return called;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, reached)
        .await
        .expect("the device is reached")
}

pub async fn went(call: tokio::task::JoinHandle<Called>) {
    let answer = tokio::time::timeout(PATIENCE, call).await;
    assert_eq!(answer.unwrap().unwrap().unwrap().unwrap(), ["xxx"]);
}

/// Why the other device did not let it.
pub fn refusal(called: Called) -> String {
    match called.unwrap_err().reason {
        Reason::DeviceRefused { reason, .. } => reason,
        other => panic!("it is refused by the other device: {other}"),
    }
}

pub async fn refused(call: tokio::task::JoinHandle<Called>) -> String {
    let answer = tokio::time::timeout(PATIENCE, call).await;
    refusal(answer.unwrap().unwrap())
}

/// What the owner sees on a device.
pub struct Eyes(Incoming<Standing>);

impl Eyes {
    pub async fn on(device: &Device) -> Self {
        let mut eyes = Self(bus::questions::watch(&device.bus).await.unwrap());
        // The first answer says that they are open.
        eyes.until("open", |_| true).await;
        eyes
    }

    pub async fn until(&mut self, what: &str, holds: impl Fn(&Standing) -> bool) -> Standing {
        let seen = async {
            loop {
                let standing = self.0.next().await.expect("it goes on").unwrap();
                if holds(&standing) {
                    return standing;
                }
            }
        };
        let seen = tokio::time::timeout(PATIENCE, seen).await;
        seen.unwrap_or_else(|_| panic!("the owner does not see this: {what}"))
    }

    /// The one question that waits, once there is one.
    pub async fn question(&mut self) -> Question {
        let standing = self.until("a question", |standing| !standing.waiting.is_empty());
        standing.await.waiting.remove(0)
    }

    pub async fn nothing(&mut self) {
        self.until("nothing", |standing| standing.waiting.is_empty())
            .await;
    }
}

pub async fn answer(device: &Device, question: &Question, reply: Reply) {
    bus::questions::answer(&device.bus, question.id, &reply)
        .await
        .unwrap()
        .unwrap();
}

pub async fn grants(device: &Device) -> Vec<Grant> {
    bus::grants::all(&device.bus).await.unwrap()
}

/// Waits until a device knows of a number of grants.
pub async fn knows(device: &Device, number: usize) -> Vec<Grant> {
    let mut lists = bus::grants::watch(&device.bus).await.unwrap();
    let known = async {
        loop {
            let list = lists.next().await.expect("it goes on").unwrap();
            if list.len() == number {
                return list;
            }
        }
    };
    let known = tokio::time::timeout(PATIENCE, known).await;
    known.unwrap_or_else(|_| panic!("{} does not know {number} grants", device.name))
}

/// Waits until a device has noticed that nobody shows its questions any more.
pub async fn nobody_looks_at(device: &Device) {
    let (node, _) = device.mesh.as_ref().unwrap();
    let mut changes = node.questions.watch();
    let noticed = async {
        while node.questions.has_screen() {
            changes.changed().await.unwrap();
        }
    };
    let noticed = tokio::time::timeout(PATIENCE, noticed).await;
    noticed.expect("the device notices");
}

/// An owner device and one of the home that see each other.
pub async fn family(network: &Arc<Network>) -> (Device, Device) {
    let (phone, tv) = (Device::new(network, "phone"), Device::new(network, "tv"));
    phone.takes_in(&tv, Membership::Shared).await;
    tv.sees("phone").await;
    (phone, tv)
}

/// Has a device call another one for ever, as soon as that is allowed.
pub fn begin_forever(from: &Device, to: &str) -> tokio::task::JoinHandle<Called> {
    let to = from.to(to);
    tokio::spawn(async move { bus::names::resolve(&to, "forever").await })
}

/// Waits until so many such calls run on a device.
pub async fn runs(device: &Device, number: usize) {
    let mut running = device.forever.subscribe();
    let waited = tokio::time::timeout(PATIENCE, running.wait_for(|count| *count == number));
    let waited = waited.await;
    waited
        .unwrap_or_else(|_| panic!("{number} calls run on {}", device.name))
        .unwrap();
}

/// Takes back what the owner has said.
pub async fn revoke(device: &Device, grant: &Grant) {
    bus::grants::revoke(&device.bus, &grant.id)
        .await
        .unwrap()
        .unwrap();
}
