//! The readers of what comes over a socket, or from a person, for `tests/fuzz`: they are no part of
//! what this crate offers. (They have no feature of their own, for a crate is built once more for
//! each set of features; what nobody calls is in no program.)

use std::sync::OnceLock;

use bytes::BytesMut;

use crate::dynamic::{Api, Function, Returns, codec};
use crate::frame::{self, Kind};
use crate::invocation;

/// Every function of every interface.
fn functions() -> &'static [Function] {
    static FUNCTIONS: OnceLock<Vec<Function>> = OnceLock::new();
    FUNCTIONS.get_or_init(|| {
        let api = Api::new().expect("the interfaces that are built in can be read");
        let names = api.interfaces().into_iter().flat_map(|interface| {
            let id = interface.id;
            let signatures = interface.functions.into_iter();
            signatures.filter_map(move |signature| {
                let function = signature.split(':').next()?;
                Some(format!("{id}.{function}"))
            })
        });
        names
            .map(|name| api.function(&name).expect("it was just listed"))
            .collect()
    })
}

/// What one side of a connection sends, as the other reads it.
pub fn frames(bytes: &[u8]) {
    let mut buffer = BytesMut::from(bytes);
    let mut message = BytesMut::new();
    while let Ok(Some(frame)) = frame::decode(&mut buffer) {
        match frame.kind {
            Kind::Open => message = frame.payload,
            Kind::Data => message.extend_from_slice(&frame.payload),
            Kind::Reset => drop(frame::decode_reset(&frame.payload)),
            Kind::Caller => drop(crate::carry::decode_device(&frame.payload)),
            Kind::Credit | Kind::Patience => {}
        }
        if frame.end {
            call(std::mem::take(&mut message));
        }
    }
}

fn call(mut message: BytesMut) {
    let _ = invocation::decode_root(message.clone());
    let Ok((interface, function)) = invocation::decode_head(&mut message) else {
        return;
    };
    let Ok(bytes) = invocation::decode_root(message) else {
        return;
    };
    for known in functions() {
        // Named, or by its number, so that every type is reached.
        let named =
            *known.interface.as_bytes() == *interface && *known.name.as_bytes() == *function;
        let unnamed = interface.is_empty() && function.is_empty();
        if !(named || unnamed) {
            continue;
        }
        for parameter in known.parameters() {
            decode(&parameter.kind, &bytes);
        }
        if let Returns::Value(kind) = known.returns() {
            decode(kind, &bytes);
        }
    }
}

/// What can be read can be written, and is then read as the same.
fn decode(kind: &crate::dynamic::Type, bytes: &[u8]) {
    if let Ok(value) = codec::decode_whole(kind, bytes) {
        let mut again = BytesMut::new();
        codec::encode(kind, &value, &mut again).expect("it was just read");
        let read = codec::decode_whole(kind, &again).expect("it was just written");
        // As text, for in it a number that is none equals itself.
        assert_eq!(crate::dynamic::text(&read), crate::dynamic::text(&value));
    }
}

/// A function and its arguments, a line each, as a person types them.
pub fn wave(text: &str) {
    let mut lines = text.split('\n');
    let name = lines.next().unwrap_or_default();
    let given: Vec<&str> = lines.collect();
    for function in functions() {
        let named = name == format!("{}.{}", function.interface, function.name);
        let unnamed = name.is_empty() && function.parameters().len() == given.len();
        if !(named || unnamed) {
            continue;
        }
        let Ok(values) = function.arguments(&given) else {
            continue;
        };
        for (parameter, value) in function.parameters().iter().zip(&values) {
            let mut bytes = BytesMut::new();
            if codec::encode(&parameter.kind, value, &mut bytes).is_ok() {
                decode(&parameter.kind, &bytes);
            }
        }
    }
}
