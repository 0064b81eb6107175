//! Taking what services print into the log.

use std::os::fd::OwnedFd;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::time::Instant;

use super::SharedLog;
use crate::log::{Level, read_prefix};

/// A line that does not end is cut here.
const LONGEST_LINE: usize = 4096;
/// So many lines in a second are taken; what is beyond is counted.
const LINES_A_SECOND: u32 = 2000;

/// Reads lines until everyone who could write them is gone.
pub(super) async fn capture(pipe: OwnedFd, service: String, level: Level, log: SharedLog) {
    let Ok(mut pipe) = pipe::Receiver::from_owned_fd(pipe) else {
        return;
    };
    let mut lines = Lines::default();
    let mut chunk = [0; 2048];
    let mut window = Instant::now();
    let (mut taken, mut dropped) = (0, 0);
    while let Ok(length @ 1..) = pipe.read(&mut chunk).await {
        if window.elapsed().as_secs() >= 1 {
            if dropped > 0 {
                log.lock().write(
                    &service,
                    Level::Warning,
                    format!("{dropped} lines too many in a second were dropped"),
                );
            }
            (window, taken, dropped) = (Instant::now(), 0, 0);
        }
        lines.push(&chunk[..length], |line| {
            if taken >= LINES_A_SECOND {
                dropped += 1;
                return;
            }
            taken += 1;
            let text = String::from_utf8_lossy(line);
            let (level, text) = read_prefix(text.trim_end(), level);
            if !text.is_empty() {
                log.lock().write(&service, level, text);
            }
        });
    }
    lines.finish(|line| {
        let text = String::from_utf8_lossy(line);
        let (level, text) = read_prefix(text.trim_end(), level);
        log.lock().write(&service, level, text);
    });
}

/// Puts lines together from pieces.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8])) {
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            self.0.extend_from_slice(&bytes[..end]);
            each(&self.0);
            self.0.clear();
            bytes = &bytes[end + 1..];
        }
        self.0.extend_from_slice(bytes);
        if self.0.len() >= LONGEST_LINE {
            each(&self.0);
            self.0.clear();
        }
    }

    fn finish(&mut self, mut each: impl FnMut(&[u8])) {
        if !self.0.is_empty() {
            each(&self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn lines_are_the_same_however_they_are_cut(
            text in "[ab\\n]{0,200}", cuts in proptest::collection::vec(1usize..20, 1..20)
        ) {
            let mut lines = Lines::default();
            let mut found: Vec<Vec<u8>> = Vec::new();
            let mut rest = text.as_bytes();
            let mut cuts = cuts.into_iter().cycle();
            while !rest.is_empty() {
                let cut = cuts.next().unwrap_or(1).min(rest.len());
                lines.push(&rest[..cut], |line| found.push(line.to_vec()));
                rest = &rest[cut..];
            }
            lines.finish(|line| found.push(line.to_vec()));
            let expected: Vec<_> = text.split_terminator('\n').map(|line| line.as_bytes().to_vec()).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_line_without_end_does_not_grow_without_bound() {
        let mut lines = Lines::default();
        let mut count = 0;
        for _ in 0..100 {
            lines.push(&[b'x'; 2048], |_| count += 1);
        }
        assert!(count >= 45);
        assert!(lines.0.len() <= LONGEST_LINE);
    }
}
