//! Links, addresses, names and time.
