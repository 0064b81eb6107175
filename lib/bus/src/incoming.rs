//! A stream that a function answers, as its caller reads it.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use futures::Stream;
use tokio::sync::mpsc;
use tokio_util::codec::Decoder;

use crate::client::Client;
use crate::connection::{Ended, Pending};
use crate::error::{Error, Reason};
use crate::invocation::{self, Path};
use crate::limits::{MAX_ITEM, WINDOW};
use crate::wire::wrpc_transport::Decode;

/// The items of a stream as they arrive. Dropping it ends the stream at the service.
///
/// It ends when the service ends it; an error is its last item.
pub struct Incoming<T: Decode> {
    items: RawItems<<T as Decode>::Decoder>,
}

impl<T: Decode> Incoming<T> {
    pub(crate) fn new(pieces: Pieces) -> Self {
        Self {
            items: RawItems::new(pieces, Default::default),
        }
    }
}

impl<T: Decode> Unpin for Incoming<T> {}

impl<T: Decode> Stream for Incoming<T>
where
    <<T as Decode>::Decoder as Decoder>::Error: fmt::Display,
{
    type Item = Result<T, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.items.poll_next(context)
    }
}

impl<T: Decode> fmt::Debug for Incoming<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{} …",
            self.items.pieces.interface, self.items.pieces.function
        )
    }
}

/// Items by any decoder, made anew for each item.
pub(crate) struct RawItems<D: Decoder> {
    pieces: Pieces,
    decoder: Box<dyn Fn() -> D + Send>,
    make: Option<D>,
    ready: VecDeque<D::Item>,
    /// Items of the group that have not been decoded yet.
    left: u32,
    /// What has arrived and was not decoded.
    data: BytesMut,
    done: bool,
}

impl<D: Decoder> RawItems<D>
where
    D::Error: Sized,
{
    pub fn new(pieces: Pieces, decoder: impl Fn() -> D + Send + 'static) -> Self {
        Self {
            pieces,
            decoder: Box::new(decoder),
            make: None,
            ready: VecDeque::new(),
            left: 0,
            data: BytesMut::new(),
            done: false,
        }
    }
}

impl<D: Decoder> RawItems<D>
where
    D::Error: fmt::Display,
{
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<D::Item, Error>>> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(item)));
            }
            if self.done {
                return Poll::Ready(None);
            }
            match self.decode() {
                Ok(true) => continue,
                Ok(false) => {}
                Err(reason) => {
                    self.done = true;
                    return Poll::Ready(Some(Err(self.pieces.error(Reason::Answer(reason)))));
                }
            }
            match ready!(self.pieces.poll(context)) {
                Ok(data) => self.data.unsplit(data),
                Err(reason) => {
                    self.done = true;
                    return Poll::Ready(Some(Err(self.pieces.error(reason))));
                }
            }
        }
    }

    /// Decodes what it can; whether there is something new to say.
    fn decode(&mut self) -> Result<bool, String> {
        if self.left == 0 {
            let mut at = 0;
            match invocation::number(&self.data, &mut at).map_err(|error| error.to_string())? {
                None => return Ok(false),
                Some(0) => {
                    self.done = true;
                    return Ok(true);
                }
                Some(count) => {
                    self.left = count;
                    let _ = self.data.split_to(at);
                }
            }
        }
        // The decoder keeps its place between calls: an item may arrive in pieces.
        let decoder = self.make.get_or_insert_with(&self.decoder);
        match decoder.decode(&mut self.data) {
            Ok(Some(item)) => {
                self.make = None;
                self.left -= 1;
                self.ready.push_back(item);
                Ok(true)
            }
            Ok(None) if self.data.len() > MAX_ITEM => {
                Err(format!("an item is longer than {MAX_ITEM} bytes"))
            }
            Ok(None) => Ok(false),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// The bytes of a stream's items as they arrive.
pub(crate) struct Pieces {
    pending: Pending<mpsc::UnboundedReceiver<Result<BytesMut, Ended>>>,
    client: Client,
    interface: Cow<'static, str>,
    function: Cow<'static, str>,
    buffer: BytesMut,
    /// Bytes that were read and not yet given back as credit.
    owed: usize,
    /// A stream that was over before it began arrives as a list, with the answer.
    list: Option<BytesMut>,
}

impl Pieces {
    /// Waits for the answer that the stream has begun.
    pub async fn begin(
        client: Client,
        interface: Cow<'static, str>,
        function: Cow<'static, str>,
        pending: Pending<mpsc::UnboundedReceiver<Result<BytesMut, Ended>>>,
    ) -> Result<Self, Reason> {
        let buffer = BytesMut::new();
        let mut this = Self {
            pending,
            client,
            interface,
            function,
            buffer,
            owed: 0,
            list: None,
        };
        let (path, mut answer) = std::future::poll_fn(|context| this.poll_part(context)).await?;
        match (path, answer.first()) {
            (Path::Root, Some(0)) if answer.len() == 1 => {}
            (Path::Root, Some(1)) => {
                // Followed by the end, as a group of none.
                let _ = answer.split_to(1);
                if answer[..] != [0] {
                    answer.extend_from_slice(&[0]);
                }
                this.list = Some(answer);
            }
            _ => return Err(Reason::Answer("it is not a stream".into())),
        }
        Ok(this)
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<BytesMut, Reason>> {
        if let Some(list) = self.list.take() {
            return Poll::Ready(Ok(list));
        }
        match ready!(self.poll_part(context)) {
            Ok((Path::Items, data)) => Poll::Ready(Ok(data)),
            Ok((Path::Root, _)) => Poll::Ready(Err(Reason::Answer("it has two beginnings".into()))),
            Err(reason) => Poll::Ready(Err(reason)),
        }
    }

    fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<Result<(Path, BytesMut), Reason>> {
        loop {
            match invocation::part(&mut self.buffer) {
                Ok(Some(part)) => return Poll::Ready(Ok(part)),
                Ok(None) if self.buffer.len() > MAX_ITEM + 16 => {
                    return Poll::Ready(Err(Reason::TooLarge(format!(
                        "an item is longer than {MAX_ITEM} bytes"
                    ))));
                }
                Ok(None) => {}
                Err(error) => return Poll::Ready(Err(Reason::Answer(error.to_string()))),
            }
            // Reading more says that what came before was read.
            if self.owed >= WINDOW / 2 {
                self.pending.credit(self.owed);
                self.owed = 0;
            }
            match ready!(self.pending.answer.poll_recv(context)) {
                Some(Ok(data)) => {
                    self.owed += data.len();
                    self.buffer.unsplit(data);
                }
                Some(Err(ended)) => return Poll::Ready(Err(self.client.reason(ended))),
                None => return Poll::Ready(Err(Reason::Lost("its connection was closed".into()))),
            }
        }
    }

    fn error(&self, reason: Reason) -> Error {
        Error::new(self.interface.clone(), self.function.clone(), reason)
    }
}
