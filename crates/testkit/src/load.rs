//! Unique POSTs at a steady rate, whatever becomes of them: an open loop, so that a slow server is not spared.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread::{sleep, spawn},
    time::{Duration, Instant},
};

use crate::client::Client;

/// What became of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A whole response.
    Answered {
        /// Its status.
        status: u16,
        /// Its body.
        body: String,
    },
    /// None, or a part of one.
    Broken(String),
}

/// Connections that send; more requests than these in flight are late, not lost.
const CONNECTIONS: usize = 64;

/// Sends POSTs to `/run/ID` while `meanwhile` runs, `rate` a second; returns what became of each.
pub fn run_load(port: u16, rate: u64, meanwhile: impl FnOnce()) -> BTreeMap<u64, Outcome> {
    let next = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let outcomes = Arc::new(Mutex::new(BTreeMap::new()));
    let began = Instant::now();
    let threads: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (next, stop, outcomes) = (Arc::clone(&next), Arc::clone(&stop), Arc::clone(&outcomes));
            spawn(move || {
                let mut client = None;
                while !stop.load(SeqCst) {
                    let id = next.fetch_add(1, SeqCst);
                    let due = began + Duration::from_micros(id * 1_000_000 / rate);
                    sleep(due.saturating_duration_since(Instant::now()));
                    let outcome = post(&mut client, port, id);
                    outcomes.lock().unwrap().insert(id, outcome);
                }
            })
        })
        .collect();
    meanwhile();
    stop.store(true, SeqCst);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    Arc::try_unwrap(outcomes).unwrap().into_inner().unwrap()
}

fn post(client: &mut Option<Client>, port: u16, id: u64) -> Outcome {
    let mut attempt = || -> std::io::Result<Outcome> {
        let connection = match client {
            Some(connection) => connection,
            None => client.insert(Client::connect(port)?),
        };
        let response = connection.post(&format!("/run/{id}"), id.to_string().as_bytes())?;
        if response.field("connection") == Some("close") {
            *client = None;
        }
        Ok(Outcome::Answered { status: response.status, body: response.text() })
    };
    match attempt() {
        Ok(outcome) => outcome,
        Err(error) => {
            *client = None;
            Outcome::Broken(error.to_string())
        }
    }
}
