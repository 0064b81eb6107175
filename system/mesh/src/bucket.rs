//! How much of something there may be in a while.

use std::time::{Duration, Instant};

/// A token bucket: so much at once, and so much a second after that.
#[derive(Debug)]
pub struct Bucket {
    burst: f64,
    a_second: f64,
    left: f64,
    at: Instant,
}

impl Bucket {
    /// A full one.
    pub fn new(burst: u32, a_second: u32) -> Self {
        Self {
            burst: burst.into(),
            a_second: a_second.into(),
            left: burst.into(),
            at: Instant::now(),
        }
    }

    /// As [`Bucket::new`], where it is so little that it is counted by the hour.
    pub fn an_hour(burst: u32, an_hour: u32) -> Self {
        Self {
            a_second: f64::from(an_hour) / 3600.0,
            ..Self::new(burst, 0)
        }
    }

    fn refill(&mut self) {
        let now = Instant::now();
        let new = (now - self.at).as_secs_f64() * self.a_second;
        self.left = (self.left + new).min(self.burst);
        self.at = now;
    }

    /// Whether nothing was taken of late.
    pub fn is_full(&mut self) -> bool {
        self.refill();
        self.left >= self.burst
    }

    /// Takes so much, if there is as much.
    pub fn try_take(&mut self, much: u32) -> bool {
        self.refill();
        let there = self.left >= f64::from(much);
        if there {
            self.left -= f64::from(much);
        }
        there
    }

    /// Takes so much, and waits for as long as that is more than there is.
    pub async fn take(&mut self, much: u32) {
        self.refill();
        self.left -= f64::from(much);
        if self.left < 0.0 {
            let wait = Duration::from_secs_f64(-self.left / self.a_second);
            tokio::time::sleep(wait).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_the_limit_is_not_to_be_had() {
        let mut bucket = Bucket::new(3, 1);
        assert!(bucket.is_full());
        assert!((0..3).all(|_| bucket.try_take(1)));
        assert!(!bucket.try_take(1));
        bucket.at = bucket.at.checked_sub(Duration::from_secs(2)).unwrap();
        assert!(bucket.try_take(2));
        assert!(!bucket.try_take(1));
    }
}
