//! The Debian packages that the developer's machine needs, and why.

use std::{
    collections::BTreeSet,
    io::{IsTerminal as _, Write as _, stderr, stdin},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{process, progress::Progress};

/// What the machine is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Building programs and images.
    Image,
    /// Building a kernel.
    Kernel,
    /// Starting an emulated device.
    Run,
    /// Showing it in a window of its own.
    Window,
    /// Opening the screen of a layer on this desktop.
    Desktop,
    /// Checking what was built.
    Test,
    /// Looking for inputs that break it.
    Fuzz,
    /// Building the system that is measured beside ours.
    Peer,
    /// Laying the wires on which devices of a family are measured.
    BenchMesh,
    /// What they are measured beside.
    MeshPeers,
    /// What updates are measured beside.
    UpdatePeers,
}

/// A package of the developer's machine.
struct Requirement {
    package: &'static str,
    purpose: Purpose,
    reason: &'static str,
}

const fn requirement(purpose: Purpose, package: &'static str, reason: &'static str) -> Requirement {
    Requirement {
        package,
        purpose,
        reason,
    }
}

const REQUIREMENTS: &[Requirement] = &[
    requirement(
        Purpose::Peer,
        "mmdebstrap",
        "makes the peer's root from Debian packages",
    ),
    requirement(
        Purpose::Peer,
        "uidmap",
        "lets mmdebstrap work as an ordinary user",
    ),
    requirement(
        Purpose::Peer,
        "fakeroot",
        "keeps the owners of the peer's files while they are packed",
    ),
    requirement(
        Purpose::Image,
        "gcc",
        "links our programs and builds the C parts of crates",
    ),
    requirement(
        Purpose::Image,
        "libc6-dev",
        "is the C library that our programs contain",
    ),
    requirement(
        Purpose::Image,
        "binutils",
        "strips programs and makes the file that the firmware starts",
    ),
    requirement(
        Purpose::Image,
        "systemd-boot-efi",
        "has the first piece of that file",
    ),
    requirement(Purpose::Image, "erofs-utils", "makes the read-only root"),
    requirement(
        Purpose::Image,
        "dosfstools",
        "makes the partition that the firmware reads",
    ),
    requirement(Purpose::Image, "mtools", "fills it without being root"),
    requirement(Purpose::Image, "e2fsprogs", "makes the data partition"),
    requirement(Purpose::Image, "kmod", "knows which driver needs which"),
    requirement(Purpose::Image, "xz-utils", "unpacks Debian packages"),
    requirement(
        Purpose::Image,
        "python3-fonttools",
        "cuts fonts down to what the system writes",
    ),
    requirement(
        Purpose::Fuzz,
        "g++",
        "builds libFuzzer, which comes with its crate",
    ),
    requirement(Purpose::Kernel, "make", "builds the kernel"),
    requirement(Purpose::Kernel, "flex", "is used by the kernel's build"),
    requirement(Purpose::Kernel, "bison", "is used by the kernel's build"),
    requirement(Purpose::Kernel, "bc", "is used by the kernel's build"),
    requirement(Purpose::Kernel, "perl", "is used by the kernel's build"),
    requirement(
        Purpose::Kernel,
        "libelf-dev",
        "is used by the kernel's build",
    ),
    requirement(
        Purpose::Kernel,
        "libssl-dev",
        "makes the key of the kernel's modules",
    ),
    requirement(
        Purpose::Kernel,
        "openssl",
        "makes the key of the kernel's modules",
    ),
    requirement(Purpose::Kernel, "lz4", "compresses the kernel"),
    requirement(
        Purpose::Run,
        "qemu-system-x86",
        "is the machine that the device is emulated in",
    ),
    requirement(Purpose::Run, "ovmf", "is that machine's firmware"),
    requirement(Purpose::Run, "novnc", "shows its screen in the browser"),
    requirement(
        Purpose::Window,
        "qemu-system-gui",
        "shows its screen in a window",
    ),
    requirement(
        Purpose::Desktop,
        "libx11-xcb1",
        "opens the window on an X desktop",
    ),
    requirement(Purpose::Desktop, "libxcursor1", "shows the pointer in it"),
    requirement(Purpose::Desktop, "libxi6", "reads touches and the mouse"),
    requirement(Purpose::Desktop, "libxkbcommon-x11-0", "reads the keyboard"),
    requirement(
        Purpose::Test,
        "cryptsetup-bin",
        "checks our hash trees (veritysetup)",
    ),
    requirement(
        Purpose::Test,
        "fdisk",
        "checks our partition tables (sfdisk)",
    ),
    requirement(
        Purpose::Test,
        "sbsigntool",
        "signs what firmware with secure boot is to start",
    ),
    requirement(
        Purpose::Test,
        "openssl",
        "reads the key of the firmware for tests",
    ),
    requirement(
        Purpose::Test,
        "fonts-inter",
        "is what the tested screens are written in",
    ),
    requirement(
        Purpose::Test,
        "fonts-noto-cjk",
        "is what they are written in in Chinese",
    ),
    requirement(
        Purpose::Test,
        "iproute2",
        "lays the wires that the network is tested on",
    ),
    requirement(
        Purpose::BenchMesh,
        "iproute2",
        "lays the wires between the devices",
    ),
    requirement(
        Purpose::MeshPeers,
        "openssh-client",
        "copies files, to be measured beside (scp, ssh)",
    ),
    requirement(
        Purpose::MeshPeers,
        "openssh-server",
        "is the other end of that",
    ),
    requirement(
        Purpose::MeshPeers,
        "syncthing",
        "keeps folders in step, to be measured beside",
    ),
    requirement(
        Purpose::UpdatePeers,
        "casync",
        "keeps images in chunks, to be measured beside",
    ),
    requirement(
        Purpose::UpdatePeers,
        "zstd",
        "makes patches of images, to be measured beside",
    ),
    requirement(
        Purpose::UpdatePeers,
        "xdelta3",
        "makes patches of images, to be measured beside",
    ),
    requirement(
        Purpose::UpdatePeers,
        "bsdiff",
        "makes the smallest patches, to be measured beside",
    ),
    requirement(
        Purpose::Test,
        "dnsmasq-base",
        "is the router at their other end",
    ),
];

