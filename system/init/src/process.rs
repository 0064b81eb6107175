//! What the kernel says about processes: what they use, and how they ended.

use rustix::process::WaitStatus;

use crate::cgroup::value;

/// What a process has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of memory.
    pub memory: u64,
    /// Microseconds of processor time.
    pub processor: u64,
}

/// What a process has used; one that is gone has used nothing.
pub fn usage(process: u32) -> Usage {
    let read =
        |file: &str| std::fs::read_to_string(format!("/proc/{process}/{file}")).unwrap_or_default();
    Usage {
        memory: resident(&read("statm")) * rustix::param::page_size() as u64,
        processor: ticks(&read("stat"))
            * (1_000_000 / rustix::param::clock_ticks_per_second().max(1)),
    }
}

/// The resident pages in `/proc/PID/statm`.
fn resident(statm: &str) -> u64 {
    statm
        .split_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .unwrap_or(0)
}

/// The clock ticks of processor time in `/proc/PID/stat`: in user mode and in the kernel. The
/// program's name, in brackets, may contain anything.
fn ticks(stat: &str) -> u64 {
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let field = |number: usize| -> u64 {
        after_name
            .split_whitespace()
            .nth(number - 3)
            .and_then(|field| field.parse().ok())
            .unwrap_or(0)
    };
    field(14).saturating_add(field(15))
}

/// How often the threads of a process went to sleep of their own accord.
pub fn wake_ups(process: u32) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{process}/task"));
    let statuses = threads
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|thread| {
            let text = std::fs::read_to_string(thread.path().join("status")).ok()?;
            voluntary_switches(&text)
        });
    statuses.sum()
}

fn voluntary_switches(status: &str) -> Option<u64> {
    value(&status.replace(":\t", " "), "voluntary_ctxt_switches")
}

/// How a process ended, in words.
pub fn describe_end(status: WaitStatus) -> String {
    if let Some(code) = status.exit_status() {
        return format!("it ended with exit code {code}");
    }
    match status.terminating_signal() {
        Some(number) => format!("it was ended by {}", signal_name(number)),
        None => "it ended".to_owned(),
    }
}

fn signal_name(number: i32) -> String {
    let name = match number {
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGILL => "SIGILL",
        libc::SIGINT => "SIGINT",
        libc::SIGKILL => "SIGKILL",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGSYS => "SIGSYS",
        libc::SIGTERM => "SIGTERM",
        libc::SIGTRAP => "SIGTRAP",
        _ => return format!("signal {number}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_are_counted_behind_the_name() {
        let stat = "71 (a) b (c)) S 1 71 71 0 -1 4194560 100 0 0 0 12 30 0 0 20 0 1 0 500 1 2";
        assert_eq!(ticks(stat), 42);
        assert_eq!(resident("500 120 30 1 0 60 0"), 120);
        let status = "Name:\tx\nvoluntary_ctxt_switches:\t17\nnonvoluntary_ctxt_switches:\t3\n";
        assert_eq!(voluntary_switches(status), Some(17));
    }

    #[test]
    fn this_process_has_used_something() {
        assert!(usage(std::process::id()).memory > 0);
        assert_eq!(usage(0), Usage::default());
    }

    proptest! {
        #[test]
        fn no_text_ends_the_readers(text in "\\PC*") {
            let _ = (ticks(&text), resident(&text), voluntary_switches(&text));
        }
    }
}
