//! Where releases come from: mirrors, by way of the service that reaches the network, sticks, folders, and
//! other devices of the family.
//!
//! Nothing that comes from here is trusted.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use bus::fetch::Piece;
use futures::StreamExt as _;
use release::repository::Files;

use crate::family::Peer;
use crate::stick::Stick;

/// From one piece to the next; the service that fetches loses patience before.
const PATIENCE: Duration = Duration::from_secs(90);

/// A place that has a repository.
#[derive(Clone, Debug)]
pub enum Source {
    /// A static web server.
    Mirror {
        /// Its address, such as `https://releases.example/hyperos`.
        address: String,
        /// The way to the service that fetches.
        bus: bus::Client,
    },
    /// A folder that this service may read.
    Folder(PathBuf),
    /// A folder of a stick.
    Stick(Stick),
    /// Another device of the family. It has no packs; [`crate::family`] gets chunks from it.
    Device(Peer),
}

/// Why something did not come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The source says that it does not have it.
    Missing,
    /// Anything else.
    Failed(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("it does not have the file"),
            Self::Failed(reason) => f.write_str(reason),
        }
    }
}

impl Source {
    /// The source that a text names.
    ///
    /// # Errors
    ///
    /// Fails when it is neither an address nor a path from `/`.
    pub fn parse(text: &str, bus: &bus::Client) -> Result<Self> {
        if text.starts_with("http://") || text.starts_with("https://") {
            Ok(Self::Mirror {
                address: text.trim_end_matches('/').to_owned(),
                bus: bus.clone(),
            })
        } else if text.starts_with('/') {
            Ok(Self::Folder(text.into()))
        } else {
            bail!("{text:?} is neither a mirror (http://…, https://…) nor a folder (/…)")
        }
    }

    /// What people call it.
    pub fn name(&self) -> String {
        match self {
            Self::Mirror { address, .. } => address.clone(),
            Self::Folder(path) => path.display().to_string(),
            Self::Stick(stick) => stick.to_string(),
            Self::Device(peer) => peer.name().to_owned(),
        }
    }

    /// Whether it is reached by the network that leads out of the home.
    pub fn is_outside(&self) -> bool {
        matches!(self, Self::Mirror { .. })
    }

    /// Bytes of a file from `offset` on, `length` of them or up to its end.
    pub async fn read(&self, path: &str, offset: u64, length: u64) -> Result<Vec<u8>, Trouble> {
        match self {
            Self::Folder(folder) => read_file(folder.join(path), offset, length),
            Self::Stick(stick) => stick.read(path, offset, length),
            Self::Mirror { address, bus } => fetch(bus, address, path, offset, length).await,
            Self::Device(peer) if offset == 0 => peer.read(path, length).await,
            Self::Device(_) => Err(Trouble::Missing),
        }
    }
}

fn read_file(path: PathBuf, offset: u64, length: u64) -> Result<Vec<u8>, Trouble> {
    use std::io::{Read as _, Seek as _};
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(&path)?;
        file.seek(std::io::SeekFrom::Start(offset))?;
        let mut bytes = Vec::new();
        file.take(length).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Trouble::Missing,
        _ => Trouble::Failed(format!("reading {}: {error}", path.display())),
    })
}

async fn fetch(
    bus: &bus::Client,
    address: &str,
    path: &str,
    offset: u64,
    length: u64,
) -> Result<Vec<u8>, Trouble> {
    let failed = |error: bus::Error| Trouble::Failed(error.to_string());
    let mut pieces = bus::fetch::get(&bus.with_deadline(PATIENCE), address, path, offset, length)
        .await
        .map_err(failed)?;
    let mut bytes = Vec::new();
    loop {
        let next = tokio::time::timeout(PATIENCE, pieces.next()).await;
        match next {
            Err(_) => {
                return Err(Trouble::Failed(format!(
                    "nothing came for {} s",
                    PATIENCE.as_secs()
                )));
            }
            Ok(None) => return Ok(bytes),
            Ok(Some(Err(error))) => return Err(failed(error)),
            Ok(Some(Ok(Piece::Missing))) => return Err(Trouble::Missing),
            Ok(Some(Ok(Piece::Failed(reason)))) => return Err(Trouble::Failed(reason)),
            Ok(Some(Ok(Piece::Data(data)))) => {
                bytes.extend_from_slice(&data);
                // The service that fetches is not believed either.
                if bytes.len() as u64 > length {
                    return Err(Trouble::Failed("more came than was asked for".to_owned()));
                }
            }
        }
    }
}

/// A source as the repository's reader takes it.
#[derive(Debug)]
pub struct Metadata(pub Source);

#[async_trait::async_trait]
impl Files for Metadata {
    async fn read(&self, path: &str, most: u64) -> Result<Option<Vec<u8>>, String> {
        match self.0.read(path, 0, most + 1).await {
            Ok(bytes) if bytes.len() as u64 > most => {
                Err(format!("{path} is longer than {most} bytes"))
            }
            Ok(bytes) => Ok(Some(bytes)),
            Err(Trouble::Missing) => Ok(None),
            Err(Trouble::Failed(reason)) => Err(reason),
        }
    }
}
