//! Durable local state: atomic, versioned, migrated.
