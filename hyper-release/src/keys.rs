//! Signing keys: Ed25519, as PKCS#8 in PEM files that only their owner may read.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use async_trait::async_trait;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::Ed25519KeyPair;
use tough::key_source::KeySource;
use tough::schema::key::Key;
use tough::sign::Sign;

/// The key that development images believe. It is in the source tree, so it proves nothing.
pub const DEVELOPMENT_KEY: &str = include_str!("../development/key.pem");

/// The root with which development images begin: all roles are that key's.
pub const DEVELOPMENT_ROOT: &str = include_str!("../development/root.json");

const TAG: &str = "PRIVATE KEY";

/// Makes a key in a new file, and returns its identifier.
///
/// # Errors
///
/// Fails when there is such a file already, or it cannot be written.
pub fn make(path: &Path) -> Result<String> {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
        .map_err(|_| anyhow!("the system gives no random numbers"))?;
    let text = pem::encode(&pem::Pem::new(TAG, document.as_ref()));
    File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .with_context(|| format!("writing the key {}", path.display()))?;
    identifier(&parse(&text)?.tuf_key())
}

/// The identifier of a key, in hexadecimal.
///
/// # Errors
///
/// Fails when it has none: never for keys of ours.
pub fn identifier(key: &Key) -> Result<String> {
    let identifier = key
        .key_id()
        .map_err(|error| anyhow!("computing a key's identifier: {error}"))?;
    Ok(release::hexadecimal(&identifier))
}

/// The identifier of the development key.
///
/// # Errors
///
/// Fails when the tree's own key is broken.
pub fn development() -> Result<String> {
    identifier(&parse(DEVELOPMENT_KEY)?.tuf_key())
}

/// The key in a file.
///
/// # Errors
///
/// Fails when it cannot be read or is none.
pub fn read(path: &Path) -> Result<Ed25519KeyPair> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("reading the key {}", path.display()))?;
    parse(&text).with_context(|| format!("reading the key {}", path.display()))
}

fn parse(text: &str) -> Result<Ed25519KeyPair> {
    let pem = pem::parse(text).context("it is no PEM file")?;
    anyhow::ensure!(pem.tag() == TAG, "it holds a {}, not a key", pem.tag());
    Ed25519KeyPair::from_pkcs8(pem.contents())
        .map_err(|error| anyhow!("it holds no Ed25519 key: {error}"))
}

/// Key files as the signer takes them.
#[must_use]
pub fn sources(paths: &[PathBuf]) -> Vec<Box<dyn KeySource>> {
    paths
        .iter()
        .map(|path| Box::new(KeyFile(path.clone())) as Box<dyn KeySource>)
        .collect()
}

#[derive(Debug)]
struct KeyFile(PathBuf);

type AnyError = Box<dyn std::error::Error + Send + Sync + 'static>;

#[async_trait]
impl KeySource for KeyFile {
    async fn as_sign(&self) -> Result<Box<dyn Sign>, AnyError> {
        Ok(Box::new(read(&self.0)?))
    }

    async fn write(&self, _: &str, _: &str) -> Result<(), AnyError> {
        Err("keys are made by `hyper-release key` and never changed".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_key_is_made_once_and_for_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        let made = make(&path).unwrap();
        assert_eq!(identifier(&read(&path).unwrap().tuf_key()).unwrap(), made);
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        make(&path).unwrap_err();
    }

    #[test]
    fn the_development_key_is_one() {
        assert_eq!(development().unwrap().len(), 64);
    }
}
