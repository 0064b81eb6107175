//! What a device is on the network: an Ed25519 key that it made itself.
//!
//! The public half, [`DeviceId`], is the device's name everywhere: in the log, in grants, and as
//! the endpoint id that QUIC authenticates. The private half is made at the first start, stays in
//! the folder of the one service that signs (mode 0600), and leaves it in no other way than
//! [`Identity::secret`], which is for the transport of that same service.

use std::{fmt, path::Path, str::FromStr};

use data_encoding::HEXLOWER_PERMISSIVE;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use store::{Private, Store};
use zeroize::Zeroizing;

/// The public key of a device: its name on the network and in the log.
///
/// Always a point of the curve, and never one of the few weak ones under which one signature
/// fits many messages.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "[u8; 32]", into = "[u8; 32]")]
pub struct DeviceId([u8; 32]);

/// Bytes or text that name no device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not 64 hexadecimal digits.
    #[error("a device's id is 64 hexadecimal digits")]
    Text,
    /// Not a public key, or one under which signatures prove nothing.
    #[error("these 32 bytes are no usable Ed25519 public key")]
    Key,
}

impl DeviceId {
    /// The device with this public key.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::Key)?;
        // One key, one name: an encoding that is not the canonical one would be a second name.
        if key.is_weak() || key.to_bytes() != *bytes || !canonical(bytes) {
            return Err(KeyError::Key);
        }
        Ok(Self(*bytes))
    }

    /// The 32 bytes of the public key.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first ten digits, for a log line; many devices may share them.
    pub fn short(&self) -> String {
        self.to_string()[..10].to_owned()
    }

    /// Whether the device signed the message. The strict form: one message and one key have no
    /// second valid signature that somebody without the key could derive from the first.
    pub(crate) fn signed(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        VerifyingKey::from_bytes(&self.0).is_ok_and(|key| {
            key.verify_strict(message, &Signature::from_bytes(signature))
                .is_ok()
        })
    }
}

/// Whether the y coordinate is below the prime 2^255 - 19, as RFC 8032 wants it.
fn canonical(bytes: &[u8; 32]) -> bool {
    let high = bytes[31] & 0x7f;
    high != 0x7f || bytes[1..31].iter().any(|&byte| byte != 0xff) || bytes[0] < 0xed
}

impl TryFrom<[u8; 32]> for DeviceId {
    type Error = KeyError;

    fn try_from(bytes: [u8; 32]) -> Result<Self, KeyError> {
        Self::from_bytes(&bytes)
    }
}

impl From<DeviceId> for [u8; 32] {
    fn from(id: DeviceId) -> Self {
        id.0
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceId({})", self.short())
    }
}

impl FromStr for DeviceId {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let bytes = HEXLOWER_PERMISSIVE
            .decode(text.as_bytes())
            .map_err(|_| KeyError::Text)?;
        Self::from_bytes(&bytes.try_into().map_err(|_| KeyError::Text)?)
    }
}

/// A key with which this program signs: a device's, or the one on paper.
#[derive(Clone)]
pub struct Identity(SigningKey);

impl Identity {
    /// A new key.
    pub fn generate() -> Result<Self, RandomError> {
        loop {
            let secret = Zeroizing::new(random::<32>()?);
            // All but a handful of the 2^256 secrets pass at once.
            if let Ok(identity) = Self::from_secret(&secret) {
                return Ok(identity);
            }
        }
    }

    /// The key with this secret half.
    pub fn from_secret(secret: &[u8; 32]) -> Result<Self, KeyError> {
        let key = SigningKey::from_bytes(secret);
        DeviceId::from_bytes(key.verifying_key().as_bytes())?;
        Ok(Self(key))
    }

    /// The secret half, for the transport that proves this identity to others.
    pub fn secret(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public half.
    pub fn id(&self) -> DeviceId {
        DeviceId(self.0.verifying_key().to_bytes())
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.id().short())
    }
}

