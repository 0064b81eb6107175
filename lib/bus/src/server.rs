//! Serving.

use std::collections::HashMap;
use std::env;
use std::fmt;
use std::fs;
use std::future::Future;
use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use crate::caller::{Caller, Grants, Program};
use crate::carry::{self, Carrier};
use crate::invocation;
use crate::limits::{MAX_CARRIED, MAX_CONNECTIONS};
use crate::reply::Reply;
use crate::serving;
use crate::wire::wrpc_transport::TupleDecode;

/// What answers one call.
pub type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One call that arrived whole.
pub struct Call {
    pub(crate) caller: Caller,
    pub(crate) parameters: BytesMut,
    pub(crate) reply: Reply,
}

impl Call {
    /// Reads the arguments; tells the caller and is `None` when they cannot be read.
    pub(crate) fn parameters<P>(self) -> Option<(Caller, P, Reply)>
    where
        P: TupleDecode,
        <<P as crate::wire::wrpc_transport::Decode>::Decoder as tokio_util::codec::Decoder>::Error:
            fmt::Display,
    {
        match invocation::decode_value(self.parameters) {
            Ok(parameters) => Some((self.caller, parameters, self.reply)),
            Err(error) => {
                self.reply.refuse(crate::frame::Refusal::Unreadable, &error);
                None
            }
        }
    }
}

/// Answers the functions of one interface. The generated modules implement it.
pub(crate) trait Dispatch: Send + Sync + 'static {
    /// Begins to answer; gives the call back when there is no such function.
    fn dispatch(&self, function: &str, call: Call) -> Result<Work, Call>;
}

/// One interface with what answers it: made by the `interface` function of its module.
pub struct Interface {
    pub(crate) id: &'static str,
    pub(crate) dispatch: Box<dyn Dispatch>,
}

impl Interface {
    pub(crate) fn new(id: &'static str, dispatch: impl Dispatch) -> Self {
        Self {
            id,
            dispatch: Box::new(dispatch),
        }
    }
}

impl fmt::Debug for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id)
    }
}

/// Whether the service can do its work; the error says in a sentence what is wrong.
type HealthCheck = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Serves interfaces on their sockets, each connection with its caller known and its grant checked.
///
/// Every socket also answers `hyper:health/health@1.0.0`.
pub struct Server {
    bus: PathBuf,
    listeners: Vec<(String, StdListener)>,
    interfaces: HashMap<&'static str, Interface>,
    carrier: Option<Arc<dyn Carrier>>,
    health: HealthCheck,
}

/// What all connections of a server share.
pub(crate) struct Served {
    pub interfaces: HashMap<&'static str, Interface>,
}

impl Server {
    /// Takes over the sockets that process 1 opened for this service.
    ///
    /// They come by systemd's protocol (`LISTEN_FDS`, and `LISTEN_PID` where it is set), with the
    /// interfaces in the order of the descriptors in `HYPER_INTERFACES`. Call it once and early:
    /// it takes the descriptors 3 and on for its own.
    pub fn from_environment() -> io::Result<Self> {
        let variable = |name: &str| {
            env::var(name).map_err(|_| {
                invalid(format!(
                    "{name} is not set: was this program started by init?"
                ))
            })
        };
        if let Ok(process) = env::var("LISTEN_PID")
            && process != std::process::id().to_string()
        {
            return Err(invalid(format!(
                "LISTEN_PID is {process}: the sockets were meant for another process"
            )));
        }
        let count: RawFd = variable("LISTEN_FDS")?
            .parse()
            .map_err(|_| invalid("LISTEN_FDS is not a number".into()))?;
        let names = variable("HYPER_INTERFACES")?;
        let names: Vec<&str> = names.split_whitespace().collect();
        if count < 0 || names.len() != count as usize {
            return Err(invalid(format!(
                "LISTEN_FDS says {count} sockets, HYPER_INTERFACES names {}",
                names.len()
            )));
        }
        let mut listeners = Vec::new();
        for (name, descriptor) in names.into_iter().zip(3..) {
            // SAFETY: the protocol hands descriptors 3 and on to this process, and nothing else in
            // it takes them; that they are open is checked by the calls that follow.
            let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
            rustix::io::fcntl_setfd(&descriptor, rustix::io::FdFlags::CLOEXEC).map_err(
                |error| io::Error::new(error.kind(), format!("the socket for {name}: {error}")),
            )?;
            listeners.push((name.to_owned(), StdListener::from(descriptor)));
        }
        Self::from_listeners(&crate::folder(), listeners)
    }

    /// Opens the sockets itself, below a folder: for tests, and where there is no process 1.
    pub fn bind(bus: &Path, interfaces: &[&str]) -> io::Result<Self> {
        let mut listeners = Vec::new();
        for interface in interfaces {
            listeners.push(((*interface).to_owned(), listen(bus, interface)?));
        }
        Self::from_listeners(bus, listeners)
    }

    /// Serves on sockets that are open already, each with the interface that it is for. The folder
    /// is where the grants are read.
    pub fn from_listeners(bus: &Path, listeners: Vec<(String, StdListener)>) -> io::Result<Self> {
        for (name, listener) in &listeners {
            listener.set_nonblocking(true).map_err(|error| {
                io::Error::new(error.kind(), format!("the socket for {name}: {error}"))
            })?;
        }
        Ok(Self {
            bus: bus.to_owned(),
            listeners,
            interfaces: HashMap::new(),
            carrier: None,
            health: Box::new(|| Ok(())),
        })
    }

