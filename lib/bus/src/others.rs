//! The other devices of the family, a task each.
//!
//! What is kept the same on several devices without being asked for is told to each of them by a task
//! of its own, which lives as long as that device belongs to the family and hears when it is reachable.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::family::{self, Device, Role};
use crate::{Address, Client};

/// The pause before the family is asked again; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Another device of the family, as its task knows it.
#[derive(Debug)]
pub struct Other {
    /// Its id.
    pub id: String,
    /// What it is in the family.
    pub role: Role,
    /// Calls it.
    pub client: Client,
    /// Whether it is reachable now.
    pub online: watch::Receiver<bool>,
    /// Of two devices that do the same for each other, one begins: whether it is this one.
    pub begins: bool,
}

/// A task that ends with its device.
struct Task {
    online: watch::Sender<bool>,
    handle: JoinHandle<()>,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

/// Follows who belongs to the family, as long as it is polled. `heard` hears each list; a device
/// that is `wanted` by this one, which is given first, has a task that `begin` makes.
pub async fn with_others<F>(
    bus: PathBuf,
    mut heard: impl FnMut(&[Device]),
    wanted: impl Fn(&Device, &Device) -> bool,
    begin: impl Fn(Other) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let client = Client::new(Address::Here(bus.clone()));
    let mut tasks = HashMap::new();
    let mut pause = FIRST_PAUSE;
    loop {
        match family::watch(&client).await {
            Ok(mut lists) => {
                while let Some(Ok(devices)) = lists.next().await {
                    pause = FIRST_PAUSE;
                    heard(&devices);
                    know(&bus, &devices, &mut tasks, &wanted, &begin);
                }
            }
            Err(error) => tracing::debug!("asking who belongs to the family: {error}"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Begins and ends tasks, so that they are those of the devices that are wanted now.
fn know<F>(
    bus: &Path,
    devices: &[Device],
    tasks: &mut HashMap<String, Task>,
    wanted: impl Fn(&Device, &Device) -> bool,
    begin: impl Fn(Other) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let Some(here) = devices.iter().find(|device| device.here) else {
        // It belongs to no family, or to none any more.
        tasks.clear();
        return;
    };
    let others: Vec<&Device> = devices
        .iter()
        .filter(|device| !device.here && wanted(here, device))
        .collect();
    tasks.retain(|id, _| others.iter().any(|device| device.id == *id));
    for device in others {
        let task = tasks.entry(device.id.clone()).or_insert_with(|| {
            let online = watch::Sender::new(device.online);
            let client = Client::new(Address::Device {
                bus: bus.to_owned(),
                device: device.id.clone(),
            });
            let handle = tokio::spawn(begin(Other {
                id: device.id.clone(),
                role: device.role,
                client,
                online: online.subscribe(),
                begins: here.id < device.id,
            }));
            Task { online, handle }
        });
        task.online
            .send_if_modified(|online| std::mem::replace(online, device.online) != device.online);
    }
}
