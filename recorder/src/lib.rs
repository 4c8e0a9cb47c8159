//! Recording of rooms: fragmented MP4 and HLS written from access units as they were encoded, the
//! segment store, its index and retention, and the sandboxed worker for thumbnails, text and exports.
//!
//! A recording is one more receiver in a room (a tap); live viewing and replay read the same index.
