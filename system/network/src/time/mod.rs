//! What time it is: the service `time`.
//!
//! The clock is compared with a server over NTP, of those that the owner named (`time.servers`)
//! or else of those that the network offered by DHCP. None is built in: where nobody offers one,
//! the clock runs on by itself, from the hardware clock, and nothing is sent.
//!
//! # What is promised
//!
//! - **Never before its own release.** A hardware clock whose battery died says 1970, and no
//!   certificate is valid then. The clock begins no earlier than the release was built, nor than
//!   this service last knew the time to be.
//! - **No jumps in ordinary life.** The first comparison may set the clock; later ones bend it, by
//!   at most one second in two thousand, unless it is off by more than [`policy::BENT`].
//! - **It survives.** What was learnt is written to the hardware clock.
//! - **The owner's word counts** until a server next answers.
//! - **Seldom.** A server is asked once a minute at first and every half an hour in the end, and
//!   at once when the network has changed.

pub mod clock;
pub mod keeper;
pub mod ntp;
pub mod policy;
mod served;

pub use served::run;
