//! The service's end of one connection.
//!
//! One task reads calls, runs their handlers and writes the answers; a handler that answers at
//! once costs no task, no queue and no wake-up. While a caller does not read its answers, no more
//! of its calls are read.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf as _, BytesMut};
use futures::StreamExt as _;
use futures::future::{AbortHandle, Abortable};
use futures::stream::FuturesUnordered;
use tokio::io::AsyncWrite as _;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Semaphore;
use tokio_util::io::poll_read_buf;

use crate::caller::Caller;
use crate::frame::{self, Frame, Kind, Refusal};
use crate::invocation;
use crate::limits::{MAX_ARGUMENTS, MAX_CALLS, MAX_UNREAD};
use crate::reply::{Reply, SharedOut, lock};
use crate::server::{Call, Served};

/// Serves one connection until it ends. `input` is what was read of it already.
pub(crate) async fn serve(
    socket: UnixStream,
    input: BytesMut,
    interface: String,
    caller: Caller,
    granted: bool,
    served: Arc<Served>,
) {
    let (read, write) = socket.into_split();
    let mut connection = Connection {
        read,
        write,
        name: interface,
        caller,
        granted,
        served,
        input,
        out: SharedOut::default(),
        opening: HashMap::new(),
        opening_bytes: 0,
        running: HashMap::new(),
        work: FuturesUnordered::new(),
        last: 0,
    };
    let mut begun = false;
    let served = poll_fn(|context| {
        if !std::mem::replace(&mut begun, true) {
            connection.take_frames(context)?;
        }
        connection.poll(context)
    });
    if let Err(error) = served.await {
        tracing::debug!(
            "{} on {}: {error}",
            connection.caller.name(),
            connection.name
        );
    }
}

type Running = Pin<Box<dyn Future<Output = u32> + Send>>;

struct Connection {
    read: OwnedReadHalf,
    write: OwnedWriteHalf,
    /// The interface of the socket.
    name: String,
    caller: Caller,
    granted: bool,
    served: Arc<Served>,
    input: BytesMut,
    out: SharedOut,
    /// Calls whose arguments have not arrived whole.
    opening: HashMap<u32, BytesMut>,
    opening_bytes: usize,
    /// Calls whose handlers did not answer at once.
    running: HashMap<u32, AbortHandle>,
    work: FuturesUnordered<Running>,
    /// The newest stream: numbers only rise.
    last: u32,
}

