//! What the person at the terminal sees of the work.
//!
//! Each step is a line that appears when the step begins, says how long it has run once that is
//! more than a second, and ends with its time. On something that is not a terminal a step is one
//! line, at its end. Times of a whole command are summed up by [`Progress::summary`].

use std::{
    io::{IsTerminal as _, Write as _, stderr},
    sync::{
        Mutex,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

/// The steps of a command.
#[derive(Debug, Default)]
pub struct Progress {
    done: Mutex<Vec<(String, Duration)>>,
}

impl Progress {
    /// Does `work`, telling the person about it as `what`.
    pub fn step<T>(&self, what: &str, work: impl FnOnce() -> T) -> T {
        let begin = Instant::now();
        let (finish, finished) = mpsc::channel::<()>();
        let terminal = stderr().is_terminal();
        let result = thread::scope(|scope| {
            if terminal {
                scope.spawn(move || {
                    while finished.recv_timeout(Duration::from_secs(1))
                        == Err(RecvTimeoutError::Timeout)
                    {
                        eprint!("\r\x1b[K  {what} … {} s", begin.elapsed().as_secs());
                        let _ = stderr().flush();
                    }
                });
            }
            let result = work();
            drop(finish);
            result
        });
        self.record(what, begin.elapsed(), terminal);
        result
    }

    /// Like [`Progress::step`], for work that prints its own progress.
    pub fn noisy_step<T>(&self, what: &str, work: impl FnOnce() -> T) -> T {
        let begin = Instant::now();
        eprintln!("  {what} …");
        let result = work();
        self.record(what, begin.elapsed(), false);
        result
    }

    fn record(&self, what: &str, time: Duration, terminal: bool) {
        if terminal {
            eprint!("\r\x1b[K");
        }
        if time >= Duration::from_secs(1) {
            eprintln!("  {what}: {:.1} s", time.as_secs_f64());
        }
        if let Ok(mut done) = self.done.lock() {
            done.push((what.to_owned(), time));
        }
    }

    /// Tells the person something.
    pub fn note(&self, text: &str) {
        eprintln!("  {text}");
    }

    /// Prints the sum and the longest steps.
    pub fn summary(&self, what: &str) {
        let Ok(done) = self.done.lock() else { return };
        let total: Duration = done.iter().map(|(_, time)| *time).sum();
        if total < Duration::from_secs(1) {
            return;
        }
        let mut longest: Vec<_> = done
            .iter()
            .filter(|(_, time)| *time >= Duration::from_secs(1))
            .collect();
        longest.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
        let longest: Vec<_> = longest
            .iter()
            .take(3)
            .map(|(what, time)| format!("{what} {:.1} s", time.as_secs_f64()))
            .collect();
        eprintln!(
            "{what} in {:.1} s (longest: {})",
            total.as_secs_f64(),
            longest.join(", ")
        );
    }
}
