//! One entry of the family log: what it says, how it is written down, and who signed it.
//!
//! ```text
//! entry     = signature (64 bytes) ‖ body
//! signature = Ed25519, by the author, of "HyperOS family log entry 1\0" ‖ body
//! id        = SHA-256 of the same bytes that are signed
//! body      = postcard of (family, author, by, parents, time, kind, content)
//! ```
//!
//! An entry has exactly one encoding: what is decoded is encoded again and compared. So an id
//! names one statement, and nobody can make a second entry out of somebody else's signature.

use std::{collections::BTreeSet, fmt, str::FromStr};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};

use super::grant::{Grant, Role};
use crate::identity::{DeviceId, Identity};

/// The bytes of an entry, signature included, are at most this many.
pub const MAX_ENTRY_BYTES: usize = 2048;
/// An entry names at most this many heads.
pub const MAX_PARENTS: usize = 16;
/// The name of a device has at most this many bytes.
pub const MAX_NAME_BYTES: usize = 64;

/// Whether a device may be called so: a text of [`MAX_NAME_BYTES`] at most, on one line.
pub fn is_name(text: &str) -> bool {
    text.len() <= MAX_NAME_BYTES && !text.chars().any(char::is_control)
}

const SIGNATURE: usize = 64;
const ENTRY_DOMAIN: &[u8] = b"HyperOS family log entry 1\0";
const ROTATION_DOMAIN: &[u8] = b"HyperOS key rotation 1\0";

macro_rules! hash_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name([u8; 32]);

        impl $name {
            /// From the 32 bytes of the hash.
            pub fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 32 bytes of the hash.
            pub fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), HEXLOWER.encode(&self.0[..5]))
            }
        }

        impl FromStr for $name {
            type Err = EntryError;

            fn from_str(text: &str) -> Result<Self, EntryError> {
                data_encoding::HEXLOWER_PERMISSIVE
                    .decode(text.as_bytes())
                    .ok()
                    .and_then(|bytes| bytes.try_into().ok())
                    .map(Self)
                    .ok_or(EntryError::Form("64 hexadecimal digits were expected"))
            }
        }
    };
}

hash_name! {
    /// The hash that names an entry.
    EntryId
}
hash_name! {
    /// The hash that names a family: that of its first entry, which names the device that founded
    /// it. Nobody can make another first entry for the same family.
    FamilyId
}

impl From<EntryId> for FamilyId {
    fn from(first: EntryId) -> Self {
        Self(first.0)
    }
}

impl FamilyId {
    /// What stands in the first entry, which cannot name its own hash.
    const NONE: Self = Self([0; 32]);
}

impl EntryId {
    /// What stands where the first entry would name its authority.
    pub(crate) const NONE: Self = Self([0; 32]);
}

/// What an entry does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Begins a family. Its author is the first owner device, and the most senior for good.
    Founded {
        /// Makes one founding differ from any other of the same device.
        nonce: [u8; 16],
        /// The name of the founding device.
        name: String,
        /// The key on paper. Set here, it outranks every device for good.
        paper: Option<DeviceId>,
    },
    /// A device joins.
    Added {
        /// Its key.
        device: DeviceId,
        /// What it is.
        role: Role,
        /// The name that the owner saw when pairing.
        name: String,
    },
    /// A device's role becomes another.
    RoleChanged {
        /// The device.
        device: DeviceId,
        /// The new role.
        role: Role,
    },
    /// A device leaves, or is put out. What it signed that this entry has not seen is void.
    Removed {
        /// The device.
        device: DeviceId,
        /// Whether it is in unknown hands: it locks itself when it learns of this.
        lost: bool,
    },
    /// The author goes over to another key and stays the same device.
    KeyRotated {
        /// The new key.
        new: DeviceId,
        /// The new key's signature over this rotation, by [`rotation_proof`].
        proof: [u8; 64],
    },
    /// The key on paper becomes another; what the one before signed that this entry has not seen
    /// is void.
    PaperKeySet {
        /// The public half.
        key: DeviceId,
    },
    /// A secret that all members share from here on, from which they derive what only members
    /// shall recognise. Renewed with every removal.
    SecretSet {
        /// Random bytes.
        secret: [u8; 32],
    },
    /// A grant is given.
    GrantGiven(Grant),
    /// A grant ends.
    GrantRevoked {
        /// The entry that gave it.
        grant: EntryId,
    },
    /// Something that a later release says. It is kept and passed on, and does nothing here.
    Unknown {
        /// The number of the kind.
        kind: u8,
        /// Its content.
        content: Vec<u8>,
    },
}

/// Proof by the new key that a rotation is its own wish, so that nobody takes over a key that is
/// not theirs.
pub fn rotation_proof(new: &Identity, family: FamilyId, old: DeviceId) -> [u8; 64] {
    new.sign(&rotation_message(family, old, new.id()))
}

