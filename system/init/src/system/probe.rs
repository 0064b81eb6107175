//! Probes: a program of ours in the sandbox of a service, which tries what it should not be able to
//! do. Only development images are asked for them.
//!
//! A probe has all that holds its service: a sandbox made anew from the same manifest, and the
//! service's own control group. What differs is that it is given none of the service's sockets, and
//! that it sees its own program where the service has another one.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Signal, WaitStatus};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::sync::oneshot;

use super::request::Refusal;
use super::{System, pid};
use crate::device::node;
use crate::interfaces;
use crate::log::Level;
use crate::manifest::DeviceGroup;
use crate::spawn;

/// A probe that has not ended by then is killed.
const LONGEST: Duration = Duration::from_secs(60);
/// More than this is not taken of what it prints.
const MOST_OUTPUT: u64 = 1 << 20;

/// What a probe is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Try everything, and print what came of it.
    Try,
    /// Take memory until the kernel ends it.
    Exhaust,
}

/// A probe under way, as the loop keeps it.
#[derive(Debug)]
pub(super) struct Probe {
    process: u32,
    service: usize,
    /// How often the kernel had ended something in the control group before.
    memory_kills: u64,
    ended: oneshot::Sender<(bool, String)>,
}

/// A probe under way, for whoever asked for it.
#[derive(Debug)]
pub struct Run {
    process: u32,
    /// What it prints, prints to standard error, and why it does not run.
    pipes: [OwnedFd; 3],
    ended: oneshot::Receiver<(bool, String)>,
}

/// What came of a probe.
#[derive(Clone, Debug, Default)]
pub struct Probed {
    /// Whether it ended of its own accord and well.
    pub done: bool,
    /// How it ended, in words.
    pub how: String,
    /// What it printed.
    pub output: String,
    /// What it printed to standard error, or why it did not run.
    pub errors: String,
}

impl Run {
    /// Waits for the end of it.
    pub async fn outcome(mut self) -> Probed {
        let [output, errors, status] = self.pipes;
        let read = async {
            tokio::join!(
                text(output),
                text(errors),
                text(status),
                // The loop keeps the other end until the process was taken in, or is itself gone.
                async { (&mut self.ended).await.unwrap_or_default() }
            )
        };
        let Ok((output, errors, status, (done, how))) = tokio::time::timeout(LONGEST, read).await
        else {
            if let Some(process) = pid(self.process) {
                // The loop has not taken it in, so this is still its number.
                let _ = rustix::process::kill_process(process, Signal::KILL);
            }
            return Probed {
                how: format!("it did not end within {LONGEST:?} and was killed"),
                ..Probed::default()
            };
        };
        Probed {
            done,
            how,
            output,
            errors: errors + &status,
        }
    }
}

async fn text(pipe: OwnedFd) -> String {
    let mut bytes = Vec::new();
    if let Ok(pipe) = pipe::Receiver::from_owned_fd(pipe) {
        // What was read before an error is worth as much as before the end.
        let _ = pipe.take(MOST_OUTPUT).read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads a line of a probe: `yes` or `no`, what was tried and what came of it, with tabs between.
pub fn read_attempt(line: &str) -> Option<(bool, &str, &str)> {
    let mut fields = line.splitn(3, '\t');
    let allowed = match fields.next()? {
        "yes" => true,
        "no" => false,
        _ => return None,
    };
    Some((allowed, fields.next()?, fields.next()?))
}

impl System {
    /// Starts a probe in the sandbox of a service.
    pub(super) fn probe(&mut self, name: &str, order: Order, who: &str) -> Result<Run, Refusal> {
        let service = self.find(name)?;
        if self.closing.is_some() {
            return Err(Refusal::Impossible("the system is about to end".into()));
        }
        let entry = &self.services[service];
        let limits = entry.usage();
        if order == Order::Exhaust && limits.is_none() {
            let text = format!("{name} has no limit that could be reached");
            return Err(Refusal::Impossible(text));
        }
        let arguments = match order {
            Order::Try => self.temptations(),
            Order::Exhaust => vec!["attempt".into(), "--exhaust".into()],
        };
        let program = self.place.resolve(Path::new("/system/hyper"));
        let impossible = |error: anyhow::Error| Refusal::Impossible(format!("{error:#}"));
        let plan = entry
            .plan()
            .ok_or_else(|| Refusal::Impossible(format!("{name} could not be set up")))?
            .for_program(&program, arguments);
        self.log.say(
            Level::Notice,
            format!("{who} asks for a probe in the sandbox of {name}: {order:?}"),
        );
        let child = spawn::spawn(&self.program, &plan, &[], entry.group_folder(), None)
            .map_err(impossible)?;
        let (sender, receiver) = oneshot::channel();
        self.probes.push(Probe {
            process: child.process,
            service,
            memory_kills: limits.unwrap_or_default().memory_kills,
            ended: sender,
        });
        Ok(Run {
            process: child.process,
            pipes: [child.output, child.errors, child.status],
            ended: receiver,
        })
    }

    /// Takes in the end of a probe; `false` when the process is none.
    pub(super) fn take_in_probe(&mut self, process: u32, status: WaitStatus) -> bool {
        let Some(place) = self.probes.iter().position(|p| p.process == process) else {
            return false;
        };
        let probe = self.probes.swap_remove(place);
        let how = self.services[probe.service].describe_end_since(status, probe.memory_kills);
        // Whoever asked may be gone.
        let _ = probe.ended.send((status.exit_status() == Some(0), how));
        true
    }

    /// What there is to be tried on this device: the folders, sockets and device nodes of all.
    fn temptations(&self) -> Vec<String> {
        let mut arguments = vec!["attempt".to_owned()];
        let mut add = |option: &str, path: &Path| {
            arguments.extend([option.to_owned(), path.to_string_lossy().into_owned()]);
        };
        for entry in &self.services {
            for place in [&self.place.data, &self.place.run] {
                add("--folder", &place.join(&entry.name));
            }
        }
        add("--folder", &self.place.data.join("log"));
        let bus = self.place.bus();
        let manifests = self
            .services
            .iter()
            .filter_map(|e| e.manifest.as_ref().ok());
        for interface in manifests.flat_map(|manifest| &manifest.serves) {
            add("--socket", &interface.socket(&bus));
        }
        for id in interfaces::ids() {
            add("--socket", &bus::socket_path(&bus, id));
        }
        for group in DeviceGroup::ALL {
            for node in node::present(Path::new("/sys/class"), group) {
                add("--device", &Path::new("/dev").join(node.path));
            }
        }
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_of_a_probe_is_read() {
        assert_eq!(
            read_attempt("no\tsystem call mount\tOperation not permitted"),
            Some((false, "system call mount", "Operation not permitted"))
        );
        assert_eq!(
            read_attempt("yes\tfolder /data/a\tread\tand written"),
            Some((true, "folder /data/a", "read\tand written"))
        );
        assert_eq!(read_attempt("perhaps\ta\tb"), None);
        assert_eq!(read_attempt("yes\ta"), None);
    }

    proptest! {
        #[test]
        fn no_line_ends_the_reader(line in "\\PC*") {
            let _ = read_attempt(&line);
        }
    }
}
