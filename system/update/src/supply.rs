//! Chunks that are not on this device, from the first source that has them as they should be.

use bus::pieces::Whereabouts;
use release::{Chunk, Manifest, pack};

use crate::archive::Archive;
use crate::family::Family;
use crate::shelf::{Claim, Store};
use crate::source::Source;

/// No more of a release is fetched that only others need: it is the chunk with the command line that
/// names the slot, and its neighbours.
const MOST_FOR_OTHERS: u64 = 4 << 20;

/// No more bytes of a pack are asked for at once.
const MOST_AT_ONCE: u64 = 1 << 20;

/// A source that is not asked any more, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Its name.
    pub source: String,
    /// What it did.
    pub reason: String,
}

/// Sources of chunks: what is plugged in, then the other devices of the family, then mirrors; of each
/// kind the most liked first.
#[derive(Debug)]
pub struct Supply {
    sources: Vec<Source>,
    family: Option<(Family, Claim)>,
    /// Those that failed.
    pub problems: Vec<Problem>,
    /// How many bytes came.
    pub downloaded: u64,
    /// How many of these came from the family.
    pub from_family: u64,
}

impl Supply {
    /// From these sources, which have packs.
    #[must_use]
    pub fn new(sources: Vec<Source>) -> Self {
        let mut sources = sources;
        sources.retain(|source| !matches!(source, Source::Device(_)));
        Self {
            sources,
            family: None,
            problems: Vec::new(),
            downloaded: 0,
            from_family: 0,
        }
    }

    /// And from the other devices of the family, which are told what this one gets: all of this release.
    #[must_use]
    pub fn with_family(mut self, family: Family, manifest: &Manifest) -> Self {
        let wanted = manifest
            .root
            .chunks
            .iter()
            .chain(manifest.beside_the_root());
        let claim = family.claim(wanted.map(|chunk| chunk.hash));
        if self.sources.is_empty() {
            claim.leave_to_others();
        }
        self.family = Some((family, claim));
        self
    }

    /// The first chunks of `wanted`, as many as come at once. At least one.
    ///
    /// # Errors
    ///
    /// Fails when no source is left; the text names each and what it did.
    pub async fn get(
        &mut self,
        manifest: &Manifest,
        wanted: &[Chunk],
    ) -> Result<Vec<Vec<u8>>, String> {
        let run = together(wanted);
        if run.is_empty() {
            return Ok(Vec::new());
        }
        if let Some(chunks) = self.packed(manifest, run, false).await {
            return Ok(chunks);
        }
        if let Some((family, _)) = &self.family {
            let found = family.chunks(wanted, !self.sources.is_empty()).await;
            self.problems.append(&mut family.take_problems().await);
            if let Some(chunks) = found {
                let bytes: usize = chunks.iter().map(Vec::len).sum();
                self.downloaded += bytes as u64;
                self.from_family += bytes as u64;
                return Ok(chunks);
            }
        }
        if let Some((_, claim)) = &self.family {
            claim.fetching(run.iter().map(|chunk| chunk.hash));
        }
        if let Some(chunks) = self.packed(manifest, run, true).await {
            return Ok(chunks);
        }
        if let Some((_, claim)) = &self.family {
            claim.leave_to_others();
        }
        Err(match self.problems.as_slice() {
            [] if self.family.is_some() => {
                "no other device of the family has it, and no mirror is set".to_owned()
            }
            [] => "no source of releases is known".to_owned(),
            problems => problems
                .iter()
                .map(|problem| format!("{}: {}", problem.source, problem.reason))
                .collect::<Vec<_>>()
                .join("; "),
        })
    }

    /// Chunks that lie together, from the first source outside the home, or at hand, that has them as they
    /// should be.
    async fn packed(
        &mut self,
        manifest: &Manifest,
        run: &[Chunk],
        outside: bool,
    ) -> Option<Vec<Vec<u8>>> {
        let (first, last) = (run.first()?, run.last()?);
        let path = manifest.packs[first.pack as usize].path();
        let length = last.offset + u64::from(last.stored) - first.offset;
        loop {
            let mut sources = self.sources.iter();
            let number = sources.position(|source| source.is_outside() == outside)?;
            let source = &self.sources[number];
            let reason = match source.read(&path, first.offset, length).await {
                Ok(bytes) => {
                    self.downloaded += bytes.len() as u64;
                    match unpack(run, first.offset, &bytes) {
                        Ok(chunks) => return Some(chunks),
                        Err(error) => format!("{path}: {error}"),
                    }
                }
                Err(trouble) => format!("{path}: {trouble}"),
            };
            tracing::warn!("{}: {reason}; going on without it", source.name());
            self.problems.push(Problem {
                source: source.name(),
                reason,
            });
            self.sources.remove(number);
        }
    }

