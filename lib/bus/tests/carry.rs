//! The way to another device, as far as it goes through this crate: a carrier that asks somebody first.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bus::carry::{Carrier, Connecting, Passage, Patience, SHARED};
use bus::{Address, Caller, Client, Device, Server};
use tokio::sync::{Semaphore, watch};

/// Generous.
const LIMIT: Duration = Duration::from_secs(120);

struct Names;

impl bus::names::Handler for Names {
    async fn resolve(&self, caller: Caller, name: String) -> Result<Vec<String>, String> {
        Ok(vec![caller.name(), name])
    }
}

/// Leads to the service on the other side of the same folder, when it is told to.
struct Asking {
    bus: PathBuf,
    may_go: Arc<Semaphore>,
    /// How many ask.
    asking: Arc<watch::Sender<usize>>,
}

/// Counts as long as it is there.
struct Counted(Arc<watch::Sender<usize>>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Carrier for Asking {
    fn connect(&self, _: Caller, _: String, interface: String, patience: Patience) -> Connecting {
        self.asking.send_modify(|count| *count += 1);
        let counted = Counted(Arc::clone(&self.asking));
        let (bus, may_go) = (self.bus.clone(), Arc::clone(&self.may_go));
        Box::pin(async move {
            let _counted = counted;
            patience.ask(LIMIT);
            may_go.acquire().await.unwrap().forget();
            let passage: Passage = Box::new(move |mut socket| {
                Box::pin(async move {
                    let device = Device {
                        id: "7f".into(),
                        name: "phone".into(),
                        program: None,
                    };
                    let mut there = bus::carry::open_shared(&bus, &interface, &device)
                        .await
                        .unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut socket, &mut there).await;
                })
            });
            Ok(passage)
        })
    }
}

/// A carrier and a service, and a client of the device that they make up.
fn serve(folder: &Path) -> (Client, Arc<Semaphore>, watch::Receiver<usize>) {
    let bus = folder.to_owned();
    let (may_go, asking) = (Arc::new(Semaphore::new(0)), watch::Sender::new(0));
    let asked = asking.subscribe();
    let mut here = Server::bind(&bus, &[bus::calls::ID]).unwrap();
    here.carry(Asking {
        bus: bus.clone(),
        may_go: Arc::clone(&may_go),
        asking: Arc::new(asking),
    });
    let mut there = Server::bind(&bus, &[&format!("{SHARED}{}", bus::names::ID)]).unwrap();
    there.serve(bus::names::interface(Names));
    tokio::spawn(here.run());
    tokio::spawn(there.run());
    let device = "tv".to_owned();
    (Client::new(Address::Device { bus, device }), may_go, asked)
}

async fn until(asked: &mut watch::Receiver<usize>, number: usize) {
    let waited = tokio::time::timeout(LIMIT, asked.wait_for(|count| *count == number));
    waited.await.expect("it comes to that").unwrap();
}

#[tokio::test]
async fn a_person_who_is_asked_first_has_more_time_than_an_answer() {
    let folder = tempfile::tempdir().unwrap();
    let (bus, may_go, mut asked) = serve(folder.path());
    let deadline = Duration::from_secs(3);
    let bus = bus.with_deadline(deadline);
    let call = tokio::spawn(async move {
        let first = bus::names::resolve(&bus, "a").await;
        // And once there is a connection, nobody is asked any more.
        (first, bus::names::resolve(&bus, "b").await)
    });
    until(&mut asked, 1).await;
    tokio::time::sleep(deadline + Duration::from_secs(1)).await;
    assert!(!call.is_finished(), "it waits");
    may_go.add_permits(1);
    let answers = tokio::time::timeout(LIMIT, call).await.unwrap().unwrap();
    assert_eq!(answers.0.unwrap().unwrap(), ["device phone", "a"]);
    assert_eq!(answers.1.unwrap().unwrap(), ["device phone", "b"]);
}

#[tokio::test]
async fn a_caller_that_goes_is_asked_about_no_longer() {
    let folder = tempfile::tempdir().unwrap();
    let (bus, _may_go, mut asked) = serve(folder.path());
    let call = tokio::spawn(async move { bus::names::resolve(&bus, "a").await });
    until(&mut asked, 1).await;
    call.abort();
    until(&mut asked, 0).await;
}
