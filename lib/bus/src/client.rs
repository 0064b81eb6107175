//! Calling.

use std::borrow::Cow;
use std::collections::HashMap;
use std::env;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::Instant;
use tokio_util::codec::{Decoder, Encoder};

use crate::carry;
use crate::connection::{Connection, Ended, NotSent};
use crate::error::{Error, Reason};
use crate::frame::Refusal;
use crate::incoming::Incoming;
use crate::invocation;
use crate::limits::MAX_ARGUMENTS;
use crate::wire::wrpc_transport::{Decode, Encode, TupleEncode};

/// How long a call waits for its answer where nothing else is said.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// Where the interfaces are that a client calls. A call looks the same wherever it goes.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Address {
    /// This device: the folder that holds the sockets.
    Here(PathBuf),
    /// Another device of the family, by its name or id.
    Device {
        /// The folder that holds this device's sockets, through which it is reached.
        bus: PathBuf,
        /// The device.
        device: String,
    },
}

/// Calls interfaces. Cheap to clone: all clones share their connections, one to an interface.
///
/// A connection is made by the first call, kept, and made again by the next call after it broke,
/// such as when the service was restarted. A call is sent a second time, and only once, if it is
/// certain that the service did not read it: it was not sent, or the kernel says that it lay unread
/// in the socket. What was read may have been done, so it is for the caller to ask again or not. Dropping the future of a call tells the service to give it up.
///
/// A call waits as long as [`Client::with_deadline`] says, and where a person is asked first whether this
/// device may call another one, as long as that takes, and then that long.
///
/// Connections live in the Tokio runtime of the call that made them.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
    deadline: Duration,
}

#[derive(Debug)]
struct Shared {
    address: Address,
    /// For messages.
    program: String,
    slots: Mutex<HashMap<String, Arc<Slot>>>,
}

/// The connection to one interface.
#[derive(Debug, Default)]
struct Slot {
    open: Mutex<Option<Arc<Connection>>>,
    /// Held while connecting, so that calls at the same time make one connection.
    connecting: tokio::sync::Mutex<()>,
    /// No call over this is given up before, for a person is, or was, asked whether there may be a
    /// connection.
    patience: Mutex<Option<Instant>>,
}

impl Client {
    /// A client of the device on which it runs: the folder in `HYPER_BUS`, or `/run/bus`.
    pub fn from_environment() -> Self {
        Self::new(Address::Here(crate::folder()))
    }

    /// A client of another device of the family, by its name or id.
    pub fn of_device(device: impl Into<String>) -> Self {
        Self::new(Address::Device {
            bus: crate::folder(),
            device: device.into(),
        })
    }

    /// A client of another device of the family, by its name or id, that goes the way which this one goes.
    pub fn to_device(&self, device: impl Into<String>) -> Self {
        let (Address::Here(bus) | Address::Device { bus, .. }) = &self.shared.address;
        let device = device.into();
        Self::new(Address::Device {
            bus: bus.clone(),
            device,
        })
    }

    /// A client of an address.
    pub fn new(address: Address) -> Self {
        let program = env::var("HYPER_SERVICE").unwrap_or_else(|_| "this program".into());
        let shared = Shared {
            address,
            program,
            slots: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
            deadline: DEADLINE,
        }
    }

