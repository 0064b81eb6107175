//! The caller's end of one kept connection.
//!
//! A call writes its frame itself, straight to the socket, and waits; one task a connection reads
//! and hands each answer to the call that waits for it. Bytes that the socket does not take at
//! once are kept and written by a task that exists only as long as there are such bytes.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf as _, BytesMut};
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::frame::{self, Frame, Kind, Refusal};
use crate::limits::{MAX_ANSWER, MAX_BACKLOG};

/// Why a stream of a connection ended without an answer.
#[derive(Clone, Debug)]
pub enum Ended {
    /// The connection broke after the call was sent.
    Lost(String),
    /// The connection broke, and the service had not read the call to its end: it did nothing.
    NotReceived(String),
    /// The service gave the call up.
    Refused(Refusal, String),
    /// The answer is longer than is taken.
    TooLarge,
}

/// A call could not be sent at all; the connection is of no use any more.
#[derive(Debug)]
pub struct NotSent(pub String);

/// A connection that is kept. Dropping it closes it.
#[derive(Debug)]
pub struct Connection {
    shared: Arc<Shared>,
    reader: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    socket: OwnedWriteHalf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: u32,
    calls: HashMap<u32, Waiting>,
    /// What the socket did not take yet.
    backlog: BytesMut,
    /// The call whose bytes are the last that were written: if any were not read, some of these.
    newest: Option<u32>,
    /// The kernel said that the service had not read everything.
    unread: bool,
    closed: Option<String>,
}

impl State {
    /// Notes what an error of the socket tells: `ECONNRESET` is how Linux says that the other end
    /// of a Unix socket was closed with bytes in it that nobody had read.
    fn note(&mut self, error: &io::Error) {
        self.unread |= error.kind() == io::ErrorKind::ConnectionReset;
    }
}

#[derive(Debug)]
enum Waiting {
    Whole(BytesMut, oneshot::Sender<Result<BytesMut, Ended>>),
    Pieces(mpsc::UnboundedSender<Result<BytesMut, Ended>>),
}

/// One call that waits. Dropping it tells the service to give it up.
#[derive(Debug)]
pub struct Pending<R> {
    /// Where the answer arrives.
    pub answer: R,
    stream: u32,
    shared: Arc<Shared>,
}

impl<R> Drop for Pending<R> {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        if state.calls.remove(&self.stream).is_some() && state.closed.is_none() {
            let mut reset = BytesMut::with_capacity(32);
            frame::encode_reset(&mut reset, self.stream, Refusal::Cancelled, "");
            // A connection that breaks here ends the call just as well.
            let _ = self.shared.write(&mut state, &reset);
        }
    }
}

impl<R> Pending<R> {
    /// Lets the service send so many bytes more.
    pub fn credit(&self, bytes: usize) {
        let mut state = self.shared.state();
        if state.closed.is_none() {
            let mut credit = BytesMut::with_capacity(16);
            frame::encode_credit(
                &mut credit,
                self.stream,
                u32::try_from(bytes).unwrap_or(u32::MAX),
            );
            let _ = self.shared.write(&mut state, &credit);
        }
    }
}

impl Connection {
    /// Connects to a socket. Must run inside a Tokio runtime, which keeps the connection.
    pub async fn open(path: &Path) -> io::Result<Self> {
        Ok(Self::over(UnixStream::connect(path).await?))
    }

    /// Takes over a socket that is connected to an interface. Must run inside a Tokio runtime.
    pub fn over(socket: UnixStream) -> Self {
        let (read, socket) = socket.into_split();
        let shared = Arc::new(Shared {
            socket,
            state: Mutex::default(),
        });
        let reader = tokio::spawn(read_answers(Closing(Arc::clone(&shared)), read)).abort_handle();
        Self { shared, reader }
    }

    /// Whether calls can still be sent.
    pub fn is_open(&self) -> bool {
        self.shared.state().closed.is_none()
    }

    /// Sends a call whose answer is taken whole.
    pub fn send(
        &self,
        message: &[u8],
    ) -> Result<Pending<oneshot::Receiver<Result<BytesMut, Ended>>>, NotSent> {
        let (sender, answer) = oneshot::channel();
        let stream = self.begin(message, Waiting::Whole(BytesMut::new(), sender))?;
        Ok(Pending {
            answer,
            stream,
            shared: Arc::clone(&self.shared),
        })
    }

    /// Sends a call whose answer is taken piece by piece.
    pub fn send_for_pieces(
        &self,
        message: &[u8],
    ) -> Result<Pending<mpsc::UnboundedReceiver<Result<BytesMut, Ended>>>, NotSent> {
        // Unbounded here, bounded by the credit that the service has.
        let (sender, answer) = mpsc::unbounded_channel();
        let stream = self.begin(message, Waiting::Pieces(sender))?;
        Ok(Pending {
            answer,
            stream,
            shared: Arc::clone(&self.shared),
        })
    }

