//! What stands on one device stands on the owner's others, and what is dismissed on one is dismissed
//! on all.
//!
//! A device tells what stands on it to each of the owner's devices, one task a device: when that
//! becomes reachable, and whenever it changes. Nothing is asked for again and again, and nothing is
//! sent while nothing changes. What the person dismisses of another device's goes there at once; where
//! that device is not reachable it hears of it when it tells what stands on it next.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bus::family::{Device, Role};
use bus::notices::{Answer, Standing};
use bus::others::{Other, with_others};
use bus::{Caller, Reason};

use crate::scene::notifications::Notifications;

/// The pause before a device is told again that did not take something; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The notifications as other devices of the family meet them. Cheap to clone.
#[derive(Clone)]
pub struct Notices {
    notifications: Notifications,
    family: Arc<Mutex<Family>>,
}

/// What is known of the family.
#[derive(Default)]
struct Family {
    /// What this device is in it; none as long as that is not known.
    role: Option<Role>,
    /// The owner's other devices, by their ids.
    owners: BTreeSet<String>,
}

impl Notices {
    /// Those of this device's screen.
    pub fn new(notifications: Notifications) -> Self {
        Self {
            notifications,
            family: Arc::default(),
        }
    }

    /// Keeps them the same on the devices of the family, as long as it is polled.
    pub async fn with_family(self, bus: PathBuf) {
        // A guest shows nobody what stands on it, and is shown nothing.
        let wanted = |here: &Device, other: &Device| {
            let roles = (here.role, other.role);
            matches!(
                roles,
                (Role::Owner, Role::Owner | Role::Shared) | (Role::Shared, Role::Owner)
            )
        };
        let begin = |other: Other| tell(self.notifications.clone(), other);
        with_others(bus, |devices| self.know(devices), wanted, begin).await;
    }

    /// These are the devices of the family.
    fn know(&self, devices: &[Device]) {
        let here = devices.iter().find(|device| device.here);
        let role = here.map(|device| device.role);
        let others = || devices.iter().filter(|device| !device.here);
        let owners = others().filter(|device| device.role == Role::Owner);
        let owners = owners.map(|device| device.id.clone()).collect();
        // What stands elsewhere is for the owner's eyes; a shared device has many people's.
        let shown: BTreeMap<String, String> = others()
            .filter(|device| role == Some(Role::Owner) && device.role != Role::Guest)
            .map(|device| (device.id.clone(), device.name.clone()))
            .collect();
        self.notifications.know(&shown);
        *self.family() = Family { role, owners };
    }

    fn family(&self) -> MutexGuard<'_, Family> {
        self.family.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells one device what stands here, and what was dismissed here of what stands there.
async fn tell(notifications: Notifications, other: Other) {
    let Other {
        id,
        role,
        client,
        mut online,
        begins,
    } = other;
    let mut news = notifications.news();
    // After a start this device knows nothing, and the other one does not see that it started.
    let mut meets = true;
    // What the other one has heard last.
    let mut heard: Option<Standing> = None;
    let mut pause = FIRST_PAUSE;
    loop {
        if online.wait_for(|online| *online).await.is_err() {
            return;
        }
        online.borrow_and_update();
        news.borrow_and_update();
        let told = async {
            let mut standing = notifications.told();
            if role != Role::Owner {
                // That is not for the many people who see it.
                standing.notifications.clear();
            }
            if meets || heard.as_ref() != Some(&standing) {
                let answer = bus::notices::exchange(&client, &standing).await?;
                match answer {
                    Ok(answer) => {
                        heard = Some(standing.clone());
                        take(&notifications, &id, standing.run, answer);
                    }
                    Err(reason) => {
                        tracing::debug!("another device does not take what stands here: {reason}");
                        return Ok(false);
                    }
                }
            }
            let (run, dismissed) = notifications.dismissed_of(&id);
            if !dismissed.is_empty() {
                bus::notices::dismiss(&client, run, &dismissed).await?;
            }
            Ok::<_, bus::Error>(true)
        };
        let done = match told.await {
            Ok(done) => done,
            // It has no screen, or not for this device, and is asked again when it comes back.
            Err(bus::Error {
                reason: Reason::DeviceRefused { .. },
                ..
            }) => true,
            Err(error) => {
                tracing::debug!("telling another device what stands here: {error}");
                false
            }
        };
        if done {
            meets = false;
            pause = FIRST_PAUSE;
        }
        let again = async {
            if done {
                std::future::pending().await
            } else {
                tokio::time::sleep(pause).await;
            }
        };
        tokio::select! {
            changed = news.changed() => if changed.is_err() { return },
            changed = online.changed() => {
                if changed.is_err() {
                    return;
                }
                // It comes back, or goes.
                meets |= begins;
            }
            () = again => pause = (pause * 2).min(LONGEST_PAUSE),
        }
    }
}

/// Another device answers.
fn take(notifications: &Notifications, device: &str, run: u64, answer: Answer) {
    notifications.take_away(run, &answer.dismissed);
    if let Some(standing) = answer.standing
        && let Err(reason) = notifications.take(device, standing)
    {
        tracing::warn!("what stands on another device is not taken: {reason}");
    }
}

impl bus::notices::Handler for Notices {
    async fn exchange(&self, caller: Caller, standing: Standing) -> Result<Answer, String> {
        let Some(device) = caller.device().map(|device| &*device.id) else {
            return Err("this is for other devices".into());
        };
        let (role, is_owner) = {
            let family = self.family();
            (family.role, family.owners.contains(device))
        };
        match role {
            None => return Err("this device does not know of its family yet".into()),
            Some(Role::Owner) => self.notifications.take(device, standing)?,
            // What stands elsewhere is not shown here.
            Some(Role::Shared | Role::Guest) => {}
        }
        Ok(self.notifications.answer(device, is_owner))
    }

    async fn dismiss(&self, caller: Caller, run: u64, ids: Vec<u64>) {
        let device = caller.device();
        if device.is_some_and(|device| self.family().owners.contains(&*device.id)) {
            self.notifications.take_away(run, &ids);
        }
    }
}