fn rotation_message(family: FamilyId, old: DeviceId, new: DeviceId) -> Vec<u8> {
    [
        ROTATION_DOMAIN,
        family.as_bytes(),
        old.as_bytes(),
        new.as_bytes(),
    ]
    .concat()
}

/// Why bytes are no entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// More bytes than an entry may have.
    #[error("{0} bytes; an entry has at most {MAX_ENTRY_BYTES}")]
    Size(usize),
    /// Not an entry, or not in its one form.
    #[error("not an entry: {0}")]
    Form(&'static str),
    /// The author did not sign this.
    #[error("its signature is not its author's")]
    Signature,
}

/// An entry whose form and signature are right. Whether its author might write it is for the
/// [log](crate::log::Log) to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    id: EntryId,
    body: Body,
    action: Action,
    bytes: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Body {
    family: FamilyId,
    author: DeviceId,
    by: EntryId,
    parents: Vec<EntryId>,
    time: u64,
    kind: u8,
    content: Vec<u8>,
}

/// What is new about an entry; the rest follows from the log that it is written into.
pub(crate) struct Draft {
    pub family: Option<FamilyId>,
    pub by: EntryId,
    pub parents: BTreeSet<EntryId>,
    pub time: u64,
    pub action: Action,
}

impl Entry {
    /// Where it removes a device: which, and whether it says that it is lost.
    pub fn removes(&self) -> Option<(DeviceId, bool)> {
        match self.action() {
            Action::Removed { device, lost } => Some((*device, *lost)),
            _ => None,
        }
    }

    /// Signs an entry.
    pub(crate) fn sign(author: &Identity, draft: Draft) -> Result<Self, EntryError> {
        let (kind, content) = encode_action(&draft.action);
        let body = Body {
            family: draft.family.unwrap_or(FamilyId::NONE),
            author: author.id(),
            by: draft.by,
            parents: draft.parents.into_iter().collect(),
            time: draft.time,
            kind,
            content,
        };
        let encoded = encode(&body);
        let signature = author.sign(&signed_bytes(&encoded));
        // Read back, so that nothing is ever signed that others would refuse.
        Self::decode(&[&signature[..], &encoded].concat())
    }

    /// Reads an entry and checks its form and its signature.
    pub fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        if bytes.len() > MAX_ENTRY_BYTES {
            return Err(EntryError::Size(bytes.len()));
        }
        let Some((signature, encoded)) = bytes.split_first_chunk::<SIGNATURE>() else {
            return Err(EntryError::Form("it ends within the signature"));
        };
        let body: Body = decode_exactly(encoded).ok_or(EntryError::Form("its body"))?;
        if body.parents.len() > MAX_PARENTS {
            return Err(EntryError::Form("it names too many parents"));
        }
        if !body.parents.is_sorted_by(|one, next| one < next) {
            return Err(EntryError::Form("its parents are not in order"));
        }
        let action = decode_action(body.kind, &body.content)?;
        if matches!(action, Action::Founded { .. })
            != (body.parents.is_empty()
                && body.family == FamilyId::NONE
                && body.by == EntryId::NONE)
        {
            return Err(EntryError::Form(
                "only the first entry, and it always, has no parents and no family",
            ));
        }
        if body.parents.is_empty() && !matches!(action, Action::Founded { .. }) {
            return Err(EntryError::Form("it names no parents"));
        }
        let message = signed_bytes(encoded);
        if !body.author.signed(&message, signature) {
            return Err(EntryError::Signature);
        }
        if let Action::KeyRotated { new, proof } = &action
            && (*new == body.author
                || !new.signed(&rotation_message(body.family, body.author, *new), proof))
        {
            return Err(EntryError::Form(
                "the new key did not agree to the rotation",
            ));
        }
        Ok(Self {
            id: EntryId(Sha256::digest(&message).into()),
            body,
            action,
            bytes: bytes.to_vec(),
        })
    }

    /// The id that these bytes would have if they were an entry.
    pub(crate) fn id_of(bytes: &[u8]) -> EntryId {
        let encoded = bytes.get(SIGNATURE..).unwrap_or_default();
        let hash = Sha256::new()
            .chain_update(ENTRY_DOMAIN)
            .chain_update(encoded)
            .finalize();
        EntryId(hash.into())
    }

    /// The hash of what is signed.
    pub fn id(&self) -> EntryId {
        self.id
    }

    /// The family whose log this belongs to; the first entry's own hash for the first entry.
    pub fn family(&self) -> FamilyId {
        match self.action {
            Action::Founded { .. } => self.id.into(),
            _ => self.body.family,
        }
    }

    /// The key that signed it.
    pub fn author(&self) -> DeviceId {
        self.body.author
    }

    /// The entry that gave the author the authority for this one.
    pub fn by(&self) -> EntryId {
        self.body.by
    }

    /// The heads of the log that the author saw, in order.
    pub fn parents(&self) -> &[EntryId] {
        &self.body.parents
    }

    /// When the author says it was, in seconds since 1970. For people to read: nothing follows
    /// from it.
    pub fn time(&self) -> u64 {
        self.body.time
    }

    /// What it does.
    pub fn action(&self) -> &Action {
        &self.action
    }

    /// The entry as it is sent and kept.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

