//! The system calls that have no safe wrapper in a library, each made safe in one file.
//!
//! Invariant: this crate and `worker` are the only places with `unsafe`; nothing here decides anything.

mod shared_words; // memory shared with another process

pub use shared_words::SharedWords;
