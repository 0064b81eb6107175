//! Calls between devices, as far as this crate has a part in them.
//!
//! A program that calls an interface of another device connects to the socket of
//! `hyper:family/calls` and calls `connect` there. When that is answered with `ok`, the connection is
//! one to the interface on the other device: `mesh` here passes its bytes to `mesh` there, which
//! opened the service's socket for other devices, said on it who calls, and passes the bytes on.
//! Neither reads what is in them but the heads of frames, to count the calls.
//!
//! | socket | who may open it | first frame |
//! |---|---|---|
//! | `HYPER_BUS/<interface>` | programs whose manifest lists the interface | a call |
//! | `HYPER_BUS/shared/<interface>` | the program that carries calls | the device that calls |
//!
//! Whatever a device sends comes after the frame that says which device it is, and a second such
//! frame ends the connection: no device can speak as another one.

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::oneshot;

use crate::caller::{Caller, Device};
use crate::error::Reason;
use crate::frame::{self, Frame, Kind, Refusal};
use crate::invocation::{self, Malformed};
use crate::reply::{Reply, SharedOut, lock};
use crate::server::Served;
use crate::{calls, serving};

/// What stands before the interface in the name of a socket for other devices.
pub const SHARED: &str = "shared/";
/// How long a connection may take to say what it is for.
const OPENING: Duration = Duration::from_secs(10);
/// No owner is waited for longer.
const MOST_PATIENCE: Duration = Duration::from_secs(180);
/// The longest name of a device or a program.
const MAX_NAME: usize = 256;

/// What passes the bytes of a connection to the other device and back, until either ends it.
pub type Passage = Box<dyn FnOnce(UnixStream) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;
/// What a [`Carrier`] answers.
pub type Connecting = Pin<Box<dyn Future<Output = Result<Passage, calls::Error>> + Send>>;

/// Finds the way to interfaces of other devices: what `mesh` is to this crate.
pub trait Carrier: Send + Sync + 'static {
    /// Finds the way to an interface, in full, of a device by its name or id, for a caller. What is
    /// answered is dropped when the caller gives up.
    fn connect(
        &self,
        caller: Caller,
        device: String,
        interface: String,
        patience: Patience,
    ) -> Connecting;
}

/// How a [`Carrier`] asks its caller to wait longer than calls usually do.
#[derive(Debug)]
pub struct Patience(oneshot::Sender<Duration>);

impl Patience {
    /// A person is asked first, which takes at most so long.
    pub fn ask(self, most: Duration) {
        // Who is gone waits for nothing.
        let _ = self.0.send(most);
    }
}

/// Whether a device that calls would find an interface, in full, shared by a service here.
pub fn is_shared(bus: &Path, interface: &str) -> bool {
    crate::socket_path(bus, &format!("{SHARED}{interface}")).exists()
}

/// Opens the socket on which the service of an interface takes calls of other devices, and says
/// which device calls. What is then written to it is that device's word.
pub async fn open_shared(bus: &Path, interface: &str, device: &Device) -> io::Result<UnixStream> {
    let mut payload = BytesMut::new();
    for text in [
        &*device.id,
        &*device.name,
        device.program.as_deref().unwrap_or_default(),
    ] {
        let text = &text[..text.floor_char_boundary(MAX_NAME)];
        invocation::encode_number(&mut payload, text.len() as u32);
        payload.extend_from_slice(text.as_bytes());
    }
    let mut first = BytesMut::new();
    frame::encode(&mut first, 0, Kind::Caller, &payload, false);
    let path = crate::socket_path(bus, &format!("{SHARED}{interface}"));
    let mut socket = UnixStream::connect(path).await?;
    socket.write_all(&first).await?;
    Ok(socket)
}

