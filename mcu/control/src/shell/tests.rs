//! The shell with real sockets.
