//! Which partition is the root, where several are called as it is.
//!
//! A name is not enough: whoever plugs in a stick may call its partitions as ours are called, and it
//! may be found first. The root hash on the command line tells them apart, for only the root that it
//! was made for opens with it. So every partition of that name is tried, those of disks that are built
//! in before those on USB, and the first that opens is the root.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Error, Result, anyhow};

/// How long a disk may take to appear. Slow readers of cards and sticks take seconds.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How long others may take, once there was one and it was not the root.
const FURTHER: Duration = Duration::from_secs(5);

/// Why there is no root.
#[derive(Debug)]
pub enum Failed {
    /// No partition has its name, or nobody can say which there are.
    Missing(Error),
    /// There is one at least, and none opens.
    Refused(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Missing(error)
    }
}

/// Opens the first partition that opens.
///
/// `present` lists those of the root's name, the likeliest first; `open` tries one; `changed` waits until
/// there may be others, and answers false when the time that it is given is over.
///
/// # Errors
/// When none opens in time; the error says what was wrong with each.
pub fn first_that_opens<T>(
    name: &str,
    mut present: impl FnMut() -> Result<Vec<PathBuf>>,
    mut open: impl FnMut(&Path) -> Result<T>,
    mut changed: impl FnMut(Instant) -> Result<bool>,
) -> Result<T, Failed> {
    let mut until = Instant::now() + LONGEST_WAIT;
    let mut refused: BTreeSet<PathBuf> = BTreeSet::new();
    let mut reasons = Vec::new();
    loop {
        for node in present()? {
            if refused.contains(&node) {
                continue;
            }
            match open(&node) {
                Ok(opened) => return Ok(opened),
                Err(error) => {
                    reasons.push(format!("{error:#}"));
                    refused.insert(node);
                    until = Instant::now() + FURTHER;
                }
            }
        }
        if !changed(until)? {
            break;
        }
    }
    if reasons.is_empty() {
        Err(Failed::Missing(anyhow!(
            "no partition is called `{name}`: is the disk there, and its driver in this product?"
        )))
    } else {
        Err(Failed::Refused(anyhow!(
            "the root `{name}` cannot be opened: {}",
            reasons.join("; ")
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn node(number: usize) -> PathBuf {
        format!("/dev/sd{number}").into()
    }

    #[test]
    fn what_is_only_called_so_is_passed_over() {
        let opened = first_that_opens(
            "root-a",
            || Ok(vec![node(0), node(1)]),
            |tried| match tried == node(1) {
                true => Ok(tried.to_owned()),
                false => Err(anyhow!("another hash")),
            },
            |_| panic!("there is nothing to wait for"),
        );
        assert_eq!(opened.unwrap(), node(1));
    }

    #[test]
    fn what_is_missing_is_told_from_what_is_damaged() {
        let none = first_that_opens("root-a", || Ok(vec![]), |_| Ok(()), |_| Ok(false));
        assert!(matches!(none, Err(Failed::Missing(_))), "{none:?}");
        let mut waited_until = None;
        let damaged = first_that_opens(
            "root-a",
            || Ok(vec![node(0)]),
            |_| Err::<(), _>(anyhow!("block 7 is not what it was")),
            |until| {
                waited_until = Some(until);
                Ok(false)
            },
        );
        let Err(Failed::Refused(reason)) = damaged else {
            panic!("{damaged:?}");
        };
        assert!(reason.to_string().contains("block 7"), "{reason}");
        // Not as long as for a disk that is slow to appear.
        assert!(waited_until.unwrap() <= Instant::now() + FURTHER);
    }

    proptest! {
        /// Partitions that come one after the other, some of them the root: one of these is opened,
        /// none is tried twice, and nothing is opened where there is none.
        #[test]
        fn the_root_is_found_among_any_others(
            good in proptest::collection::vec(any::<bool>(), 0..6),
            first in 0..6usize,
        ) {
            let there = std::cell::Cell::new(first.min(good.len()));
            let mut tried = Vec::new();
            let opened = first_that_opens(
                "root-a",
                || Ok((0..there.get()).map(node).collect()),
                |node| {
                    tried.push(node.to_owned());
                    let number = tried.len() - 1;
                    match good[number] {
                        true => Ok(number),
                        false => Err(anyhow!("another hash")),
                    }
                },
                |_| {
                    let more = there.get() < good.len();
                    there.set((there.get() + 1).min(good.len()));
                    Ok(more)
                },
            );
            match good.iter().position(|&good| good) {
                Some(number) => prop_assert_eq!(opened.unwrap(), number),
                None => prop_assert_eq!(
                    matches!(opened, Err(Failed::Missing(_))),
                    good.is_empty()
                ),
            }
            let all: BTreeSet<_> = tried.iter().collect();
            prop_assert_eq!(all.len(), tried.len());
        }
    }
}
