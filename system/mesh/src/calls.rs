//! Carrying calls: from a program here to another device, and from another device to a service here.
//!
//! A connection to an interface is one stream between two devices. What is on it is passed on as it
//! comes, in pieces, and no faster than the other end takes it: a reader that stops is felt by the
//! writer on the other device, through both sockets and QUIC's windows.
//!
//! The device that serves decides. It asks its own copy of the log, when a connection is opened and
//! again whenever the log changes.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bus::carry::{Carrier, Connecting, Meter, Passage, Patience};
use bus::{Caller, Grants};
use iroh::endpoint::{RecvStream, SendStream, VarInt};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::Instant;
use trust::family::{Call, Verdict};
use trust::identity::DeviceId;
use trust::log::{Role, Until};

use crate::asking;
use crate::bucket::Bucket;
use crate::links::{self, Link};
use crate::node::{Node, OneCall, now, policy};
use crate::wire::{self, CallAnswer, CallHead, Kind, MAX_HEAD};

/// How long the other device may take to answer whether a connection is open.
const OPENING: Duration = Duration::from_secs(10);
/// When to look whether the connection is still there.
const SOON: Duration = Duration::from_secs(2);
/// Calls of one connection: so many at once, and so many a second after that.
const CALL_BURST: u32 = 2000;
const CALLS_A_SECOND: u32 = 5000;
/// The longest time after which an end that has come is noticed, whatever the clock did.
const LOOKING: Duration = Duration::from_secs(60);
/// What is passed on at once.
const PIECE: usize = 32 * 1024;

/// The way to other devices, for programs of this one.
pub struct ToDevices(pub Arc<Node>);

impl Carrier for ToDevices {
    fn connect(
        &self,
        caller: Caller,
        device: String,
        interface: String,
        patience: Patience,
    ) -> Connecting {
        let node = Arc::clone(&self.0);
        Box::pin(async move { connect(&node, &caller, &device, interface, patience).await })
    }
}

async fn connect(
    node: &Arc<Node>,
    caller: &Caller,
    device: &str,
    interface: String,
    patience: Patience,
) -> Result<Passage, bus::calls::Error> {
    use bus::calls::Error;
    let Some(found) = node.find(device) else {
        return Err(Error::UnknownDevice(device.to_owned()));
    };
    if found == node.id() {
        let here = "this is that device: call it without naming one".into();
        return Err(Error::Refused(here));
    }
    // What a program may not call here it may not call elsewhere either.
    if !may_call_here(node, caller, &interface) {
        let reason = format!(
            "{} may not call {interface}, here or elsewhere",
            caller.name()
        );
        return Err(Error::Refused(reason));
    }
    let head = CallHead {
        interface,
        program: Some(caller.name()),
    };
    let unreachable = |error: anyhow::Error| Error::Unreachable(format!("{error:#}"));
    let (link, send, mut receive, mut answer) =
        reach(node, found, &head).await.map_err(unreachable)?;
    let using = link.begin_use();
    if answer == CallAnswer::Asking {
        let most = asking::PATIENCE + asking::ON_THE_WAY;
        patience.ask(most);
        answer = tokio::time::timeout(most, wire::read(&mut receive, MAX_HEAD))
            .await
            .context("the owner is asked, and the device says nothing any more")
            .flatten()
            .map_err(unreachable)?;
    }
    let answered = match answer {
        CallAnswer::Open => None,
        // No byte of a next call is read then: its program hears that nobody has, and asks anew.
        CallAnswer::OpenForOne => Some(Meter::default()),
        CallAnswer::Refused(reason) => return Err(Error::Refused(reason)),
        CallAnswer::Asking => {
            let twice = "it says twice that the owner is asked";
            return Err(Error::Unreachable(twice.into()));
        }
    };
    Ok(Box::new(move |socket| {
        Box::pin(async move {
            let _using = using;
            let (read, write) = socket.into_split();
            // The program's own service would not take more either; what it may do is bounded there.
            let ends = Ends {
                bounds: None,
                answered,
            };
            pass_on(read, write, send, receive, ends, std::future::pending()).await;
        })
    }))
}

