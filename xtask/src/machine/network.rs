//! The network that machines are connected to.
//!
//! A machine alone has a network of its own, which QEMU emulates: a router with DHCP, router
//! advertisements and a name server, behind the host's own network. Machines that are to meet share
//! one: a QEMU without a machine is the same router with a socket for each of them, and what one
//! sends reaches the router and all others, as on a switch. The sockets lie in a folder that only
//! this user can open, so nobody else on the host can join.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use super::LIMIT;

/// What a machine's network card is connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Network {
    /// Nothing; it has no card.
    None,
    /// A network of its own.
    Own,
    /// One that others share.
    Shared(Port),
}

/// A place for one machine on a [`SharedNetwork`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The socket that the machine connects to.
    pub(super) socket: PathBuf,
    /// Distinguishes the machine's card from those of the others: the last byte of its address.
    pub(super) number: u8,
}

/// A network for several machines. It ends when this is dropped.
#[derive(Debug)]
pub struct SharedNetwork {
    /// Short, unlike the machines' own: a socket's path may have a hundred bytes.
    folder: TempDir,
    router: Child,
    ports: u8,
}

impl SharedNetwork {
    /// Starts a network for so many machines.
    ///
    /// # Errors
    ///
    /// Fails when QEMU cannot be started or does not accept the network.
    pub fn start(ports: u8) -> Result<Self> {
        // Made for this user alone.
        let folder = tempfile::Builder::new()
            .prefix("hyperos-network")
            .tempdir()
            .context("making a folder for the network's sockets")?;
        let mut command = Command::new("qemu-system-x86_64");
        command.args(["-nodefaults", "-no-user-config", "-machine", "none"]);
        command.args(["-display", "none", "-netdev", "user,id=router"]);
        command.args(["-netdev", "hubport,id=router-port,hubid=0,netdev=router"]);
        for number in 0..ports {
            command.args([
                "-netdev",
                &format!(
                    "stream,id=machine{number},server=on,addr.type=unix,addr.path={}",
                    socket(number)
                ),
                "-netdev",
                &format!("hubport,id=port{number},hubid=0,netdev=machine{number}"),
            ]);
        }
        let log = fs::File::create(folder.path().join("qemu.log")).context("creating qemu.log")?;
        let router = command
            .current_dir(folder.path())
            // Ctrl-C is for us: the machines shut down before their network.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("starting qemu-system-x86_64 (of the Debian package qemu-system-x86)")?;
        let mut network = Self {
            folder,
            router,
            ports,
        };
        network.wait()?;
        Ok(network)
    }

    /// Waits until every machine's socket is there.
    fn wait(&mut self) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        while !(0..self.ports).all(|number| self.folder.path().join(socket(number)).exists()) {
            if let Some(status) = self.router.try_wait()? {
                let log = fs::read_to_string(self.folder.path().join("qemu.log"));
                bail!(
                    "QEMU did not accept the network and ended with {status}:\n{}",
                    log.unwrap_or_default().trim()
                );
            }
            if Instant::now() > deadline {
                bail!("QEMU does not open the sockets of the network");
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// The place of each machine.
    pub fn ports(&self) -> impl Iterator<Item = Port> {
        (0..self.ports).map(|number| Port {
            socket: self.folder.path().join(socket(number)),
            number,
        })
    }
}

impl Drop for SharedNetwork {
    fn drop(&mut self) {
        // It may have ended by itself, and then neither does anything.
        let _ = self.router.kill();
        let _ = self.router.wait();
    }
}

fn socket(number: u8) -> String {
    format!("{number}.socket")
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn each_machine_has_a_socket_and_an_address_of_its_own() {
        let network = SharedNetwork::start(2).unwrap();
        let ports: Vec<Port> = network.ports().collect();
        assert_eq!(ports.len(), 2);
        assert_ne!(ports[0].number, ports[1].number);
        for port in &ports {
            UnixStream::connect(&port.socket).unwrap();
        }
        drop(network);
        assert!(!ports[0].socket.exists());
    }
}
