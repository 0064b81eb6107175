//! Values of WAVE as the bytes that wRPC sends.
//!
//! Whole numbers of 16 bits and more, lengths, and cases of variants and enums are LEB128; the rest
//! is as it stands, in order. A property test holds it to what the generated code does.

use std::borrow::Cow;

use bytes::{Buf as _, BufMut as _, BytesMut};
use wasm_wave::value::{Type, Value};
use wasm_wave::wasm::{WasmType as _, WasmTypeKind as Kind, WasmValue as _};

/// The deepest value that is read.
const MAX_DEPTH: usize = 32;

/// The arguments of a call.
pub fn encode_all<'a>(
    kinds: impl Iterator<Item = &'a Type>,
    values: &[Value],
) -> Result<BytesMut, String> {
    let mut out = BytesMut::new();
    for (kind, value) in kinds.zip(values) {
        encode(kind, value, &mut out)?;
    }
    Ok(out)
}

/// Writes one value.
pub fn encode(kind: &Type, value: &Value, out: &mut BytesMut) -> Result<(), String> {
    match kind.kind() {
        Kind::Bool => out.put_u8(value.unwrap_bool().into()),
        Kind::U8 => out.put_u8(value.unwrap_u8()),
        Kind::S8 => out.put_i8(value.unwrap_s8()),
        Kind::U16 => unsigned(out, value.unwrap_u16().into()),
        Kind::U32 => unsigned(out, value.unwrap_u32().into()),
        Kind::U64 => unsigned(out, value.unwrap_u64()),
        Kind::S16 => signed(out, value.unwrap_s16().into()),
        Kind::S32 => signed(out, value.unwrap_s32().into()),
        Kind::S64 => signed(out, value.unwrap_s64()),
        Kind::F32 => out.put_f32_le(value.unwrap_f32()),
        Kind::F64 => out.put_f64_le(value.unwrap_f64()),
        Kind::Char => out.put_slice(value.unwrap_char().encode_utf8(&mut [0; 4]).as_bytes()),
        Kind::String => {
            let text = value.unwrap_string();
            length(out, text.len())?;
            out.put_slice(text.as_bytes());
        }
        Kind::List => {
            let element = kind.list_element_type().ok_or("a list of nothing")?;
            let values: Vec<_> = value.unwrap_list().collect();
            length(out, values.len())?;
            for value in values {
                encode(&element, &value, out)?;
            }
        }
        Kind::Record => {
            for ((_, kind), (_, value)) in kind.record_fields().zip(value.unwrap_record()) {
                encode(&kind, &value, out)?;
            }
        }
        Kind::Tuple => {
            for (kind, value) in kind.tuple_element_types().zip(value.unwrap_tuple()) {
                encode(&kind, &value, out)?;
            }
        }
        Kind::Variant => {
            let (name, payload) = value.unwrap_variant();
            let (case, (_, kind)) = kind
                .variant_cases()
                .enumerate()
                .find(|(_, (case, _))| *case == name)
                .ok_or_else(|| format!("{name} is no case of its variant"))?;
            length(out, case)?;
            some(kind.as_ref(), payload.as_deref(), out)?;
        }
        Kind::Enum => {
            let name = value.unwrap_enum();
            let case = kind
                .enum_cases()
                .position(|case| case == name)
                .ok_or_else(|| format!("{name} is no case of its enum"))?;
            length(out, case)?;
        }
        Kind::Option => match value.unwrap_option() {
            None => out.put_u8(0),
            Some(value) => {
                out.put_u8(1);
                some(kind.option_some_type().as_ref(), Some(&value), out)?;
            }
        },
        Kind::Result => {
            let (ok, err) = kind.result_types().ok_or("a result of nothing")?;
            match value.unwrap_result() {
                Ok(value) => {
                    out.put_u8(0);
                    some(ok.as_ref(), value.as_deref(), out)?;
                }
                Err(value) => {
                    out.put_u8(1);
                    some(err.as_ref(), value.as_deref(), out)?;
                }
            }
        }
        other => return Err(format!("{other} cannot be sent")),
    }
    Ok(())
}

