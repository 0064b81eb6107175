//! The kernel's messages, and what it says about refused system calls.

use super::line::Level;

/// Reads a record of `/dev/kmsg`: `priority,sequence,microseconds,flags;text`, then lines that
/// begin with a space and carry keys, which are passed over.
pub fn parse(record: &[u8]) -> Option<(Level, String)> {
    let record = String::from_utf8_lossy(record);
    let (head, text) = record.split_once(';')?;
    let priority: u32 = head.split(',').next()?.parse().ok()?;
    let text = text.lines().next()?.to_owned();
    // The upper bits are the facility.
    Some((Level::from_number((priority & 7) as u8), text))
}

/// A system call that a sandbox refused, out of the kernel's audit record of it
/// (`type=1326`, AUDIT_SECCOMP).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedCall {
    /// The user that made it.
    pub user: u32,
    /// The process, as process 1 sees it.
    pub process: u32,
    /// The system call's number.
    pub number: u32,
}

impl RefusedCall {
    /// Reads a message of the kernel; `None` for any other.
    pub fn parse(text: &str) -> Option<Self> {
        if !text.contains("type=1326") {
            return None;
        }
        let value = |key: &str| -> Option<u32> {
            text.split_whitespace()
                .find_map(|word| word.strip_prefix(key))?
                .parse()
                .ok()
        };
        Some(Self {
            user: value("uid=")?,
            process: value("pid=")?,
            number: value("syscall=")?,
        })
    }
}

impl std::fmt::Display for RefusedCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            process, number, ..
        } = self;
        match call_name(i64::from(*number)) {
            Some(name) => write!(f, "the system call {name} of process {process}"),
            None => write!(f, "the system call {number} of process {process}"),
        }
    }
}

/// The names of the calls that a sandbox is most often asked for in vain.
fn call_name(number: i64) -> Option<&'static str> {
    Some(match number {
        libc::SYS_mount => "mount",
        libc::SYS_umount2 => "umount",
        libc::SYS_pivot_root => "pivot_root",
        libc::SYS_chroot => "chroot",
        libc::SYS_unshare => "unshare",
        libc::SYS_setns => "setns",
        libc::SYS_clone => "clone",
        libc::SYS_ptrace => "ptrace",
        libc::SYS_process_vm_readv => "process_vm_readv",
        libc::SYS_process_vm_writev => "process_vm_writev",
        libc::SYS_init_module => "init_module",
        libc::SYS_finit_module => "finit_module",
        libc::SYS_delete_module => "delete_module",
        libc::SYS_kexec_load => "kexec_load",
        libc::SYS_reboot => "reboot",
        libc::SYS_bpf => "bpf",
        libc::SYS_perf_event_open => "perf_event_open",
        libc::SYS_io_uring_setup => "io_uring_setup",
        libc::SYS_keyctl => "keyctl",
        libc::SYS_add_key => "add_key",
        libc::SYS_userfaultfd => "userfaultfd",
        libc::SYS_socket => "socket",
        libc::SYS_socketpair => "socketpair",
        libc::SYS_mknodat => "mknodat",
        libc::SYS_setresuid => "setresuid",
        libc::SYS_setuid => "setuid",
        libc::SYS_clock_settime => "clock_settime",
        libc::SYS_settimeofday => "settimeofday",
        libc::SYS_sethostname => "sethostname",
        libc::SYS_swapon => "swapon",
        libc::SYS_open_by_handle_at => "open_by_handle_at",
        libc::SYS_syslog => "syslog",
        libc::SYS_fsopen => "fsopen",
        libc::SYS_open_tree => "open_tree",
        libc::SYS_move_mount => "move_mount",
        libc::SYS_pidfd_getfd => "pidfd_getfd",
        libc::SYS_kcmp => "kcmp",
        libc::SYS_request_key => "request_key",
        libc::SYS_acct => "acct",
        libc::SYS_quotactl => "quotactl",
        libc::SYS_vhangup => "vhangup",
        libc::SYS_setgroups => "setgroups",
        libc::SYS_capset => "capset",
        libc::SYS_name_to_handle_at => "name_to_handle_at",
        libc::SYS_fanotify_init => "fanotify_init",
        libc::SYS_personality => "personality",
        libc::SYS_clock_adjtime => "clock_adjtime",
        libc::SYS_adjtimex => "adjtimex",
        libc::SYS_setpriority => "setpriority",
        libc::SYS_sched_setscheduler => "sched_setscheduler",
        #[cfg(target_arch = "x86_64")]
        libc::SYS_iopl => "iopl",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_record_is_read() {
        let record = b"6,339,5140900,-;NET: Registered PF_INET6\n SUBSYSTEM=x\n";
        assert_eq!(
            parse(record),
            Some((Level::Information, "NET: Registered PF_INET6".into()))
        );
        assert_eq!(parse(b"30,1,2,-;init: text").unwrap().0, Level::Information);
    }

    #[test]
    fn a_refused_call_is_read() {
        let text = "audit: type=1326 audit(1700000000.123:2): auid=4294967295 uid=1001 gid=1001 \
            ses=4294967295 pid=71 comm=\"hyper\" exe=\"/system/hyper\" sig=0 arch=c000003e \
            syscall=165 compat=0 ip=0x4a code=0x50000";
        let refused = RefusedCall {
            user: 1001,
            process: 71,
            number: 165,
        };
        assert_eq!(RefusedCall::parse(text), Some(refused));
        assert_eq!(RefusedCall::parse("uid=1 pid=2 syscall=3"), None);
    }

    proptest! {
        #[test]
        fn no_record_ends_the_parser(record in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some((_, text)) = parse(&record) {
                let _ = RefusedCall::parse(&text);
            }
        }
    }
}
