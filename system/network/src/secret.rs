//! The secret from which this device's IPv6 addresses are made (RFC 7217).
//!
//! Made from the hardware address, as the kernel does otherwise, half of the address would be the
//! same in every network, and whoever watches two of them would know the device again.

use std::{fmt, io, net::Ipv6Addr, path::Path};

use serde::{Deserialize, Serialize};

/// 128 bits that nobody else knows.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret([u8; 16]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// That secret.
    pub fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// A new one.
    ///
    /// # Errors
    /// When the kernel has no random numbers.
    pub fn random() -> io::Result<Self> {
        let mut bytes = [0; 16];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        Ok(Self(bytes))
    }

    /// The one that is kept in a file, made by the first who asks.
    ///
    /// # Errors
    /// When it can be neither read nor kept.
    pub fn kept(file: &Path) -> anyhow::Result<Self> {
        let mut opened = store::open::<Kept>(file)?;
        for notice in &opened.notices {
            tracing::warn!("{notice}");
        }
        if let Some(bytes) = opened.store.value().bytes() {
            return Ok(Self(bytes));
        }
        let secret = Self::random()?;
        opened.store.replace(Kept {
            secret: Some(secret.to_ipv6().to_string()),
        })?;
        Ok(secret)
    }

    /// In the form in which the kernel takes it.
    pub fn to_ipv6(&self) -> Ipv6Addr {
        Ipv6Addr::from(self.0)
    }
}

/// The secret in its file, in the kernel's form.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Kept {
    secret: Option<String>,
}

impl Kept {
    fn bytes(&self) -> Option<[u8; 16]> {
        let secret: Ipv6Addr = self.secret.as_ref()?.parse().ok()?;
        Some(secret.octets())
    }
}

store::first_version!(Kept);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("addresses");
        let secret = Secret::kept(&file).unwrap();
        assert_ne!(secret, Secret::default());
        assert_eq!(Secret::kept(&file).unwrap(), secret);
        let other = Secret::kept(&folder.path().join("other")).unwrap();
        assert_ne!(other, secret);
    }
}
