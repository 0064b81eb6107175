//! Pairing: `trust`'s state machines on connections of their own.
//!
//! The owner device connects to a candidate and opens one stream; its first byte is the method, and
//! then each side sends the messages of its machine. One pairing is under way at a device at a time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bus::pairing::{Comparison, Membership, Method, Secrets, Stage};
use iroh::endpoint::{Connection, RecvStream, SendStream};
use tokio::sync::{mpsc, watch};
use trust::identity::DeviceId;
use trust::log::{Role, is_name};
use trust::pairing::code::{self, CodeText};
use trust::pairing::{MAX_MESSAGE_BYTES, Output, Pairing as Machine, Side, digits, pin};

use crate::discovery::Purpose;
use crate::node::{Node, now};
use crate::opening::Opening;
use crate::transport::{self, Closing};
use crate::wire;

/// How long to look for candidates after somebody asked for them.
const LOOKING: Duration = Duration::from_secs(60);
/// How long a connection for pairing may take to be made.
const CONNECTING: Duration = Duration::from_secs(10);
/// What the key of a pairing is exported under.
const EXPORT_LABEL: &[u8] = b"EXPORTER-hyperos-pairing-1";

/// What the person at this device says.
#[derive(Clone, Copy, Debug)]
enum Word {
    Yes,
    No,
}

/// What others enter to pair with this device while it is open.
#[derive(Clone, Debug)]
struct Shown {
    code: code::Shown,
    pin: pin::Opening,
}

#[derive(Debug, Default)]
struct State {
    /// Where the words of the person go, while a pairing is under way.
    words: Option<mpsc::Sender<Word>>,
    /// Counts who looks for candidates.
    lookers: usize,
}

/// Pairing at this device.
#[derive(Debug)]
pub struct Pairing {
    node: Arc<Node>,
    opening: Arc<Opening<Shown>>,
    state: Mutex<State>,
    stage: watch::Sender<Stage>,
}

/// What this device does in a pairing.
struct Part {
    machine: Machine,
    /// On the owner device: as what, and under which name, to take the other one in.
    admit: Option<(Role, String)>,
}

