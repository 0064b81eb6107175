//! The command line of QEMU.

use std::{ffi::OsString, path::Path};

use anyhow::Result;

use super::{Accelerator, Boot, Disk, Network, Options, Show, console::SOCKET as CONSOLE_SOCKET};

/// QEMU's own socket, in the machine's folder.
pub(super) const QMP_SOCKET: &str = "qmp.socket";

/// The same for others than who started the machine: `cargo xtask shot`.
pub(super) const VIEWER_SOCKET: &str = "viewer.socket";

/// What kernel and `init` say, in the machine's folder.
pub(super) const SERIAL_LOG: &str = "serial.log";

const FIRMWARE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const SECURE_FIRMWARE: &str = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd";
pub(super) const FIRMWARE_VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// The arguments that make the machine of `options`.
pub(super) fn arguments(options: &Options) -> Result<Vec<OsString>> {
    let accelerator = match options.accelerator {
        Some(accelerator) => accelerator,
        None => Accelerator::probe()?,
    };
    let mut list = List(Vec::new());
    list.add([
        "-nodefaults",
        "-no-user-config",
        "-machine",
        match options.boot {
            // Only firmware may write its variables then, in the processor's own mode for it.
            Boot::SecureBoot(_) => "q35,vmport=off,smm=on",
            _ => "q35,vmport=off",
        },
    ]);
    list.add(accelerator.arguments());
    list.add([
        "-m",
        &options.memory.mebibytes().to_string(),
        "-smp",
        &options.processors.to_string(),
    ]);
    list.add(["-rtc", "base=utc"]);

    match &options.boot {
        Boot::Firmware | Boot::SecureBoot(_) => {
            let firmware = if options.boot == Boot::Firmware {
                FIRMWARE
            } else {
                list.add(["-global", "driver=cfi.pflash01,property=secure,value=on"]);
                SECURE_FIRMWARE
            };
            list.add([
                "-drive",
                &format!("if=pflash,unit=0,format=raw,readonly=on,file={firmware}"),
            ]);
            list.add([
                "-drive",
                &format!(
                    "if=pflash,unit=1,format=raw,file={}",
                    file(&options.firmware_variables)
                ),
            ]);
        }
        Boot::Direct {
            kernel,
            initramfs,
            command_line,
        } => {
            list.0.extend([
                "-kernel".into(),
                kernel.into(),
                "-initrd".into(),
                initramfs.into(),
            ]);
            list.add(["-append", command_line]);
        }
    }

    let drive = match &options.disk {
        Disk::Node(name) => name,
        Disk::File(path) | Disk::Forgetful(path) => {
            let snapshot = if matches!(options.disk, Disk::Forgetful(_)) {
                "on"
            } else {
                "off"
            };
            list.add([
                "-drive",
                &format!(
                    "id=disk,if=none,format=raw,discard=unmap,snapshot={snapshot},file={}",
                    file(path)
                ),
            ]);
            "disk"
        }
    };
    // Without an order from QEMU: OVMF would put it in the place of the one that the system keeps among
    // the firmware's variables, and with it the other slot.
    list.add(["-device", &format!("virtio-blk-pci,drive={drive}")]);
    if let Some(display) = options.display {
        // The VGA variant: OVMF crashes on the other one with a mode as tall as a phone's.
        list.add([
            "-device",
            &format!("virtio-vga,xres={},yres={}", display.width, display.height),
        ]);
        list.add([
            "-device",
            "virtio-tablet-pci",
            "-device",
            "virtio-keyboard-pci",
        ]);
    }
    let network = match &options.network {
        Network::None => None,
        Network::Own => Some(("user,id=network".to_owned(), 0)),
        Network::Shared(port) => Some((
            format!(
                "stream,id=network,server=off,addr.type=unix,addr.path={}",
                file(&port.socket)
            ),
            port.number,
        )),
    };
    if let Some((network, number)) = network {
        // Without its boot ROM: firmware would try to start from the network.
        let card = format!(
            "virtio-net-pci,netdev=network,romfile=,mac=52:54:00:12:34:{:02x}",
            0x56 + number
        );
        list.add(["-netdev", &network, "-device", &card]);
    }
    list.add(["-device", "virtio-rng-pci"]);
    list.add(["-device", "i6300esb", "-action", "watchdog=reset"]);
    list.add([
        "-device",
        "virtio-serial-pci",
        "-chardev",
        &format!("socket,id=console,server=on,wait=off,path={CONSOLE_SOCKET}"),
        "-device",
        "virtserialport,chardev=console,name=org.hyperos.console",
    ]);
    list.add([
        "-chardev",
        &format!("file,id=serial,path={SERIAL_LOG}"),
        "-serial",
        "chardev:serial",
    ]);
    for socket in [QMP_SOCKET, VIEWER_SOCKET] {
        list.add(["-qmp", &format!("unix:{socket},server=on,wait=off")]);
    }
    match options.show {
        Show::Nothing => list.add(["-display", "none"]),
        // GTK's window tells the device at once that its display has the size of the empty window.
        Show::Window => list.add(["-display", "sdl"]),
        Show::WebSocket => list.add(["-vnc", "127.0.0.1:0,to=99,websocket=on"]),
    }
    list.add(options.arguments.iter().map(String::as_str));
    Ok(list.0)
}

struct List(Vec<OsString>);

impl List {
    fn add<I: IntoIterator<Item: AsRef<str>>>(&mut self, arguments: I) {
        self.0.extend(
            arguments
                .into_iter()
                .map(|argument| argument.as_ref().into()),
        );
    }
}

/// A path as a value in an argument, where a comma would begin the next.
fn file(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}
