//! `[[route]]` and `static`: what is asked for, and what becomes of it.
//!
//! Invariant: a path is kept decoded and without a slash at its end (but for `/` itself), a host in lower case, a field's name and
//! value as they may stand in a message.

use std::{path::PathBuf, time::Duration};

use units::Bytes;

use crate::{
    model::{Compression, Upstream},
    protection::{Maintenance, Own, RateLimit},
    redirect::Piece,
    trusted::TrustedProxies,
    users::Users,
};

mod fields; // names and values of fields
mod given; // the keys of the file
mod services; // upstreams of their own

pub(crate) use fields::is_token;
pub(crate) use given::routes;

/// All routes, and the files beside the application.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// The first that fits counts.
    pub list: Vec<Route>,
    /// Other servers that some of them lead to.
    pub services: Vec<Service>,
    /// Where files are looked for, before the application is asked.
    pub files: Vec<Mount>,
    /// Where files are that the application may name in place of a body.
    pub internal: Vec<Mount>,
}

impl Routes {
    /// Whether some requests are answered without an application or an upstream.
    pub(crate) fn answer_themselves(&self) -> bool {
        let answers = |route: &Route| !matches!(route.action, Action::App(_));
        !self.files.is_empty() || self.list.iter().any(answers)
    }
}

/// Other servers that answer, with a queue of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// No other has it, nor has the application.
    pub name: String,
    /// Where it is.
    pub upstreams: Vec<Upstream>,
}

/// A directory whose files are found below a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// `/static`.
    pub path: String,
    /// The directory.
    pub directory: PathBuf,
}

/// Which requests it is for, what they have to fulfil, and what becomes of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Any, when there are none.
    pub hosts: Vec<HostPattern>,
    /// Those below it, segment by segment.
    pub path: String,
    /// Any, when there are none.
    pub methods: Vec<String>,
    /// Fields that the request has to have, with this value or with any.
    pub fields: Vec<(String, Option<String>)>,
    /// Who may come, if not everybody.
    pub allow: Option<TrustedProxies>,
    /// Who may not, in any case.
    pub deny: TrustedProxies,
    /// Who has to name a password, if anybody.
    pub users: Option<Users>,
    /// How often a client may come.
    pub rate: Own<RateLimit>,
    /// Whether nobody is served.
    pub maintenance: Own<Maintenance>,
    /// Bounds.
    pub limits: RouteLimits,
    /// In place of `compress`.
    pub compression: Option<Compression>,
    /// What is changed in the request's head.
    pub request: Edits,
    /// What is changed in the response's.
    pub response: Edits,
    /// The service that it leads to, if not to that of the configuration.
    pub service: Option<String>,
    /// Who answers.
    pub action: Action,
}

/// Bounds of a route, in place of those of all requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouteLimits {
    /// The longest request body.
    pub body: Option<Bytes>,
    /// From the call of the application to the head of its response.
    pub time: Option<Duration>,
    /// The longest body of a response.
    pub response: Option<Bytes>,
    /// The longest wait until a worker starts a request.
    pub queue: Option<Duration>,
    /// How many of the route's requests the application may have at a time.
    pub in_flight: Option<u32>,
    /// How many more may wait for that.
    pub queue_length: Option<u32>,
}

/// A host that a request may be for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// This one.
    Exact(String),
    /// Any below it: of `*.example.org`, `.example.org`.
    Below(String),
}

/// Changes of a head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    /// Fields that take the place of whatever has their name.
    pub set: Vec<(String, String)>,
    /// Names of fields that are left out.
    pub remove: Vec<String>,
}

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The service, or a file of `static`.
    App(Mounting),
    /// The client is sent elsewhere.
    Redirect {
        /// Where.
        to: Vec<Piece>,
        /// 301, 302, 303, 307 or 308.
        status: u16,
    },
    /// Always the same.
    Respond {
        /// Any final status.
        status: u16,
        /// The Content-Type.
        kind: String,
        /// The body.
        body: String,
    },
    /// A file below a directory, or the application where there is none.
    Files {
        /// The directory.
        directory: PathBuf,
        /// The file below it that is sent where there is none.
        fallback: Option<String>,
    },
}

/// What the application is told of the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mounting {
    /// As it came.
    Whole,
    /// Without the route's path, which becomes `SCRIPT_NAME`.
    Stripped,
    /// With this in place of the route's path.
    Rewritten(String),
}
