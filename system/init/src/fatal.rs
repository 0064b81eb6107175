//! The last resort: saying why a device cannot start, and starting it again.

use std::fmt::Display;
use std::io::Write;
use std::time::Duration;

use rustix::system::RebootCommand;

/// How long the reason stays on the console before the device restarts.
const TIME_TO_READ: Duration = Duration::from_secs(10);

/// Writes a line to the console, whatever state the system is in.
///
/// Process 1 may have been started without standard streams, and a console that cannot be
/// written must never be the reason why a device does not start: failures are dropped.
pub fn say(message: impl Display) {
    let line = format!("init: {message}\r\n");
    let console = std::fs::OpenOptions::new().write(true).open("/dev/console");
    match console {
        Ok(mut console) => drop(console.write_all(line.as_bytes())),
        Err(_) => drop(std::io::stderr().write_all(line.as_bytes())),
    }
}

/// Says why the device cannot go on, leaves time to read it, and restarts the device.
///
/// A restart is the best that process 1 can do: the firmware may choose the other slot.
pub fn give_up(reason: impl Display) -> ! {
    say(format_args!("HyperOS cannot start: {reason}"));
    say(format_args!(
        "restarting in {} seconds",
        TIME_TO_READ.as_secs()
    ));
    std::thread::sleep(TIME_TO_READ);
    restart_now()
}

/// Says why the device starts again, and has it do so at once: something else is going to start.
pub fn restart(reason: impl Display) -> ! {
    say(reason);
    restart_now()
}

fn restart_now() -> ! {
    rustix::fs::sync();
    if let Err(error) = rustix::system::reboot(RebootCommand::Restart) {
        say(format_args!(
            "the kernel refused to restart the device: {error}"
        ));
    }
    // Ending process 1 is the one other way to have the kernel restart the device (`panic=`).
    std::process::exit(1)
}
