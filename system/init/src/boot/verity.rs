//! Setting up dm-verity: every block of the root is compared with its hash when it is read.
//!
//! The kernel's device mapper is spoken to by `ioctl` on `/dev/mapper/control`. A call's argument
//! is a `struct dm_ioctl` (linux/dm-ioctl.h, 312 bytes), followed for a table by a
//! `struct dm_target_spec` (40 bytes) and the target's parameters as a text ended by NUL:
//!
//! | offset | bytes | field of `dm_ioctl` |
//! |---|---|---|
//! | 0 | 3 × 4 | version of the interface, 4.0.0 |
//! | 12 | 4 | size of the whole argument |
//! | 16 | 4 | offset of what follows the header |
//! | 20 | 4 | number of targets |
//! | 24 | 4 | open count (out) |
//! | 28 | 4 | flags |
//! | 32 | 2 × 4 | event number, padding |
//! | 40 | 8 | device number (out) |
//! | 48 | 128 | name |
//! | 176 | 129 + 7 | identifier, padding |
//!
//! | offset | bytes | field of `dm_target_spec` |
//! |---|---|---|
//! | 0 | 8 | first sector of the mapped device |
//! | 8 | 8 | length in sectors |
//! | 16 | 4 | status (out) |
//! | 20 | 4 | offset of the next target, from this one |
//! | 24 | 16 | kind of target |

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::command_line::Verity;

const HEADER: usize = 312;
const TARGET: usize = 40;
/// `DM_READONLY_FLAG`
const READ_ONLY: u32 = 1;
/// Data and hash blocks; what `hyper.root-blocks` counts.
const BLOCK: u64 = 4096;
const SECTOR: u64 = 512;

/// The calls that are needed, by their number in linux/dm-ioctl.h.
#[derive(Clone, Copy, Debug)]
enum Call {
    Create = 3,
    Remove = 4,
    /// `DM_DEV_SUSPEND`, which without the suspend flag starts the loaded table.
    Resume = 6,
    Load = 9,
}

impl Call {
    /// `_IOWR(0xfd, number, struct dm_ioctl)`
    const fn request(self) -> u32 {
        (3 << 30) | ((HEADER as u32) << 16) | (0xfd << 8) | self as u32
    }
}

/// Makes a read-only device that answers only blocks which agree with the root hash, and says
/// where its node is. A read of any other block fails.
///
/// # Errors
/// When the kernel has no dm-verity or refuses the tree.
pub fn open(name: &str, partition: &Path, verity: &Verity) -> Result<PathBuf> {
    let control = File::options()
        .read(true)
        .write(true)
        .open("/dev/mapper/control")
        .context("opening /dev/mapper/control, by which a verified root is set up")?;
    call(&control, Call::Create, argument(name, READ_ONLY, None)?)
        .context("making the verified device")?;
    let started = call(
        &control,
        Call::Load,
        argument(name, READ_ONLY, Some((verity, partition)))?,
    )
    .with_context(|| format!("loading the verity tree of {}", partition.display()))
    .and_then(|_| {
        call(&control, Call::Resume, argument(name, 0, None)?)
            .context("starting the verified device")
    });
    match started {
        Ok(answer) => Ok(PathBuf::from(format!("/dev/dm-{}", minor(&answer)))),
        Err(error) => {
            let _ = call(&control, Call::Remove, argument(name, 0, None)?);
            Err(error)
        }
    }
}

/// Takes a verified device away that nobody uses.
///
/// # Errors
/// When the kernel refuses.
pub fn close(name: &str) -> Result<()> {
    let control = File::options()
        .read(true)
        .write(true)
        .open("/dev/mapper/control")
        .context("opening /dev/mapper/control")?;
    call(&control, Call::Remove, argument(name, 0, None)?)
        .map(drop)
        .with_context(|| format!("taking the verified device `{name}` away"))
}

/// The parameters of the kernel's verity target, as its documentation lists them.
fn parameters(verity: &Verity, partition: &Path) -> String {
    let Verity {
        root_hash,
        salt,
        data_blocks,
    } = verity;
    let device = partition.display();
    // The tree lies on the same partition, directly behind the data.
    format!(
        "1 {device} {device} {BLOCK} {BLOCK} {data_blocks} {data_blocks} sha256 {root_hash} {salt}"
    )
}

