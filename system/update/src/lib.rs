//! Updates: releases found, fetched, verified, written to the other slot, and tried.
//!
//! Two services, so that what reaches the network cannot write disks, and what writes disks cannot
//! reach the network:
//!
//! - **fetch** ([`fetch`]) gets ranges of files from mirrors. It has no disk, no state, and is not
//!   believed.
//! - **update** ([`served`]) knows the keys, reads the repository's metadata through `fetch`, from
//!   a folder or another device of the family ([`family`]), picks the release ([`find`]), writes it
//!   ([`install`]) and answers `hyper:update`. It does so by itself as far as the owner lets it
//!   ([`automatic`]). What it has of releases it gives to the others ([`pieces`]): what it believed last
//!   ([`archive`]), and the chunks in its slots ([`shelf`]).
//!
//! Which slot is started is neither's to say: process 1 has `hyper:slots` for that, tries the new
//! release once, and keeps it or goes back.
//!
//! # Promises
//!
//! - **The slot that runs is never written.** The service's device nodes do not let it.
//! - **Nothing is tried that was not verified whole**: signatures, the hash of every chunk, the root
//!   hash of what the disk gives back, and that the boot file starts that root from that slot.
//! - **Any break leaves a device that starts**, and what was written counts when it goes on.
//! - **A source that lies, stalls or is old costs only itself**: the next one is asked, and the owner
//!   can see which it was.
//! - **No address is asked that the owner or the edition did not set.** There is none by default.

pub mod archive;
pub mod automatic;
mod blocks;
pub mod esp;
pub mod family;
pub mod fetch;
pub mod find;
pub mod install;
pub mod pieces;
pub mod place;
pub mod served;
pub mod shelf;
pub mod source;
pub mod stick;
pub mod supply;
mod work;
