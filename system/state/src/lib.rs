//! What the devices of a family share.
//!
//! This service keeps this device's copies of the family's documents ([`document`] says which there
//! are, and whose word counts in which), and brings them together with those of the other devices
//! ([`sync`]), which it reaches as any program does: by calling an interface there, through mesh. So
//! neither the device's key nor the network is where the documents are merged.
//!
//! Of what stands in them: [`home`] answers what devices are called, where they are and what they
//! say about themselves; [`following`] keeps settings that follow the person; [`facts`] says what
//! this device is.
//!
//! # What it promises
//!
//! - **A change is everywhere soon.** It goes to the devices that are reachable as it is made, and
//!   to others when they come. Nothing is asked for again and again, and nothing is sent while
//!   nothing changes.
//! - **Nothing is lost.** Documents merge (`lib/replica`), and what was acknowledged survives a
//!   power cut. A copy whose file was damaged gets back from the others what it lacks.
//! - **Each to whom it belongs.** What a device reads and whose updates are taken is decided here, by
//!   the id with which mesh says who calls, and by the role that the log gives that id now.

pub mod document;
pub mod exchange;
pub mod facts;
pub mod family;
pub mod following;
pub mod home;
pub mod served;
pub mod sync;

use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bus::{Address, Client};

use following::Following;
use home::Home;
use service::notices;

/// The longest pause before a service that went away is watched again.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Serves what the family shares until told to stop. Its files are in `HYPER_DATA`.
pub fn run() -> Result<()> {
    service::run(|| async {
        let mut server = bus::Server::from_environment().context("taking the sockets over")?;
        let data = env::var_os("HYPER_DATA").map_or_else(|| "/data/state".into(), PathBuf::from);
        start(&mut server, &data, bus::folder())?;
        Ok(server)
    })
}

/// Starts this device's part in what the family shares and gives the server what it answers.
pub fn start(server: &mut bus::Server, data: &Path, bus: PathBuf) -> Result<Arc<Home>> {
    let home = Arc::new(Home::new(data));
    let (mut following, mut notices) = Following::open(data)?;
    let client = Client::new(Address::Here(bus.clone()));
    server.serve(bus::home::interface(served::Profiles(Arc::clone(&home))));
    server.serve(bus::replica::interface(served::Copies(Arc::clone(&home))));
    {
        let (home, client) = (Arc::clone(&home), client.clone());
        tokio::spawn(async move {
            let mut again = Again::new("the family");
            loop {
                again.after(sync::follow_family(&home, &client).await).await;
            }
        });
    }
    {
        let (home, client) = (Arc::clone(&home), client.clone());
        tokio::spawn(async move {
            let mut again = Again::new("this device");
            loop {
                again.after(facts::tell(&home, &client).await).await;
            }
        });
    }
    {
        let (home, client) = (Arc::clone(&home), client.clone());
        tokio::spawn(async move {
            let mut again = Again::new("settings");
            loop {
                again.after(following.keep(&home, &client).await).await;
            }
        });
    }
    {
        let home = Arc::clone(&home);
        tokio::spawn(async move {
            let mut changes = home.watch();
            loop {
                notices.extend(home.take_notices());
                notices::tell_owner(&client, "Devices", std::mem::take(&mut notices)).await;
                if changes.changed().await.is_err() {
                    return;
                }
            }
        });
    }
    tokio::spawn(sync::keep(Arc::clone(&home), bus));
    Ok(home)
}

/// The pauses between one end and the next beginning of something that goes on for as long as the
/// service runs.
struct Again {
    what: &'static str,
    pause: Duration,
    began: tokio::time::Instant,
}

impl Again {
    const FIRST_PAUSE: Duration = Duration::from_millis(100);

    fn new(what: &'static str) -> Self {
        Self {
            what,
            pause: Self::FIRST_PAUSE,
            began: tokio::time::Instant::now(),
        }
    }

    /// Waits until it is to begin again after it ended so.
    async fn after(&mut self, ended: Result<()>) {
        if let Err(error) = ended {
            tracing::debug!("following {}: {error:#}", self.what);
        }
        if self.began.elapsed() > LONGEST_PAUSE {
            self.pause = Self::FIRST_PAUSE;
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.began = tokio::time::Instant::now();
    }
}
