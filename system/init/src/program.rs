//! What the program does, by where it finds itself.

use std::process::ExitCode;

use anyhow::Result;

use crate::{boot, fatal};

/// Runs as process 1 of a device, or as the arguments say.
pub fn main() -> ExitCode {
    if std::process::id() == 1 {
        process_one()
    }
    eprintln!("init: this is process 1 of HyperOS");
    ExitCode::from(2)
}

/// The device's process 1, which never returns: whatever it ends with, the device restarts.
fn process_one() -> ! {
    // The last line of defence. Nothing is known to panic; if something does, say so and restart
    // in an orderly way rather than have the kernel panic.
    let ended = std::panic::catch_unwind(|| -> Result<std::convert::Infallible> {
        if boot::initramfs::is_here()? {
            return boot::initramfs::run();
        }
        device()
    });
    match ended {
        Ok(Ok(never)) => match never {},
        Ok(Err(error)) => fatal::give_up(format_args!("{error:#}")),
        Err(panic) => fatal::give_up(format_args!(
            "process 1 panicked: {}",
            panic
                .downcast_ref::<&str>()
                .copied()
                .or(panic.downcast_ref::<String>().map(String::as_str))
                .unwrap_or("without a message")
        )),
    }
}

fn device() -> Result<std::convert::Infallible> {
    let events = crate::device::uevent::UeventSocket::open()?;
    boot::root::prepare(&boot::root::host_name(std::path::Path::new("/system")))?;
    if let Some(reason) = boot::data::mount_data(&events)? {
        fatal::say(format_args!("/data is in memory: {reason}"));
    }
    fatal::say("ready");
    loop {
        std::thread::park();
    }
}
