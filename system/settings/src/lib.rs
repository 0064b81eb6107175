//! The one place where settings live.