/// Has a device asked for a connection to an interface. Where that is not answered soon, the connection
/// to the device may be dead without anybody having said so: once more then, over a new one. Nothing of
/// the caller's own was sent by then.
async fn reach(
    node: &Arc<Node>,
    device: DeviceId,
    head: &CallHead,
) -> Result<(Arc<Link>, SendStream, RecvStream, CallAnswer)> {
    let mut patience = SOON;
    loop {
        let link = links::connect(node, device).await?;
        let opened = tokio::time::timeout(patience, open(&link, head)).await;
        match opened {
            Ok(Ok((send, receive, answer))) => return Ok((link, send, receive, answer)),
            failed if patience == OPENING => {
                failed.context("it does not answer")??;
            }
            _ => links::suspect(node, device),
        }
        patience = OPENING;
    }
}

fn may_call_here(node: &Node, caller: &Caller, interface: &str) -> bool {
    let Some(user) = caller.user() else {
        return false;
    };
    let own = rustix::process::geteuid().as_raw();
    match Grants::load(&node.bus) {
        Ok(grants) => grants.allow(user, interface, own),
        Err(error) => {
            tracing::error!("{error}: nothing is granted until it can be read");
            false
        }
    }
}

async fn open(link: &Link, head: &CallHead) -> Result<(SendStream, RecvStream, CallAnswer)> {
    let (mut send, mut receive) = link
        .connection
        .open_bi()
        .await
        .context("opening a stream")?;
    wire::begin(&mut send, Kind::Call).await?;
    wire::write(&mut send, head).await?;
    let answer = wire::read(&mut receive, MAX_HEAD).await?;
    Ok((send, receive, answer))
}

/// Serves a stream on which another device wants to call.
pub async fn serve(
    node: &Arc<Node>,
    link: &Arc<Link>,
    mut send: SendStream,
    mut receive: RecvStream,
) -> Result<()> {
    let head: CallHead = tokio::time::timeout(OPENING, wire::read(&mut receive, MAX_HEAD))
        .await
        .context("it does not say what it calls")??;
    let (socket, admitted) = match admit(node, link, &head, &mut send).await {
        Ok(admitted) => admitted,
        Err(reason) => {
            tracing::info!(
                "{} may not call {}: {reason}",
                node.name(link.device),
                head.interface
            );
            let reason = reason[..reason.floor_char_boundary(MAX_HEAD / 2)].to_owned();
            wire::write(&mut send, &CallAnswer::Refused(reason)).await?;
            send.finish()?;
            return Ok(());
        }
    };
    // What a grant for one call allows is under way until this is dropped.
    let Admitted { verdict, one: _one } = admitted;
    let once = matches!(verdict, Verdict::Once(_));
    let answer = if once {
        CallAnswer::OpenForOne
    } else {
        CallAnswer::Open
    };
    wire::write(&mut send, &answer).await?;
    let (read, write) = socket.into_split();
    let ends = Ends {
        bounds: Some(Bounds {
            meter: Meter::default(),
            bucket: Bucket::new(CALL_BURST, CALLS_A_SECOND),
            calls_left: once.then_some(1),
        }),
        answered: None,
    };
    let not_allowed = until_not_allowed(node, link, &head.interface, verdict);
    pass_on(read, write, send, receive, ends, not_allowed).await;
    Ok(())
}