pub(crate) fn decode_device(payload: &[u8]) -> Result<Device, Malformed> {
    let mut at = 0;
    let mut text = || -> Result<Arc<str>, Malformed> {
        let short = Malformed("a device's name that ends early");
        let length = invocation::number(payload, &mut at)?.ok_or(short)? as usize;
        let short = Malformed("a device's name that ends early");
        let bytes = payload.get(at..at.saturating_add(length)).ok_or(short)?;
        at += length;
        std::str::from_utf8(bytes)
            .map(Into::into)
            .map_err(|_| Malformed("a device's name that is not UTF-8"))
    };
    let (id, name, program) = (text()?, text()?, text()?);
    Ok(Device {
        id,
        name,
        program: (!program.is_empty()).then_some(program),
    })
}

/// Serves a connection that the program that carries calls made for another device.
pub(crate) async fn serve_device(
    mut socket: UnixStream,
    interface: String,
    granted: bool,
    served: Arc<Served>,
) {
    if !granted {
        return;
    }
    let mut input = BytesMut::with_capacity(16 * 1024);
    let first = tokio::time::timeout(OPENING, next(&mut socket, &mut input)).await;
    let device = match first {
        Ok(Ok(Some(frame))) if frame.kind == Kind::Caller => decode_device(&frame.payload),
        _ => Err(Malformed(
            "a connection that does not say which device calls",
        )),
    };
    match device {
        Ok(device) => {
            let caller = Caller::Device(device);
            serving::serve(socket, input, interface, caller, true, served).await;
        }
        Err(error) => tracing::warn!("for another device, on {interface}: {error}"),
    }
}

/// Serves a connection to the socket of `hyper:family/calls`. What does not open with `connect` is
/// served like any other connection, which answers for the service's health.
pub(crate) async fn serve_calls(
    mut socket: UnixStream,
    caller: Caller,
    granted: bool,
    served: Arc<Served>,
    carrier: &dyn Carrier,
) {
    let mut input = BytesMut::with_capacity(1024);
    let Ok(Ok(Some(frame))) = tokio::time::timeout(OPENING, next(&mut socket, &mut input)).await
    else {
        return;
    };
    let Some((device, interface)) = asks_to_connect(&frame).filter(|_| granted) else {
        let mut whole = BytesMut::new();
        frame::encode(
            &mut whole,
            frame.stream,
            frame.kind,
            &frame.payload,
            frame.end,
        );
        whole.unsplit(input);
        return serving::serve(socket, whole, calls::ID.into(), caller, granted, served).await;
    };
    let out = SharedOut::default();
    let reply = Reply::new(Arc::clone(&out), frame.stream);
    let passage = if input.is_empty() {
        let (patience, asked) = oneshot::channel();
        let connecting = carrier.connect(caller, device, interface, Patience(patience));
        match connected(&mut socket, frame.stream, connecting, asked).await {
            Some(passage) => passage,
            // The caller is gone.
            None => return,
        }
    } else {
        early()
    };
    let (answer, passage) = match passage {
        Ok(passage) => (Ok(()), Some(passage)),
        Err(error) => (Err(error), None),
    };
    reply.value((answer,));
    let bytes = std::mem::take(&mut lock(&out).bytes);
    if socket.write_all(&bytes).await.is_ok()
        && let Some(passage) = passage
    {
        passage(socket).await;
    }
}

/// What a carrier answers; none where the caller went away before that.
async fn connected(
    socket: &mut UnixStream,
    stream: u32,
    mut connecting: Connecting,
    mut asked: oneshot::Receiver<Duration>,
) -> Option<Result<Passage, calls::Error>> {
    let mut early_bytes = BytesMut::new();
    let mut may_ask = true;
    loop {
        tokio::select! {
            passage = &mut connecting => return Some(passage),
            most = &mut asked, if may_ask => {
                may_ask = false;
                if let Ok(most) = most {
                    let mut out = BytesMut::new();
                    frame::encode_patience(&mut out, stream, most);
                    socket.write_all(&out).await.ok()?;
                }
            }
            read = socket.read_buf(&mut early_bytes) => {
                return if read.ok()? == 0 { None } else { Some(early()) };
            }
        }
    }
}