impl Pairing {
    /// None is under way.
    pub fn new(node: Arc<Node>) -> Arc<Self> {
        Arc::new(Self {
            opening: Opening::new(Arc::clone(&node), Purpose::Pairing),
            node,
            state: Mutex::default(),
            stage: watch::Sender::new(Stage::Closed),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it stands.
    pub fn watch(&self) -> watch::Receiver<Stage> {
        self.stage.subscribe()
    }

    /// Lets others see this device and pair with it for a while.
    pub fn open(self: &Arc<Self>) -> Result<Secrets> {
        ensure!(
            self.node.family().is_none(),
            "this device belongs to a family already"
        );
        ensure!(self.state().words.is_none(), "a pairing is under way");
        let seconds = now() / 1000;
        let shown = Shown {
            code: code::Shown::new(self.node.id(), seconds)?,
            pin: pin::Opening::new(seconds)?,
        };
        let secrets = Secrets {
            code: shown.code.text().to_string(),
            pin: shown.pin.pin().to_string(),
        };
        let this = Arc::clone(self);
        self.opening.open(shown, move || this.close_opening());
        self.stage.send_replace(Stage::Open(secrets.clone()));
        Ok(secrets)
    }

    fn close_opening(&self) {
        let Some(shown) = self.opening.close() else {
            return;
        };
        shown.pin.close();
        if self.state().words.is_none() {
            self.stage.send_replace(Stage::Closed);
        }
    }

    /// Ends whatever was begun.
    pub fn close(&self) {
        self.close_opening();
        self.say(Word::No);
        if self.state().words.is_none() {
            self.stage.send_replace(Stage::Closed);
        }
    }

    /// The person's yes.
    pub fn confirm(&self) -> Result<()> {
        ensure!(
            matches!(*self.stage.borrow(), Stage::Compare(_)),
            "there is nothing to confirm"
        );
        ensure!(self.say(Word::Yes), "there is nothing to confirm");
        Ok(())
    }

    /// The person's no.
    pub fn refuse(&self) {
        self.say(Word::No);
    }

    fn say(&self, word: Word) -> bool {
        let words = self.state().words.clone();
        words.is_some_and(|words| words.try_send(word).is_ok())
    }

    /// Looks for candidates for a while, or for as long as what is answered is kept.
    pub fn look(self: &Arc<Self>) -> Looking {
        self.state().lookers += 1;
        self.node.look(|interest| interest.looking = true);
        Looking(Arc::clone(self))
    }

    /// Looks for candidates for a while after this.
    pub fn look_for_a_while(self: &Arc<Self>) {
        let looking = self.look();
        tokio::spawn(async move {
            tokio::time::sleep(LOOKING).await;
            drop(looking);
        });
    }

    /// Asks a candidate into the family.
    pub async fn begin(
        self: &Arc<Self>,
        candidate: &str,
        method: Method,
        secret: &str,
        name: &str,
        membership: Membership,
    ) -> Result<()> {
        ensure!(self.node.lost().is_none(), "{}", crate::node::LOST);
        let device: DeviceId = candidate.parse()?;
        ensure!(is_name(name), "a name is at most 64 bytes of text");
        if let Some(family) = self.node.family() {
            ensure!(
                family.role(self.node.id()) == Some(Role::Owner),
                "only an owner device takes others in"
            );
            ensure!(family.role(device).is_none(), "it is of the family already");
            ensure!(
                family.members().all(|member| member.name != name),
                "another device of the family is called {name}"
            );
        }
        let scanned = match method {
            Method::Code => Some(secret.parse::<CodeText>()?),
            _ => None,
        };
        let addresses = self.node.candidate(device, Purpose::Pairing);
        let addresses = addresses.context("that device is not open for pairing")?;
        let words = self.begin_words()?;
        self.stage.send_replace(Stage::Connecting);
        let role = match membership {
            Membership::Owner => Role::Owner,
            Membership::Shared => Role::Shared,
            Membership::Guest => Role::Guest,
        };
        let admit = Some((role, name.to_owned()));
        let (this, secret) = (Arc::clone(self), secret.to_owned());
        tokio::spawn(async move {
            let run = async {
                let address = transport::address(device, addresses.iter().copied(), None)?;
                let endpoint = this.node.endpoint();
                let connecting = endpoint.connect(address, wire::PAIRING_ALPN);
                let connection = tokio::time::timeout(CONNECTING, connecting)
                    .await
                    .context("it does not answer")?
                    .context("connecting to it")?;
                let (mut send, receive) = connection.open_bi().await?;
                send.write_all(&[method as u8]).await?;
                let ends = this.ends(&connection, device, true)?;
                let (model, seconds) = (&this.node.model, now() / 1000);
                let machine = match &scanned {
                    Some(scanned) => code::pair(ends, Side::Owner, model, scanned, seconds),
                    None if method == Method::Pin => pin::pair(ends, model, &secret, seconds),
                    None => digits::pair(ends, Side::Owner, model, seconds)?,
                };
                let part = Part { machine, admit };
                let paired = this.drive(part, send, receive, words).await;
                transport::close(&connection, Closing::Done);
                paired
            };
            let paired = run.await;
            if paired.is_ok() {
                this.node.note_addresses(device, addresses);
            }
            this.end(device, paired);
        });
        Ok(())
    }

    fn begin_words(&self) -> Result<mpsc::Receiver<Word>> {
        let mut state = self.state();
        ensure!(state.words.is_none(), "a pairing is under way");
        let (sender, words) = mpsc::channel(4);
        state.words = Some(sender);
        Ok(words)
    }

    fn end(&self, device: DeviceId, paired: Result<()>) {
        self.state().words = None;
        let stage = match paired {
            Ok(()) => {
                tracing::info!("paired with {}", device.short());
                self.close_opening();
                Stage::Paired(device.to_string())
            }
            Err(error) => {
                tracing::info!("pairing with {} failed: {error:#}", device.short());
                // It stays open where it was: for the right one, after a wrong one has tried.
                Stage::Failed(format!("{error:#}"))
            }
        };
        self.stage.send_replace(stage);
    }

    /// Another device has connected in order to pair.
    pub async fn accepted(self: &Arc<Self>, connection: Connection, device: DeviceId) {
        let Some((shown, words)) = self.take_opening() else {
            return transport::close(&connection, Closing::NotOpen);
        };
        let run = async {
            let accepting = tokio::time::timeout(CONNECTING, connection.accept_bi());
            let (send, mut receive) = accepting.await.context("it says nothing")??;
            let mut method = [0];
            tokio::time::timeout(CONNECTING, receive.read_exact(&mut method))
                .await
                .context("it says nothing")??;
            let ends = self.ends(&connection, device, false)?;
            let (model, seconds) = (&self.node.model, now() / 1000);
            let machine = if method[0] == Method::Digits as u8 {
                digits::pair(ends, Side::Joiner, model, seconds)?
            } else if method[0] == Method::Code as u8 {
                shown.code.pair(ends, Side::Joiner, model, seconds)
            } else if method[0] == Method::Pin as u8 {
                shown.pin.pair(ends, model, seconds)
            } else {
                bail!("it wants to pair in a way that is not known here");
            };
            let part = Part {
                machine,
                admit: None,
            };
            self.drive(part, send, receive, words).await
        };
        let paired = run.await;
        // The one that made the connection closes it, when it has what was sent last.
        let _ = tokio::time::timeout(Duration::from_secs(2), connection.closed()).await;
        transport::close(&connection, Closing::Done);
        self.end(device, paired);
    }

    fn take_opening(&self) -> Option<(Shown, mpsc::Receiver<Word>)> {
        let shown = self.opening.content()?;
        let words = self.begin_words().ok()?;
        Some((shown, words))
    }

    fn ends(
        &self,
        connection: &Connection,
        there: DeviceId,
        dialled: bool,
    ) -> Result<trust::pairing::Connection> {
        Ok(trust::pairing::Connection {
            here: self.node.id(),
            there,
            exporter: transport::exporter(connection, EXPORT_LABEL)?,
            dialled,
        })
    }

    /// Runs a machine to its end.
    async fn drive(
        &self,
        mut part: Part,
        mut send: SendStream,
        receive: RecvStream,
        mut words: mpsc::Receiver<Word>,
    ) -> Result<()> {
        let (messages, mut incoming) = mpsc::channel(4);
        let reader = tokio::spawn(read_messages(receive, messages));
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        let mut outputs = part.machine.start();
        let done = 'pairing: loop {
            // What was joined is durable before the other device hears of it.
            outputs.sort_by_key(|output| !matches!(output, Output::Joined(_)));
            let mut pending: VecDeque<_> = outputs.into();
            let mut joined = false;
            while let Some(output) = pending.pop_front() {
                match output {
                    Output::Send(message) => {
                        // Who went away without a word is found out by the reader.
                        if let Err(error) = wire::write_bytes(&mut send, &message).await {
                            tracing::debug!("pairing: {error:#}");
                        }
                    }
                    Output::Show { digits, name } => {
                        self.stage
                            .send_replace(Stage::Compare(Comparison { digits, name }));
                    }
                    Output::Ask { name } => {
                        let digits = String::new();
                        self.stage
                            .send_replace(Stage::Compare(Comparison { digits, name }));
                    }
                    Output::Admit { device, name } => {
                        pending.extend(self.admit(&mut part, device, name)?);
                    }
                    Output::Joined(log) => {
                        self.node.join(*log)?;
                        joined = true;
                    }
                    Output::Done => break 'pairing Ok(()),
                    Output::Refused(reason) => break 'pairing Err(reason.into()),
                }
            }
            if joined {
                break Ok(());
            }
            let seconds = now() / 1000;
            outputs = tokio::select! {
                message = incoming.recv() => match message {
                    Some(message) => part.machine.receive(&message, seconds),
                    None => break Err(anyhow::anyhow!("the other device ended the connection")),
                },
                word = words.recv() => match word {
                    Some(Word::Yes) => {
                        self.stage.send_replace(Stage::Waiting);
                        part.machine.confirm(seconds)
                    }
                    Some(Word::No) | None => part.machine.refuse(),
                },
                _ = tick.tick() => part.machine.tick(seconds),
            };
        };
        reader.abort();
        let _ = send.finish();
        // So that what was said last arrives before the connection is closed.
        let _ = tokio::time::timeout(Duration::from_secs(2), send.stopped()).await;
        done
    }

    fn admit(&self, part: &mut Part, device: DeviceId, claimed: String) -> Result<Vec<Output>> {
        let (role, name) = part
            .admit
            .take()
            .context("a device that joins takes nobody in")?;
        let name = if name.is_empty() { claimed } else { name };
        self.node.found()?;
        self.node.add(device, role, name)?;
        self.node
            .with_log(|log| part.machine.admitted(log))
            .context("the family's log is gone")
    }
}

async fn read_messages(mut receive: RecvStream, messages: mpsc::Sender<Vec<u8>>) {
    loop {
        match wire::read_bytes(&mut receive, MAX_MESSAGE_BYTES).await {
            Ok(Some(message)) => {
                if messages.send(message).await.is_err() {
                    return;
                }
            }
            Ok(None) => return,
            Err(error) => {
                tracing::debug!("pairing: {error:#}");
                return;
            }
        }
    }
}

/// Candidates are looked for as long as this is there.
#[derive(Debug)]
pub struct Looking(Arc<Pairing>);

impl Drop for Looking {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.lookers -= 1;
        if state.lookers == 0 {
            drop(state);
            self.0.node.look(|interest| interest.looking = false);
        }
    }
}