/// Returns when a call that was admitted may not go on: the log says otherwise, or the grant's time is
/// over.
async fn until_not_allowed(node: &Node, link: &Link, interface: &str, admitted: Verdict) {
    let mut changes = node.watch_log();
    loop {
        let allowed = match admitted {
            // It is noted as spent, so the verdict on another call says nothing about this one.
            Verdict::Once(grant) => node.family().is_some_and(|family| {
                family.role(link.device).is_some()
                    && family.grants().iter().any(|given| given.entry == grant)
            }),
            _ => matches!(verdict(node, link, interface), Verdict::Allowed(_)),
        };
        if !allowed {
            return;
        }
        let end = grant_end(node, verdict(node, link, interface));
        let over = async {
            match end {
                Some(end) => {
                    let left = (end + 1).saturating_sub(now() / 1000);
                    // The clock may be set, and the device may sleep: it is read again.
                    let left = Duration::from_secs(left).clamp(Duration::from_secs(1), LOOKING);
                    tokio::time::sleep(left).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = over => {}
        }
    }
}

/// The second in which the grant ends by which something is allowed, if it has an end.
fn grant_end(node: &Node, verdict: Verdict) -> Option<u64> {
    let Verdict::Allowed(Some(grant)) = verdict else {
        return None;
    };
    let family = node.family()?;
    let given = family.grants().iter().find(|given| given.entry == grant)?;
    match given.grant.until {
        Until::Time(end) => Some(end),
        _ => None,
    }
}

fn verdict(node: &Node, link: &Link, interface: &str) -> Verdict {
    let Some(family) = node.family() else {
        return Verdict::Refused(trust::family::NotAllowed::Stranger);
    };
    let call = Call {
        caller: link.device,
        callee: node.id(),
        interface,
        now: now() / 1000,
    };
    // The stricter list where this device is not of the family itself any more.
    let own = family.role(node.id()).unwrap_or(Role::Owner);
    let state = node.state();
    family.may_call(&call, &policy(own), |grant| state.spent.has(grant))
}

/// A call that is allowed.
struct Admitted {
    /// By what.
    verdict: Verdict,
    /// It is the one that a grant allows.
    one: Option<OneCall>,
}

/// What allows a call, once something does; the owner is asked where nothing says anything about it.
async fn allowed(
    node: &Arc<Node>,
    link: &Link,
    head: &CallHead,
    send: &mut SendStream,
) -> Result<Admitted, String> {
    let mut until = None;
    let mut now = verdict(node, link, &head.interface);
    loop {
        match now {
            Verdict::Allowed(_) => {
                return Ok(Admitted {
                    verdict: now,
                    one: None,
                });
            }
            Verdict::Once(grant) => match node.spend(grant) {
                Ok(Some(one)) => {
                    return Ok(Admitted {
                        verdict: now,
                        one: Some(one),
                    });
                }
                // Another call was quicker: the owner is asked about this one too.
                Ok(None) if node.state().spent.has(grant) => {}
                Ok(None) => return Err("too many grants for one call were used".into()),
                Err(error) => {
                    return Err(format!("the grant for one call cannot be used: {error:#}"));
                }
            },
            Verdict::Refused(reason) => return Err(reason.to_string()),
            Verdict::Ask => {}
        }
        now = verdict(node, link, &head.interface);
        if now != Verdict::Ask {
            continue;
        }
        // Nobody is asked about what there is not.
        if !bus::carry::is_shared(&node.bus, &head.interface) {
            return Err(not_shared(head));
        }
        let until = match until {
            Some(until) => until,
            None => {
                let said = wire::write(send, &CallAnswer::Asking).await;
                said.map_err(|error| format!("the caller is gone: {error:#}"))?;
                *until.insert(Instant::now() + node.askers.patience())
            }
        };
        let read = || verdict(node, link, &head.interface);
        now = tokio::select! {
            said = asking::ask(node, link.device, head, until, read) => said?,
            _ = send.stopped() => return Err("the caller does not wait any longer".into()),
        };
    }
}

fn not_shared(head: &CallHead) -> String {
    format!("it does not share {} with other devices", head.interface)
}

/// Opens the service's socket for a call that is allowed; the error says why there is none.
async fn admit(
    node: &Arc<Node>,
    link: &Link,
    head: &CallHead,
    send: &mut SendStream,
) -> Result<(UnixStream, Admitted), String> {
    let admitted = allowed(node, link, head, send).await?;
    let device = bus::Device {
        id: link.device.to_string().into(),
        name: node.name(link.device).into(),
        program: head.program.as_deref().map(Into::into),
    };
    // An interface in full becomes a path here: `trust` lets nothing through that is not the name of
    // one, and so has no way out of the folder.
    bus::carry::open_shared(&node.bus, &head.interface, &device)
        .await
        .map(|socket| (socket, admitted))
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => not_shared(head),
            _ => format!(
                "its service for {} cannot be reached: {error}",
                head.interface
            ),
        })
}

