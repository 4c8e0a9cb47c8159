//! Exchanges as a whole: captured offers, offers of our own writing, and rules that every answer obeys.
