//! The system calls that a service may make.
//!
//! The list is what a program of this system can have a use for: files, memory, threads, sockets,
//! waiting, time. What it leaves out is what attacks on the kernel are made of: mounting, modules,
//! tracing, keys, namespaces, BPF, performance counters, io_uring, and sockets of odd families.
//! A call that is not on the list fails with EPERM, and the kernel notes it, whence it comes to the
//! log; it does not end the program, because a library that tries something new and does
//! without must not cost a service.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use serde::{Deserialize, Serialize};

use crate::manifest::{Access, Capability};

/// What a service may do beyond what every service may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowed {
    /// Sockets of the Internet, and those by which links are set up.
    pub network: bool,
    /// Raw sockets.
    pub raw: bool,
    /// The events of the kernel about devices, for who is given devices that come and go.
    pub devices: bool,
    /// Setting the clock.
    pub clock: bool,
    /// Raising priorities.
    pub priority: bool,
}

impl Allowed {
    /// Reads it out of a manifest.
    pub fn new(access: &Access) -> Self {
        let has = |capability| access.capabilities.contains(&capability);
        Self {
            network: access.network,
            raw: access.network && has(Capability::NetRaw),
            devices: !access.devices.is_empty(),
            clock: has(Capability::SysTime),
            priority: has(Capability::SysNice),
        }
    }

    /// Holds the calling process, and all that it starts, to the list, for good.
    ///
    /// # Errors
    /// When the kernel has no filters for system calls.
    pub fn restrict(self) -> Result<()> {
        // clone3 carries its flags in memory, where a filter cannot look. The C library takes
        // "no such call" as a hint to use clone instead, so that goes by silently.
        install(&only_clone3(SeccompAction::Errno(libc::ENOSYS as u32))?, 0)?;
        install(&self.program()?, libc::SECCOMP_FILTER_FLAG_LOG)
    }

    /// The filter, compiled.
    ///
    /// # Errors
    /// When the processor is one for which there is none.
    pub fn program(self) -> Result<BpfProgram> {
        let mut rules: BTreeMap<i64, Vec<SeccompRule>> = EVERYONE
            .iter()
            .map(|&number| (number, Vec::new()))
            .collect();
        rules.insert(libc::SYS_socket, self.sockets()?);
        rules.insert(libc::SYS_socketpair, vec![family(libc::AF_UNIX)?]);
        rules.insert(libc::SYS_clone, vec![no_namespaces()?]);
        if self.clock {
            let calls = [
                libc::SYS_clock_settime,
                libc::SYS_clock_adjtime,
                libc::SYS_settimeofday,
                libc::SYS_adjtimex,
            ];
            rules.extend(calls.map(|number| (number, Vec::new())));
        }
        if self.priority {
            let calls = [
                libc::SYS_sched_setscheduler,
                libc::SYS_sched_setparam,
                libc::SYS_setpriority,
            ];
            rules.extend(calls.map(|number| (number, Vec::new())));
        }
        compile(
            rules,
            SeccompAction::Errno(libc::EPERM as u32),
            SeccompAction::Allow,
        )
    }

    fn sockets(self) -> Result<Vec<SeccompRule>> {
        let mut rules = vec![family(libc::AF_UNIX)?];
        if self.network {
            for domain in [libc::AF_INET, libc::AF_INET6] {
                for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM] {
                    rules.push(rule(vec![equals(0, domain)?, kind_is(kind)?])?);
                }
            }
            // Netlink's protocol 0 is that of links and addresses; its sockets are raw by nature.
            rules.push(rule(vec![
                equals(0, libc::AF_NETLINK)?,
                equals(2, libc::NETLINK_ROUTE)?,
            ])?);
        }
        if self.devices {
            let events = equals(2, libc::NETLINK_KOBJECT_UEVENT)?;
            rules.push(rule(vec![equals(0, libc::AF_NETLINK)?, events])?);
        }
        if self.raw {
            for domain in [libc::AF_INET, libc::AF_INET6] {
                rules.push(rule(vec![equals(0, domain)?, kind_is(libc::SOCK_RAW)?])?);
            }
            rules.push(family(libc::AF_PACKET)?);
        }
        Ok(rules)
    }
}

fn rule(conditions: Vec<SeccompCondition>) -> Result<SeccompRule> {
    SeccompRule::new(conditions).context("making a rule for a system call")
}

fn condition(argument: u8, operation: SeccompCmpOp, value: i32) -> Result<SeccompCondition> {
    SeccompCondition::new(
        argument,
        SeccompCmpArgLen::Dword,
        operation,
        u64::from(value.cast_unsigned()),
    )
    .context("making a condition on a system call")
}

