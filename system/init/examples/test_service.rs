//! A service that does to order what a service should not: for the tests of this crate.
//!
//! It serves `hyper:network/names`, whose one function takes a name and answers texts: here the
//! name is the order.

use std::fs::File;
use std::process::{Command, ExitCode};

use bus::Caller;
use rustix::mount::MountFlags;
use rustix::net::{AddressFamily, SocketType};
use tokio::signal::unix::{SignalKind, signal};

struct Orders;

impl bus::names::Handler for Orders {
    async fn resolve(&self, caller: Caller, order: String) -> Result<Vec<String>, String> {
        match order.as_str() {
            "process" => Ok(vec![std::process::id().to_string()]),
            "caller" => Ok(vec![
                caller.name(),
                caller.user().unwrap_or_default().to_string(),
            ]),
            // The one thread of this program: nothing is answered any more.
            "hang" => loop {
                std::thread::park();
            },
            "exit" => std::process::exit(3),
            "eat" => {
                let mut eaten = Vec::new();
                loop {
                    eaten.push(vec![1u8; 1 << 20]);
                    std::hint::black_box(&eaten);
                }
            }
            "talk" => {
                for number in 0..20_000 {
                    println!(
                        "<5>line {number} of many, to see what becomes of a log that is filled"
                    );
                }
                Ok(Vec::new())
            }
            "sandbox" => Ok(sandbox()),
            _ => Err(format!("no such order: {order}")),
        }
    }
}

/// Tries what a sandbox should refuse, and says what came of each.
fn sandbox() -> Vec<String> {
    let outcome = |what: &str, result: std::io::Result<()>| match result {
        Ok(()) => format!("{what}: done"),
        Err(error) => format!("{what}: {:?}", rustix::io::Errno::from_io_error(&error)),
    };
    let call = |result: i64| {
        if result < 0 {
            Err(std::io::Error::last_os_error())
        } else {
            Ok(())
        }
    };
    // SAFETY: unshare takes flags only.
    let unshare = call(unsafe { libc::unshare(libc::CLONE_NEWUSER) }.into());
    // SAFETY: PTRACE_TRACEME ignores its pointers.
    let trace = call(unsafe {
        libc::ptrace(
            libc::PTRACE_TRACEME,
            0,
            std::ptr::null_mut::<u8>(),
            std::ptr::null_mut::<u8>(),
        )
    });
    let mount = rustix::mount::mount("tmpfs", "/dev", "tmpfs", MountFlags::empty(), None);
    let raw = rustix::net::socket(AddressFamily::INET, SocketType::RAW, None);
    let inet = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None);
    let packet = rustix::net::socket(AddressFamily::PACKET, SocketType::RAW, None);
    let module = File::open("/dev/null")
        .and_then(|file| rustix::system::finit_module(&file, c"", 0).map_err(Into::into));
    let own = std::env::var("HYPER_DATA").unwrap_or_default();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |key: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .unwrap_or("?")
            .trim()
            .to_owned()
    };
    let list = |folder: &str| {
        let mut names: Vec<_> = std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names.join(" ")
    };
    vec![
        outcome("mount", mount.map_err(Into::into)),
        outcome("raw socket", raw.map(drop).map_err(Into::into)),
        outcome("internet socket", inet.map(drop).map_err(Into::into)),
        outcome("packet socket", packet.map(drop).map_err(Into::into)),
        outcome("module", module),
        outcome("unshare", unshare),
        outcome("trace", trace),
        outcome(
            "write own data",
            std::fs::write(format!("{own}/probe"), "x"),
        ),
        outcome("write /", std::fs::write("/probe", "x")),
        outcome("write /dev", std::fs::write("/dev/probe", "x")),
        outcome(
            "read other data",
            std::fs::read_dir("/data/other").map(drop),
        ),
        outcome("read log", std::fs::read_dir("/data/log").map(drop)),
        outcome("read init", File::open("/system/init").map(drop)),
        outcome(
            "run itself",
            Command::new("/proc/self/exe")
                .arg("nothing")
                .status()
                .map(drop),
        ),
        format!("user {} {}", field("Uid:"), field("Gid:")),
        format!("groups {}", field("Groups:")),
        format!(
            "capabilities {} {} {}",
            field("CapEff:"),
            field("CapBnd:"),
            field("CapAmb:")
        ),
        format!("no new privileges {}", field("NoNewPrivs:")),
        format!("process {}", std::process::id()),
        format!("root: {}", list("/")),
        format!("dev: {}", list("/dev")),
        format!("run: {}", list("/run")),
        format!("sockets: {}", list("/run/bus")),
        format!("data: {}", list("/data")),
    ]
}

async fn serve() -> std::io::Result<()> {
    let mut server = bus::Server::from_environment()?;
    server.serve(bus::names::interface(Orders));
    let mut end = signal(SignalKind::terminate())?;
    eprintln!("<6>ready");
    tokio::select! {
        result = server.run() => result,
        _ = end.recv() => Ok(()),
    }
}

async fn stubborn() -> std::io::Result<()> {
    let mut end = signal(SignalKind::terminate())?;
    loop {
        end.recv().await;
        eprintln!("<5>not now");
    }
}

fn main() -> ExitCode {
    let order = std::env::args().nth(1).unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = runtime.and_then(|runtime| match order.as_str() {
        "serve" => runtime.block_on(serve()),
        "stubborn" => runtime.block_on(stubborn()),
        "fail" => Err(std::io::Error::other("it fails, as it was told to")),
        _ => Ok(()),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("<3>{error}");
            ExitCode::FAILURE
        }
    }
}
