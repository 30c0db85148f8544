//! What all nodes of a run share.

use std::{ffi::CString, io, path::PathBuf, rc::Rc, sync::Arc};

use config::Config;
use link::LinkEnd;
use policy::{Nodes, Shared};
use serde::Serialize;
use sys::{OwnHostName, User};
use telemetry::LogSink;
use tokio::sync::watch;

use crate::{
    ended::{Ends, OomKills},
    extension::Extension,
    interpreter::Interpreter,
    roster::Roster,
    start_error::StartError,
    table::Table,
};

/// A listener as the application sees it (`SERVER_NAME`, `SERVER_PORT`, `wsgi.url_scheme`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListenerName {
    /// Host name, or an address as it stands in a URL.
    pub name: String,
    /// Port, as text.
    pub port: String,
    /// `http`.
    pub scheme: String,
}

/// The edge as workers know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Front {
    /// How many links a worker has: one to each thread.
    pub threads: usize,
    /// The listeners, each at its number.
    pub listeners: Vec<ListenerName>,
}

/// What the supervisor is made from.
#[derive(Debug)]
pub struct Parts {
    /// What to run.
    pub config: Arc<Config>,
    /// By which Python.
    pub interpreter: Interpreter,
    /// The worker's code.
    pub extension: Extension,
    /// Where files of a run may be put.
    pub state_directory: PathBuf,
    /// Where output goes.
    pub sink: LogSink,
    /// Queue and slots.
    pub shared: Arc<Shared>,
    /// The node table.
    pub table: watch::Sender<Arc<Nodes<Arc<LinkEnd>>>>,
    /// Where requests come from.
    pub front: Rc<Front>,
}

/// How nodes get host names of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// A UTS namespace: `gethostname()` says `web.1`.
    Uts,
    /// The variable HOSTNAME only.
    Env,
}

/// What a generation of nodes is made of.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// What to run.
    pub config: Arc<Config>,
    /// By which Python.
    pub interpreter: Interpreter,
    /// Where requests come from.
    pub front: Rc<Front>,
}

#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) extension: Extension,
    pub(crate) state_directory: PathBuf,
    pub(crate) sink: LogSink,
    pub(crate) shared: Arc<Shared>,
    pub(crate) table: Table,
    pub(crate) isolation: Isolation,
    pub(crate) oom_kills: OomKills,
    pub(crate) ends: Ends,
    pub(crate) roster: Roster,
}

impl Context {
    pub(crate) fn new(parts: Parts) -> (Rc<Self>, Recipe) {
        let Parts { config, interpreter, extension, state_directory, sink, shared, table, front } = parts;
        // A container has a host name of its own already.
        let isolates = config.node.is_none() && sys::can_isolate().is_ok();
        let isolation = if isolates { Isolation::Uts } else { Isolation::Env };
        let context = Self {
            extension,
            state_directory,
            sink,
            table: Table::new(Arc::clone(&shared), table),
            shared,
            isolation,
            oom_kills: OomKills::new(),
            ends: Ends::default(),
            roster: Roster::default(),
        };
        (Rc::new(context), Recipe { config, interpreter, front })
    }

    /// The host name of a node, with a hosts file in which it can be found; `None` where it has none of its own.
    pub(crate) fn host_name(&self, node: &str) -> io::Result<Option<HostName>> {
        if self.isolation == Isolation::Env {
            return Ok(None);
        }
        // `tierce check` may start a node of the same name at the same time.
        let file = self.state_directory.join(format!("hosts.{node}.{}", std::process::id()));
        let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
        let host_name = HostName { name: CString::new(node)?, file };
        std::fs::write(&host_name.file, format!("{}\n127.0.1.1 {node}\n", hosts.trim_end()))?;
        Ok(Some(host_name))
    }
}

/// The host name of a node that is being started. When it runs it has its hosts file, which needs its name no more.
#[derive(Debug)]
pub(crate) struct HostName {
    name: CString,
    file: PathBuf,
}

impl HostName {
    pub(crate) fn own(&self) -> io::Result<OwnHostName> {
        Ok(OwnHostName { name: self.name.clone(), hosts: CString::new(self.file.as_os_str().as_encoded_bytes())? })
    }
}

impl Drop for HostName {
    fn drop(&mut self) {
        // One that was never written is not there.
        let _ = std::fs::remove_file(&self.file);
    }
}

/// What the environment says of the user that the application runs as; the variables that are configured win.
pub(crate) fn variables(user: Option<&User>) -> Vec<(&'static str, String)> {
    let Some(User { name, home, .. }) = user else { return Vec::new() };
    vec![("HOME", home.clone()), ("USER", name.clone()), ("LOGNAME", name.clone())]
}

/// The user that the application is to run as, by name, if it is another one.
pub(crate) fn user<'a>(config: &'a Config, node: &str) -> Result<Option<(&'a str, User)>, StartError> {
    let Some(name) = &config.user else { return Ok(None) };
    let found = sys::find_user(name).map_err(|error| StartError::machine("cannot read /etc/passwd", node, &error))?;
    match found {
        Some(user) if user.uid == rustix::process::geteuid().as_raw() => Ok(None),
        Some(user) => Ok(Some((name, user))),
        None => Err(StartError::no_such_user(name, node)),
    }
}
