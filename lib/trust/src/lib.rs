//! Who belongs to the family, and the proofs of it.
//!
//! A family is the devices of one owner. There is no account and no server that could say who
//! belongs: the devices say it, with signatures that each of them can check. This crate is all of
//! that and nothing else. It knows keys, a log, rules and pairing; it knows no network, no clock
//! and no thread, and the only files that it touches are the device's own key and log, through
//! `lib/store`. `system/mesh` carries its messages.
//!
//! - [`identity`]: the key that a device is.
//! - [`log`]: signed statements of owner devices, each naming those that it has seen, and the rules
//!   that decide which of them hold.
//! - [`family`]: what follows: members, roles, grants, and the answer to "may this device call
//!   that interface of that one, now?"
//! - [`removal`]: how a device that was removed learns it.
//! - [`pairing`]: how a device comes in, by six digits, by a code, by a PIN.
//! - [`recovery`]: the words on paper that save a family whose owner devices are all lost.
//!
//! The bytes of all this are in `system/mesh/PROTOCOL.md`, with what an attacker can and cannot
//! do.
//!
//! # What is promised
//!
//! 1. **Same entries, same family.** The family is a function of the set of entries, whatever the
//!    order of their arrival and whatever any clock says. A property test compares it with a
//!    second, simpler implementation on random partitions, conflicts and malice.
//! 2. **Removed is removed.** What a removed device signs, later or at the same time, under
//!    whatever date, has no effect, nor has what rests on it. Where owners remove each other, the
//!    senior stays; the key on paper outranks all.
//! 3. **Nothing but the log authorises.** A role or a grant that stands there, or no.
//! 4. **What a peer sends is bounded and never panics.** Entries, their number, their parents and
//!    the length of chains have limits; each parser is tried on arbitrary and on changed bytes.
//! 5. **Taken is durable.** [`log::KeptLog`] answers when an entry survives a power cut.
//!
//! # Clocks
//!
//! One rule looks at a clock: a grant with an end, and the clock is that of the device that
//! serves the call. Pairing counts its seconds on one device at a time. The time in an entry is
//! for people to read.
//!
//! # An example
//!
//! ```
//! use trust::{family::{Call, Policy, Verdict}, identity::Identity, log::{Action, Log, Role}};
//!
//! let [phone, tv] = [Identity::generate()?, Identity::generate()?];
//! let mut log = Log::found(&phone, "Phone", None, 0)?;
//! log.write(&phone, Action::Added { device: tv.id(), role: Role::Shared, name: "TV".into() }, 0)?;
//!
//! let policy = Policy { sensitive: vec![], shared: vec!["hyper:device/*".parse()?], guest: vec![] };
//! let may = |interface| {
//!     let call = Call { caller: tv.id(), callee: phone.id(), interface, now: 0 };
//!     log.family().may_call(&call, &policy, |_| false)
//! };
//! assert_eq!(may("hyper:device/device@1.0.0"), Verdict::Allowed(None));
//! assert_eq!(may("hyper:settings/settings@1.0.0"), Verdict::Ask);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod family;
#[doc(hidden)]
pub mod fuzzing;
pub mod identity;
pub mod log;
pub mod pairing;
pub mod recovery;
pub mod removal;
