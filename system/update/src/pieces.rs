//! `hyper:pieces` on the bus: giving other devices of the family what this one has of releases.
//!
//! It must not be felt: one chunk is read at a time, by this device's service that has little of the
//! processor anyway, and no further than the one who asks reads. Each device has two answers under way at
//! most, and all together [`MOST_ANSWERS`].

use std::collections::HashMap;
use std::io::Read as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bus::pieces::{self, Piece, Whereabouts};
use bus::{Caller, Outgoing};
use futures::stream;
use release::Hash;
use tokio::sync::Semaphore;

use crate::archive::{Archive, manifest_name};
use crate::shelf::Shelf;

/// Chunks in one question.
pub const MOST_ASKED: usize = 256;
/// Answers that are under way at once.
pub const MOST_ANSWERS: usize = 16;
/// Of those, for one device: a new question may come before the end of the last one is noticed.
const MOST_OF_ONE: usize = 2;
/// Nobody is made to wait longer for what is on its way here.
pub const LONGEST_PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a file that are sent at once.
const PART: usize = 64 << 10;

/// Answers `hyper:pieces`.
#[derive(Clone)]
pub struct Pieces {
    archive: Archive,
    shelf: Arc<Shelf>,
    /// Only one chunk is read at a time.
    turn: Arc<Semaphore>,
    answers: Answers,
}

impl Pieces {
    /// Out of these.
    #[must_use]
    pub fn new(archive: Archive, shelf: Arc<Shelf>) -> Self {
        Self {
            archive,
            shelf,
            turn: Arc::new(Semaphore::new(1)),
            answers: Answers::default(),
        }
    }

    /// The chunk, or where it is.
    async fn chunk(&self, hash: Hash) -> Piece {
        let now = self.shelf.whereabouts(&hash);
        if now != Whereabouts::Here {
            return Piece::Absent(now);
        }
        let Ok(_turn) = self.turn.acquire().await else {
            return Piece::Busy;
        };
        let shelf = Arc::clone(&self.shelf);
        let read = tokio::task::spawn_blocking(move || shelf.read(&hash)).await;
        match read.ok().flatten() {
            Some(data) => Piece::Data(data.into()),
            None => Piece::Absent(Whereabouts::Missing),
        }
    }

    /// Notes who asks; none when too many do already.
    fn begin(&self, caller: &Caller) -> Option<Answer> {
        let device = caller.device().map_or("", |device| &device.id);
        self.shelf.note_asker(device);
        self.answers.begin(device)
    }
}

impl pieces::Handler for Pieces {
    async fn look(&self, caller: Caller, hashes: Vec<u8>) -> Vec<Whereabouts> {
        if let Some(device) = caller.device() {
            self.shelf.note_asker(&device.id);
        }
        let hashes = hashes_of(&hashes);
        let looked = hashes.iter().map(|hash| self.shelf.whereabouts(hash));
        looked.collect()
    }

    async fn chunks(&self, caller: Caller, hashes: Vec<u8>, patience: u32) -> Outgoing<Piece> {
        let Some(answer) = self.begin(&caller) else {
            return only(Piece::Busy);
        };
        let hashes = hashes_of(&hashes);
        if let Some(first) = hashes.first() {
            self.shelf.wait(first, within_bounds(patience)).await;
        }
        let state = (self.clone(), hashes.into_iter(), answer);
        Box::pin(stream::unfold(Some(state), async |state| {
            let (pieces, mut hashes, answer) = state?;
            let piece = pieces.chunk(hashes.next()?).await;
            let goes_on = matches!(piece, Piece::Data(_));
            Some((piece, goes_on.then_some((pieces, hashes, answer))))
        }))
    }

    async fn file(&self, caller: Caller, path: String, patience: u32) -> Outgoing<Piece> {
        let Some(answer) = self.begin(&caller) else {
            return only(Piece::Busy);
        };
        let mut absent = Whereabouts::Missing;
        if let Some((hash, _)) = manifest_name(&path) {
            let now = self.shelf.wait(&hash, within_bounds(patience)).await;
            if now != Whereabouts::Here {
                absent = now;
            }
        }
        let Some(file) = self.archive.open_file(&path) else {
            return only(Piece::Absent(absent));
        };
        // Nobody's memory is filled by what others do not read.
        Box::pin(stream::unfold(
            (file, answer),
            async |(mut file, answer)| {
                let mut part = vec![0; PART];
                let count = file.read(&mut part).ok().filter(|count| *count > 0)?;
                part.truncate(count);
                Some((Piece::Data(part.into()), (file, answer)))
            },
        ))
    }
}

fn only(piece: Piece) -> Outgoing<Piece> {
    Box::pin(stream::iter([piece]))
}

fn within_bounds(patience: u32) -> Duration {
    Duration::from_millis(patience.into()).min(LONGEST_PATIENCE)
}

/// The hashes in a question, as many as there may be.
fn hashes_of(bytes: &[u8]) -> Vec<Hash> {
    let (hashes, _) = bytes.as_chunks();
    hashes.iter().take(MOST_ASKED).copied().collect()
}

/// How many answers are under way, by who asked.
#[derive(Clone, Debug, Default)]
struct Answers(Arc<Mutex<HashMap<String, usize>>>);

/// One of them.
struct Answer(Answers, String);

impl Answers {
    fn begin(&self, device: &str) -> Option<Answer> {
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = under_way.values().sum();
        let own = under_way.get(device).copied().unwrap_or_default();
        if all >= MOST_ANSWERS || own >= MOST_OF_ONE {
            return None;
        }
        under_way.insert(device.to_owned(), own + 1);
        Some(Answer(self.clone(), device.to_owned()))
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let mut under_way = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = under_way.get_mut(&self.1) {
            *own -= 1;
            if *own == 0 {
                under_way.remove(&self.1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_all_the_answers() {
        let answers = Answers::default();
        let one = [answers.begin("tv"), answers.begin("tv")];
        assert!(one.iter().all(Option::is_some));
        assert!(answers.begin("tv").is_none(), "a third one at once");
        let others: Vec<_> = (0..MOST_ANSWERS)
            .filter_map(|number| answers.begin(&number.to_string()))
            .collect();
        assert_eq!(others.len(), MOST_ANSWERS - 2);
        drop(one);
        assert!(answers.begin("tv").is_some());
        drop(others);
        assert!(answers.0.lock().unwrap().is_empty());
    }

    #[test]
    fn a_question_is_cut_where_it_is_too_long_or_torn() {
        assert!(hashes_of(&[0; 31]).is_empty());
        assert_eq!(hashes_of(&[0; 65]).len(), 2);
        assert_eq!(hashes_of(&vec![0; 32 * 1000]).len(), MOST_ASKED);
    }
}
