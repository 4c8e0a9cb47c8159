//! What the end-to-end tests share: the server under test, peers, and measuring at the far end.
