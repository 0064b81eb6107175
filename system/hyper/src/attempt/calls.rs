//! System calls that no service has a use for.
//!
//! The arguments are such that the kernel does nothing even if the call comes through: descriptors
//! that are not open, addresses that are nobody's, or the process itself. A call that is refused
//! gives EPERM; whatever else comes back, the kernel has looked at the arguments, and that is too
//! far already.

use std::io;

use super::Attempt;

/// No open descriptor.
const NOTHING: libc::c_long = -1;

/// The calls by name, with what they are given.
const CALLS: &[(&str, libc::c_long, [libc::c_long; 5])] = &[
    // Mounting and roots.
    ("mount", libc::SYS_mount, [0, 0, 0, 0, 0]),
    ("umount", libc::SYS_umount2, [0, 0, 0, 0, 0]),
    ("pivot_root", libc::SYS_pivot_root, [0, 0, 0, 0, 0]),
    ("chroot", libc::SYS_chroot, [0, 0, 0, 0, 0]),
    ("fsopen", libc::SYS_fsopen, [0, 0, 0, 0, 0]),
    ("open_tree", libc::SYS_open_tree, [NOTHING, 0, 0, 0, 0]),
    (
        "move_mount",
        libc::SYS_move_mount,
        [NOTHING, 0, NOTHING, 0, 0],
    ),
    // Namespaces.
    (
        "unshare",
        libc::SYS_unshare,
        [libc::CLONE_NEWUSER as libc::c_long, 0, 0, 0, 0],
    ),
    ("setns", libc::SYS_setns, [NOTHING, 0, 0, 0, 0]),
    // Tracing and memory of others.
    (
        "ptrace",
        libc::SYS_ptrace,
        [libc::PTRACE_PEEKDATA as libc::c_long, 0, 0, 0, 0],
    ),
    (
        "process_vm_readv",
        libc::SYS_process_vm_readv,
        [0, 0, 0, 0, 0],
    ),
    (
        "process_vm_writev",
        libc::SYS_process_vm_writev,
        [0, 0, 0, 0, 0],
    ),
    ("pidfd_getfd", libc::SYS_pidfd_getfd, [NOTHING, 0, 0, 0, 0]),
    ("kcmp", libc::SYS_kcmp, [0, 0, 0, 0, 0]),
    (
        "perf_event_open",
        libc::SYS_perf_event_open,
        [0, 0, 0, NOTHING, 0],
    ),
    ("bpf", libc::SYS_bpf, [NOTHING, 0, 0, 0, 0]),
    ("userfaultfd", libc::SYS_userfaultfd, [0, 0, 0, 0, 0]),
    ("io_uring_setup", libc::SYS_io_uring_setup, [0, 0, 0, 0, 0]),
    // Modules and kernels.
    ("init_module", libc::SYS_init_module, [0, 0, 0, 0, 0]),
    (
        "finit_module",
        libc::SYS_finit_module,
        [NOTHING, 0, 0, 0, 0],
    ),
    ("delete_module", libc::SYS_delete_module, [0, 0, 0, 0, 0]),
    ("kexec_load", libc::SYS_kexec_load, [0, 0, 0, 0, 0]),
    ("reboot", libc::SYS_reboot, [0, 0, 0, 0, 0]),
    // Keys.
    ("keyctl", libc::SYS_keyctl, [NOTHING, 0, 0, 0, 0]),
    ("add_key", libc::SYS_add_key, [0, 0, 0, 0, 0]),
    ("request_key", libc::SYS_request_key, [0, 0, 0, 0, 0]),
    // What belongs to the whole device.
    ("sethostname", libc::SYS_sethostname, [0, NOTHING, 0, 0, 0]),
    ("settimeofday", libc::SYS_settimeofday, [0, 0, 0, 0, 0]),
    ("clock_settime", libc::SYS_clock_settime, [0, 0, 0, 0, 0]),
    ("swapon", libc::SYS_swapon, [0, 0, 0, 0, 0]),
    ("acct", libc::SYS_acct, [1, 0, 0, 0, 0]),
    ("syslog", libc::SYS_syslog, [NOTHING, 0, 0, 0, 0]),
    ("quotactl", libc::SYS_quotactl, [NOTHING, 0, 0, 0, 0]),
    ("vhangup", libc::SYS_vhangup, [0, 0, 0, 0, 0]),
    #[cfg(target_arch = "x86_64")]
    ("iopl", libc::SYS_iopl, [4, 0, 0, 0, 0]),
    // Users, nodes and handles.
    ("setuid", libc::SYS_setuid, [0, 0, 0, 0, 0]),
    ("setresuid", libc::SYS_setresuid, [0, 0, 0, 0, 0]),
    ("setgroups", libc::SYS_setgroups, [NOTHING, 0, 0, 0, 0]),
    ("capset", libc::SYS_capset, [0, 0, 0, 0, 0]),
    ("mknodat", libc::SYS_mknodat, [NOTHING, 0, 0, 0, 0]),
    (
        "open_by_handle_at",
        libc::SYS_open_by_handle_at,
        [NOTHING, 0, 0, 0, 0],
    ),
    (
        "name_to_handle_at",
        libc::SYS_name_to_handle_at,
        [NOTHING, 0, 0, 0, 0],
    ),
    (
        "fanotify_init",
        libc::SYS_fanotify_init,
        [NOTHING, NOTHING, 0, 0, 0],
    ),
    (
        "personality",
        libc::SYS_personality,
        [0xffff_ffff, 0, 0, 0, 0],
    ),
];

/// Tries each call.
pub(super) fn all() -> Vec<Attempt> {
    let mut attempts: Vec<_> = CALLS
        .iter()
        .map(|&(name, number, [a, b, c, d, e])| {
            // SAFETY: none of these calls writes to memory of this process with these arguments:
            // what they take for addresses is null, and null is never mapped.
            let result = unsafe { libc::syscall(number, a, b, c, d, e) };
            judge(name, result)
        })
        .collect();
    attempts.push(judge("clone", clone_with_user_namespace()));
    attempts
}

/// Makes a process in a user namespace of its own, in which it would be root.
fn clone_with_user_namespace() -> libc::c_long {
    let flags = libc::CLONE_NEWUSER | libc::SIGCHLD;
    // SAFETY: without CLONE_VM and with no stack given the child is a copy of this process, which
    // has one thread; it ends at once.
    unsafe {
        let result = libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0);
        if result == 0 {
            libc::_exit(0);
        }
        result
    }
}

fn judge(name: &str, result: libc::c_long) -> Attempt {
    let error = (result < 0).then(io::Error::last_os_error);
    Attempt {
        allowed: error
            .as_ref()
            .is_none_or(|error| error.raw_os_error() != Some(libc::EPERM)),
        what: format!("system call {name}"),
        answer: error.map_or_else(|| format!("answered {result}"), |error| error.to_string()),
    }
}
