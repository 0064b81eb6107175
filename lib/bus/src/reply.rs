//! How a handler's answer goes back.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;
use futures::{Stream, StreamExt as _};
use tokio::sync::Semaphore;
use tokio_util::codec::Encoder;

use crate::frame::{self, Kind, Refusal};
use crate::invocation::{self, Path};
use crate::limits::{MAX_ANSWER, MAX_ITEM, WINDOW};
use crate::wire::wrpc_transport::frame::Outgoing as Wire;
use crate::wire::wrpc_transport::{Encode, TupleEncode};

/// A stream that a handler answers: any stream of its items, boxed.
///
/// It is read only as fast as its caller reads, and dropped when the caller goes away.
pub type Outgoing<T> = Pin<Box<dyn Stream<Item = T> + Send>>;

/// Pieces of a stream, well below its window, so that one fits while another is under way.
const PIECE: usize = WINDOW / 4;
/// Items that are ready at once are sent as one group of at most so many.
const GROUP: usize = 64;

/// What is to be written to one connection.
#[derive(Debug, Default)]
pub(crate) struct Out {
    pub bytes: BytesMut,
    /// How much each stream may still send.
    pub credits: HashMap<u32, Arc<Semaphore>>,
}

/// What the handlers of one connection share.
pub(crate) type SharedOut = Arc<Mutex<Out>>;

pub(crate) fn lock(out: &Mutex<Out>) -> MutexGuard<'_, Out> {
    out.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The way back to one caller. Dropped without an answer, it tells the caller that there is none.
#[derive(Debug)]
pub(crate) struct Reply {
    out: SharedOut,
    stream: u32,
    answered: bool,
}

impl Reply {
    pub fn new(out: SharedOut, stream: u32) -> Self {
        Self {
            out,
            stream,
            answered: false,
        }
    }

    /// Answers why not.
    pub fn refuse(mut self, refusal: Refusal, sentence: &str) {
        self.answered = true;
        frame::encode_reset(&mut lock(&self.out).bytes, self.stream, refusal, sentence);
    }

    /// Answers a value, as a tuple of it or of nothing.
    pub fn value<R>(self, answer: R)
    where
        R: TupleEncode,
        std::io::Error: From<<<R as Encode>::Encoder as Encoder<R>>::Error>,
    {
        let mut data = BytesMut::with_capacity(256);
        match <R as Encode<Wire>>::Encoder::default().encode(answer, &mut data) {
            Ok(()) => self.bytes(&data),
            Err(error) => self.refuse(
                Refusal::Failed,
                &format!("the answer cannot be sent: {}", std::io::Error::from(error)),
            ),
        }
    }

    /// Answers a value that is bytes already.
    pub fn bytes(mut self, data: &[u8]) {
        if data.len() > MAX_ANSWER {
            return self.refuse(
                Refusal::TooLarge,
                &format!("the answer is longer than {MAX_ANSWER} bytes"),
            );
        }
        self.answered = true;
        let mut part = BytesMut::with_capacity(data.len() + 8);
        if !data.is_empty() {
            invocation::encode_part(&mut part, Path::Root, data);
        }
        frame::encode(
            &mut lock(&self.out).bytes,
            self.stream,
            Kind::Data,
            &part,
            true,
        );
    }

    /// Answers a stream, and sends its items for as long as the caller reads them.
    pub async fn stream<T>(mut self, items: Outgoing<T>)
    where
        T: Encode,
        std::io::Error: From<<<T as Encode>::Encoder as Encoder<T>>::Error>,
    {
        let credit = Arc::new(Semaphore::new(WINDOW));
        lock(&self.out)
            .credits
            .insert(self.stream, Arc::clone(&credit));
        let mut begin = BytesMut::new();
        invocation::encode_part(&mut begin, Path::Root, &[0]);
        // Only the window stands between this and its end: it cannot fail.
        let _ = self.send(&credit, &begin, false).await;

        let mut items = items.ready_chunks(GROUP);
        let mut group = BytesMut::new();
        while let Some(chunk) = items.next().await {
            invocation::encode_number(&mut group, u32::try_from(chunk.len()).unwrap_or(u32::MAX));
            for item in chunk {
                let before = group.len();
                if let Err(error) = <T as Encode<Wire>>::Encoder::default().encode(item, &mut group)
                {
                    return self.refuse(
                        Refusal::Failed,
                        &format!("an item cannot be sent: {}", std::io::Error::from(error)),
                    );
                }
                if group.len() - before > MAX_ITEM {
                    return self.refuse(
                        Refusal::TooLarge,
                        &format!("an item is longer than {MAX_ITEM} bytes"),
                    );
                }
            }
            for piece in group.chunks(PIECE) {
                let mut part = BytesMut::with_capacity(piece.len() + 8);
                invocation::encode_part(&mut part, Path::Items, piece);
                if self.send(&credit, &part, false).await.is_err() {
                    return;
                }
            }
            group.clear();
        }
        let mut end = BytesMut::new();
        invocation::encode_part(&mut end, Path::Items, &[0]);
        let _ = self.send(&credit, &end, true).await;
        self.answered = true;
    }

    async fn send(
        &self,
        credit: &Semaphore,
        part: &[u8],
        end: bool,
    ) -> Result<(), tokio::sync::AcquireError> {
        credit.acquire_many(part.len() as u32).await?.forget();
        frame::encode(
            &mut lock(&self.out).bytes,
            self.stream,
            Kind::Data,
            part,
            end,
        );
        Ok(())
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        let mut out = lock(&self.out);
        out.credits.remove(&self.stream);
        if !self.answered {
            frame::encode_reset(
                &mut out.bytes,
                self.stream,
                Refusal::Failed,
                "the service gave the call up",
            );
        }
    }
}
