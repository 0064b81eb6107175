//! The maker's tool: makes releases from images, signs them, publishes them as a folder of static
//! files, and checks such folders.
//!
//! | command | what it does | which keys it needs |
//! |---|---|---|
//! | `key FILE` | makes a signing key | – |
//! | `root FILE` | says which keys count for what; made where the root keys are, offline | root keys |
//! | `init REPOSITORY` | makes an empty repository with its channels | targets, channels, online |
//! | `make` | makes a release of an image and puts its pieces into the repository, unsigned | – |
//! | `publish` | lets a channel have it, in waves or at once | the channel's, online |
//! | `pause`, `resume`, `withdraw` | changes who may have it from now on | the channel's, online |
//! | `renew` | makes the timestamp fresh again; this is what runs every day | online |
//! | `mirror` | copies a repository, to a folder or to an object store | – |
//! | `verify` | checks every byte of one | – |
//!
//! What it promises: a repository is changed in such an order that whoever reads it meanwhile finds
//! it whole (pieces first, the timestamp last), and a file that is there is never changed but for
//! the timestamp. Keys are never put into a repository.
//!
//! Development images believe a key that is in this source tree, for anyone to use ([`keys`]);
//! `verify` refuses a repository that it can sign for.

pub mod command;
pub mod keys;
pub mod make;
pub mod mirror;
pub mod publish;
pub mod stick;
pub mod verify;

/// The specification of TUF that metadata is written to.
const SPECIFICATION: &str = "1.0.0";