/// The argument of a call, as the tables above describe it.
fn argument(name: &str, flags: u32, table: Option<(&Verity, &Path)>) -> Result<Vec<u8>> {
    if name.is_empty() || name.len() > 127 {
        bail!("`{name}` is not a possible name of a mapped device");
    }
    let mut bytes = vec![0; HEADER];
    bytes[0..4].copy_from_slice(&4u32.to_ne_bytes());
    bytes[16..20].copy_from_slice(&(HEADER as u32).to_ne_bytes());
    bytes[20..24].copy_from_slice(&u32::from(table.is_some()).to_ne_bytes());
    bytes[28..32].copy_from_slice(&flags.to_ne_bytes());
    bytes[48..48 + name.len()].copy_from_slice(name.as_bytes());
    if let Some((verity, partition)) = table {
        let parameters = parameters(verity, partition);
        // The text, its NUL, and padding to the alignment of the next target.
        let length = (TARGET + parameters.len() + 1).next_multiple_of(8);
        let mut target = vec![0; length];
        target[8..16].copy_from_slice(&(verity.data_blocks * (BLOCK / SECTOR)).to_ne_bytes());
        target[20..24].copy_from_slice(&u32::try_from(length)?.to_ne_bytes());
        target[24..30].copy_from_slice(b"verity");
        target[TARGET..TARGET + parameters.len()].copy_from_slice(parameters.as_bytes());
        bytes.extend_from_slice(&target);
    }
    let size = u32::try_from(bytes.len())?;
    bytes[12..16].copy_from_slice(&size.to_ne_bytes());
    Ok(bytes)
}

/// Calls the device mapper and hands back what it wrote over the argument.
fn call(control: &File, call: Call, mut argument: Vec<u8>) -> Result<Vec<u8>> {
    // SAFETY: the device mapper reads and writes at most the `data_size` bytes that the header
    // names, which `argument` sets to the length of this buffer; the buffer outlives the call.
    let result = unsafe {
        libc::ioctl(
            control.as_raw_fd(),
            call.request() as libc::Ioctl,
            argument.as_mut_ptr(),
        )
    };
    if result < 0 {
        return Err(std::io::Error::last_os_error()).context("the kernel's device mapper refused");
    }
    Ok(argument)
}

/// The minor number of the mapped device, out of the `dev_t` in the answer.
fn minor(answer: &[u8]) -> u32 {
    let mut device = [0; 8];
    device.copy_from_slice(&answer[40..48]);
    // `huge_encode_dev`: minor bits 0–7 and 20–31.
    let device = u64::from_ne_bytes(device) as u32;
    (device & 0xff) | ((device >> 12) & !0xff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_argument_is_laid_out_as_the_kernel_reads_it() {
        let verity = Verity {
            root_hash: "ab".repeat(32),
            salt: "-".into(),
            data_blocks: 10,
        };
        let bytes = argument("root", READ_ONLY, Some((&verity, Path::new("/dev/vda3")))).unwrap();
        assert_eq!(
            u32::from_ne_bytes(bytes[12..16].try_into().unwrap()) as usize,
            bytes.len()
        );
        assert_eq!(&bytes[48..53], b"root\0");
        assert_eq!(bytes.len() % 8, 0);
        let target = &bytes[HEADER..];
        assert_eq!(u64::from_ne_bytes(target[8..16].try_into().unwrap()), 80);
        assert_eq!(&target[24..31], b"verity\0");
        let text = target[TARGET..].split(|&byte| byte == 0).next().unwrap();
        let expected = format!(
            "1 /dev/vda3 /dev/vda3 4096 4096 10 10 sha256 {} -",
            "ab".repeat(32)
        );
        assert_eq!(std::str::from_utf8(text).unwrap(), expected);
    }

    #[test]
    fn requests_are_those_of_the_kernel_headers() {
        assert_eq!(Call::Create.request(), 0xc138_fd03);
        assert_eq!(Call::Load.request(), 0xc138_fd09);
    }
}
