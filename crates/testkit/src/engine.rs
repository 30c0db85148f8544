//! A Docker engine that tells what a script says: the list, inspections and events of containers that are only told of.
//!
//! Invariant: whatever is no GET request that the edge has to make is remembered as wrong.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::spawn,
};

use serde_json::{Value, json};

/// Listens until it is dropped.
#[derive(Debug)]
pub struct ScriptedEngine {
    socket: PathBuf,
    told: Arc<Mutex<Told>>,
}

#[derive(Debug, Default)]
struct Told {
    containers: BTreeMap<String, Value>,
    streams: Vec<UnixStream>,
    wrong: Vec<String>,
    ended: bool,
}

impl ScriptedEngine {
    /// At this path.
    ///
    /// # Panics
    /// When it cannot be listened on.
    pub fn at(socket: &Path) -> Self {
        // What an engine leaves behind.
        let _ = fs::remove_file(socket);
        let listener = UnixListener::bind(socket).unwrap();
        let told = Arc::<Mutex<Told>>::default();
        let shared = Arc::clone(&told);
        spawn(move || {
            for stream in listener.incoming().flatten() {
                if lock(&shared).ended {
                    return;
                }
                let shared = Arc::clone(&shared);
                spawn(move || answer(stream, &shared));
            }
        });
        Self { socket: socket.to_owned(), told }
    }

    /// A container of the project `p` runs from now on, without an event; `started` tells its runs apart.
    pub fn has(&self, id: &str, service: &str, (host, port): (&str, u16), started: &str) {
        let facts = json!({
            "Id": id, "Name": format!("/p_{service}_{id}"),
            "State": { "Status": "running", "Running": true, "StartedAt": started },
            "Config": {
                "Labels": { "com.docker.compose.project": "p", "com.docker.compose.service": service },
                "ExposedPorts": { format!("{port}/tcp"): {} },
            },
            "NetworkSettings": { "Networks": { "p_default": { "NetworkID": "n", "IPAddress": host } } },
        });
        lock(&self.told).containers.insert(id.to_owned(), facts);
    }

    /// What its HEALTHCHECK says.
    ///
    /// # Panics
    /// When there is no such container.
    pub fn health(&self, id: &str, status: &str) {
        lock(&self.told).containers.get_mut(id).unwrap()["State"]["Health"] = json!({ "Status": status });
        self.event(id, &format!("health_status: {status}"), &json!({}));
    }

    /// It is not there any more, without an event.
    pub fn lacks(&self, id: &str) {
        lock(&self.told).containers.remove(id);
    }

    /// Tells whoever listens.
    pub fn event(&self, id: &str, action: &str, attributes: &Value) {
        let event = json!({ "Type": "container", "Action": action, "Actor": { "ID": id, "Attributes": attributes } });
        let line = format!("{event}\n");
        let chunk = format!("{:x}\r\n{line}\r\n", line.len());
        lock(&self.told).streams.retain_mut(|stream| stream.write_all(chunk.as_bytes()).is_ok());
    }

    /// How many listen to events.
    pub fn listeners(&self) -> usize {
        lock(&self.told).streams.len()
    }

    /// Requests that are not to be made.
    pub fn wrong(&self) -> Vec<String> {
        lock(&self.told).wrong.clone()
    }
}

impl Drop for ScriptedEngine {
    fn drop(&mut self) {
        let mut told = lock(&self.told);
        told.ended = true;
        told.streams.clear();
        drop(told);
        // Wakes the listener, which ends then.
        let _ = UnixStream::connect(&self.socket);
        let _ = fs::remove_file(&self.socket);
    }
}

fn answer(mut stream: UnixStream, told: &Mutex<Told>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    lines.take_while(|line| !line.is_empty()).for_each(drop);
    let path = first.strip_prefix("GET ").and_then(|rest| rest.strip_suffix(" HTTP/1.1"));
    let mut told = lock(told);
    let one = path.and_then(|path| path.strip_prefix("/containers/")?.strip_suffix("/json"));
    let (status, body) = match (path, one) {
        (Some("/containers/json"), _) => {
            let ids: Vec<_> = told.containers.keys().map(|id| json!({ "Id": id, "State": "running" })).collect();
            (200, Value::Array(ids))
        }
        (Some(path), _) if path.starts_with("/events?") => {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            if stream.write_all(head.as_bytes()).is_ok() {
                told.streams.push(stream);
            }
            return;
        }
        (_, Some(id)) => match told.containers.get(id) {
            Some(facts) => (200, facts.clone()),
            None => (404, json!({ "message": "No such container" })),
        },
        _ => {
            told.wrong.push(first);
            (400, Value::Null)
        }
    };
    let body = body.to_string();
    // Whoever has asked may have gone.
    let _ = write!(stream, "HTTP/1.1 {status} Told\r\nContent-Length: {}\r\n\r\n{body}", body.len());
}

fn lock(told: &Mutex<Told>) -> MutexGuard<'_, Told> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}
