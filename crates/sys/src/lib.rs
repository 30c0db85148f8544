//! The system calls that have no safe wrapper in a library, each made safe in one file.
//!
//! Invariant: this crate and `worker` are the only places with `unsafe`; nothing here decides anything.

mod child; //        between fork and exec
mod init; //         the first process of a container
mod leash; //        tools that end with us
mod machine; //      cores, descriptors, scheduling
mod memory; //       how much is left
mod processor; //    how much it has done
mod receive; //      bytes and descriptors from a socket
mod shared_words; // memory shared with another process

pub use child::{ChildSetup, OwnHostName, User, can_isolate, find_user, prepare_child, prepare_daemon};
pub use init::{Side, become_init};
pub use leash::{Leash, prepare_leashed};
pub use machine::{available_cores, raise_open_files, release_memory, use_batch_scheduling};
pub use memory::FreeMemory;
pub use processor::{idle_time, process_time};
pub use receive::{Passed, receive};
pub use shared_words::SharedWords;