fn equals(argument: u8, value: i32) -> Result<SeccompCondition> {
    condition(argument, SeccompCmpOp::Eq, value)
}

fn family(domain: i32) -> Result<SeccompRule> {
    rule(vec![equals(0, domain)?])
}

/// The kind of a socket stands in the lowest four bits, flags above.
fn kind_is(kind: i32) -> Result<SeccompCondition> {
    condition(1, SeccompCmpOp::MaskedEq(0xf), kind)
}

fn no_namespaces() -> Result<SeccompRule> {
    let flags = libc::CLONE_NEWCGROUP
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWUTS;
    rule(vec![condition(
        0,
        SeccompCmpOp::MaskedEq(u64::from(flags.cast_unsigned())),
        0,
    )?])
}

fn only_clone3(action: SeccompAction) -> Result<BpfProgram> {
    compile(
        BTreeMap::from([(libc::SYS_clone3, Vec::new())]),
        SeccompAction::Allow,
        action,
    )
}

fn compile(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    then: SeccompAction,
) -> Result<BpfProgram> {
    let processor =
        TargetArch::try_from(std::env::consts::ARCH).context("choosing the filter's processor")?;
    SeccompFilter::new(rules, otherwise, then, processor)
        .and_then(BpfProgram::try_from)
        .context("compiling the list of system calls")
}

/// `seccompiler` has no way to ask for the log flag, hence this.
fn install(program: &BpfProgram, flags: libc::c_ulong) -> Result<()> {
    let length = program
        .len()
        .try_into()
        .context("the list of system calls is too long")?;
    let filter = libc::sock_fprog {
        len: length,
        filter: program.as_ptr().cast_mut().cast(),
    };
    // SAFETY: `filter` describes the instructions of `program`, which has the layout of the
    // kernel's `sock_filter` and outlives the call; the kernel copies and does not change them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &filter,
        )
    };
    if result != 0 {
        return Err(std::io::Error::last_os_error())
            .context("holding the service to its list of system calls");
    }
    Ok(())
}

/// What every service may call, whatever the arguments.
const EVERYONE: &[i64] = &[
    // Files.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_getdents64,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_ftruncate,
    libc::SYS_truncate,
    libc::SYS_fallocate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_syncfs,
    libc::SYS_sync_file_range,
    libc::SYS_fadvise64,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_umask,
    libc::SYS_flock,
    libc::SYS_fcntl,
    libc::SYS_ioctl,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    libc::SYS_splice,
    libc::SYS_tee,
    libc::SYS_sendfile,
    libc::SYS_copy_file_range,
    libc::SYS_chdir,
    libc::SYS_fchdir,
    libc::SYS_getcwd,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_add_watch,
    libc::SYS_inotify_rm_watch,
    libc::SYS_memfd_create,
    libc::SYS_readahead,
    libc::SYS_fgetxattr,
    libc::SYS_getxattr,
    // Memory.
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_mlock,
    libc::SYS_mlock2,
    libc::SYS_munlock,
    libc::SYS_msync,
    libc::SYS_mincore,
    libc::SYS_membarrier,
    // Processes and threads, its own.
    // clone3 never comes this far: see `restrict`.
    libc::SYS_clone3,
    libc::SYS_execve,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_kill,
    libc::SYS_tgkill,
    libc::SYS_tkill,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getresuid,
    libc::SYS_getresgid,
    libc::SYS_getgroups,
    libc::SYS_getpgid,
    libc::SYS_getsid,
    libc::SYS_setsid,
    libc::SYS_setpgid,
    libc::SYS_capget,
    libc::SYS_prctl,
    libc::SYS_set_tid_address,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_rseq,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_getpriority,
    libc::SYS_prlimit64,
    libc::SYS_getrlimit,
    libc::SYS_getrusage,
    libc::SYS_times,
    libc::SYS_getcpu,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_getrandom,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_restart_syscall,
    // Signals.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_rt_sigsuspend,
    libc::SYS_sigaltstack,
    libc::SYS_signalfd4,
    // Waiting and time.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_eventfd2,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_setitimer,
    libc::SYS_getitimer,
    libc::SYS_timer_create,
    libc::SYS_timer_settime,
    libc::SYS_timer_gettime,
    libc::SYS_timer_getoverrun,
    libc::SYS_timer_delete,
    // Sockets, once made.
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvmmsg,
    libc::SYS_shutdown,
    // What only x86-64 has, beside the calls above that took their place.
    #[cfg(target_arch = "x86_64")]
    libc::SYS_arch_prctl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lstat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_access,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mkdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rmdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_link,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_symlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_select,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_create,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_eventfd,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_pipe,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_dup2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_getpgrp,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_time,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_getdents,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_alarm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_pause,
];
