//! `hyper:transfer/arrivals` on the bus: what a device that sends calls on this one.

use std::sync::Arc;

use bus::Caller;
use bus::arrivals::{Batch, Closing, Error, Opening, Part, Piece, Standing, Summary};
use bus::transfer::Phase;

use super::arrivals::Arrivals;
use super::arriving::{self, Arriving};
use super::settled::Key;

/// Paths that are asked for at once, and files that are put at once.
const MAX_AT_ONCE: usize = 256;
/// The digits of the id of a delivery.
const ID_DIGITS: usize = 32;

/// Answers devices that send.
pub struct FromDevices(pub Arc<Arrivals>);

/// The device that calls.
fn device(caller: &Caller) -> Result<&bus::Device, Error> {
    caller.device().ok_or_else(|| {
        Error::Refused("only another device of the family sends files to this one".into())
    })
}

/// Which delivery a caller means.
fn key(caller: &Caller, delivery: &str) -> Result<Key, Error> {
    let device = device(caller)?;
    let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if delivery.len() != ID_DIGITS || !delivery.bytes().all(is_digit) {
        return Err(Error::Refused("no id of a delivery".into()));
    }
    Ok((device.id.to_string(), delivery.to_owned()))
}

impl bus::arrivals::Handler for FromDevices {
    async fn begin(
        &self,
        caller: Caller,
        delivery: String,
        summary: Summary,
    ) -> Result<Standing, Error> {
        let key = key(&caller, &delivery)?;
        let about = arriving::about(device(&caller)?, &delivery, &summary)?;
        self.0.begin(key, about).await
    }

    async fn held(
        &self,
        caller: Caller,
        delivery: String,
        paths: Vec<String>,
    ) -> Result<Vec<Option<Part>>, Error> {
        if paths.len() > MAX_AT_ONCE {
            return Err(Error::Refused(format!("{} paths at once", paths.len())));
        }
        let key = key(&caller, &delivery)?;
        let held = self
            .0
            .long_on(&key, move |arriving| arriving.held(&paths))
            .await?;
        let part = |(length, digest): (u64, Vec<u8>)| Part {
            length,
            digest: digest.into(),
        };
        Ok(held.into_iter().map(|held| held.map(part)).collect())
    }

    async fn put(&self, caller: Caller, batch: Batch) -> Result<(), Error> {
        if batch.files.len() + batch.folders.len() > MAX_AT_ONCE {
            return Err(Error::Refused("too many files at once".into()));
        }
        let key = key(&caller, &batch.delivery)?;
        let received = batch.files.iter().map(|file| file.data.len() as u64).sum();
        let work = |arriving: &mut Arriving| {
            for folder in &batch.folders {
                arriving.put_folder(folder)?;
            }
            for file in &batch.files {
                arriving.put(&file.path, file.modified, &file.data, &file.digest)?;
            }
            Ok(())
        };
        self.0.on(&key, received, work).await
    }

    async fn open(&self, caller: Caller, opening: Opening) -> Result<(), Error> {
        let Opening {
            delivery,
            path,
            size,
            offset,
        } = opening;
        let key = key(&caller, &delivery)?;
        let work = move |arriving: &mut Arriving| arriving.open_file(&path, size, offset);
        if offset == 0 {
            return self.0.on(&key, 0, work).await;
        }
        self.0.long_on(&key, work).await
    }

    async fn write(&self, caller: Caller, piece: Piece) -> Result<(), Error> {
        let key = key(&caller, &piece.delivery)?;
        let received = piece.data.len() as u64;
        let work = |arriving: &mut Arriving| arriving.write(piece.offset, &piece.data);
        self.0.on(&key, received, work).await
    }

    async fn close(&self, caller: Caller, closing: Closing) -> Result<(), Error> {
        let key = key(&caller, &closing.delivery)?;
        let work = |arriving: &mut Arriving| arriving.close(closing.modified, &closing.digest);
        self.0.on(&key, 0, work).await
    }

    async fn finish(&self, caller: Caller, delivery: String) -> Result<(), Error> {
        self.0.finish(key(&caller, &delivery)?).await
    }

    async fn abandon(&self, caller: Caller, delivery: String) {
        if let Ok(key) = key(&caller, &delivery) {
            self.0.give_up(&key, Phase::Cancelled).await;
        }
    }
}