fn some(kind: Option<&Type>, value: Option<&Value>, out: &mut BytesMut) -> Result<(), String> {
    match (kind, value) {
        (Some(kind), Some(value)) => encode(kind, value, out),
        _ => Ok(()),
    }
}

fn length(out: &mut BytesMut, length: usize) -> Result<(), String> {
    unsigned(
        out,
        u32::try_from(length).map_err(|_| "it is too long")?.into(),
    );
    Ok(())
}

fn unsigned(out: &mut BytesMut, mut number: u64) {
    while number >= 0x80 {
        out.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}

fn signed(out: &mut BytesMut, mut number: i64) {
    // Until what is left is only the sign, which the last byte's bit 6 says.
    while !(-64..64).contains(&number) {
        out.put_u8(number as u8 & 0x7f | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8 & 0x7f);
}

/// Reads one value that must be the whole of some bytes.
pub fn decode_whole(kind: &Type, bytes: &[u8]) -> Result<Value, String> {
    let mut reader = Reader { bytes, depth: 0 };
    match reader.value(kind) {
        Ok(value) if reader.bytes.is_empty() => Ok(value),
        Ok(_) => Err(format!("{} bytes too many", reader.bytes.len())),
        Err(Stop::Short) => Err("it ends early".into()),
        Err(Stop::Wrong(error)) => Err(error),
    }
}

/// Reads the items of a stream.
pub struct ItemDecoder(pub Type);

impl tokio_util::codec::Decoder for ItemDecoder {
    type Item = Value;
    type Error = std::io::Error;

    fn decode(&mut self, bytes: &mut BytesMut) -> Result<Option<Value>, std::io::Error> {
        let mut reader = Reader { bytes, depth: 0 };
        match reader.value(&self.0) {
            Ok(value) => {
                let read = bytes.len() - reader.bytes.len();
                bytes.advance(read);
                Ok(Some(value))
            }
            Err(Stop::Short) => Ok(None),
            Err(Stop::Wrong(error)) => Err(std::io::Error::other(error)),
        }
    }
}

enum Stop {
    /// More bytes are needed.
    Short,
    Wrong(String),
}

impl<E: Into<Cow<'static, str>>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Wrong(error.into().into_owned())
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    depth: usize,
}

impl Reader<'_> {
    fn value(&mut self, kind: &Type) -> Result<Value, Stop> {
        if self.depth == MAX_DEPTH {
            return Err("it is nested too deeply".into());
        }
        self.depth += 1;
        let value = self.read(kind);
        self.depth -= 1;
        value
    }

    fn read(&mut self, kind: &Type) -> Result<Value, Stop> {
        let wrong = |error: wasm_wave::wasm::WasmValueError| Stop::Wrong(error.to_string());
        Ok(match kind.kind() {
            Kind::Bool => Value::make_bool(match self.byte()? {
                0 => false,
                1 => true,
                _ => return Err("a boolean that is neither".into()),
            }),
            Kind::U8 => Value::make_u8(self.byte()?),
            Kind::S8 => Value::make_s8(self.byte()? as i8),
            Kind::U16 => Value::make_u16(self.unsigned()?),
            Kind::U32 => Value::make_u32(self.unsigned()?),
            Kind::U64 => Value::make_u64(self.unsigned()?),
            Kind::S16 => Value::make_s16(self.signed()?),
            Kind::S32 => Value::make_s32(self.signed()?),
            Kind::S64 => Value::make_s64(self.signed()?),
            Kind::F32 => Value::make_f32(f32::from_le_bytes(self.take()?)),
            Kind::F64 => Value::make_f64(f64::from_le_bytes(self.take()?)),
            Kind::Char => Value::make_char(self.character()?),
            Kind::String => {
                let length = self.length()?;
                let bytes = self.slice(length)?;
                let text = std::str::from_utf8(bytes).map_err(|_| "text that is not UTF-8")?;
                Value::make_string(Cow::Borrowed(text))
            }
            Kind::List => {
                let element = kind.list_element_type().ok_or("a list of nothing")?;
                let count = self.length()?;
                // Every value of WAVE takes a byte, so that a count cannot promise more than follows.
                if count > self.bytes.len() {
                    return Err(Stop::Short);
                }
                let values = (0..count)
                    .map(|_| self.value(&element))
                    .collect::<Result<Vec<_>, _>>()?;
                Value::make_list(kind, values).map_err(wrong)?
            }
            Kind::Record => {
                let mut fields = Vec::new();
                for (name, kind) in kind.record_fields() {
                    fields.push((name.into_owned(), self.value(&kind)?));
                }
                Value::make_record(
                    kind,
                    fields
                        .iter()
                        .map(|(name, value)| (name.as_str(), value.clone())),
                )
                .map_err(wrong)?
            }
            Kind::Tuple => {
                let values = kind
                    .tuple_element_types()
                    .map(|kind| self.value(&kind))
                    .collect::<Result<Vec<_>, _>>()?;
                Value::make_tuple(kind, values).map_err(wrong)?
            }
            Kind::Variant => {
                let case = self.length()?;
                let (name, payload) = kind
                    .variant_cases()
                    .nth(case)
                    .ok_or("a case that its variant does not have")?;
                let payload = payload.map(|kind| self.value(&kind)).transpose()?;
                Value::make_variant(kind, &name, payload).map_err(wrong)?
            }
            Kind::Enum => {
                let case = self.length()?;
                let name = kind
                    .enum_cases()
                    .nth(case)
                    .ok_or("a case that its enum does not have")?;
                Value::make_enum(kind, &name).map_err(wrong)?
            }
            Kind::Option => {
                let inner = kind.option_some_type().ok_or("an option of nothing")?;
                let value = match self.byte()? {
                    0 => None,
                    1 => Some(self.value(&inner)?),
                    _ => return Err("an option that is neither".into()),
                };
                Value::make_option(kind, value).map_err(wrong)?
            }
            Kind::Result => {
                let (ok, err) = kind.result_types().ok_or("a result of nothing")?;
                let value = match self.byte()? {
                    0 => Ok(ok.map(|kind| self.value(&kind)).transpose()?),
                    1 => Err(err.map(|kind| self.value(&kind)).transpose()?),
                    _ => return Err("a result that is neither".into()),
                };
                Value::make_result(kind, value).map_err(wrong)?
            }
            other => return Err(format!("{other} cannot be received").into()),
        })
    }

    fn byte(&mut self) -> Result<u8, Stop> {
        let [byte] = self.take()?;
        Ok(byte)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let (taken, rest) = self.bytes.split_first_chunk().ok_or(Stop::Short)?;
        self.bytes = rest;
        Ok(*taken)
    }

    fn slice(&mut self, length: usize) -> Result<&[u8], Stop> {
        let (taken, rest) = self.bytes.split_at_checked(length).ok_or(Stop::Short)?;
        self.bytes = rest;
        Ok(taken)
    }

    fn length(&mut self) -> Result<usize, Stop> {
        Ok(self.unsigned::<u32>()? as usize)
    }

    fn unsigned<T: TryFrom<u64>>(&mut self) -> Result<T, Stop> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return T::try_from(number)
                    .map_err(|_| "a number that is too large for its type".into());
            }
        }
        Err("a number over 64 bits".into())
    }

    fn signed<T: TryFrom<i64>>(&mut self) -> Result<T, Stop> {
        let mut number = 0i64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= i64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                // Bit 6 of the last byte is the sign.
                if shift < 57 && byte & 0x40 != 0 {
                    number |= -1 << (shift + 7);
                }
                return T::try_from(number)
                    .map_err(|_| "a number that is too large for its type".into());
            }
        }
        Err("a number over 64 bits".into())
    }

    fn character(&mut self) -> Result<char, Stop> {
        let length = match self.bytes.first() {
            None => return Err(Stop::Short),
            Some(0..0x80) => 1,
            Some(0xc0..0xe0) => 2,
            Some(0xe0..0xf0) => 3,
            Some(0xf0..) => 4,
            Some(_) => return Err("a character that is not UTF-8".into()),
        };
        let text = std::str::from_utf8(self.slice(length)?)
            .map_err(|_| "a character that is not UTF-8")?;
        text.chars().next().ok_or(Stop::Short)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio_util::codec::{Decoder, Encoder};

    use super::super::{Api, Returns, text};
    use super::*;
    use crate::wire::wrpc_transport::frame::Outgoing;
    use crate::wire::wrpc_transport::{Decode, Encode};
    use crate::{network, screen, settings};

    /// The type that a function answers.
    fn returned(function: &str) -> Type {
        match Api::new().unwrap().function(function).unwrap().returns {
            Returns::Value(kind) | Returns::Stream(kind) => kind,
            Returns::Nothing => panic!("{function} answers nothing"),
        }
    }

    /// From a generated type to a value of WAVE, to its text, and back to the generated type.
    fn agree<T>(kind: &Type, value: &T)
    where
        T: Encode + Decode + Clone + PartialEq + std::fmt::Debug,
        <<T as Encode>::Encoder as Encoder<T>>::Error: std::fmt::Debug,
        <<T as Decode>::Decoder as Decoder>::Error: std::fmt::Debug,
    {
        let mut generated = BytesMut::new();
        <T as Encode<Outgoing>>::Encoder::default()
            .encode(value.clone(), &mut generated)
            .unwrap();
        let dynamic = decode_whole(kind, &generated).unwrap();
        let read: Value = wasm_wave::from_str(kind, &text(&dynamic)).unwrap();
        let mut bytes = BytesMut::new();
        encode(kind, &read, &mut bytes).unwrap();
        assert_eq!(bytes, generated, "{}", text(&dynamic));
        let back = <T as Decode>::Decoder::default()
            .decode(&mut bytes)
            .unwrap()
            .unwrap();
        assert_eq!(&back, value);
    }

    fn value() -> impl Strategy<Value = settings::Value> {
        prop_oneof![
            any::<bool>().prop_map(settings::Value::Boolean),
            any::<i64>().prop_map(settings::Value::Integer),
            any::<String>().prop_map(settings::Value::Text),
            proptest::collection::vec(any::<String>(), 0..5).prop_map(settings::Value::Texts),
        ]
    }

    fn kind() -> impl Strategy<Value = settings::Kind> {
        prop_oneof![
            Just(settings::Kind::Boolean),
            any::<(i64, i64)>().prop_map(|(least, most)| settings::Kind::Integer(
                settings::Bounds { least, most }
            )),
            proptest::collection::vec(any::<String>(), 0..5).prop_map(settings::Kind::Choice),
            any::<u32>().prop_map(settings::Kind::Text),
        ]
    }

    proptest! {
        #[test]
        fn the_dynamic_and_the_generated_codec_agree_on_settings(
            settings in proptest::collection::vec((any::<String>(), kind(), value(), value()).prop_map(|(key, kind, value, default_value)| {
                settings::Setting { description: key.clone(), key, kind, value, default_value }
            }), 0..4),
            got in prop_oneof![value().prop_map(Ok), any::<String>().prop_map(|key| Err(settings::Error::UnknownKey(key)))],
        ) {
            agree(&returned("settings.all"), &settings);
            agree(&returned("settings.get"), &got);
        }

        #[test]
        fn they_agree_on_enums_floats_options_and_tuples(
            on: bool, page: String, width: u32, scale in -1e9f32..1e9, first_frame: Option<u64>,
            touch_to_flip in proptest::collection::vec(any::<u32>(), 0..5),
            redraws in proptest::collection::vec(any::<(u32, u32)>(), 0..5),
            names in proptest::collection::vec(any::<String>(), 0..3),
        ) {
            agree(&returned("screen.status"), &screen::State { on, locked: !on, page, width, height: width, scale });
            agree(&returned("screen.statistics"), &screen::Measurements { frames: 1, touch_to_flip, redraws, first_frame });
            let kind = if on { network::LinkKind::Wireless } else { network::LinkKind::Other };
            let link = network::Link { name: "x".into(), kind, connected: on, addresses: names.clone(), gateways: vec![], sources: names.clone() };
            agree(&returned("network.watch"), &network::State { links: vec![link], name_servers: names, time_servers: vec![], online: on });
        }

        #[test]
        fn a_strangers_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for function in ["settings.all", "network.status", "services.log", "screen.statistics"] {
                let _ = decode_whole(&returned(function), &bytes);
            }
        }
    }
}