/// The system gave no random bytes: nothing that needs a secret can go on.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the system gave no random bytes ({0})")]
pub struct RandomError(#[from] getrandom::Error);

/// Random bytes of the kernel.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

/// Why a device has no identity to go on with.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file that keeps the key could not be read or written.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// No random bytes for a new key.
    #[error("making this device's key: {0}")]
    Random(#[from] RandomError),
    /// The kept key is none, though its file is whole.
    #[error("the key in {path} is no key; restore the file, or remove it to start as a new device")]
    Key {
        /// The file.
        path: std::path::PathBuf,
    },
}

/// What the file of the identity holds.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Kept {
    /// The secret half, in hexadecimal digits. Absent before the first start.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    secret: String,
    /// The secret half that takes over once the log has the rotation.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    next: String,
}

impl Drop for Kept {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.secret);
        zeroize::Zeroize::zeroize(&mut self.next);
    }
}

store::first_version!(Kept);

/// The identity of this device, with the file that keeps it.
pub struct KeptIdentity {
    store: Store<Kept, Private>,
    current: Identity,
    next: Option<Identity>,
}

impl fmt::Debug for KeptIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptIdentity")
            .field("current", &self.current)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl KeptIdentity {
    /// The identity in this file, made now when there is none yet. The strings are for the owner:
    /// above all, that a damaged file was set aside and this is a new device now.
    pub fn open(path: &Path) -> Result<(Self, Vec<String>), IdentityError> {
        let opened = store::open_in::<Kept, _>(Private, path)?;
        let mut store = opened.store;
        let read = |text: &str| -> Result<Option<Identity>, IdentityError> {
            if text.is_empty() {
                return Ok(None);
            }
            let bytes = HEXLOWER_PERMISSIVE
                .decode(text.as_bytes())
                .map(Zeroizing::new);
            bytes
                .ok()
                .and_then(|bytes| <[u8; 32]>::try_from(bytes.as_slice()).ok())
                .map(Zeroizing::new)
                .and_then(|secret| Identity::from_secret(&secret).ok())
                .map(Some)
                .ok_or_else(|| IdentityError::Key {
                    path: path.to_owned(),
                })
        };
        let current = match read(&store.value().secret)? {
            Some(identity) => identity,
            None => {
                let identity = Identity::generate()?;
                store.replace(kept(&identity, None))?;
                identity
            }
        };
        let next = read(&store.value().next)?;
        let kept = Self {
            store,
            current,
            next,
        };
        Ok((kept, opened.notices))
    }

    /// The key that this device signs and connects with.
    pub fn current(&self) -> &Identity {
        &self.current
    }

    /// The key of a rotation that has begun, until [`finish_rotation`](Self::finish_rotation).
    pub fn next(&self) -> Option<&Identity> {
        self.next.as_ref()
    }

    /// Makes the key that will follow, or answers the one already made. Both are kept until the
    /// rotation is finished, so that a power cut between signing it and using it loses nothing.
    pub fn begin_rotation(&mut self) -> Result<&Identity, IdentityError> {
        if self.next.is_none() {
            let next = Identity::generate()?;
            self.store.replace(kept(&self.current, Some(&next)))?;
            self.next = Some(next);
        }
        Ok(self.next.as_ref().expect("it was just put there"))
    }

    /// Goes over to the new key and forgets the old one. To be called when the family has the
    /// entry: the old key proves nothing any more then.
    pub fn finish_rotation(&mut self) -> Result<(), IdentityError> {
        if let Some(next) = &self.next {
            self.store.replace(kept(next, None))?;
            self.current = next.clone();
            self.next = None;
        }
        Ok(())
    }

    /// Forgets the key and makes another: a device that left its family, or was removed from it,
    /// joins the next one as a stranger.
    pub fn start_over(&mut self) -> Result<(), IdentityError> {
        let identity = Identity::generate()?;
        self.store.replace(kept(&identity, None))?;
        self.current = identity;
        self.next = None;
        Ok(())
    }
}

fn kept(current: &Identity, next: Option<&Identity>) -> Kept {
    let text = |identity: &Identity| data_encoding::HEXLOWER.encode(identity.secret().as_slice());
    Kept {
        secret: text(current),
        next: next.map(text).unwrap_or_default(),
    }
}
