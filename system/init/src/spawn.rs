//! Making the process of a service.
//!
//! The kernel is asked for everything at once (`clone3`): new namespaces, the control group in
//! which the process begins its life, and a copy of this process. The copy touches nothing but
//! descriptors and at once runs `init enter`, which does the rest as an ordinary program.
//!
//! A service without network has an empty network namespace. It is made with the service's first
//! process and kept for those that follow ([`Child::network`]), which spares the kernel to take one
//! apart while it makes the next. What that is worth has not been measured by itself.

use std::ffi::CString;
use std::io::{Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use rustix::fs::{MemfdFlags, Mode, OFlags};
use rustix::pipe::PipeFlags;

use crate::sandbox::Plan;
use crate::sandbox::enter::FIRST_SOCKET;

/// A service's process, just made.
#[derive(Debug)]
pub struct Child {
    /// Its process id, as this process sees it.
    pub process: u32,
    /// What it prints.
    pub output: OwnedFd,
    /// What it prints to standard error.
    pub errors: OwnedFd,
    /// Closes when its program runs; before, carries the reason when it cannot.
    pub status: OwnedFd,
    /// The network namespace that was made for it, to be given to the next one.
    pub network: Option<OwnedFd>,
}

/// Copies of descriptors are made at or above this number, clear of the places they go to.
const CLEAR: RawFd = 128;

/// `CLONE_CLEAR_SIGHAND` and `CLONE_INTO_CGROUP`, which `libc` has in too narrow a type.
const CLEAR_SIGNAL_HANDLERS: u64 = 1 << 32;
const INTO_CONTROL_GROUP: u64 = 1 << 33;

/// Makes the process of a service, in the network namespace `network` of an earlier one if it is
/// to have one of its own.
///
/// # Errors
/// When the kernel refuses a process, a namespace or the control group.
pub fn spawn(
    init: &Path,
    plan: &Plan,
    sockets: &[BorrowedFd<'_>],
    group: Option<&Path>,
    network: Option<BorrowedFd<'_>>,
) -> Result<Child> {
    if sockets.len() > 64 {
        bail!("a service cannot serve {} interfaces", sockets.len());
    }
    let text = toml::to_string(plan).context("writing down the plan of the sandbox")?;
    let mut plan_file = std::fs::File::from(
        rustix::fs::memfd_create("plan", MemfdFlags::CLOEXEC)
            .context("making room for the plan")?,
    );
    plan_file
        .write_all(text.as_bytes())
        .and_then(|()| plan_file.rewind())
        .context("writing down the plan")?;
    let pipe = || rustix::pipe::pipe_with(PipeFlags::CLOEXEC).context("making a pipe");
    let (output, output_end) = pipe()?;
    let (errors, errors_end) = pipe()?;
    let (status, status_end) = pipe()?;
    let nothing = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .context("opening /dev/null")?;

    let mut ends = vec![nothing.as_fd(), output_end.as_fd(), errors_end.as_fd()];
    ends.extend(sockets);
    ends.extend([plan_file.as_fd(), status_end.as_fd()]);
    let ends = ends
        .into_iter()
        .map(|end| rustix::io::fcntl_dupfd_cloexec(end, CLEAR).context("copying a descriptor"))
        .collect::<Result<Vec<OwnedFd>>>()?;
    debug_assert_eq!(FIRST_SOCKET, 3);

    let group = group
        .map(|folder| {
            rustix::fs::open(
                folder,
                OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
            )
            .with_context(|| format!("opening the control group {}", folder.display()))
        })
        .transpose()?;
    let program =
        CString::new(init.as_os_str().as_bytes()).context("the path of init contains NUL")?;
    let arguments = ["init", "enter", &sockets.len().to_string()]
        .map(|argument| CString::new(argument).unwrap_or_default());
    let own_network = plan.namespaces[3];
    let network = network.filter(|_| own_network);
    let mut flags = flags(plan);
    if network.is_some() {
        flags &= !u64::from(libc::CLONE_NEWNET.cast_unsigned());
    }
    let process = clone_and_run(flags, group.as_ref(), network, &ends, &program, &arguments)
        .with_context(|| format!("making the process of {}", plan.service))?;
    // Its process is there until this program takes it in. One that is over already has none left,
    // and the next one makes its own.
    let made = (own_network && network.is_none())
        .then(|| {
            let file = format!("/proc/{process}/ns/net");
            rustix::fs::open(file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()
        })
        .flatten();
    Ok(Child {
        process,
        output,
        errors,
        status,
        network: made,
    })
}

/// The namespaces of a plan, as `clone3` takes them.
fn flags(plan: &Plan) -> u64 {
    let [process, ipc, name, network] = plan.namespaces;
    let flags = [
        (process, libc::CLONE_NEWPID),
        (ipc, libc::CLONE_NEWIPC),
        (name, libc::CLONE_NEWUTS),
        (network, libc::CLONE_NEWNET),
        (plan.files.is_some(), libc::CLONE_NEWNS),
    ];
    flags
        .into_iter()
        .filter(|(on, _)| *on)
        .fold(0, |flags, (_, flag)| {
            flags | u64::from(flag.cast_unsigned())
        })
}

fn clone_and_run(
    flags: u64,
    group: Option<&OwnedFd>,
    network: Option<BorrowedFd<'_>>,
    ends: &[OwnedFd],
    program: &CString,
    arguments: &[CString],
) -> std::io::Result<u32> {
    // Everything that the copy needs is made before it: the copy may not allocate, for another
    // thread may have held the allocator's lock when the copy was made.
    let mut pointers: Vec<_> = arguments.iter().map(|argument| argument.as_ptr()).collect();
    pointers.push(std::ptr::null());
    let environment: [*const libc::c_char; 1] = [std::ptr::null()];
    let ends: Vec<RawFd> = ends.iter().map(AsRawFd::as_raw_fd).collect();
    // SAFETY: an all-zero `clone_args` is valid and asks for nothing.
    let mut request: libc::clone_args = unsafe { std::mem::zeroed() };
    request.flags = flags | CLEAR_SIGNAL_HANDLERS;
    request.exit_signal = libc::SIGCHLD as u64;
    if let Some(group) = group {
        request.flags |= INTO_CONTROL_GROUP;
        request.cgroup = group.as_raw_fd() as u64;
    }
    let network = network.map_or(-1, |network| network.as_raw_fd());
    // SAFETY: without CLONE_VM the copy has its own memory, as after fork. It calls only setns, dup2,
    // execve and _exit, which are safe in a copy of a process with threads, on values that were
    // made above and that outlive it; it never returns.
    let result = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &mut request,
            size_of::<libc::clone_args>(),
        )
    };
    if result == 0 {
        // SAFETY: as above. The pointers end with a null pointer, as execve expects.
        unsafe {
            if network >= 0 && libc::setns(network, libc::CLONE_NEWNET) < 0 {
                libc::_exit(125);
            }
            for (place, &end) in ends.iter().enumerate() {
                if libc::dup2(end, place as RawFd) < 0 {
                    libc::_exit(126);
                }
            }
            libc::execve(program.as_ptr(), pointers.as_ptr(), environment.as_ptr());
            libc::_exit(127)
        }
    }
    if result < 0 {
        return Err(std::io::Error::last_os_error());
    }
    u32::try_from(result).map_err(std::io::Error::other)
}