    /// The same client, whose calls wait another time for their answers.
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            deadline,
        }
    }

    /// Calls a function and takes its answer. The generated functions are this with their types.
    pub(crate) async fn call<P, R>(
        &self,
        interface: &'static str,
        function: &'static str,
        parameters: P,
    ) -> Result<R, Error>
    where
        P: TupleEncode,
        std::io::Error: From<<<P as Encode>::Encoder as Encoder<P>>::Error>,
        (R,): crate::wire::wrpc_transport::TupleDecode,
        <<(R,) as Decode>::Decoder as Decoder>::Error: std::fmt::Display,
    {
        let (answer,) = self
            .call_whole::<P, (R,)>(interface, function, parameters)
            .await?;
        Ok(answer)
    }

    /// As [`Client::call`], for a function that answers nothing but that it is done.
    pub(crate) async fn call_nothing<P>(
        &self,
        interface: &'static str,
        function: &'static str,
        parameters: P,
    ) -> Result<(), Error>
    where
        P: TupleEncode,
        std::io::Error: From<<<P as Encode>::Encoder as Encoder<P>>::Error>,
    {
        self.call_whole::<P, ()>(interface, function, parameters)
            .await
    }

    /// As [`Client::call`], for a function whose answer is a stream.
    pub(crate) async fn call_stream<P, T>(
        &self,
        interface: &'static str,
        function: &'static str,
        parameters: P,
    ) -> Result<Incoming<T>, Error>
    where
        P: TupleEncode,
        std::io::Error: From<<<P as Encode>::Encoder as Encoder<P>>::Error>,
        T: Decode,
    {
        let message =
            invocation::encode_call(interface, function, parameters).map_err(|error| {
                Error::new(interface, function, Reason::Arguments(error.to_string()))
            })?;
        let bytes = self
            .exchange_stream(interface.into(), function.into(), message)
            .await?;
        Ok(Incoming::new(bytes))
    }

    async fn call_whole<P, R>(
        &self,
        interface: &'static str,
        function: &'static str,
        parameters: P,
    ) -> Result<R, Error>
    where
        P: TupleEncode,
        std::io::Error: From<<<P as Encode>::Encoder as Encoder<P>>::Error>,
        R: crate::wire::wrpc_transport::TupleDecode,
        <<R as Decode>::Decoder as Decoder>::Error: std::fmt::Display,
    {
        let message =
            invocation::encode_call(interface, function, parameters).map_err(|error| {
                Error::new(interface, function, Reason::Arguments(error.to_string()))
            })?;
        let answer = self
            .exchange(interface.into(), function.into(), message)
            .await?;
        invocation::decode_value(answer)
            .map_err(|error| Error::new(interface, function, Reason::Answer(error)))
    }

    /// Sends the bytes of a call and takes the bytes of its answer.
    pub(crate) async fn exchange(
        &self,
        interface: Cow<'static, str>,
        function: Cow<'static, str>,
        message: BytesMut,
    ) -> Result<BytesMut, Error> {
        let asked = async {
            let mut answer = self.ask(&interface, &message).await;
            if let Err(Reason::NotReceived(_)) = answer {
                answer = self.ask(&interface, &message).await;
            }
            invocation::decode_root(answer?).map_err(|error| Reason::Answer(error.to_string()))
        };
        self.within_deadline(&interface, asked)
            .await
            .map_err(|reason| Error::new(interface, function, reason))
    }

    /// Gives up what takes longer than the deadline, and than a person who is asked first.
    async fn within_deadline<T>(
        &self,
        interface: &str,
        asked: impl Future<Output = Result<T, Reason>>,
    ) -> Result<T, Reason> {
        let slot = self.slot(interface);
        let mut until = Instant::now() + self.deadline;
        let mut asked = std::pin::pin!(asked);
        loop {
            if let Ok(answer) = tokio::time::timeout_at(until, &mut asked).await {
                return answer;
            }
            let patience = *slot.patience.lock().unwrap_or_else(PoisonError::into_inner);
            match patience.filter(|patience| *patience > until) {
                Some(patience) => until = patience,
                None => return Err(Reason::Deadline(self.deadline)),
            }
        }
    }

    /// Sends a call over the connection that there is, and waits for its answer.
    async fn ask(&self, interface: &str, message: &[u8]) -> Result<BytesMut, Reason> {
        let mut pending = self.send(interface, message, Connection::send).await?;
        match (&mut pending.answer).await {
            Ok(answer) => answer.map_err(|ended| self.reason(ended)),
            Err(_) => Err(Reason::Lost("its connection was closed".into())),
        }
    }

    /// Sends the bytes of a call whose answer is a stream. The deadline is for its beginning.
    pub(crate) async fn exchange_stream(
        &self,
        interface: Cow<'static, str>,
        function: Cow<'static, str>,
        message: BytesMut,
    ) -> Result<crate::incoming::Pieces, Error> {
        let asked = async {
            let pending = self
                .send(&interface, &message, Connection::send_for_pieces)
                .await?;
            crate::incoming::Pieces::begin(
                self.clone(),
                interface.clone(),
                function.clone(),
                pending,
            )
            .await
        };
        self.within_deadline(&interface, asked)
            .await
            .map_err(|reason| Error::new(interface, function, reason))
    }

    async fn send<T>(
        &self,
        interface: &str,
        message: &[u8],
        send: impl Fn(&Connection, &[u8]) -> Result<T, NotSent>,
    ) -> Result<T, Reason> {
        if message.len() > MAX_ARGUMENTS {
            return Err(Reason::TooLarge(format!(
                "the arguments are longer than {MAX_ARGUMENTS} bytes"
            )));
        }
        let slot = self.slot(interface);
        if let Some(connection) = slot.current()
            && let Ok(sent) = send(&connection, message)
        {
            return Ok(sent);
        }
        // Nothing was sent: the connection is new, or it broke before.
        let connection = self.connect(&slot, interface).await?;
        send(&connection, message).map_err(|NotSent(reason)| Reason::NotReceived(reason))
    }

    fn slot(&self, interface: &str) -> Arc<Slot> {
        let mut slots = self
            .shared
            .slots
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match slots.get(interface) {
            Some(slot) => Arc::clone(slot),
            None => Arc::clone(slots.entry(interface.to_owned()).or_default()),
        }
    }

    async fn connect(&self, slot: &Slot, interface: &str) -> Result<Arc<Connection>, Reason> {
        let _connecting = slot.connecting.lock().await;
        if let Some(connection) = slot.current() {
            return Ok(connection);
        }
        let connection = match &self.shared.address {
            Address::Here(folder) => {
                let path = crate::socket_path(folder, interface);
                Connection::open(&path)
                    .await
                    .map_err(|source| Reason::Unreachable {
                        path: path.display().to_string(),
                        source,
                    })?
            }
            Address::Device { bus, device } => {
                let patience = |most| slot.be_patient(Instant::now() + most);
                let connected = carry::connect(bus, device, interface, patience).await;
                if slot.is_patient() {
                    // Now the service has its time.
                    slot.be_patient(Instant::now() + self.deadline);
                }
                Connection::over(connected?)
            }
        };
        let connection = Arc::new(connection);
        *slot.open.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&connection));
        Ok(connection)
    }

    pub(crate) fn reason(&self, ended: Ended) -> Reason {
        reason(ended, &self.shared.program)
    }
}