    /// Answers an interface. It is reached on its own socket only.
    pub fn serve(&mut self, interface: Interface) -> &mut Self {
        self.interfaces.insert(interface.id, interface);
        self
    }

    /// Carries calls to other devices, on the socket of `hyper:family/calls`: what only `mesh` does.
    pub fn carry(&mut self, carrier: impl Carrier) -> &mut Self {
        self.carrier = Some(Arc::new(carrier));
        self
    }

    /// What to answer when process 1 asks whether this service can do its work.
    pub fn health(
        &mut self,
        check: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) -> &mut Self {
        self.health = Box::new(check);
        self
    }

    /// Serves until the future is dropped. An error means that a socket cannot be served at all.
    pub async fn run(mut self) -> io::Result<()> {
        for (name, _) in &self.listeners {
            let served = match name.strip_prefix(carry::SHARED) {
                Some(shared) => self.interfaces.contains_key(shared),
                None if name == crate::calls::ID => self.carrier.is_some(),
                None => self.interfaces.contains_key(name.as_str()),
            };
            if !served {
                return Err(invalid(format!(
                    "the manifest says that this service serves {name}, but it has no handler for it"
                )));
            }
        }
        let check = std::mem::replace(&mut self.health, Box::new(|| Ok(())));
        self.serve(crate::health::interface(Check(check)));
        let served = Arc::new(Served {
            interfaces: self.interfaces,
        });
        let mut sockets = JoinSet::new();
        for (name, listener) in self.listeners {
            let listener = UnixListener::from_std(listener)?;
            sockets.spawn(accept(
                name,
                listener,
                Arc::clone(&served),
                self.carrier.clone(),
                self.bus.clone(),
            ));
        }
        while sockets.join_next().await.is_some() {}
        Ok(())
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.interfaces.keys()).finish()
    }
}

/// Opens the socket of an interface below a folder, in the place of one that was left there.
pub fn listen(bus: &Path, interface: &str) -> io::Result<StdListener> {
    let path = crate::socket_path(bus, interface);
    let named = |error: io::Error| {
        io::Error::new(error.kind(), format!("opening {}: {error}", path.display()))
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(named)?;
    }
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(named(error)),
        _ => {}
    }
    StdListener::bind(&path).map_err(named)
}

struct Check(HealthCheck);

impl crate::health::Handler for Check {
    async fn check(&self, _caller: Caller) -> Result<(), String> {
        (self.0)()
    }
}

async fn accept(
    socket_name: String,
    listener: UnixListener,
    served: Arc<Served>,
    carrier: Option<Arc<dyn Carrier>>,
    bus: PathBuf,
) {
    let shared = socket_name.strip_prefix(carry::SHARED);
    let interface = shared.unwrap_or(&socket_name);
    // All devices come as the one user that carries their calls, which bounds each of them.
    let most = if shared.is_some() {
        MAX_CARRIED
    } else {
        MAX_CONNECTIONS
    };
    let mut connections = JoinSet::new();
    let mut users: HashMap<u32, usize> = HashMap::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(ended) = connections.join_next() => {
                // A handler that panicked took its connection along, and its user with it: counted
                // as still there, which is the safe side.
                if let Ok(user) = ended && let Some(count) = users.get_mut(&user) {
                    *count -= 1;
                }
                continue;
            }
        };
        match accepted.and_then(|(socket, _)| identify(socket, interface, shared.is_some(), &bus)) {
            Ok((socket, program, granted)) => {
                let user = program.user;
                let count = users.entry(user).or_default();
                if *count >= most {
                    tracing::warn!(
                        "{} has {count} connections to {socket_name}: one more is refused",
                        Caller::Program(program).name()
                    );
                    continue;
                }
                *count += 1;
                let interface = interface.to_owned();
                let served = Arc::clone(&served);
                let carrier = carrier
                    .clone()
                    .filter(|_| shared.is_none() && interface == crate::calls::ID);
                let from_device = shared.is_some();
                connections.spawn(async move {
                    let caller = Caller::Program(program);
                    if from_device {
                        carry::serve_device(socket, interface, granted, served).await;
                    } else if let Some(carrier) = carrier {
                        carry::serve_calls(socket, caller, granted, served, &*carrier).await;
                    } else {
                        let input = BytesMut::with_capacity(16 * 1024);
                        serving::serve(socket, input, interface, caller, granted, served).await;
                    }
                    user
                });
            }
            Err(error) => {
                tracing::warn!("accepting a call to {socket_name}: {error}");
                // Such as too many open files: waiting lets some close, and the log stay short.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Who is at the other end, and whether it may call this interface, or speak for other devices.
fn identify(
    socket: UnixStream,
    interface: &str,
    for_devices: bool,
    bus: &Path,
) -> io::Result<(UnixStream, Program, bool)> {
    let peer = socket.peer_cred()?;
    let grants = Grants::load(bus).unwrap_or_else(|error| {
        tracing::error!("{error}: nothing is granted until it can be read");
        Grants::default()
    });
    let (user, own) = (peer.uid(), rustix::process::geteuid().as_raw());
    let granted = if for_devices {
        grants.allow_carrying(user, own)
    } else {
        grants.allow(user, interface, own)
    };
    let program = Program {
        user,
        process: peer.pid().unwrap_or(0),
        name: grants.of_user(user).map(|grant| grant.name.as_str().into()),
    };
    if !granted {
        let name = Caller::Program(program.clone()).name();
        if for_devices {
            tracing::warn!("{name} may not speak for other devices to {interface}");
        } else {
            tracing::warn!("{name} may not call {interface}: its manifest does not list it");
        }
    }
    Ok((socket, program, granted))
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}
