//! Two devices of an owner tell each other what stands on them, over real sockets. Instead of the
//! network between their meshes there is a carrier that connects the two folders of sockets, and a
//! family of which the test says who is reachable.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bus::carry::{Carrier, Connecting, Passage, Patience, SHARED};
use bus::family::{Device, Role};
use bus::notify::{Importance, Notification};
use bus::{Caller, Outgoing, Server};
use futures::StreamExt as _;
use shell::notices::Notices;
use shell::scene::notifications::Notifications;
use tokio::sync::watch;

/// Generous.
const LIMIT: Duration = Duration::from_secs(120);

/// The family as a device sees it.
#[derive(Clone)]
struct Family(watch::Sender<Vec<Device>>);

impl bus::family::Handler for Family {
    async fn id(&self, _: Caller) -> Option<String> {
        None
    }

    async fn is_founder(&self, _: Caller) -> bool {
        true
    }

    async fn devices(&self, _: Caller) -> Vec<Device> {
        self.0.borrow().clone()
    }

    async fn watch(&self, _: Caller) -> Outgoing<Vec<Device>> {
        let lists =
            futures::stream::unfold((self.0.subscribe(), true), async |(mut list, first)| {
                if !first {
                    list.changed().await.ok()?;
                }
                let now = list.borrow_and_update().clone();
                Some((now, (list, false)))
            });
        lists.boxed()
    }

    async fn remove(&self, _: Caller, _: String) -> Result<(), bus::family::Error> {
        Err(bus::family::Error::NoFamily)
    }

    async fn mark_lost(&self, _: Caller, _: String) -> Result<(), bus::family::Error> {
        Err(bus::family::Error::NoFamily)
    }

    async fn lost(&self, _: Caller) -> Option<bus::family::Loss> {
        None
    }

    async fn watch_lost(&self, _: Caller) -> Outgoing<Option<bus::family::Loss>> {
        futures::stream::iter([None]).boxed()
    }
}

/// Leads to the other device while that is reachable.
struct Cable {
    here: String,
    there: PathBuf,
    family: watch::Receiver<Vec<Device>>,
}

impl Carrier for Cable {
    fn connect(&self, _: Caller, to: String, interface: String, _: Patience) -> Connecting {
        let online = |device: &Device| device.id == to && device.online;
        let is_there = self.family.borrow().iter().any(online);
        let (there, here) = (self.there.clone(), self.here.clone());
        Box::pin(async move {
            if !is_there {
                return Err(bus::calls::Error::Unreachable("it is unplugged".into()));
            }
            let passage: Passage = Box::new(move |mut socket| {
                Box::pin(async move {
                    let device = bus::Device {
                        id: here.as_str().into(),
                        name: here.as_str().into(),
                        program: None,
                    };
                    let there = bus::carry::open_shared(&there, &interface, &device).await;
                    if let Ok(mut there) = there {
                        let _ = tokio::io::copy_bidirectional(&mut socket, &mut there).await;
                    }
                })
            });
            Ok(passage)
        })
    }
}

