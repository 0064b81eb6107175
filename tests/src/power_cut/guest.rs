//! Running the [`writer`](super::writer) in a guest with a recorded disk.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use xtask::image::initramfs::Archive;
use xtask::progress::Progress;

use super::recorder::Recording;
use super::writer::Syncs;

/// Everything that can go wrong here ends the test, with a sentence.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The size of the guest's disk: one ext4 file system, as small as a journal allows.
const DISK: u64 = 64 << 20;

/// How long a guest may take for anything, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(300);

/// What a guest starts from.
#[derive(Debug)]
pub struct Guest {
    kernel: PathBuf,
    initramfs: PathBuf,
}

impl Guest {
    /// Packs `writer`, the program of that name, into `folder`, to be started by the kernel of the phone in
    /// QEMU, which has every driver that is needed built in.
    pub fn pack(folder: &Path, writer: &Path) -> Result<Guest> {
        let root = xtask::paths::repository()?;
        let product = xtask::product::Product::load(&root, "qemu-phone")?;
        let (kernel, _) = product.hardware()?;
        let kernel = xtask::kernel::find(&root, kernel, true, &Progress::default())?.image;
        let mut archive = Archive::new(Vec::new());
        archive.file("init", 0o755, &std::fs::read(writer)?)?;
        let initramfs = folder.join("initramfs");
        std::fs::write(&initramfs, archive.finish()?)?;
        Ok(Guest { kernel, initramfs })
    }
}

/// What a run of the writer left.
pub struct Written {
    /// The disk as it was before.
    pub before: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// What was written, and when what was acknowledged.
    pub recording: Recording,
}

/// Runs the writer as process 1 of `guest`, lets it replace its value `count` times, and ends it as a
/// power cut does.
///
/// `folder` takes the disk, the record and the guest's messages.
pub fn run(folder: &Path, guest: &Guest, syncs: Syncs, count: u64) -> Result<Written> {
    let before = folder.join("before");
    std::fs::File::create(&before)?.set_len(DISK)?;
    let made = Command::new("/sbin/mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-J", "size=4"])
        .arg(&before)
        .status()?;
    if !made.success() {
        return Err("mke2fs could not make the guest's file system".into());
    }
    let disk = folder.join("disk");
    std::fs::copy(&before, &disk)?;
    let mut recording = Recording::create(&folder.join("record"))?;
    let socket = folder.join("port");
    let messages = folder.join("messages");
    let mut running = Running(
        Command::new("qemu-system-x86_64")
            .args([
                "-M",
                "q35",
                "-accel",
                "tcg,thread=multi",
                "-cpu",
                "max",
                "-m",
                "256",
                "-nodefaults",
                "-no-user-config",
            ])
            .args(["-display", "none", "-no-reboot"])
            .arg("-kernel")
            .arg(&guest.kernel)
            .arg("-initrd")
            .arg(&guest.initramfs)
            .args([
                "-append",
                &format!(
                    "console=ttyS0 quiet panic=-1 rdinit=/init -- {}",
                    syncs.word()
                ),
            ])
            .arg("-serial")
            .arg(format!("file:{}", messages.display()))
            .args(recording.arguments(&disk, "disk"))
            .args([
                "-device",
                "virtio-blk-pci,drive=disk",
                "-device",
                "virtio-serial-pci",
                "-chardev",
            ])
            .arg(format!(
                "socket,id=port,path={},server=on,wait=off",
                socket.display()
            ))
            .args(["-device", "virtserialport,chardev=port"])
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(folder.join("qemu"))?)
            .spawn()?,
    );
    let outcome = converse(&mut running, &socket, &mut recording, count);
    drop(running);
    outcome.map_err(|error| {
        let told = std::fs::read_to_string(&messages).unwrap_or_default()
            + &std::fs::read_to_string(folder.join("qemu")).unwrap_or_default();
        format!("{error}; the guest's last words:\n{told}")
    })?;
    Ok(Written {
        before,
        size: DISK,
        recording,
    })
}

fn converse(
    guest: &mut Running,
    socket: &Path,
    recording: &mut Recording,
    count: u64,
) -> Result<()> {
    let mut port = guest.connect(socket)?;
    port.set_read_timeout(Some(PATIENCE))?;
    let mut answers = BufReader::new(port.try_clone()?).lines();
    let mut expect = |wanted: &str| -> Result<()> {
        let answer = answers.next().ok_or("the guest has ended")??;
        if answer == wanted {
            Ok(())
        } else {
            Err(format!("the guest answered {answer:?} and not {wanted:?}").into())
        }
    };
    expect("ready")?;
    for number in 1..=count {
        writeln!(port, "{number}")?;
        expect(&number.to_string())?;
        recording.acknowledge()?;
    }
    Ok(())
}

/// A guest that never outlives its test.
struct Running(Child);

impl Running {
    fn connect(&mut self, socket: &Path) -> Result<UnixStream> {
        let limit = Instant::now() + PATIENCE;
        loop {
            match UnixStream::connect(socket) {
                Ok(stream) => return Ok(stream),
                Err(error) if Instant::now() > limit => {
                    return Err(format!("connecting to the guest: {error}").into());
                }
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
            if let Some(status) = self.0.try_wait()? {
                return Err(format!("QEMU ended at once ({status})").into());
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
