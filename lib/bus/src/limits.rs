//! What a peer cannot exceed.

/// Calls of one connection that wait at a service at once.
pub const MAX_CALLS: usize = 128;
/// Connections of one user to one socket at once.
pub const MAX_CONNECTIONS: usize = 64;
/// Connections of all other devices together to one socket at once; `mesh` bounds each device.
pub const MAX_CARRIED: usize = 512;
/// Bytes of arguments, and of all arguments of one connection that have not arrived whole.
pub const MAX_ARGUMENTS: usize = 1024 * 1024;
/// Bytes of an answer.
pub const MAX_ANSWER: usize = 16 * 1024 * 1024;
/// Bytes of a stream that are sent before its reader asks for more.
pub const WINDOW: usize = 64 * 1024;
/// Bytes of one item of a stream.
pub const MAX_ITEM: usize = 1024 * 1024;
/// Bytes that wait to be written before a service reads no more calls of that connection.
pub const MAX_UNREAD: usize = 1024 * 1024;
/// Bytes that a caller keeps for a service that does not read.
pub const MAX_BACKLOG: usize = 4 * 1024 * 1024;
