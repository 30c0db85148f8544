//! Where to listen without being in each other's way.
//!
//! Invariant: no port that the system hands out by itself is used. Such a one may be taken by any outgoing connection
//! between the moment when it was found free and the moment when it is bound.

use std::{
    net::TcpListener,
    sync::atomic::{AtomicU16, Ordering::Relaxed},
};

/// Below what Linux hands out by default (32768 and above), above what services use.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// A port on which nothing listens; no two calls in a process give the same one, and processes begin at different ones.
///
/// # Panics
/// When all are in use.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() * 101 % u32::from(COUNT)).expect("it is less than COUNT");
    for _ in 0..COUNT {
        let port = FIRST + (start + NEXT.fetch_add(1, Relaxed) % COUNT) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port from {FIRST} on is free");
}
