//! One question to a server of time (RFC 5905, as a client that only asks).
//!
//! The question tells the server nothing: not even what time it is here. In the place of our time
//! stands a random number, which the answer must repeat; somebody who cannot see the question
//! cannot answer it.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};

use tokio::net::UdpSocket;

/// How long a server may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// The length of a message without extensions.
pub const LENGTH: usize = 48;

/// Seconds from 1900, where NTP counts from, to 1970.
const EPOCH: u64 = 2_208_988_800;

/// A moment, in nanoseconds since 1970.
pub type Moment = i128;

/// What an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// When the question reached the server, by its clock.
    pub received: Moment,
    /// When the answer left it, by its clock.
    pub sent: Moment,
}

/// Why a server gave no time.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be asked.
    #[error("{0}")]
    Network(#[from] std::io::Error),
    /// It did not answer in time.
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Silent,
    /// It does not know the time itself.
    #[error("it does not know the time itself")]
    Unsynchronised,
    /// It does not want to be asked.
    #[error("it refuses to be asked ({0})")]
    Refused(String),
    /// What it says cannot be.
    #[error("its answer makes no sense: {0}")]
    Nonsense(&'static str),
}

/// The question that carries that random number.
pub fn question(number: u64) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    // No warning, version 4, a client.
    bytes[0] = 4 << 3 | 3;
    bytes[40..].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// What those bytes say; none if they are no answer to that question.
pub fn parse(bytes: &[u8], number: u64) -> Option<Result<Answer, Error>> {
    let bytes: &[u8; LENGTH] = bytes.first_chunk()?;
    let (warning, version, mode) = (bytes[0] >> 6, bytes[0] >> 3 & 7, bytes[0] & 7);
    if mode != 4 || !(3..=4).contains(&version) || bytes[24..32] != number.to_be_bytes() {
        return None;
    }
    Some(match bytes[1] {
        // A "kiss of death": four letters say why.
        0 => Err(Error::Refused(
            bytes[12..16]
                .iter()
                .map(|&b| char::from(b))
                .filter(char::is_ascii_graphic)
                .collect(),
        )),
        1..=15 if warning != 3 => {
            let (received, sent) = (moment(&bytes[32..40]), moment(&bytes[40..48]));
            match (received, sent) {
                (Some(received), Some(sent)) if sent >= received => Ok(Answer { received, sent }),
                (Some(_), Some(_)) => Err(Error::Nonsense("it left before the question came")),
                _ => Err(Error::Nonsense("it has no time in it")),
            }
        }
        _ => Err(Error::Unsynchronised),
    })
}

/// A time stamp of eight bytes. Its seconds overflow in 2036; what would be before 1968 is after.
fn moment(bytes: &[u8]) -> Option<Moment> {
    let stamp = u64::from_be_bytes(bytes.try_into().ok()?);
    if stamp == 0 {
        return None;
    }
    let (seconds, fraction) = (stamp >> 32, stamp & 0xffff_ffff);
    let era = if seconds >> 31 == 1 { 0 } else { 1 << 32 };
    let nanoseconds = (fraction * 1_000_000_000) >> 32;
    Some(
        i128::from(seconds + era) * 1_000_000_000 - i128::from(EPOCH) * 1_000_000_000
            + i128::from(nanoseconds),
    )
}

/// The time stamp of a moment, for whoever answers (tests do).
pub fn stamp(moment: Moment) -> [u8; 8] {
    let nanoseconds = moment + i128::from(EPOCH) * 1_000_000_000;
    let seconds = nanoseconds.div_euclid(1_000_000_000) as u64;
    // Rounded up, so that it is read as what was written.
    let fraction = ((nanoseconds.rem_euclid(1_000_000_000) as u64) << 32).div_ceil(1_000_000_000);
    (seconds << 32 | fraction).to_be_bytes()
}

/// How far a clock is off that said `asked` when the question left it, `round_trip` before the
/// answer came: positive when it is behind. The way there and back is taken as equally long.
pub fn offset(asked: Moment, round_trip: Duration, answer: &Answer) -> i64 {
    let arrived = asked + round_trip.as_nanos() as i128;
    let offset = ((answer.received - asked) + (answer.sent - arrived)) / 2;
    i64::try_from(offset).unwrap_or(if offset > 0 { i64::MAX } else { i64::MIN })
}

/// Asks that server once how far the clock is off, in nanoseconds; `now` reads the clock.
pub async fn ask(server: SocketAddr, now: impl Fn() -> Moment) -> Result<i64, Error> {
    let here = match server {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(here).await?;
    socket.connect(server).await?;
    let mut number = [0; 8];
    rustix::rand::getrandom(&mut number, rustix::rand::GetRandomFlags::empty())
        .map_err(std::io::Error::from)?;
    let number = u64::from_ne_bytes(number);
    let (asked, since) = (now(), Instant::now());
    socket.send(&question(number)).await?;
    let answer = async {
        let mut bytes = [0; 512];
        loop {
            let length = socket.recv(&mut bytes).await?;
            let round_trip = since.elapsed();
            if let Some(answer) = parse(&bytes[..length], number) {
                return answer.map(|answer| offset(asked, round_trip, &answer));
            }
        }
    };
    tokio::time::timeout(PATIENCE, answer)
        .await
        .unwrap_or(Err(Error::Silent))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Moment = 1_000_000_000;

    fn answer(number: u64, received: Moment, sent: Moment) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        (bytes[0], bytes[1]) = (4 << 3 | 4, 2);
        bytes[24..32].copy_from_slice(&number.to_be_bytes());
        bytes[32..40].copy_from_slice(&stamp(received));
        bytes[40..].copy_from_slice(&stamp(sent));
        bytes
    }

    #[test]
    fn only_an_answer_to_the_question_is_read() {
        let bytes = answer(7, SECOND, SECOND);
        assert!(matches!(parse(&bytes, 7), Some(Ok(_))));
        assert!(parse(&bytes, 8).is_none());
        assert!(parse(&bytes[..47], 7).is_none());
        assert!(parse(&question(7), 7).is_none());
    }

    #[test]
    fn a_server_that_does_not_know_or_refuses_is_not_believed() {
        let mut bytes = answer(7, SECOND, SECOND);
        bytes[0] |= 3 << 6;
        assert!(matches!(parse(&bytes, 7), Some(Err(Error::Unsynchronised))));
        bytes[1] = 16;
        assert!(matches!(parse(&bytes, 7), Some(Err(Error::Unsynchronised))));
        bytes[1] = 0;
        bytes[12..16].copy_from_slice(b"RATE");
        let Some(Err(Error::Refused(why))) = parse(&bytes, 7) else {
            panic!("it refuses")
        };
        assert_eq!(why, "RATE");
        let backwards = answer(7, 2 * SECOND, SECOND);
        assert!(matches!(
            parse(&backwards, 7),
            Some(Err(Error::Nonsense(_)))
        ));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..100), number: u64) {
            let _ = parse(&bytes, number);
        }

        #[test]
        fn no_answer_makes_it_panic(mut bytes in any::<[u8; LENGTH]>(), number: u64, asked: i64) {
            bytes[0] = 4 << 3 | 4;
            bytes[1] = 1;
            bytes[24..32].copy_from_slice(&number.to_be_bytes());
            if let Some(Ok(answer)) = parse(&bytes, number) {
                offset(asked.into(), Duration::MAX, &answer);
            }
        }

        #[test]
        fn stamps_are_read_as_written(seconds in -61_505_151_i64..4_000_000_000, rest in 0_i64..1_000_000_000) {
            let moment_written = Moment::from(seconds) * SECOND + Moment::from(rest);
            prop_assert_eq!(moment(&stamp(moment_written)), Some(moment_written));
        }

        #[test]
        fn the_offset_is_right_up_to_half_the_way(
            now in 0_i64..4_000_000_000_000_000_000, off in -1_000_000_000_000_i64..1_000_000_000_000,
            there in 0_u32..1_000_000_000, back in 0_u32..1_000_000_000, inside in 0_u32..1_000_000,
        ) {
            let truth = Moment::from(now);
            let received = truth + Moment::from(there);
            let answer = Answer { received, sent: received + Moment::from(inside) };
            let trip = Duration::from_nanos(u64::from(there) + u64::from(back) + u64::from(inside));
            let found = offset(truth - Moment::from(off), trip, &answer);
            let slack = i64::from(there.max(back)) / 2 + 1;
            prop_assert!((found - off).abs() <= slack, "{} is not {} ± {}", found, off, slack);
        }
    }
}
