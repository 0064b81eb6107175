//! The file format: a line that says what follows and proves it whole, then TOML.
//!
//! ```text
//! hyper-store 1 sha256 9f86d081884c7d65…
//! written = 2
//!
//! [forms.1]
//! bright = true
//!
//! [forms.2]
//! brightness = 70
//! ```
//!
//! The checksum covers every byte after the first line, so that a file that was cut, torn or
//! flipped anywhere is told from a whole one. It is not a signature: it protects from accidents.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::version::Forms;

const MAGIC: &str = "hyper-store 1 sha256 ";

/// What a file says.
#[derive(Debug, PartialEq)]
pub(crate) struct Content {
    /// The version of the program that wrote it.
    pub written: u32,
    pub forms: Forms,
}

/// Why a file says nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Damage {
    #[error("its first line is not that of a state file")]
    Head,
    #[error("its checksum does not match its content")]
    Checksum,
    #[error("its content is not understood: {0}")]
    Content(String),
}

#[derive(Serialize, Deserialize)]
struct Body {
    written: u32,
    forms: BTreeMap<String, toml::Table>,
}

fn checksum(body: &[u8]) -> String {
    use std::fmt::Write;
    Sha256::digest(body)
        .iter()
        .fold(String::new(), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// The bytes of a file that says this.
pub(crate) fn encode(content: &Content) -> Result<Vec<u8>, String> {
    let body = Body {
        written: content.written,
        forms: content
            .forms
            .0
            .iter()
            .map(|(n, form)| (n.to_string(), form.clone()))
            .collect(),
    };
    let body = toml::to_string(&body).map_err(|error| error.to_string())?;
    Ok(format!("{MAGIC}{}\n{body}", checksum(body.as_bytes())).into_bytes())
}

/// What the bytes of a file say.
pub(crate) fn decode(bytes: &[u8]) -> Result<Content, Damage> {
    let rest = bytes.strip_prefix(MAGIC.as_bytes()).ok_or(Damage::Head)?;
    let end = rest
        .iter()
        .position(|&byte| byte == b'\n')
        .ok_or(Damage::Head)?;
    let (sum, body) = (&rest[..end], &rest[end + 1..]);
    if sum != checksum(body).as_bytes() {
        return Err(Damage::Checksum);
    }
    let body = std::str::from_utf8(body).map_err(|error| Damage::Content(error.to_string()))?;
    let body: Body =
        toml::from_str(body).map_err(|error| Damage::Content(error.message().to_owned()))?;
    let mut forms = Forms::default();
    for (number, form) in body.forms {
        let number = number
            .parse()
            .map_err(|_| Damage::Content(format!("`{number}` is no version")))?;
        forms.0.insert(number, form);
    }
    Ok(Content {
        written: body.written,
        forms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn content(text: &str, number: i64) -> Content {
        let mut form = toml::Table::new();
        form.insert("text".into(), text.into());
        form.insert("number".into(), number.into());
        Content {
            written: 3,
            forms: Forms(BTreeMap::from([(1, toml::Table::new()), (3, form)])),
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(text in any::<String>(), number in any::<i64>()) {
            let content = content(&text, number);
            prop_assert_eq!(decode(&encode(&content).unwrap()).unwrap(), content);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>()) {
            let _ = decode(&bytes);
        }

        #[test]
        fn no_body_with_a_right_checksum_makes_it_panic(body in ".*") {
            let _ = decode(format!("{MAGIC}{}\n{body}", checksum(body.as_bytes())).as_bytes());
        }

        #[test]
        fn any_single_changed_byte_is_noticed(text in ".{0,40}", at in any::<prop::sample::Index>(),
                                              flip in 1_u8..) {
            let mut bytes = encode(&content(&text, 7)).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            prop_assert!(decode(&bytes).is_err());
        }

        #[test]
        fn any_cut_is_noticed(text in ".{0,40}", at in any::<prop::sample::Index>()) {
            let bytes = encode(&content(&text, 7)).unwrap();
            prop_assert!(decode(&bytes[..at.index(bytes.len())]).is_err());
        }
    }
}
