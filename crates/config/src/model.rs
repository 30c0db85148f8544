//! The checked configuration.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use units::Bytes;

use crate::{
    protection::Protection,
    retry::RetryOn,
    routes::{Routes, Service},
    trusted::TrustedProxies,
    workers::Workers,
};

/// Everything that is configured. Paths are absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The project's directory: the application's working directory, and first on its path.
    pub project: PathBuf,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// What to run; names nothing where there is nothing to be run.
    pub app: AppRef,
    /// Other servers that answer in an application's place; none where there is an application, or where only routes lead anywhere.
    pub upstreams: Vec<Upstream>,
    /// The engine that tells of others, in place of those.
    pub discover: Option<Discover>,
    /// How they are probed.
    pub health: Health,
    /// For what else a request is tried again on another of them.
    pub retry_on: RetryOn,
    /// By what a node is chosen.
    pub balance: Balance,
    /// The cookie by which clients stick to a node, if they do.
    pub sticky: Option<String>,
    /// How long an upstream that has become ready has less than its part.
    pub slow_start: Duration,
    /// The service's name; nodes are `NAME.1`, `NAME.2`, …
    pub name: String,
    /// The name of the only node, where this is the program of a container (`tierce node`).
    pub node: Option<String>,
    /// How many nodes.
    pub nodes: u32,
    /// Processes in each node.
    pub workers: Workers,
    /// Requests in flight in each worker, at most.
    pub threads: u32,
    /// Threads of the edge.
    pub cores: u32,
    /// Where requests come in.
    pub listen: Vec<Listen>,
    /// Where what runs can be watched.
    pub admin: Admin,
    /// The certificates of what is `https` in it.
    pub tls: Tls,
    /// The port of https that plain requests are sent to, if they are.
    pub https_redirect: Option<u16>,
    /// Who may speak for the client.
    pub trusted_proxies: TrustedProxies,
    /// Whether connections begin with a header of the PROXY protocol.
    pub proxy_protocol: ProxyProtocol,
    /// What becomes of requests besides going to the application or the upstreams.
    pub routes: Routes,
    /// What protects the application from too much of them.
    pub protection: Protection,
    /// The interpreter, if it is not to be searched for.
    pub python: Option<PathBuf>,
    /// Directories for `sys.path`, behind the project.
    pub pythonpath: Vec<PathBuf>,
    /// Variables for the application; those of `env_file` included.
    pub env: BTreeMap<String, String>,
    /// The file that some of them come from.
    pub env_file: Option<PathBuf>,
    /// Whom the application runs as.
    pub user: Option<String>,
    /// Whether responses name their worker.
    pub expose: Expose,
    /// Whether responses say how long what has taken.
    pub server_timing: ServerTiming,
    /// Which requests belong to a trace.
    pub tracing: Tracing,
    /// Whether responses are compressed.
    pub compression: Compression,
    /// Bounds.
    pub limits: Limits,
    /// The access log.
    pub access_log: AccessLog,
}

impl Config {
    /// Whether there is an application to be run.
    pub fn has_app(&self) -> bool {
        !self.app.module.is_empty()
    }

    /// What its node with this number is called.
    pub fn node_name(&self, index: u32) -> String {
        self.node.clone().unwrap_or_else(|| format!("{}.{index}", self.name))
    }

    /// Everything that other servers answer: what goes to `upstream`, and what routes lead to.
    pub fn services(&self) -> Vec<Service> {
        let main = Service { name: self.name.clone(), upstreams: self.upstreams.clone() };
        let main = Some(main).filter(|main| !main.upstreams.is_empty() || self.discover.is_some());
        main.into_iter().chain(self.routes.services.iter().cloned()).collect()
    }
}

/// Bounds of requests and of what is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest request body.
    pub body: Bytes,
    /// From the call of the application to the head of its response.
    pub time: Duration,
    /// The longest wait until a worker starts the request.
    pub queue: Duration,
    /// How many requests may wait.
    pub queue_length: u32,
    /// How many requests all workers together may have in flight.
    pub in_flight: Option<u32>,
    /// What becomes of a handler whose client has gone.
    pub on_disconnect: OnDisconnect,
    /// After how many requests a worker is replaced.
    pub requests: Option<u32>,
    /// At which age a worker is replaced.
    pub age: Option<Duration>,
    /// Beyond which memory (PSS) a worker is replaced.
    pub memory: Option<Bytes>,
    /// How long a connection that has left HTTP may be silent.
    pub tunnel: Duration,
    /// How long fewer workers must have been enough before one leaves, where their number adapts.
    pub idle: Duration,
    /// From starting a node to its being ready.
    pub start: Duration,
    /// For requests in flight when a node is stopped.
    pub drain: Duration,
    /// How long a container that is told to stop goes on accepting.
    pub notice: Duration,
    /// How long its platform waits before it kills.
    pub grace: Duration,
}

/// Another server that answers requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Where it is.
    pub address: UpstreamAddress,
    /// What it is, if an engine has told of it.
    pub container: Option<Container>,
    /// What is spoken there.
    pub protocol: Protocol,
    /// Its share, compared with the others'.
    pub weight: u32,
    /// When it gets requests.
    pub role: UpstreamRole,
    /// The most requests that it has at a time.
    pub max_concurrency: u32,
    /// How TLS is spoken there; `None`: it is not.
    pub tls: Option<UpstreamTls>,
    /// The header of the PROXY protocol with which each connection begins, if one does.
    pub proxy_protocol: Option<ProxyVersion>,
}

/// A container that answers requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// As the engine tells it from one with the same name and address.
    pub id: String,
    /// `hello_web_1`
    pub name: String,
}

