//! PEP 3333, rule by rule, for a server. Each test names the section that it holds; what concerns HTTP alone is in `http`,
//! what applications meet first is in `wsgi`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod body; // "Buffering and Streaming", "Handling the Content-Length Header", close()
mod environ; // "environ Variables"
mod errors; // "Error Handling"
mod input; // "Input and Error Streams"
mod start_response; // "The start_response() Callable", write()

use testkit::{Client, Project, Response, Running};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const APP: &str = include_str!("../apps/pep3333.py");

/// One worker, so that whatever a request leaves behind meets the next one.
fn project() -> Project {
    Project::new(TIERCE, APP, "workers = 1")
}

fn up(project: &Project) -> Running<'_> {
    project.up(&["--access-log", "off"])
}

/// A GET of a rule with an argument.
fn get(client: &mut Client, rule: &str, argument: &str) -> Response {
    client.get(&format!("/{rule}?{}", escaped(argument))).unwrap()
}

fn escaped(argument: &str) -> String {
    argument
        .bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn notes(project: &Project, line: &str) -> usize {
    project.read("notes.txt").lines().filter(|noted| *noted == line).count()
}
