//! Why a call did not come to an answer.

use std::borrow::Cow;
use std::io;
use std::time::Duration;

/// A call that came to no answer: which one, and why.
///
/// What a function itself refuses is not here: that is the `result` of its WIT definition.
#[derive(Debug, thiserror::Error)]
#[error("{interface}.{function}: {reason}")]
#[non_exhaustive]
pub struct Error {
    /// The interface in full, such as `hyper:settings/settings@1.0.0`.
    pub interface: Cow<'static, str>,
    /// The function, as WIT names it.
    pub function: Cow<'static, str>,
    /// Why.
    #[source]
    pub reason: Reason,
}

/// Why a call came to no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// Nothing listens there, or this program may not open the socket. Nothing was sent.
    #[error("connecting to {path}: {source}")]
    Unreachable {
        /// The socket.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// No device of the family has that name or id. Nothing was sent.
    #[error("there is no device {0:?} in the family; `hyper family` lists them")]
    UnknownDevice(String),
    /// The other device cannot be reached now. Nothing was sent.
    #[error("{device} cannot be reached: {reason}")]
    DeviceUnreachable {
        /// As it was asked for.
        device: String,
        /// What went wrong.
        reason: String,
    },
    /// The other device was reached and does not let this one call. Nothing was done.
    #[error("{device} does not allow this: {reason}")]
    DeviceRefused {
        /// As it was asked for.
        device: String,
        /// In its words.
        reason: String,
    },
    /// The connection ended before the answer. The service may have done the work or not.
    #[error("the connection ended before the answer, so it may be done or not: {0}")]
    Lost(String),
    /// The service did not read the call, which was sent twice at most. Nothing was done.
    #[error("nothing was done, for the service did not read the call: {0}")]
    NotReceived(String),
    /// No answer within the deadline. The service may have done the work or not.
    #[error("no answer within {0:?}")]
    Deadline(Duration),
    /// This program's manifest does not list the interface among its `calls`.
    #[error("{0} may not call this interface: its manifest does not list it under `calls`")]
    NotGranted(String),
    /// The service serves no such function.
    #[error("the service has no such function; is it older than this program?")]
    UnknownFunction,
    /// The socket serves another interface.
    #[error("the service does not serve this interface")]
    UnknownInterface,
    /// An argument cannot be sent, or the service could not read the arguments.
    #[error("the arguments cannot be read: {0}")]
    Arguments(String),
    /// The answer does not fit the interface.
    #[error("the answer cannot be read: {0}")]
    Answer(String),
    /// The arguments or the answer are longer than a message may be.
    #[error("{0}")]
    TooLarge(String),
    /// Too many calls of this program wait at that service.
    #[error("too many calls at once")]
    Busy,
    /// The service gave the call up.
    #[error("the service gave up: {0}")]
    Failed(String),
}

impl Error {
    pub(crate) fn new(
        interface: impl Into<Cow<'static, str>>,
        function: impl Into<Cow<'static, str>>,
        reason: Reason,
    ) -> Self {
        Self {
            interface: interface.into(),
            function: function.into(),
            reason,
        }
    }

    /// Whether it is certain that the service did nothing, so that asking again is safe.
    pub fn nothing_was_done(&self) -> bool {
        !matches!(
            self.reason,
            Reason::Lost(_) | Reason::Deadline(_) | Reason::Answer(_) | Reason::Failed(_)
        )
    }
}
