//! What a process uses, as the kernel says.

use std::fs;

use anyhow::{Context as _, Result};
use rustix::process::Pid;

/// Seconds of processor time that the threads of a process have had.
///
/// # Errors
///
/// Fails when it is gone.
pub fn processor(process: Pid) -> Result<f64> {
    let folder = format!("/proc/{}/task", process.as_raw_nonzero());
    let mut nanoseconds = 0;
    for thread in fs::read_dir(&folder).with_context(|| format!("reading {folder}"))? {
        // A thread may end meanwhile: its work is then not counted, nor was it much.
        let text = fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        nanoseconds += on_processor(&text).unwrap_or(0);
    }
    Ok(nanoseconds as f64 / 1e9)
}

/// The first number of `schedstat`.
fn on_processor(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

/// Bytes of memory of a process, those that it shares divided by who shares them (PSS).
///
/// # Errors
///
/// Fails when it is gone.
pub fn memory(process: Pid) -> Result<u64> {
    let file = format!("/proc/{}/smaps_rollup", process.as_raw_nonzero());
    let text = fs::read_to_string(&file).with_context(|| format!("reading {file}"))?;
    proportional(&text).with_context(|| format!("{file} has no Pss"))
}

fn proportional(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_texts_are_read() {
        assert_eq!(on_processor("1234567 89 10\n"), Some(1_234_567));
        assert_eq!(on_processor(""), None);
        let rollup = "5581-7ffe ---p 00000000 00:00 0 [rollup]\nRss: 900 kB\nPss:   300 kB\nPss_Dirty: 20 kB\n";
        assert_eq!(proportional(rollup), Some(300 * 1024));
        assert_eq!(proportional("Rss: 900 kB\n"), None);
        let own = rustix::process::getpid();
        assert!(processor(own).unwrap() > 0.0 && memory(own).unwrap() > 0);
    }
}