    fn begin(&self, message: &[u8], waiting: Waiting) -> Result<u32, NotSent> {
        let mut state = self.shared.state();
        if let Some(reason) = &state.closed {
            return Err(NotSent(reason.clone()));
        }
        if state.backlog.len() + message.len() > MAX_BACKLOG {
            return Err(NotSent("the service does not read what it is sent".into()));
        }
        let Some(stream) = state.last.checked_add(1) else {
            state.closed = Some("every number was used".into());
            return Err(NotSent("every number was used".into()));
        };
        state.last = stream;
        let mut frames = BytesMut::with_capacity(frame::HEADER + message.len());
        frame::encode(&mut frames, stream, Kind::Open, message, true);
        state.calls.insert(stream, waiting);
        if let Err(error) = self.shared.write(&mut state, &frames) {
            state.calls.remove(&stream);
            state.note(&error);
            let reason = error.to_string();
            state.closed.get_or_insert_with(|| reason.clone());
            return Err(NotSent(reason));
        }
        state.newest = Some(stream);
        Ok(stream)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes frames, or keeps them in order behind those that wait. An error means that nothing
    /// of them was sent.
    fn write(self: &Arc<Self>, state: &mut State, frames: &[u8]) -> io::Result<()> {
        let mut rest = frames;
        if state.backlog.is_empty() {
            match self.socket.try_write(rest) {
                Ok(written) => {
                    state.newest = None;
                    rest = &rest[written..];
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            if rest.is_empty() {
                return Ok(());
            }
            tokio::spawn(write_backlog(Arc::clone(self)));
        }
        state.newest = None;
        state.backlog.extend_from_slice(rest);
        Ok(())
    }

    fn close(&self, reason: &str) {
        let mut state = self.state();
        let reason = state
            .closed
            .get_or_insert_with(|| reason.to_owned())
            .clone();
        // A service acts on a call that it has read whole, and only then.
        let not_received = if state.unread || !state.backlog.is_empty() {
            state.newest
        } else {
            None
        };
        state.backlog.clear();
        for (stream, waiting) in std::mem::take(&mut state.calls) {
            waiting.end(if Some(stream) == not_received {
                Ended::NotReceived(reason.clone())
            } else {
                Ended::Lost(reason.clone())
            });
        }
    }

    fn close_after(&self, error: &io::Error) {
        self.state().note(error);
        self.close(&error.to_string());
    }

    fn receive(&self, frame: Frame) -> Result<(), &'static str> {
        let mut state = self.state();
        let state = &mut *state;
        match frame.kind {
            Kind::Open | Kind::Caller => Err("it sent a call to its caller"),
            Kind::Credit => Ok(()),
            Kind::Patience => Err("it asked for patience where a connection is open already"),
            Kind::Reset => {
                if let Some(waiting) = state.calls.remove(&frame.stream) {
                    let (refusal, sentence) = frame::decode_reset(&frame.payload);
                    waiting.end(Ended::Refused(refusal, sentence));
                }
                Ok(())
            }
            Kind::Data => {
                // A call that was given up may still be answered: that is no error.
                let Some(waiting) = state.calls.get_mut(&frame.stream) else {
                    return Ok(());
                };
                match waiting {
                    Waiting::Whole(buffer, _)
                        if buffer.len() + frame.payload.len() > MAX_ANSWER =>
                    {
                        if let Some(waiting) = state.calls.remove(&frame.stream) {
                            waiting.end(Ended::TooLarge);
                        }
                        return Ok(());
                    }
                    Waiting::Whole(buffer, _) if buffer.is_empty() => *buffer = frame.payload,
                    Waiting::Whole(buffer, _) => buffer.extend_from_slice(&frame.payload),
                    Waiting::Pieces(sender) => {
                        let _ = sender.send(Ok(frame.payload));
                    }
                }
                if frame.end
                    && let Some(Waiting::Whole(buffer, sender)) = state.calls.remove(&frame.stream)
                {
                    let _ = sender.send(Ok(buffer));
                }
                Ok(())
            }
        }
    }
}

impl Waiting {
    fn end(self, ended: Ended) {
        match self {
            Self::Whole(_, sender) => drop(sender.send(Err(ended))),
            Self::Pieces(sender) => drop(sender.send(Err(ended))),
        }
    }
}

/// Whatever ends the reading task, even the end of its runtime, closes the connection.
struct Closing(Arc<Shared>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close("the connection was closed");
    }
}

async fn read_answers(closing: Closing, mut socket: OwnedReadHalf) {
    let shared = &closing.0;
    let mut buffer = BytesMut::with_capacity(16 * 1024);
    loop {
        if buffer.capacity() - buffer.len() < 4096 {
            buffer.reserve(16 * 1024);
        }
        match socket.read_buf(&mut buffer).await {
            Ok(0) => return shared.close("the service ended or closed it"),
            Ok(_) => {}
            Err(error) => return shared.close_after(&error),
        }
        loop {
            match frame::decode(&mut buffer) {
                Ok(Some(frame)) => {
                    if let Err(error) = shared.receive(frame) {
                        return shared.close(error);
                    }
                }
                Ok(None) => break,
                Err(error) => return shared.close(&format!("the service sent {error}")),
            }
        }
    }
}

async fn write_backlog(shared: Arc<Shared>) {
    loop {
        if let Err(error) = shared.socket.writable().await {
            return shared.close_after(&error);
        }
        let mut state = shared.state();
        let backlog = &mut state.backlog;
        match shared.socket.try_write(backlog) {
            Ok(written) => backlog.advance(written),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                drop(state);
                return shared.close_after(&error);
            }
        }
        if backlog.is_empty() {
            return;
        }
    }
}
