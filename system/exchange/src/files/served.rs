//! `hyper:transfer/transfer` on the bus.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bus::transfer::{Delivery, Received};
use bus::{Caller, Outgoing};

use super::arrivals::Arrivals;
use super::book::{self, Book};
use super::names;
use super::sending::Sender;
use super::space::weigh;

/// So many received files are listed.
const MOST: usize = 1000;
/// So much is looked at to say how much is in a folder.
const MOST_IN_FOLDER: u64 = 10_000;

/// Answers for files.
pub struct Files {
    pub received: PathBuf,
    pub book: Arc<Book>,
    pub arrivals: Arc<Arrivals>,
    pub sender: Arc<Sender>,
}

/// What is in the folder of received files.
fn list(received: &Path) -> Vec<Received> {
    let Ok(entries) = fs::read_dir(received) else {
        return Vec::new();
    };
    let mut files: Vec<Received> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name().into_string().ok()?;
            let metadata = entry.metadata().ok()?;
            let folder = metadata.is_dir();
            if !names::is_at_the_top(&name) || !(folder || metadata.is_file()) {
                return None;
            }
            Some(Received {
                size: if folder {
                    weigh(&entry.path(), MOST_IN_FOLDER).map_or(0, |(bytes, _)| bytes)
                } else {
                    metadata.len()
                },
                name,
                folder,
                time: arrived(&metadata),
            })
        })
        .collect();
    files.sort_by(|one, other| (other.time, &one.name).cmp(&(one.time, &other.name)));
    files.truncate(MOST);
    files
}

/// When something got its name, in milliseconds since 1970: it was last changed when the person who
/// sent it changed it, which is another matter.
fn arrived(metadata: &fs::Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let seconds: u64 = metadata.ctime().try_into().unwrap_or(0);
    let nanoseconds: u64 = metadata.ctime_nsec().try_into().unwrap_or(0);
    let since = SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap_or_default()
        .as_millis();
    (seconds * 1000 + nanoseconds / 1_000_000).min(since.try_into().unwrap_or(u64::MAX))
}

impl bus::transfer::Handler for Files {
    async fn send(
        &self,
        caller: Caller,
        device: String,
        paths: Vec<String>,
    ) -> Result<u64, String> {
        tracing::info!("{} sends {paths:?} to {device}", caller.name());
        self.sender.send(&device, &paths).await
    }

    async fn all(&self, _: Caller) -> Vec<Delivery> {
        self.book.all()
    }

    async fn watch(&self, _: Caller) -> Outgoing<Vec<Delivery>> {
        self.book.watch()
    }

    async fn cancel(&self, caller: Caller, id: u64) -> Result<(), String> {
        tracing::info!("{} takes delivery {id} back", caller.name());
        if self.sender.cancel(id) || self.arrivals.cancel(id).await {
            return Ok(());
        }
        Err(match self.book.get(id) {
            Some(delivery) if book::is_over(&delivery.phase) => "it is over already".into(),
            _ => format!("there is no delivery {id}"),
        })
    }

    async fn files(&self, _: Caller) -> Vec<Received> {
        let received = self.received.clone();
        let listed = tokio::task::spawn_blocking(move || list(&received)).await;
        listed.unwrap_or_default()
    }

    async fn delete(&self, caller: Caller, name: String) -> Result<(), String> {
        if !names::is_at_the_top(&name) {
            return Err(format!("{name:?} is not the name of something received"));
        }
        tracing::info!("{} deletes {name}", caller.name());
        let place = self.received.join(&name);
        let deleting = tokio::task::spawn_blocking(move || {
            if fs::symlink_metadata(&place)?.is_dir() {
                fs::remove_dir_all(&place)
            } else {
                fs::remove_file(&place)
            }
        });
        let deleted = deleting.await.map_err(io::Error::other);
        deleted
            .flatten()
            .map_err(|error| format!("deleting {name}: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_received_is_listed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let received = folder.path();
        fs::create_dir_all(received.join(".arriving/x")).unwrap();
        fs::create_dir_all(received.join("trip/day")).unwrap();
        fs::write(received.join("trip/day/a"), "12345").unwrap();
        fs::write(received.join("b.txt"), "123").unwrap();
        std::os::unix::fs::symlink("/etc", received.join("link")).unwrap();
        let mut listed = list(received);
        listed.sort_by(|one, other| one.name.cmp(&other.name));
        let all: Vec<_> = listed
            .iter()
            .map(|one| (&*one.name, one.folder, one.size))
            .collect();
        assert_eq!(all, [("b.txt", false, 3), ("trip", true, 5)]);
        assert!(listed.iter().all(|one| one.time > 0));
    }
}
