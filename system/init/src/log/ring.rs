//! The lines that are kept in memory.

use std::collections::VecDeque;

use super::line::Line;

/// At most so many lines are kept.
const LINES: usize = 10_000;
/// At most so many bytes are kept.
const BYTES: usize = 1 << 20;

/// The newest lines, within both bounds.
#[derive(Debug, Default)]
pub(super) struct Ring {
    lines: VecDeque<Line>,
    bytes: usize,
}

impl Ring {
    pub(super) fn push(&mut self, line: Line) {
        self.bytes += line.size();
        self.lines.push_back(line);
        while self.lines.len() > LINES || self.bytes > BYTES {
            if let Some(oldest) = self.lines.pop_front() {
                self.bytes -= oldest.size();
            }
        }
    }

    /// Puts lines of an earlier time before all others, as many as there is room for.
    pub(super) fn put_before(&mut self, lines: Vec<Line>) {
        for line in lines.into_iter().rev() {
            if self.lines.len() >= LINES || self.bytes + line.size() > BYTES {
                break;
            }
            self.bytes += line.size();
            self.lines.push_front(line);
        }
    }

    pub(super) fn newest(&self, service: Option<&str>, lines: usize) -> Vec<Line> {
        let mut newest: Vec<_> = self
            .lines
            .iter()
            .rev()
            .filter(|line| service.is_none_or(|service| *line.service == *service))
            .take(lines)
            .cloned()
            .collect();
        newest.reverse();
        newest
    }
}

#[cfg(test)]
mod tests {
    use super::super::line::Level;
    use super::*;

    fn line(time: u64, text: &str) -> Line {
        Line {
            time,
            service: "x".into(),
            level: Level::Notice,
            text: text.into(),
        }
    }

    #[test]
    fn the_ring_is_bounded_in_lines_and_bytes() {
        let mut ring = Ring::default();
        for time in 0..20_000 {
            ring.push(line(time, ""));
        }
        assert!(ring.lines.len() <= LINES);
        assert_eq!(ring.newest(None, 1)[0].time, 19_999);
        for time in 0..1_000 {
            ring.push(line(time, &"x".repeat(4096)));
        }
        assert!(ring.bytes <= BYTES);
        let counted: usize = ring.lines.iter().map(Line::size).sum();
        assert_eq!(ring.bytes, counted);
    }

    #[test]
    fn lines_of_before_come_first() {
        let mut ring = Ring::default();
        ring.push(line(10, "now"));
        ring.put_before(vec![line(1, "then"), line(2, "later")]);
        let times: Vec<_> = ring
            .newest(Some("x"), 10)
            .iter()
            .map(|line| line.time)
            .collect();
        assert_eq!(times, [1, 2, 10]);
        assert!(ring.newest(Some("y"), 10).is_empty());
    }
}
