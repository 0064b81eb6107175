//! Giving the neighbours what they lack, and taking what is lacking here.
//!
//! With each neighbour that is online there is one task. It asks once what the neighbour knows and
//! has; from then on it sleeps until something has changed here, and gives what the neighbour then
//! lacks. What was given goes on from there in the same way, and comes to rest where everybody has
//! it. Nothing is sent while nothing changes, and no connection is held for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bus::family::Role;
use bus::replica::{Held, Refusal, Update};
use bus::{Address, Client};
use tokio::task::JoinHandle;

use crate::document::Document;
use crate::exchange::NotTaken;
use crate::home::Home;

/// The pause after a first failure; it doubles.
const PAUSE: Duration = Duration::from_millis(200);
/// After so many failures in a row it is left until something changes: 25 seconds.
const TRIES: u32 = 7;
/// More rounds than this need two copies only that never agree.
const ROUNDS: usize = 16;

/// Keeps copies equal with whoever is a neighbour, for as long as it is.
pub async fn keep(home: Arc<Home>, bus: PathBuf) {
    let mut changes = home.watch();
    let mut tasks: BTreeMap<String, JoinHandle<()>> = BTreeMap::new();
    loop {
        changes.borrow_and_update();
        let wanted = home.neighbours();
        tasks.retain(|device, task| {
            let stays = wanted.contains(device);
            if !stays {
                task.abort();
            }
            stays
        });
        for device in wanted {
            tasks
                .entry(device.clone())
                .or_insert_with(|| tokio::spawn(follow(Arc::clone(&home), bus.clone(), device)));
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

async fn follow(home: Arc<Home>, bus: PathBuf, device: String) {
    let mut changes = home.watch();
    let mut asked = false;
    let mut failures = 0;
    loop {
        changes.borrow_and_update();
        let pause = match pass(&home, &bus, &device, &mut asked).await {
            Ok(()) => {
                failures = 0;
                None
            }
            Err(error) => {
                tracing::debug!("keeping copies equal with {device}: {error:#}");
                failures += 1;
                (failures <= TRIES).then(|| PAUSE * 2_u32.pow(failures - 1))
            }
        };
        let retry = async {
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = retry => {}
        }
    }
}

/// Brings a device's copies and these together, as far as each may take the other's word.
async fn pass(home: &Home, bus: &Path, device: &str, asked: &mut bool) -> Result<()> {
    // Made for this pass and dropped after it, so that no connection stands for nothing.
    let client = Client::new(Address::Device {
        bus: bus.to_owned(),
        device: device.to_owned(),
    });
    for _ in 0..ROUNDS {
        if !*asked || home.lacks_of(device) {
            exchange(home, &client, device).await?;
            *asked = true;
        }
        let mut given = false;
        for (document, _) in home.versions_for(device) {
            if let Some((version, content)) = home.lacking(device, &document) {
                give(home, &client, device, &document, version, content).await?;
                given = true;
            }
        }
        if !given && !home.lacks_of(device) {
            return Ok(());
        }
    }
    bail!("its copies and these do not become equal")
}

async fn exchange(home: &Home, client: &Client, device: &str) -> Result<()> {
    let have: Vec<Held> = home
        .versions_for(device)
        .into_iter()
        .map(|(document, version)| Held {
            document: document.to_string(),
            version: version.into(),
        })
        .collect();
    let answer = bus::replica::exchange(client, &have).await?;
    for update in answer {
        let Some(document) = Document::parse(&update.document) else {
            continue;
        };
        if let Some(content) = update.content {
            take(home, device, &document, &content)?;
        }
        home.note_version(device, &document, update.version.to_vec());
    }
    if home.role(device) == Some(Role::Owner) {
        home.note_met();
    }
    Ok(())
}

fn take(home: &Home, device: &str, document: &Document, content: &[u8]) -> Result<()> {
    match home.receive(device, document, content) {
        // Documents that are not this device's to hear from it may be among them.
        Ok(_) | Err(NotTaken::NotAllowed | NotTaken::Behind(_)) => Ok(()),
        Err(NotTaken::Unusable(reason)) => {
            tracing::warn!("{device} gave an update of {document} that is none: {reason}");
            Ok(())
        }
        Err(NotTaken::NotSaved(reason)) => bail!("keeping {document}: {reason}"),
    }
}

async fn give(
    home: &Home,
    client: &Client,
    device: &str,
    document: &Document,
    version: Vec<u8>,
    content: Vec<u8>,
) -> Result<()> {
    let update = Update {
        document: document.to_string(),
        version: version.into(),
        content: Some(content.into()),
    };
    let known = match bus::replica::give(client, &update).await? {
        Ok(known) => known.to_vec(),
        Err(Refusal::Behind(known)) => known.to_vec(),
        Err(Refusal::NotAllowed) => bail!("it does not take {document} from this device"),
        Err(Refusal::Unusable(reason)) => bail!("it finds {document} not usable: {reason}"),
        Err(Refusal::NotSaved(reason)) => bail!("it could not keep {document}: {reason}"),
    };
    home.note_version(device, document, known);
    Ok(())
}

/// Tells mesh what the devices are called, and this service who they are.
pub async fn follow_family(home: &Home, client: &Client) -> Result<()> {
    use futures::StreamExt as _;
    let mut lists = bus::family::watch(client)
        .await
        .context("watching the family")?;
    let mut changes = home.watch();
    let mut told = None;
    loop {
        changes.borrow_and_update();
        tokio::select! {
            list = lists.next() => {
                let devices = list.context("mesh ended its list of devices")??;
                let id = bus::family::id(client).await?;
                let begun_here = bus::family::is_founder(client).await?;
                home.take_family(id, begun_here, devices).context("taking the family in")?;
            }
            changed = changes.changed() => changed.context("this service ends")?,
        }
        let names = home.names();
        if told.as_ref() != Some(&names) {
            let list: Vec<(String, String)> = names.clone().into_iter().collect();
            bus::naming::call_devices(client, &list)
                .await
                .context("telling mesh what devices are called")?;
            told = Some(names);
        }
    }
}