/// A device with notifications and no screen.
struct Screen {
    notifications: Notifications,
    family: watch::Sender<Vec<Device>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Drop for Screen {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn family(here: &str, roles: [(&str, Role); 2], online: bool) -> Vec<Device> {
    roles
        .into_iter()
        .map(|(id, role)| Device {
            id: id.into(),
            name: id.into(),
            role,
            here: id == here,
            online: online || id == here,
            last_seen: None,
        })
        .collect()
}

impl Screen {
    fn start(folder: &Path, here: &str, there: &str, roles: [(&str, Role); 2]) -> Self {
        let bus = folder.join(here);
        std::fs::create_dir_all(&bus).unwrap();
        let family = watch::Sender::new(family(here, roles, false));
        let notifications = Notifications::new(Arc::new(|| {}));
        let notices = Notices::new(notifications.clone());
        let shared = format!("{SHARED}{}", bus::notices::ID);
        let sockets = [bus::calls::ID, bus::family::ID, &shared];
        let mut server = Server::bind(&bus, &sockets).unwrap();
        server.carry(Cable {
            here: here.to_owned(),
            there: folder.join(there),
            family: family.subscribe(),
        });
        server.serve(bus::family::interface(Family(family.clone())));
        server.serve(bus::notices::interface(notices.clone()));
        let tasks = vec![
            tokio::spawn(async {
                let _ = server.run().await;
            }),
            tokio::spawn(notices.with_family(bus)),
        ];
        Self {
            notifications,
            family,
            tasks,
        }
    }

    fn say(&self, title: &str) {
        let notification = Notification {
            title: title.into(),
            text: String::new(),
            importance: Importance::Normal,
            tag: None,
        };
        self.notifications.post("music", notification, 1).unwrap();
    }

    fn titles(&self) -> Vec<String> {
        let book = self.notifications.book();
        let mut titles: Vec<_> = book
            .standing()
            .map(|standing| standing.posted.notification.title.clone())
            .collect();
        titles.sort();
        titles
    }

    fn dismiss(&self, title: &str) {
        let id = {
            let book = self.notifications.book();
            let mut standing = book.standing();
            let found = standing.find(|s| s.posted.notification.title == title);
            found.expect("it stands").posted.id
        };
        assert!(self.notifications.dismiss(id));
    }

    async fn shows(&self, titles: &[&str]) {
        let until = async {
            while self.titles() != titles {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let shown = tokio::time::timeout(LIMIT, until).await;
        shown.unwrap_or_else(|_| panic!("{:?} is not {titles:?}", self.titles()));
    }
}

fn plug(screens: [(&Screen, &str); 2], roles: [(&str, Role); 2], online: bool) {
    for (screen, here) in screens {
        screen.family.send_replace(family(here, roles, online));
    }
}

#[tokio::test]
async fn what_stands_on_one_stands_on_all_and_is_dismissed_once() {
    let folder = tempfile::tempdir().unwrap();
    let roles = [("phone", Role::Owner), ("tablet", Role::Owner)];
    let phone = Screen::start(folder.path(), "phone", "tablet", roles);
    let tablet = Screen::start(folder.path(), "tablet", "phone", roles);
    phone.say("from before");
    plug([(&phone, "phone"), (&tablet, "tablet")], roles, true);
    tablet.shows(&["from before"]).await;
    tablet.say("of the tablet");
    phone.shows(&["from before", "of the tablet"]).await;
    // Dismissed where it did not come from, and where it did.
    tablet.dismiss("from before");
    phone.shows(&["of the tablet"]).await;
    tablet.dismiss("of the tablet");
    phone.shows(&[]).await;

    // Apart, each is dismissed on the other; they agree when they meet.
    phone.say("one");
    tablet.say("two");
    phone.shows(&["one", "two"]).await;
    tablet.shows(&["one", "two"]).await;
    plug([(&phone, "phone"), (&tablet, "tablet")], roles, false);
    phone.dismiss("two");
    tablet.dismiss("one");
    phone.say("three");
    plug([(&phone, "phone"), (&tablet, "tablet")], roles, true);
    phone.shows(&["three"]).await;
    tablet.shows(&["three"]).await;

    // A screen that was started anew learns what stands elsewhere, and what stood on it is gone.
    tablet.say("forgotten");
    phone.shows(&["forgotten", "three"]).await;
    drop(tablet);
    plug([(&phone, "phone"), (&phone, "phone")], roles, false);
    let tablet = Screen::start(folder.path(), "tablet", "phone", roles);
    plug([(&phone, "phone"), (&tablet, "tablet")], roles, true);
    tablet.shows(&["three"]).await;
    phone.shows(&["three"]).await;
}

#[tokio::test]
async fn a_shared_device_tells_and_is_told_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let roles = [("phone", Role::Owner), ("tv", Role::Shared)];
    let phone = Screen::start(folder.path(), "phone", "tv", roles);
    let tv = Screen::start(folder.path(), "tv", "phone", roles);
    plug([(&phone, "phone"), (&tv, "tv")], roles, true);
    phone.say("of the owner");
    tv.say("of the television");
    phone.shows(&["of the owner", "of the television"]).await;
    phone.dismiss("of the television");
    tv.shows(&[]).await;
    // What the owner's device says has come and gone by now, had it been told.
    tv.say("later");
    phone.shows(&["later", "of the owner"]).await;
    tv.shows(&["later"]).await;
}
