//! wRPC, and what its generated code stands on. Nothing of it leaves this crate.

#[allow(
    unused_imports,
    reason = "what generated code needs changes with the interfaces"
)]
pub use {anyhow, bytes, futures, tokio, tokio_util, tracing, wasm_tokio, wrpc_transport};