fn early() -> Result<Passage, calls::Error> {
    Err(calls::Error::Refused(
        "nothing may be sent before `connect` is answered".into(),
    ))
}

fn asks_to_connect(frame: &Frame) -> Option<(String, String)> {
    if frame.kind != Kind::Open || !frame.end {
        return None;
    }
    let mut message = frame.payload.clone();
    let (interface, function) = invocation::decode_head(&mut message).ok()?;
    if interface != calls::ID.as_bytes() || &function[..] != b"connect" {
        return None;
    }
    invocation::decode_value(invocation::decode_root(message).ok()?).ok()
}

/// The caller's side: a connection to an interface of another device. `patience` is told how long that
/// may take, where it takes longer than usual.
pub(crate) async fn connect(
    bus: &Path,
    device: &str,
    interface: &str,
    patience: impl Fn(Duration),
) -> Result<UnixStream, Reason> {
    let path = crate::socket_path(bus, calls::ID);
    let lost = |error: io::Error| Reason::Lost(error.to_string());
    let mut socket = UnixStream::connect(&path)
        .await
        .map_err(|source| Reason::Unreachable {
            path: path.display().to_string(),
            source,
        })?;
    let call = invocation::encode_call(calls::ID, "connect", (device, interface))
        .map_err(|error| Reason::Arguments(error.to_string()))?;
    let mut out = BytesMut::new();
    frame::encode(&mut out, 1, Kind::Open, &call, true);
    socket.write_all(&out).await.map_err(lost)?;
    // Nothing of the caller's own was sent yet: whatever goes wrong here, nothing was done.
    let away = |reason: String| Reason::DeviceUnreachable {
        device: device.to_owned(),
        reason,
    };
    let mut input = BytesMut::new();
    let frame = loop {
        let frame = next(&mut socket, &mut input)
            .await
            .map_err(|error| away(error.to_string()))?
            .ok_or_else(|| away("mesh ended the connection".into()))?;
        if frame.kind != Kind::Patience {
            break frame;
        }
        if let Some(most) = frame::decode_patience(&frame.payload, MOST_PATIENCE) {
            patience(most);
        }
    };
    let answer = match frame.kind {
        Kind::Data if frame.end => invocation::decode_root(frame.payload)
            .map_err(|error| error.to_string())
            .and_then(invocation::decode_value::<(Result<(), calls::Error>,)>)
            .map_err(Reason::Answer)?,
        Kind::Reset => {
            let (refusal, sentence) = frame::decode_reset(&frame.payload);
            return Err(match refusal {
                Refusal::NotGranted => Reason::NotGranted(sentence),
                _ => away(sentence),
            });
        }
        _ => return Err(Reason::Answer("it is not one frame".into())),
    };
    match answer.0 {
        Ok(()) => Ok(socket),
        Err(calls::Error::UnknownDevice(device)) => Err(Reason::UnknownDevice(device)),
        Err(calls::Error::Unreachable(reason)) => Err(away(reason)),
        Err(calls::Error::Refused(reason)) => Err(Reason::DeviceRefused {
            device: device.to_owned(),
            reason,
        }),
    }
}

/// The next whole frame; `None` when the connection ended.
async fn next(socket: &mut UnixStream, input: &mut BytesMut) -> io::Result<Option<Frame>> {
    loop {
        if let Some(frame) = frame::decode(input).map_err(io::Error::other)? {
            return Ok(Some(frame));
        }
        if socket.read_buf(input).await? == 0 {
            return Ok(None);
        }
    }
}

/// Counts the calls in bytes that are passed on, by the heads of their frames alone.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    head: [u8; frame::HEADER],
    /// How much of the head has come.
    come: usize,
    /// Bytes of a payload that have not come.
    left: usize,
    /// What that payload's frame does, if it is the last of its stream.
    last: Option<Kind>,
}