/// What ends a connection beside its ends.
struct Ends {
    /// Of what comes from the other device.
    bounds: Option<Bounds>,
    /// What comes from the other device are answers, and the first one is the last.
    answered: Option<Meter>,
}

/// Passes bytes on in both directions until either end has no more, or `until` comes.
async fn pass_on(
    read: OwnedReadHalf,
    write: OwnedWriteHalf,
    mut send: SendStream,
    mut receive: RecvStream,
    ends: Ends,
    until: impl Future<Output = ()>,
) {
    let once = ends.bounds.as_ref().and_then(|bounds| bounds.calls_left);
    let once = once.map(|_| Meter::default());
    let ended = tokio::select! {
        ended = to_socket(&mut receive, write, ends) => ended,
        ended = from_socket(read, &mut send, once) => ended,
        () = until => Err(anyhow::anyhow!("it is not allowed any more")),
    };
    match ended {
        Ok(()) => {
            let _ = send.finish();
        }
        Err(error) => {
            tracing::debug!("a connection to an interface ended: {error:#}");
            let _ = send.reset(VarInt::from_u32(1));
        }
    }
    let _ = receive.stop(VarInt::from_u32(0));
}

/// What another device may send to a service on one connection.
struct Bounds {
    meter: Meter,
    bucket: Bucket,
    /// How many calls it may still make; none where there is no such bound.
    calls_left: Option<usize>,
}

impl Bounds {
    /// Takes in what was sent, and waits where it is too much for now.
    async fn count(&mut self, piece: &[u8]) -> Result<()> {
        let calls = self.meter.count(piece).context("counting its calls")?;
        if calls == 0 {
            return Ok(());
        }
        if let Some(left) = &mut self.calls_left {
            *left = left
                .checked_sub(calls)
                .context("its grant was for one call")?;
        }
        self.bucket.take(calls as u32).await;
        Ok(())
    }
}

async fn to_socket(
    receive: &mut RecvStream,
    mut socket: OwnedWriteHalf,
    mut ends: Ends,
) -> Result<()> {
    while let Some(piece) = receive.read_chunk(PIECE).await? {
        if let Some(bounds) = &mut ends.bounds {
            bounds.count(&piece).await?;
        }
        socket.write_all(&piece).await?;
        if let Some(meter) = &mut ends.answered
            && meter.count_answers(&piece)? > 0
        {
            // Closed with the other half and not before: the kernel tells then what lies unread.
            socket.forget();
            return Ok(());
        }
    }
    Ok(())
}

/// Passes on what the service answers; with a meter, until it has answered one call. The end of the
/// stream then goes with the answer, so that the caller's next call asks for another connection.
async fn from_socket(
    mut socket: OwnedReadHalf,
    send: &mut SendStream,
    mut once: Option<Meter>,
) -> Result<()> {
    let mut buffer = vec![0; PIECE];
    loop {
        let length = socket.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        send.write_all(&buffer[..length]).await?;
        if let Some(meter) = &mut once
            && meter.count_answers(&buffer[..length])? > 0
        {
            return Ok(());
        }
    }
}