/// Makes sure that what `purposes` need is installed: says what is missing and why, asks unless
/// `yes` or nobody is there to be asked, and installs it.
///
/// # Errors
///
/// Fails when the machine has no Debian packages, when the person says no, and when installing
/// fails.
pub fn ensure(purposes: &[Purpose], yes: bool) -> Result<()> {
    let wanted: Vec<&Requirement> = REQUIREMENTS
        .iter()
        .filter(|r| purposes.contains(&r.purpose))
        .collect();
    let installed = installed(wanted.iter().map(|requirement| requirement.package))?;
    let missing: Vec<&Requirement> = wanted
        .into_iter()
        .filter(|requirement| !installed.contains(requirement.package))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("This machine lacks some Debian packages:");
    for requirement in &missing {
        eprintln!("  {:<20} {}", requirement.package, requirement.reason);
    }
    if !yes && stdin().is_terminal() && !agreed()? {
        bail!("nothing was installed: install them yourself, then try again");
    }
    install(
        &missing
            .iter()
            .map(|requirement| requirement.package)
            .collect::<Vec<_>>(),
    )
}

/// Which of these packages are installed.
fn installed<'a>(packages: impl Iterator<Item = &'a str>) -> Result<BTreeSet<String>> {
    // dpkg-query fails when it does not know one of them, and still answers for the others.
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat=${Package} ${db:Status-Status}\\n"])
        .args(packages)
        .output()
        .context("starting dpkg-query: images are built on Debian or a relative of it")?;
    Ok(String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.strip_suffix(" installed"))
        .map(str::to_owned)
        .collect())
}

fn agreed() -> Result<bool> {
    eprint!("Install them with apt-get? [Y/n] ");
    stderr().flush()?;
    let mut answer = String::new();
    stdin()
        .read_line(&mut answer)
        .context("reading the answer")?;
    Ok(matches!(
        answer.trim().to_lowercase().as_str(),
        "" | "y" | "yes"
    ))
}

fn install(packages: &[&str]) -> Result<()> {
    Progress::default().noisy_step("installing packages", || {
        process::run_visibly(as_root("apt-get")?.args(["--quiet", "update"]))?;
        // By env, because sudo passes no environment on.
        process::run_visibly(
            as_root("env")?
                .args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet"])
                .args(["--yes", "--no-install-recommends", "install"])
                .args(packages),
        )
        .with_context(|| format!("installing {}", packages.join(" ")))
    })
}

/// A command that runs as root: through sudo when we are not.
fn as_root(program: &str) -> Result<Command> {
    let user = process::output(Command::new("id").arg("-u"))?;
    if user.trim() == "0" {
        return Ok(process::tool(program));
    }
    if process::find("sudo").is_none() {
        bail!(
            "installing packages needs root and there is no sudo: install them as root yourself, with apt-get"
        );
    }
    let mut command = Command::new("sudo");
    command.arg(program);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_installed_is_told_from_what_is_not() {
        let found = installed(["dpkg", "no-such-package-anywhere"].into_iter()).unwrap();
        assert!(found.contains("dpkg"));
        assert!(!found.contains("no-such-package-anywhere"));
    }
}