/// The Docker engine that tells which containers answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discover {
    /// Its socket.
    pub socket: PathBuf,
    /// The Compose project, if it is not the edge's own.
    pub project: Option<String>,
}

/// How TLS is spoken to an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTls {
    /// The name that is asked for and has to be in its certificate; or an IP address.
    pub server_name: String,
    /// Who may vouch for it.
    pub trust: UpstreamTrust,
    /// What is shown when it asks who we are.
    pub identity: Option<CertificateFiles>,
}

/// Who may vouch for an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamTrust {
    /// The authorities that this machine trusts.
    System,
    /// The authorities in a PEM file, and nobody else.
    File(PathBuf),
    /// Anybody: nothing is verified.
    Anybody,
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// Where an upstream is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamAddress {
    /// A host name or IP address, and a port.
    Tcp {
        /// Without brackets.
        host: String,
        /// Its port.
        port: u16,
    },
    /// A socket in the file system.
    Unix {
        /// Its path.
        path: PathBuf,
    },
}

/// When an upstream gets requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamRole {
    /// Always.
    Usual,
    /// When no other takes any.
    Backup,
}

/// By what a node is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Balance {
    /// The least outstanding work.
    LeastOutstanding,
    /// Turns.
    RoundRobin,
    /// The one of two by chance that has less to do.
    RandomTwo,
    /// The one to which a part of the request belongs.
    ConsistentHash(HashOn),
}

/// The part of a request that decides where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashOn {
    /// The client's address.
    Client,
    /// The path.
    Path,
    /// Path and query.
    Uri,
    /// The value of the field with this name.
    Header(String),
    /// The value of the cookie with this name.
    Cookie(String),
}

/// How upstreams are probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What is asked for; without it, a connection is enough.
    pub path: Option<String>,
    /// How often.
    pub every: Duration,
    /// So many failures in a row end it.
    pub fail: u32,
    /// So many successes in a row bring it back.
    pub rise: u32,
}

impl fmt::Display for UpstreamAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix { path } => write!(f, "unix:{}", path.display()),
        }
    }
}

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A host name or IP address, and a port.
    Tcp {
        /// `localhost`, `0.0.0.0`, `::1`, …
        host: String,
        /// 0: any that is free.
        port: u16,
        /// What is spoken there.
        protocol: Protocol,
    },
    /// A socket in the file system.
    Unix {
        /// Its path.
        path: PathBuf,
        /// What is spoken there.
        protocol: Protocol,
        /// Who may connect, as chmod(1) takes it; otherwise what the umask leaves.
        mode: Option<u32>,
    },
}

/// Where what runs can be watched: metrics, readiness, nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admin {
    /// A Unix socket beside the state of the run.
    Socket,
    /// Here.
    At(Listen),
    /// Nowhere.
    Off,
}

/// Where certificates come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    /// A local authority makes one, for `localhost` only.
    Local,
    /// Files; the first is for clients that ask for a name which none has.
    Files(Vec<CertificateFiles>),
}

/// A certificate with the chain that vouches for it, and its key; both in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate first, then the chain.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
    /// Where they were named, for people.
    pub place: String,
}

/// Whether connections begin with a header that says for whom a proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// They do not.
    Unused,
    /// They do, and are refused without it, or when the peer is no trusted proxy.
    Required,
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1, with anybody.
    Http,
    /// The same through TLS.
    Https,
    /// uwsgi, with a gateway such as nginx, which is believed.
    Uwsgi,
}

impl Protocol {
    /// `unix:` is older than the second protocol and means HTTP.
    pub fn of_socket(self) -> &'static str {
        match self {
            Self::Http | Self::Https => "unix",
            Self::Uwsgi => "uwsgi",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Uwsgi => "uwsgi",
        })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port, protocol } if host.contains(':') => write!(f, "{protocol}://[{host}]:{port}"),
            Self::Tcp { host, port, protocol } => write!(f, "{protocol}://{host}:{port}"),
            Self::Unix { path, protocol, .. } => write!(f, "{}:{}", protocol.of_socket(), path.display()),
        }
    }
}

/// The application as `module:callable`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppRef {
    /// `package.module`.
    pub module: String,
    /// A name in it, or `create_app()` for a factory.
    pub callable: String,
    /// The file in which it was found when nobody named it.
    pub found_in: Option<PathBuf>,
    /// Where it was named or found, for people.
    pub place: String,
}

impl AppRef {
    /// Names nothing.
    pub(crate) fn none() -> Self {
        Self { module: String::new(), callable: String::new(), found_in: None, place: String::new() }
    }
}

impl fmt::Display for AppRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.module, self.callable)
    }
}

/// What becomes of a handler whose client has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDisconnect {
    /// It runs to its end.
    Finish,
    /// An exception is raised in its thread.
    Interrupt,
}

/// Whether responses say which worker made them (`X-Served-By`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expose {
    /// They do not.
    Hidden,
    /// They do.
    Shown,
}

/// Whether responses say how long they have waited and been worked at (`Server-Timing`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerTiming {
    /// They do not.
    Hidden,
    /// They do.
    Shown,
}

/// Whether responses are compressed for clients that accept it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// They are not.
    Off,
    /// Those that gain by it are.
    On,
}

impl Compression {
    pub(crate) fn of(flag: bool) -> Self {
        if flag { Self::On } else { Self::Off }
    }
}

/// Which requests belong to a trace (`traceparent`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracing {
    /// All: whoever comes without one begins one.
    Make,
    /// Those that come with one.
    Pass,
}

/// How the access log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// Text for a terminal, JSON otherwise.
    Auto,
    /// Text.
    Text,
    /// One JSON object a line.
    Json,
    /// The combined format of Apache and nginx.
    Combined,
    /// Not at all.
    Off,
}