    /// These are written over from now on, and are nothing to give to others.
    pub(crate) fn forget(&self, stores: &[Store]) {
        if let Some((_, claim)) = &self.family {
            for store in stores {
                claim.shelf().forget(store);
            }
        }
    }

    /// A chunk is in its place, and can be given to others.
    pub(crate) fn placed(&self, chunk: &Chunk, store: &Store, offset: u64) {
        if let Some((_, claim)) = &self.family {
            claim.placed(chunk.hash, store, offset, u64::from(chunk.length));
        }
    }

    /// These chunks, one behind the other, are in another place now.
    pub(crate) fn moved(&self, chunks: &[Chunk], from: &Store, to: &Store) {
        if let Some((_, claim)) = &self.family {
            claim.shelf().add_all(to, chunks);
            claim.shelf().forget(from);
        }
    }

    /// Gets what others of the family need of a release that this device has, and that it has nowhere
    /// itself: the few chunks in which the boot file for the other slot differs. They are kept in the
    /// archive.
    ///
    /// # Errors
    ///
    /// Fails as [`Supply::get`] does, and when they cannot be kept.
    pub async fn complete(&mut self, manifest: &Manifest, archive: &Archive) -> Result<(), String> {
        let Some((_, claim)) = &self.family else {
            return Ok(());
        };
        let mut missing: Vec<Chunk> = Vec::new();
        for chunk in manifest.beside_the_root() {
            if claim.shelf().whereabouts(&chunk.hash) != Whereabouts::Here
                && missing.iter().all(|other| other.hash != chunk.hash)
            {
                missing.push(*chunk);
            }
        }
        let length: u64 = missing.iter().map(|chunk| u64::from(chunk.length)).sum();
        if length > MOST_FOR_OTHERS {
            return Ok(());
        }
        let mut rest = missing.as_slice();
        while !rest.is_empty() {
            let found = self.get(manifest, rest).await?;
            if let Some((_, claim)) = &self.family {
                for data in &found {
                    archive
                        .keep_chunk(data, claim.shelf())
                        .map_err(|error| format!("keeping a chunk for others: {error}"))?;
                }
            }
            rest = match rest.get(found.len()..) {
                Some(rest) if !found.is_empty() => rest,
                _ => return Err("nothing came".to_owned()),
            };
        }
        Ok(())
    }
}

/// How many of the first chunks lie one behind the other.
fn together(wanted: &[Chunk]) -> &[Chunk] {
    let mut count = 0;
    let mut length = 0;
    for (number, chunk) in wanted.iter().enumerate() {
        let follows = number == 0 || {
            let before = &wanted[number - 1];
            before.pack == chunk.pack && before.offset + u64::from(before.stored) == chunk.offset
        };
        length += u64::from(chunk.stored);
        if !follows || (number > 0 && length > MOST_AT_ONCE) {
            break;
        }
        count = number + 1;
    }
    &wanted[..count]
}

fn unpack(run: &[Chunk], begin: u64, bytes: &[u8]) -> Result<Vec<Vec<u8>>, pack::Error> {
    run.iter()
        .map(|chunk| {
            let from = (chunk.offset - begin) as usize;
            let stored = bytes.get(from..from + chunk.stored as usize);
            let stored = stored.ok_or(pack::Error::Length {
                expected: u64::from(chunk.stored),
                found: (bytes.len().saturating_sub(from)) as u64,
            })?;
            pack::unpack(chunk, stored)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(pack: u32, offset: u64, stored: u32) -> Chunk {
        Chunk {
            hash: [0; 32],
            length: stored,
            pack,
            offset,
            stored,
        }
    }

    #[test]
    fn what_lies_together_is_asked_for_together() {
        let wanted = [chunk(0, 0, 10), chunk(0, 10, 5), chunk(0, 20, 5)];
        assert_eq!(together(&wanted).len(), 2);
        let wanted = [chunk(0, 0, 10), chunk(1, 10, 5)];
        assert_eq!(together(&wanted).len(), 1);
        assert!(together(&[]).is_empty());
        let large = 1 << 19;
        let many: Vec<_> = (0..9)
            .map(|number| chunk(0, number * u64::from(large), large))
            .collect();
        assert_eq!(together(&many).len(), 2);
    }
}
