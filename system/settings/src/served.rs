//! The settings on the bus.

use std::{
    env,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Context as _;
use bus::{Caller, Outgoing, following, settings as wire};
use futures::stream;
use service::notices;
use store::Disk;

use crate::{
    edition::Edition,
    keeper::{Keeper, Refusal},
    registry::{Follows, Kind, Registry, Value},
};

/// Serves the settings of this device until it is told to stop.
///
/// Its file is `settings` in `HYPER_DATA`; the edition and the time zones are read from
/// `HYPER_SYSTEM`.
pub fn run() -> anyhow::Result<()> {
    service::run(|| async {
        let folder = |name, default: &str| {
            env::var_os(name).map_or_else(|| PathBuf::from(default), PathBuf::from)
        };
        let keeper = open(
            &folder("HYPER_DATA", "/data/settings"),
            &folder("HYPER_SYSTEM", "/system"),
        )?;
        let notices = keeper.notices().to_vec();
        tokio::spawn(async move {
            let client = bus::Client::from_environment();
            notices::tell_owner(&client, "Settings", notices).await;
        });
        let mut server = bus::Server::from_environment().context("taking the sockets over")?;
        for interface in interfaces(keeper) {
            server.serve(interface);
        }
        Ok(server)
    })
}

/// The settings in those folders.
pub fn open(data: &Path, system: &Path) -> anyhow::Result<Keeper> {
    let (edition, problem) = Edition::read(&system.join("edition.toml"));
    let (registry, notices) = Registry::new(&edition, system.join("share/zoneinfo"));
    let mut keeper = Keeper::open(Disk, &data.join("settings"), registry)?;
    problem
        .into_iter()
        .chain(notices)
        .for_each(|notice| keeper.note(notice));
    Ok(keeper)
}

/// The interfaces that answer from these settings: to programs, and to the service that keeps some
/// of them the same on other devices.
pub fn interfaces(keeper: Keeper) -> [bus::Interface; 2] {
    let keeper = Arc::new(Mutex::new(keeper));
    [
        wire::interface(Handler(Arc::clone(&keeper))),
        bus::following::interface(Following(Handler(keeper))),
    ]
}

struct Handler(Arc<Mutex<Keeper>>);

impl Handler {
    fn keeper(&self) -> MutexGuard<'_, Keeper> {
        // A keeper is whole at every point where a handler could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl wire::Handler for Handler {
    async fn get(&self, _: Caller, key: String) -> Result<wire::Value, wire::Error> {
        Ok(self.keeper().get(&key)?.into())
    }

    async fn set(
        &self,
        caller: Caller,
        key: String,
        value: wire::Value,
    ) -> Result<(), wire::Error> {
        let value = Value::from(value);
        self.keeper().set(&key, value)?;
        tracing::info!("{} set {key}", caller.name());
        Ok(())
    }

    async fn reset(&self, caller: Caller, key: String) -> Result<(), wire::Error> {
        self.keeper().reset(&key)?;
        tracing::info!("{} set {key} back", caller.name());
        Ok(())
    }

    async fn all(&self, _: Caller) -> Vec<wire::Setting> {
        let keeper = self.keeper();
        keeper
            .all()
            .map(|(definition, value)| wire::Setting {
                key: definition.key.to_owned(),
                kind: definition.kind.clone().into(),
                value: value.into(),
                default_value: definition.default.clone().into(),
                description: definition.description.to_owned(),
            })
            .collect()
    }

    async fn watch(&self, _: Caller) -> Outgoing<wire::Change> {
        // A watcher that is too far behind ends here, and calls again.
        Box::pin(stream::unfold(
            self.keeper().watch(),
            async |mut changes| {
                let change = changes.recv().await.ok()?;
                Some((
                    wire::Change {
                        key: change.key,
                        value: change.value.into(),
                    },
                    changes,
                ))
            },
        ))
    }

    async fn notices(&self, _: Caller) -> Vec<String> {
        self.keeper().notices().to_vec()
    }
}

struct Following(Handler);

impl Following {
    fn moment(handler: &Handler) -> following::Moment {
        let keeper = handler.keeper();
        let revision = *keeper.revision().borrow();
        let settings = keeper
            .following()
            .map(|(definition, chosen)| following::Followed {
                key: definition.key.to_owned(),
                owner: match definition.follows {
                    Follows::Device => following::Owner::Device,
                    _ => following::Owner::Person,
                },
                value: chosen.map(Into::into),
            })
            .collect();
        following::Moment { revision, settings }
    }
}

impl following::Handler for Following {
    async fn watch(&self, _: Caller) -> Outgoing<following::Moment> {
        let handler = Handler(Arc::clone(&self.0.0));
        let revision = handler.keeper().revision();
        Box::pin(stream::unfold(
            (handler, revision, None),
            async |(handler, mut revision, last)| {
                loop {
                    revision.borrow_and_update();
                    let now = Self::moment(&handler);
                    let settings = Some(now.settings.clone());
                    if last != settings {
                        return Some((now, (handler, revision, settings)));
                    }
                    revision.changed().await.ok()?;
                }
            },
        ))
    }

    async fn take(
        &self,
        caller: Caller,
        key: String,
        value: Option<following::Chosen>,
    ) -> Result<u64, following::Error> {
        let mut keeper = self.0.keeper();
        keeper.take(&key, value.map(Into::into))?;
        tracing::info!("{} took {key} from another device", caller.name());
        Ok(*keeper.revision().borrow())
    }
}

impl From<Refusal> for following::Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::UnknownKey(key) => Self::UnknownKey(key),
            Refusal::Unfit(reason) => Self::Unfit(reason),
            Refusal::NotSaved(reason) => Self::NotSaved(reason),
        }
    }
}

