//! Calls by name, with values known only at run time: what the command line needs.
//!
//! [`Api`] reads the texts of `wit/` that are built in; a [`Function`] reads its arguments from
//! WAVE, the component model's text form, and is called like any other.
//!
//! ```no_run
//! # async fn example(bus: bus::Client) -> Result<(), Box<dyn std::error::Error>> {
//! let api = bus::dynamic::Api::new()?;
//! let get = api.function("settings.get")?;
//! let arguments = get.arguments(&["\"appearance.accent\""])?;
//! if let bus::dynamic::Answer::Value(value) = get.call(&bus, &arguments).await? {
//!     println!("{}", bus::dynamic::text(&value));
//! }
//! # Ok(()) }
//! ```

mod api;
pub(crate) mod codec;
mod types;

use std::pin::Pin;

use futures::Stream;
use futures::stream;
pub use wasm_wave::value::{Type, Value};
use wasm_wave::wasm::{WasmTypeKind, WasmValue as _};

pub use api::{Api, Function, InterfaceText, Parameter, Problem, Returns};

use crate::client::Client;
use crate::error::{Error, Reason};
use crate::incoming::RawItems;
use crate::invocation;

/// What a function answered.
pub enum Answer {
    /// That it is done.
    Nothing,
    /// A value.
    Value(Value),
    /// Values as they come; an error is the last.
    Stream(Pin<Box<dyn Stream<Item = Result<Value, Error>> + Send>>),
}

/// A value in WAVE.
pub fn text(value: &Value) -> String {
    // Every type that the codec makes has a text.
    wasm_wave::to_string(value).unwrap_or_else(|error| format!("({error})"))
}

/// Whether a value is the error of a result.
pub fn is_error(value: &Value) -> bool {
    value.kind() == WasmTypeKind::Result && value.unwrap_result().is_err()
}

impl Function {
    /// Calls it with arguments that [`Function::arguments`] read.
    pub async fn call(&self, bus: &Client, arguments: &[Value]) -> Result<Answer, Error> {
        let (interface, name) = (self.interface.clone(), self.name.clone());
        let fail = |reason| Error::new(interface.clone(), name.clone(), reason);
        let message = codec::encode_all(
            self.parameters.iter().map(|parameter| &parameter.kind),
            arguments,
        )
        .and_then(|bytes| {
            invocation::encode_call_bytes(&interface, &name, &bytes)
                .map_err(|error| error.to_string())
        })
        .map_err(|error| fail(Reason::Arguments(error)))?;
        match &self.returns {
            Returns::Stream(kind) => {
                let pieces = bus
                    .exchange_stream(interface.clone().into(), name.clone().into(), message)
                    .await?;
                let kind = kind.clone();
                let items = RawItems::new(pieces, move || codec::ItemDecoder(kind.clone()));
                Ok(Answer::Stream(Box::pin(stream::unfold(
                    items,
                    async |mut items| {
                        let item = std::future::poll_fn(|context| items.poll_next(context)).await?;
                        Some((item, items))
                    },
                ))))
            }
            returns => {
                let answer = bus
                    .exchange(interface.clone().into(), name.clone().into(), message)
                    .await?;
                match returns {
                    Returns::Value(kind) => codec::decode_whole(kind, &answer)
                        .map(Answer::Value)
                        .map_err(|error| fail(Reason::Answer(error))),
                    _ if answer.is_empty() => Ok(Answer::Nothing),
                    _ => Err(fail(Reason::Answer(
                        "something, where nothing is answered".into(),
                    ))),
                }
            }
        }
    }
}