/// Asks the service behind a socket whether it can do its work: the error inside is its own word.
///
/// Each question makes a connection of its own, so that it meets what a new caller would meet.
pub async fn check_health(socket: &Path, within: Duration) -> Result<Result<(), String>, Error> {
    let fail = |reason| Error::new(crate::health::ID, "check", reason);
    let asked = async {
        let message = invocation::encode_call(crate::health::ID, "check", ())
            .map_err(|error| Reason::Arguments(error.to_string()))?;
        let connection = Connection::open(socket)
            .await
            .map_err(|source| Reason::Unreachable {
                path: socket.display().to_string(),
                source,
            })?;
        let mut pending = connection
            .send(&message)
            .map_err(|NotSent(reason)| Reason::Lost(reason))?;
        let answer = match (&mut pending.answer).await {
            Ok(Ok(answer)) => invocation::decode_root(answer).map_err(|error| error.to_string()),
            Ok(Err(ended)) => return Err(reason(ended, "this program")),
            Err(_) => return Err(Reason::Lost("its connection was closed".into())),
        };
        let (health,) = answer
            .and_then(invocation::decode_value)
            .map_err(Reason::Answer)?;
        Ok(health)
    };
    tokio::time::timeout(within, asked)
        .await
        .unwrap_or(Err(Reason::Deadline(within)))
        .map_err(fail)
}

/// What the end of a call means to its caller.
fn reason(ended: Ended, program: &str) -> Reason {
    match ended {
        Ended::Lost(reason) => Reason::Lost(reason),
        Ended::NotReceived(reason) => Reason::NotReceived(reason),
        Ended::TooLarge => Reason::TooLarge("the answer is longer than a message may be".into()),
        Ended::Refused(refusal, sentence) => match refusal {
            Refusal::UnknownFunction => Reason::UnknownFunction,
            Refusal::UnknownInterface => Reason::UnknownInterface,
            Refusal::NotGranted if sentence.is_empty() => Reason::NotGranted(program.to_owned()),
            Refusal::NotGranted => Reason::NotGranted(sentence),
            Refusal::Unreadable => Reason::Arguments(sentence),
            Refusal::TooLarge => Reason::TooLarge(sentence),
            Refusal::Busy => Reason::Busy,
            Refusal::Cancelled | Refusal::Failed => Reason::Failed(sentence),
        },
    }
}

impl Slot {
    fn be_patient(&self, until: Instant) {
        *self.patience.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
    }

    fn is_patient(&self) -> bool {
        let patience = self.patience.lock().unwrap_or_else(PoisonError::into_inner);
        patience.is_some()
    }

    fn current(&self) -> Option<Arc<Connection>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.as_ref()
            .filter(|connection| connection.is_open())
            .cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_asks_a_person_first_is_waited_for_beyond_the_deadline() {
        let hasty = Duration::from_millis(50);
        let client = Client::new(Address::Here("/nonexistent".into())).with_deadline(hasty);
        let asked = async {
            let slot = client.slot("a");
            slot.be_patient(Instant::now() + Duration::from_secs(60));
            tokio::time::sleep(hasty * 4).await;
            Ok(())
        };
        assert!(client.within_deadline("a", asked).await.is_ok());
        // And for no other interface, and not for good.
        let asked = std::future::pending::<Result<(), Reason>>();
        let given_up = client.within_deadline("b", asked).await;
        assert!(matches!(given_up, Err(Reason::Deadline(_))));
        client.slot("a").be_patient(Instant::now());
        let asked = std::future::pending::<Result<(), Reason>>();
        assert!(client.within_deadline("a", asked).await.is_err());
    }
}