impl From<Value> for following::Chosen {
    fn from(value: Value) -> Self {
        match value {
            Value::Boolean(value) => Self::Boolean(value),
            Value::Integer(value) => Self::Integer(value),
            Value::Text(value) => Self::Text(value),
            Value::Texts(value) => Self::Texts(value),
        }
    }
}

impl From<following::Chosen> for Value {
    fn from(value: following::Chosen) -> Self {
        match value {
            following::Chosen::Boolean(value) => Self::Boolean(value),
            following::Chosen::Integer(value) => Self::Integer(value),
            following::Chosen::Text(value) => Self::Text(value),
            following::Chosen::Texts(value) => Self::Texts(value),
        }
    }
}

impl From<Refusal> for wire::Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::UnknownKey(key) => wire::Error::UnknownKey(key),
            Refusal::Unfit(reason) => wire::Error::Unfit(reason),
            Refusal::NotSaved(reason) => wire::Error::NotSaved(reason),
        }
    }
}

impl From<Value> for wire::Value {
    fn from(value: Value) -> Self {
        match value {
            Value::Boolean(value) => wire::Value::Boolean(value),
            Value::Integer(value) => wire::Value::Integer(value),
            Value::Text(value) => wire::Value::Text(value),
            Value::Texts(value) => wire::Value::Texts(value),
        }
    }
}

impl From<wire::Value> for Value {
    fn from(value: wire::Value) -> Self {
        match value {
            wire::Value::Boolean(value) => Value::Boolean(value),
            wire::Value::Integer(value) => Value::Integer(value),
            wire::Value::Text(value) => Value::Text(value),
            wire::Value::Texts(value) => Value::Texts(value),
        }
    }
}

impl From<Kind> for wire::Kind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Boolean => wire::Kind::Boolean,
            Kind::Integer(least, most) => wire::Kind::Integer(wire::Bounds { least, most }),
            Kind::Choice(words) => wire::Kind::Choice(words),
            Kind::Text(most) => wire::Kind::Text(most),
            Kind::Texts(most) => wire::Kind::Texts(most),
        }
    }
}
