//! What every service's `main` does, so that a service is its handlers and nothing else.
//!
//! [`run`] installs the log and the panic hook, starts a runtime of one thread, lets the service
//! make its [`bus::Server`], and serves until SIGTERM or SIGINT:
//!
//! ```no_run
//! pub fn run() -> anyhow::Result<()> {
//!     service::run(async || {
//!         let mut server = bus::Server::from_environment()?;
//!         // server.serve(bus::…::interface(handler));
//!         Ok(server)
//!     })
//! }
//! ```
//!
//! # What it promises
//!
//! - **A line is a record.** Whatever is logged through `tracing` becomes one line on standard
//!   error, opened with its level as `<3>` to `<7>`, which is how process 1 reads it. A line break
//!   inside a message becomes a space. The least level is in `HYPER_LOG` (`error`, `warn`, `info`,
//!   `debug`, `trace`; `info` where it is not set) and can be changed with [`log::set_level`].
//! - **A panic ends the service**, after it was logged, so that process 1 starts it again: half a
//!   service is worse than none.
//! - **SIGTERM ends it cleanly**, even as process 1 of its own pid namespace, where the kernel
//!   ignores signals that nobody handles.

pub mod log;
pub mod notices;

use std::panic;
use std::process;

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};

/// Runs a service: makes its server, and serves until it is asked to end.
///
/// Tasks that `start` spawned run as long as the server does.
pub fn run(start: impl AsyncFnOnce() -> Result<bus::Server>) -> Result<()> {
    run_until_ended(async || Ok(start().await?.run()))
}

/// As [`run`], for what is not only a server. Ends when the inner future does, or when asked to.
pub fn run_until_ended<F>(start: impl AsyncFnOnce() -> Result<F>) -> Result<()>
where
    F: Future<Output = std::io::Result<()>>,
{
    log::install();
    exit_on_panic();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(async {
        // Before anything else, so that a service that is just starting can be ended too.
        let mut terminate = signal(SignalKind::terminate()).context("handling SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("handling SIGINT")?;
        let work = async { start().await?.await.context("serving") };
        tokio::select! {
            result = work => return result,
            _ = terminate.recv() => tracing::debug!("asked to end"),
            _ = interrupt.recv() => tracing::debug!("interrupted"),
        }
        Ok(())
    })
}

/// Logs a panic in any thread, and ends the process with status 101.
fn exit_on_panic() {
    panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        let reason = panic.payload_as_str().unwrap_or("no reason given");
        tracing::error!("panic at {place}: {reason}");
        process::exit(101);
    }));
}
