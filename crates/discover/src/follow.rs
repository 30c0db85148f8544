//! Events and inspections, until the process ends.
//!
//! Invariant: an inspection that takes its time holds up no event; and what events do not tell is found by a new list, every
//! [`LIST_EVERY`], for which the stream of events is opened anew, so that one which is stalled lasts no longer.

use std::{
    collections::{BTreeSet, VecDeque},
    fs, io,
    path::PathBuf,
    time::Duration,
};

use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    containers::{Containers, Heard},
    engine::{Engine, EngineError},
    scope::{Endpoint, Scope},
};

/// How often the whole is listed, whatever events tell.
const LIST_EVERY: Duration = Duration::from_secs(10);

/// How long to wait before an engine that fails is asked again: at first, and at last.
const AGAIN: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];

/// What is to be followed.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The engine's socket.
    pub socket: PathBuf,
    /// The Compose project, if it is not the edge's own.
    pub project: Option<String>,
}

/// Tells where requests can go whenever that may have changed (`None`: as before), and what the operator has to know, each thing once while it lasts. An
/// engine that is not there is waited for, and takes nothing away. Ends only when nobody wants to be told any more.
pub async fn follow(
    wanted: &Wanted,
    mut tell: impl FnMut(Option<&[Endpoint]>, &[String]) -> io::Result<()>,
) -> io::Error {
    let engine = Engine::at(&wanted.socket);
    let mut teller = Teller { last: None, notes: BTreeSet::new(), tell: &mut tell };
    let mut containers = Containers::default();
    let mut pause = AGAIN[0];
    let mut trouble = None;
    loop {
        match round(&engine, wanted, &mut containers, &mut teller).await {
            Ok(()) => (pause, trouble) = (AGAIN[0], None),
            Err(Stopped::NobodyListens(error)) => return error,
            Err(Stopped::Engine(error)) => {
                let why = error.to_string();
                if trouble.as_ref() != Some(&why) {
                    let text = format!("{why}; what is known of containers stays as it is until it answers");
                    if let Err(error) = teller.note(text) {
                        return error;
                    }
                    trouble = Some(why);
                }
                sleep(pause).await;
                pause = (pause * 2).min(AGAIN[1]);
            }
        }
    }
}

enum Stopped {
    NobodyListens(io::Error),
    Engine(EngineError),
}

impl From<EngineError> for Stopped {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        Self::NobodyListens(error)
    }
}

/// From one list to when the next is due.
async fn round(
    engine: &Engine,
    wanted: &Wanted,
    containers: &mut Containers,
    teller: &mut Teller<'_>,
) -> Result<(), Stopped> {
    // Before the list, so that nothing happens in between unheard.
    let mut events = engine.events().await?;
    let own = match own_name() {
        Some(name) => engine.inspect(&name).await?,
        None => None,
    };
    let scope = Scope::of(own.as_ref(), wanted.project.as_deref());
    let list = engine.list().await?;
    containers.listed(&list.iter().cloned().collect());
    let mut waiting: VecDeque<_> = list.into();
    let next_list = Instant::now() + LIST_EVERY;
    // What is known from before is worth more than half a list.
    let mut is_listing = true;
    loop {
        let id = waiting.pop_front();
        if id.is_none() {
            is_listing = false;
        }
        if !is_listing {
            teller.tell(containers.endpoints(&scope))?;
        }
        let inspection = async {
            match &id {
                Some(id) => engine.inspect(id).await,
                None => std::future::pending().await,
            }
        };
        let mut inspection = std::pin::pin!(inspection);
        loop {
            tokio::select! {
                biased;
                event = events.next() => {
                    // At the end of the stream the engine ends or is restarted.
                    let Some(event) = event? else { return Err(EngineError::Ended.into()) };
                    let heard = containers.heard(&event);
                    if !is_listing || teller.last.is_some() {
                        teller.tell(containers.endpoints(&scope))?;
                    }
                    if let Heard::Inspect(hint) = heard {
                        if !waiting.contains(&hint) {
                            waiting.push_back(hint);
                        }
                        if id.is_none() {
                            break;
                        }
                    }
                }
                found = &mut inspection => {
                    if let Some(id) = &id {
                        containers.inspected(id, found?);
                    }
                    break;
                }
                () = sleep_until(next_list) => return Ok(()),
            }
        }
    }
}

/// Of the container that this process is in, by the files that the engine puts there; `None` on a host.
fn own_name() -> Option<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    own_id(&mounts).map(str::to_owned)
}

/// `…/containers/ID/hostname` is mounted over `/etc/hostname`.
fn own_id(mounts: &str) -> Option<&str> {
    let is_id = |id: &str| id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    mounts.lines().filter(|line| line.contains(" /etc/hostname ")).find_map(|line| {
        let id = line.split_once("/containers/")?.1.split('/').next()?;
        Some(id).filter(|id| is_id(id))
    })
}

type Tell<'a> = dyn FnMut(Option<&[Endpoint]>, &[String]) -> io::Result<()> + 'a;

/// Tells what has changed, and that alone.
struct Teller<'a> {
    last: Option<Vec<Endpoint>>,
    notes: BTreeSet<String>,
    tell: &'a mut Tell<'a>,
}

impl Teller<'_> {
    fn tell(&mut self, (endpoints, notes): (Vec<Endpoint>, BTreeSet<String>)) -> io::Result<()> {
        let new: Vec<_> = notes.difference(&self.notes).cloned().collect();
        self.notes = notes;
        if new.is_empty() && self.last.as_ref() == Some(&endpoints) {
            return Ok(());
        }
        (self.tell)(Some(&endpoints), &new)?;
        self.last = Some(endpoints);
        Ok(())
    }

    fn note(&mut self, text: String) -> io::Result<()> {
        (self.tell)(None, &[text])
    }
}

#[cfg(test)]
mod tests {
    use super::own_id;

    #[test]
    fn the_own_container() {
        let id = "0123456789abcdef".repeat(4);
        let line = format!("812 800 8:1 /var/lib/docker/containers/{id}/hostname /etc/hostname rw - ext4 /dev/sda1 rw");
        for (mounts, expected) in [
            (line.as_str(), Some(id.as_str())),
            ("", None),
            ("1 2 8:1 / / rw - ext4 /dev/sda1 rw", None),
            ("1 2 8:1 /containers/abc/hostname /etc/hostname rw - ext4 x rw", None),
            ("1 2 8:1 /etc/hostname /etc/hostname rw - ext4 x rw", None),
        ] {
            assert_eq!(own_id(mounts), expected, "{mounts}");
        }
    }
}