impl Connection {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut progress = false;
            if lock(&self.out).bytes.len() < MAX_UNREAD {
                if self.input.capacity() - self.input.len() < 4096 {
                    self.input.reserve(16 * 1024);
                }
                match poll_read_buf(Pin::new(&mut self.read), context, &mut self.input) {
                    // Who closes does not want what is under way.
                    Poll::Ready(Ok(0)) => return Poll::Ready(Ok(())),
                    Poll::Ready(Ok(_)) => {
                        progress = true;
                        self.take_frames(context)?;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {}
                }
            }
            while let Poll::Ready(Some(stream)) = self.work.poll_next_unpin(context) {
                progress = true;
                self.running.remove(&stream);
            }
            progress |= self.write(context)?;
            if !progress {
                return Poll::Pending;
            }
        }
    }

    /// Takes in every frame that has arrived whole.
    fn take_frames(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        while let Some(frame) = frame::decode(&mut self.input).map_err(io::Error::other)? {
            self.receive(frame, context).map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// Writes what there is; whether something was written.
    fn write(&mut self, context: &mut Context<'_>) -> io::Result<bool> {
        let mut out = lock(&self.out);
        let mut progress = false;
        while !out.bytes.is_empty() {
            match Pin::new(&mut self.write).poll_write(context, &out.bytes) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(written)) => {
                    out.bytes.advance(written);
                    progress = true;
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
        }
        Ok(progress)
    }

    fn receive(&mut self, frame: Frame, context: &mut Context<'_>) -> Result<(), &'static str> {
        match frame.kind {
            Kind::Open => {
                if frame.stream <= self.last {
                    return Err("it used the number of a stream twice");
                }
                self.last = frame.stream;
                if self.opening.len() + self.running.len() >= MAX_CALLS {
                    self.refuse(frame.stream, Refusal::Busy, "");
                } else if frame.end {
                    self.begin(frame.stream, frame.payload, context);
                } else {
                    self.opening_bytes += frame.payload.len();
                    self.opening.insert(frame.stream, frame.payload);
                }
            }
            Kind::Data => {
                // Pieces of a call that was refused still arrive: that is no error.
                let Some(message) = self.opening.get_mut(&frame.stream) else {
                    return Ok(());
                };
                if self.opening_bytes + frame.payload.len() > MAX_ARGUMENTS + 4096 {
                    self.forget(frame.stream);
                    self.refuse(
                        frame.stream,
                        Refusal::TooLarge,
                        &format!("the arguments are longer than {MAX_ARGUMENTS} bytes"),
                    );
                    return Ok(());
                }
                self.opening_bytes += frame.payload.len();
                message.extend_from_slice(&frame.payload);
                if frame.end
                    && let Some(message) = self.forget(frame.stream)
                {
                    self.begin(frame.stream, message, context);
                }
            }
            Kind::Reset => {
                self.forget(frame.stream);
                if let Some(running) = self.running.remove(&frame.stream) {
                    running.abort();
                }
            }
            Kind::Caller => return Err("it named another device where it may not"),
            Kind::Patience => return Err("it asked for patience, which only who answers does"),
            Kind::Credit => {
                let &[a, b, c, d] = &frame.payload[..] else {
                    return Err("a credit that is not four bytes");
                };
                let bytes = u32::from_le_bytes([a, b, c, d]) as usize;
                if let Some(credit) = lock(&self.out).credits.get(&frame.stream) {
                    // More than a semaphore holds would panic there.
                    if bytes
                        > Semaphore::MAX_PERMITS / 2
                            - credit.available_permits().min(Semaphore::MAX_PERMITS / 2)
                    {
                        return Err("a credit beyond all measure");
                    }
                    credit.add_permits(bytes);
                }
            }
        }
        Ok(())
    }

    fn forget(&mut self, stream: u32) -> Option<BytesMut> {
        let message = self.opening.remove(&stream)?;
        self.opening_bytes -= message.len();
        Some(message)
    }

    fn refuse(&self, stream: u32, refusal: Refusal, sentence: &str) {
        Reply::new(Arc::clone(&self.out), stream).refuse(refusal, sentence);
    }

    /// Begins to answer a call that arrived whole.
    fn begin(&mut self, stream: u32, mut message: BytesMut, context: &mut Context<'_>) {
        if !self.granted {
            return self.refuse(stream, Refusal::NotGranted, &self.caller.name());
        }
        let parsed = invocation::decode_head(&mut message).and_then(|(interface, function)| {
            Ok((interface, function, invocation::decode_root(message)?))
        });
        let (interface, function, parameters) = match parsed {
            Ok(parsed) => parsed,
            Err(error) => return self.refuse(stream, Refusal::Unreadable, error.0),
        };
        let (Ok(interface), Ok(function)) = (
            std::str::from_utf8(&interface),
            std::str::from_utf8(&function),
        ) else {
            return self.refuse(stream, Refusal::Unreadable, "a name that is not UTF-8");
        };
        let here = interface == self.name || interface == crate::health::ID;
        let Some(interface) = here
            .then(|| self.served.interfaces.get(interface))
            .flatten()
        else {
            return self.refuse(stream, Refusal::UnknownInterface, "");
        };
        let call = Call {
            caller: self.caller.clone(),
            parameters,
            reply: Reply::new(Arc::clone(&self.out), stream),
        };
        match interface.dispatch.dispatch(function, call) {
            Ok(mut work) => {
                if work.as_mut().poll(context).is_pending() {
                    let (handle, registration) = AbortHandle::new_pair();
                    self.running.insert(stream, handle);
                    let work = Abortable::new(work, registration);
                    self.work.push(Box::pin(async move {
                        let _ = work.await;
                        stream
                    }));
                }
            }
            Err(call) => call.reply.refuse(Refusal::UnknownFunction, ""),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::health;
    use crate::server::Interface;

    struct Well;

    impl health::Handler for Well {
        async fn check(&self, _: Caller) -> Result<(), String> {
            Ok(())
        }
    }

    /// A connection of a caller that is granted its interface or not.
    fn connect(granted: bool) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let health: Interface = health::interface(Well);
        let interfaces = HashMap::from([(health.id, health)]);
        let caller = Caller::Program(crate::Program {
            user: 1004,
            process: 0,
            name: Some("shell".into()),
        });
        tokio::spawn(serve(
            theirs,
            BytesMut::new(),
            health::ID.into(),
            caller,
            granted,
            Arc::new(Served { interfaces }),
        ));
        ours
    }

    /// Sends a message and reads the frame that answers it.
    async fn ask(socket: &mut UnixStream, stream: u32, message: &[u8]) -> Frame {
        let mut out = BytesMut::new();
        frame::encode(&mut out, stream, Kind::Open, message, true);
        socket.write_all(&out).await.unwrap();
        let mut input = BytesMut::new();
        loop {
            if let Some(frame) = frame::decode(&mut input).unwrap() {
                return frame;
            }
            assert_ne!(
                socket.read_buf(&mut input).await.unwrap(),
                0,
                "the connection ended"
            );
        }
    }

    async fn refused(socket: &mut UnixStream, stream: u32, message: &[u8]) -> (Refusal, String) {
        let frame = ask(socket, stream, message).await;
        assert_eq!((frame.stream, frame.kind), (stream, Kind::Reset));
        frame::decode_reset(&frame.payload)
    }

    #[tokio::test]
    async fn a_caller_without_a_grant_is_told_so_whatever_it_asks() {
        let mut socket = connect(false);
        let call = invocation::encode_call(health::ID, "check", ()).unwrap();
        assert_eq!(
            refused(&mut socket, 1, &call).await,
            (Refusal::NotGranted, "shell".into())
        );
        assert_eq!(
            refused(&mut socket, 2, b"noise").await,
            (Refusal::NotGranted, "shell".into())
        );
    }

    #[tokio::test]
    async fn what_cannot_be_answered_is_refused_and_the_connection_goes_on() {
        let mut socket = connect(true);
        let call = |interface, function| invocation::encode_call(interface, function, ()).unwrap();
        let other = call("hyper:power/power@1.0.0", "power-off");
        assert_eq!(
            refused(&mut socket, 1, &other).await.0,
            Refusal::UnknownInterface
        );
        assert_eq!(
            refused(&mut socket, 2, &call(health::ID, "chekc")).await.0,
            Refusal::UnknownFunction
        );
        assert_eq!(
            refused(&mut socket, 3, b"noise").await.0,
            Refusal::Unreadable
        );
        let much = invocation::encode_call(health::ID, "check", ("more",)).unwrap();
        assert_eq!(refused(&mut socket, 4, &much).await.0, Refusal::Unreadable);
        let answer = ask(&mut socket, 5, &call(health::ID, "check")).await;
        assert_eq!((answer.kind, answer.end), (Kind::Data, true));
    }

    #[tokio::test]
    async fn the_number_of_a_stream_is_used_once() {
        let mut socket = connect(true);
        let call = invocation::encode_call(health::ID, "check", ()).unwrap();
        ask(&mut socket, 7, &call).await;
        let mut out = BytesMut::new();
        frame::encode(&mut out, 7, Kind::Open, &call, true);
        socket.write_all(&out).await.unwrap();
        assert_eq!(
            socket.read(&mut [0; 64]).await.unwrap(),
            0,
            "the connection ends"
        );
    }
}