fn signed_bytes(encoded: &[u8]) -> Vec<u8> {
    [ENTRY_DOMAIN, encoded].concat()
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    postcard::to_stdvec(value).expect("fields of plain bytes, numbers and lists have an encoding")
}

/// The value of which these are the one encoding.
fn decode_exactly<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let value = postcard::from_bytes(bytes).ok()?;
    (encode(&value) == bytes).then_some(value)
}

/// Numbers of the kinds. One that was ever used keeps its meaning.
mod kind {
    pub const FOUNDED: u8 = 0;
    pub const ADDED: u8 = 1;
    pub const ROLE_CHANGED: u8 = 2;
    pub const REMOVED: u8 = 3;
    pub const KEY_ROTATED: u8 = 4;
    pub const PAPER_KEY_SET: u8 = 5;
    pub const SECRET_SET: u8 = 6;
    pub const GRANT_GIVEN: u8 = 7;
    pub const GRANT_REVOKED: u8 = 8;
}

fn encode_action(action: &Action) -> (u8, Vec<u8>) {
    match action {
        Action::Founded { nonce, name, paper } => (kind::FOUNDED, encode(&(nonce, name, paper))),
        Action::Added { device, role, name } => (kind::ADDED, encode(&(device, role, name))),
        Action::RoleChanged { device, role } => (kind::ROLE_CHANGED, encode(&(device, role))),
        Action::Removed { device, lost } => (kind::REMOVED, encode(&(device, lost))),
        Action::KeyRotated { new, proof } => {
            let (first, second) = proof.split_at(32);
            let halves: ([u8; 32], [u8; 32]) = (
                first.try_into().expect("half of 64"),
                second.try_into().expect("half of 64"),
            );
            (kind::KEY_ROTATED, encode(&(new, halves)))
        }
        Action::PaperKeySet { key } => (kind::PAPER_KEY_SET, encode(key)),
        Action::SecretSet { secret } => (kind::SECRET_SET, encode(secret)),
        Action::GrantGiven(grant) => (kind::GRANT_GIVEN, encode(grant)),
        Action::GrantRevoked { grant } => (kind::GRANT_REVOKED, encode(grant)),
        Action::Unknown { kind, content } => (*kind, content.clone()),
    }
}

fn decode_action(kind: u8, content: &[u8]) -> Result<Action, EntryError> {
    fn read<T: Serialize + DeserializeOwned>(content: &[u8]) -> Result<T, EntryError> {
        decode_exactly(content).ok_or(EntryError::Form("its content"))
    }
    fn name(name: String) -> Result<String, EntryError> {
        if !is_name(&name) {
            return Err(EntryError::Form("the name of the device"));
        }
        Ok(name)
    }
    Ok(match kind {
        kind::FOUNDED => {
            let (nonce, text, paper) = read(content)?;
            Action::Founded {
                nonce,
                name: name(text)?,
                paper,
            }
        }
        kind::ADDED => {
            let (device, role, text) = read(content)?;
            Action::Added {
                device,
                role,
                name: name(text)?,
            }
        }
        kind::ROLE_CHANGED => {
            let (device, role) = read(content)?;
            Action::RoleChanged { device, role }
        }
        kind::REMOVED => {
            let (device, lost) = read(content)?;
            Action::Removed { device, lost }
        }
        kind::KEY_ROTATED => {
            let (new, (first, second)): (_, ([u8; 32], [u8; 32])) = read(content)?;
            let mut proof = [0; 64];
            proof[..32].copy_from_slice(&first);
            proof[32..].copy_from_slice(&second);
            Action::KeyRotated { new, proof }
        }
        kind::PAPER_KEY_SET => Action::PaperKeySet {
            key: read(content)?,
        },
        kind::SECRET_SET => Action::SecretSet {
            secret: read(content)?,
        },
        kind::GRANT_GIVEN => Action::GrantGiven(read(content)?),
        kind::GRANT_REVOKED => Action::GrantRevoked {
            grant: read(content)?,
        },
        _ => Action::Unknown {
            kind,
            content: content.to_vec(),
        },
    })
}
