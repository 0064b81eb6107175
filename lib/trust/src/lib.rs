//! Who belongs to the family, and the proofs of it.

pub mod family;
pub mod identity;
pub mod log;
pub mod pairing;
pub mod recovery;
