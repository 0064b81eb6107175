//! What every service's main does: logging, signals, panics, the runtime.
