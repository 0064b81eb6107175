//! The relay's program as it runs, and what it answers to somebody of no family.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use iroh::endpoint::presets;
use iroh::tls::CaTlsConfig;
use iroh::{Endpoint, RelayMode, RelayUrl, Watcher as _};

/// It runs as long as this is there.
pub struct Program(pub Child);

impl Program {
    /// Where cargo puts it, which also says so in a variable; but that has a name with a hyphen, which
    /// no shell passes on, such as the one in `.cargo/rustc`.
    pub fn path() -> PathBuf {
        let test = std::env::current_exe().expect("this program");
        let folder = test.parent().and_then(Path::parent);
        folder
            .expect("the folder of what is built")
            .join("hyper-relay")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the relay answers to a device that is no member of its family.
pub fn refusal(url: &str, authorities: CaTlsConfig, patience: Duration) -> String {
    let relay: RelayUrl = url.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let stranger = Endpoint::builder(presets::Minimal)
            .relay_mode(RelayMode::custom([relay]))
            .ca_tls_config(authorities)
            .bind()
            .await
            .unwrap();
        let mut status = stranger.home_relay_status();
        let refused = tokio::time::timeout(patience, async {
            loop {
                for relay in status.get() {
                    assert!(!relay.is_connected(), "a stranger is let in");
                    if let Some(reason) = relay.auth_denied_reason() {
                        return reason.to_owned();
                    }
                }
                status.updated().await.unwrap();
            }
        });
        let reason = refused.await.expect("a stranger is refused");
        stranger.close().await;
        reason
    })
}
