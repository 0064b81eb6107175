//! Process 1 of the guest of the power cut test: see `system_tests::power_cut::writer`.
//!
//! It mounts the first virtio disk, then takes lines with a number each from the first virtio serial
//! port, writes the value of that number, and answers with the number when `lib/store` says that it
//! is durable. Anything that fails goes to the kernel's console and ends the guest.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, mount};
use system_tests::power_cut::writer::{FILE, Syncs, Value};

fn main() {
    if let Err(error) = serve() {
        // Whatever there is for a console is the only place that is left.
        if let Ok(mut console) = OpenOptions::new().write(true).open("/dev/console") {
            let _ = writeln!(console, "power_cut_writer: {error}");
        }
    }
    // The end of process 1 makes the kernel panic, which ends the guest (`-no-reboot`, `panic=-1`).
}

fn serve() -> Result<(), Box<dyn std::error::Error>> {
    let syncs = std::env::args()
        .find_map(|word| Syncs::from_word(&word))
        .ok_or("no word says which syncs to leave in")?;
    for folder in ["/dev", "/data"] {
        std::fs::create_dir_all(folder)?;
    }
    mount("none", "/dev", "devtmpfs", MountFlags::empty(), None)?;
    wait_for(Path::new("/dev/vda"))?;
    // Without ext4's habit of flushing a file that is renamed over another, so that nothing but our
    // own syncs keeps the promise.
    mount(
        "/dev/vda",
        "/data",
        "ext4",
        MountFlags::empty(),
        Some(c"noauto_da_alloc"),
    )?;
    wait_for(Path::new("/dev/vport1p1"))?;
    let port = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/vport1p1")?;
    let mut store = store::open_in::<Value, Syncs>(syncs, &Path::new("/data").join(FILE))?.store;
    let mut answers = port.try_clone()?;
    writeln!(answers, "ready")?;
    for line in BufReader::new(port).lines() {
        let number = line?.trim().parse()?;
        store.replace(Value::of(number))?;
        writeln!(answers, "{number}")?;
    }
    Ok(())
}

/// Drivers find their devices a moment after process 1 starts.
fn wait_for(path: &Path) -> Result<(), String> {
    let limit = Instant::now() + Duration::from_secs(60);
    while !path.exists() {
        if Instant::now() > limit {
            return Err(format!("there is no {}", path.display()));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