/// What a [`Meter`] sees of frames.
enum Passing {
    /// The head of a frame is complete.
    Begins(Kind),
    /// A frame is complete that is the last of its stream.
    EndsStream(Kind),
}

impl Meter {
    /// Takes in the next bytes of a connection, and answers how many calls begin in them.
    ///
    /// # Errors
    /// When they are not frames; the connection is then not worth passing on.
    pub fn count(&mut self, bytes: &[u8]) -> Result<usize, frame::Malformed> {
        let mut calls = 0;
        self.walk(bytes, |frame| {
            calls += usize::from(matches!(frame, Passing::Begins(Kind::Open)));
        })?;
        Ok(calls)
    }

    /// As [`Meter::count`], of what a service answers: how many calls are over with these bytes.
    ///
    /// # Errors
    /// As there.
    pub fn count_answers(&mut self, bytes: &[u8]) -> Result<usize, frame::Malformed> {
        let mut answers = 0;
        self.walk(bytes, |frame| {
            answers += usize::from(matches!(
                frame,
                Passing::EndsStream(Kind::Data | Kind::Reset)
            ));
        })?;
        Ok(answers)
    }

    fn walk(
        &mut self,
        mut bytes: &[u8],
        mut see: impl FnMut(Passing),
    ) -> Result<(), frame::Malformed> {
        loop {
            let skipped = self.left.min(bytes.len());
            self.left -= skipped;
            bytes = &bytes[skipped..];
            if self.left == 0
                && let Some(kind) = self.last.take()
            {
                see(Passing::EndsStream(kind));
            }
            if bytes.is_empty() {
                return Ok(());
            }
            let taken = (frame::HEADER - self.come).min(bytes.len());
            self.head[self.come..self.come + taken].copy_from_slice(&bytes[..taken]);
            self.come += taken;
            bytes = &bytes[taken..];
            if self.come == frame::HEADER {
                let (kind, length) = frame::decode_head(&self.head)?;
                see(Passing::Begins(kind));
                self.last = frame::is_end(&self.head).then_some(kind);
                (self.come, self.left) = (0, length);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn calls_are_counted_however_their_bytes_arrive(lengths in proptest::collection::vec(0usize..200_000, 1..6), cut in 1usize..70_000) {
            let mut bytes = BytesMut::new();
            for (stream, length) in lengths.iter().enumerate() {
                frame::encode(&mut bytes, stream as u32 + 1, Kind::Open, &vec![1; *length], true);
            }
            let mut meter = Meter::default();
            let counted: usize = bytes.chunks(cut).map(|piece| meter.count(piece).unwrap()).sum();
            prop_assert_eq!(counted, lengths.len());
        }

        #[test]
        fn an_answer_is_over_with_its_last_byte(lengths in proptest::collection::vec(0usize..200_000, 1..6), cut in 1usize..70_000) {
            let mut bytes = BytesMut::new();
            for (stream, length) in lengths.iter().enumerate() {
                let kind = if length % 2 == 0 { Kind::Data } else { Kind::Reset };
                let last = length % frame::MAX_PAYLOAD;
                frame::encode(&mut bytes, stream as u32 + 1, Kind::Data, &vec![1; length - last], false);
                frame::encode(&mut bytes, stream as u32 + 1, kind, &vec![1; last], true);
            }
            let mut meter = Meter::default();
            let but_one = bytes.split_to(bytes.len() - 1);
            let counted: usize = but_one.chunks(cut).map(|piece| meter.count_answers(piece).unwrap()).sum();
            // The last frame may be a head alone, and then that was cut.
            prop_assert_eq!(counted, lengths.len() - 1);
            prop_assert_eq!(meter.count_answers(&bytes).unwrap(), 1);
        }

        #[test]
        fn a_strangers_bytes_are_counted_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
            let _ = Meter::default().count(&bytes);
            let _ = Meter::default().count_answers(&bytes);
            let _ = decode_device(&bytes);
        }
    }
}
