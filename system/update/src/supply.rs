//! Chunks that are not on this device, from the first source that has them as they should be.

use release::{Chunk, Manifest, pack};

use crate::source::Source;

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

/// Sources of chunks, the most liked first.
#[derive(Debug)]
pub struct Supply {
    sources: Vec<Source>,
    /// Those that failed.
    pub problems: Vec<Problem>,
    /// How many bytes came.
    pub downloaded: u64,
}

impl Supply {
    /// From these sources.
    #[must_use]
    pub fn new(sources: Vec<Source>) -> Self {
        Self {
            sources,
            problems: Vec::new(),
            downloaded: 0,
        }
    }

    /// The first chunks of `wanted`, as many as lie together in one pack and come at once. At least
    /// one.
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
        let (Some(first), Some(last)) = (run.first(), run.last()) else {
            return Ok(Vec::new());
        };
        let path = manifest.packs[first.pack as usize].path();
        let length = last.offset + u64::from(last.stored) - first.offset;
        while let Some(source) = self.sources.first() {
            let reason = match source.read(&path, first.offset, length).await {
                Ok(bytes) => {
                    self.downloaded += bytes.len() as u64;
                    match unpack(run, first.offset, &bytes) {
                        Ok(chunks) => return Ok(chunks),
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
            self.sources.remove(0);
        }
        Err(match self.problems.as_slice() {
            [] => "no source of releases is known".to_owned(),
            problems => problems
                .iter()
                .map(|problem| format!("{}: {}", problem.source, problem.reason))
                .collect::<Vec<_>>()
                .join("; "),
        })
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
