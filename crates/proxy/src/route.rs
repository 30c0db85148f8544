//! Which route a request takes: the table of the configuration, compiled once, looked up without allocation.
//!
//! Invariant: the first route that fits counts, in the order of the file. A path fits by what it means, not by how it is spelt.

use std::{
    ffi::OsStr,
    net::IpAddr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use config::{HostPattern, Mount, Own};
use http::RequestHead;
use policy::LaneBounds;

use crate::{clients::RateRule, lane::Lane, service::Service};

/// All routes, and the directories beside the application.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    list: Vec<Route>,
    /// The service of requests whose route names none, by its number.
    main: Option<usize>,
    /// The longest path first.
    files: Vec<Mount>,
    internal: Vec<Mount>,
}

/// One route and what can be known of it before a request comes.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) rule: config::Route,
    pub(crate) request: Edits,
    pub(crate) response: Edits,
    /// Its service, by number, if it does not leave that to others.
    service: Option<usize>,
    /// How often a client may come here.
    pub(crate) rate: Option<RateRule>,
    /// Where its requests wait when too many of them are with the application.
    pub(crate) lane: Option<Arc<Lane>>,
    lane_bounds: Option<LaneBounds>,
}

/// Changes of a head, ready to be made.
#[derive(Debug, Default)]
pub(crate) struct Edits {
    /// Names of fields that are left out, those that are set included; in lower case.
    pub(crate) without: Vec<Vec<u8>>,
    /// Fields that are added.
    pub(crate) set: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What of a request decides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) head: &'a RequestHead,
    pub(crate) input: &'a [u8],
    /// As it was asked for, with a port perhaps.
    pub(crate) host: &'a [u8],
}

impl Routes {
    /// Without a word of a route, requests go to the service with the name `main`, if there is one, and lanes have
    /// `queue_length`.
    pub(crate) fn new(routes: &config::Routes, queue_length: u32, main: &str, services: &[Service]) -> Self {
        let number = |name: &str| services.iter().position(|service| service.name == name);
        let route = |rule: &config::Route| Route {
            service: rule.service.as_deref().and_then(number),
            ..Route::new(rule, queue_length)
        };
        let sorted = |mounts: &[Mount]| {
            let mut mounts = mounts.to_vec();
            mounts.sort_by_key(|mount| std::cmp::Reverse(mount.path.len()));
            mounts
        };
        Self {
            list: routes.list.iter().map(route).collect(),
            main: number(main),
            files: sorted(&routes.files),
            internal: sorted(&routes.internal),
        }
    }

    /// The number of the service that answers.
    pub(crate) fn service(&self, route: Option<&Route>) -> Option<usize> {
        route.and_then(|route| route.service).or(self.main)
    }

    /// Takes over the lanes of routes that are for the same requests, with whoever is in them.
    pub(crate) fn keep_lanes(&mut self, old: &Self) {
        for route in &mut self.list {
            let Some(bounds) = route.lane_bounds else { continue };
            let known = old.list.iter().find(|known| known.lane.is_some() && known.is_for_the_same(route));
            if let Some(lane) = known.and_then(|known| known.lane.as_ref()) {
                lane.set(bounds);
                route.lane = Some(Arc::clone(lane));
            }
        }
    }

    /// Whether there is nothing to look up.
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty() && self.files.is_empty()
    }

    pub(crate) fn find(&self, asked: Asked<'_>) -> Option<&Route> {
        if self.list.is_empty() {
            return None;
        }
        let host = bare(asked.host);
        self.list.iter().find(|route| route.fits(asked, host))
    }

    /// The directory for a path, and how many bytes of the path have named it.
    pub(crate) fn files(&self, path: &[u8]) -> Option<(&Mount, usize)> {
        below(&self.files, path)
    }

    /// Whether the application may name files.
    pub(crate) fn has_internal(&self) -> bool {
        !self.internal.is_empty()
    }

    /// The same as [`Self::files`], for a path that the application names.
    pub(crate) fn internal(&self, path: &[u8]) -> Option<(&Mount, usize)> {
        below(&self.internal, path)
    }

    /// The directory, and the name below it, of a file that the application names by its absolute path.
    pub(crate) fn internal_file(&self, file: &[u8]) -> Option<(PathBuf, Vec<u8>)> {
        let file = Path::new(OsStr::from_bytes(file));
        self.internal.iter().find_map(|mount| {
            let name = file.strip_prefix(&mount.directory).ok()?;
            Some((mount.directory.clone(), name.as_os_str().as_bytes().to_vec()))
        })
    }
}

fn below<'a>(mounts: &'a [Mount], path: &[u8]) -> Option<(&'a Mount, usize)> {
    mounts.iter().find_map(|mount| Some((mount, http::path_prefix(path, mount.path.as_bytes())?)))
}

impl Route {
    fn new(rule: &config::Route, queue_length: u32) -> Self {
        let config::Route { hosts, path, methods, fields, limits, .. } = rule;
        let rate = match &rule.rate {
            Own::This(limit) => Some(RateRule::new(limit, &format!("{hosts:?} {path} {methods:?} {fields:?}"))),
            Own::AsForAll | Own::Off => None,
        };
        let length = limits.queue_length.unwrap_or(queue_length);
        let lane_bounds = limits.in_flight.map(|in_flight| LaneBounds { in_flight, length });
        Self {
            request: Edits::new(&rule.request),
            response: Edits::new(&rule.response),
            rate,
            lane: lane_bounds.map(Lane::new),
            lane_bounds,
            rule: rule.clone(),
            service: None,
        }
    }

    fn is_for_the_same(&self, other: &Self) -> bool {
        let (ours, theirs) = (&self.rule, &other.rule);
        (&ours.hosts, &ours.path, &ours.methods, &ours.fields)
            == (&theirs.hosts, &theirs.path, &theirs.methods, &theirs.fields)
    }

    fn fits(&self, asked: Asked<'_>, host: &[u8]) -> bool {
        let Asked { head, input, .. } = asked;
        let rule = &self.rule;
        let method = head.method.of(input);
        (rule.methods.is_empty() || rule.methods.iter().any(|known| known.as_bytes() == method))
            && http::path_prefix(head.path.of(input), rule.path.as_bytes()).is_some()
            && (rule.hosts.is_empty() || rule.hosts.iter().any(|pattern| is_host(pattern, host)))
            && rule.fields.iter().all(|(name, value)| has_field(asked, name, value.as_deref()))
    }

    /// Whether a client may come; `None` is one of a Unix socket.
    pub(crate) fn admits(&self, client: Option<IpAddr>) -> bool {
        !self.rule.deny.contains(client) && self.rule.allow.as_ref().is_none_or(|allow| allow.contains(client))
    }

    /// How many bytes of the path name the route.
    pub(crate) fn taken(&self, path: &[u8]) -> usize {
        http::path_prefix(path, self.rule.path.as_bytes()).unwrap_or(0)
    }
}

impl Edits {
    fn new(edits: &config::Edits) -> Self {
        let set: Vec<_> =
            edits.set.iter().map(|(name, value)| (name.clone().into_bytes(), value.clone().into_bytes())).collect();
        let without = edits.set.iter().map(|(name, _)| name).chain(&edits.remove);
        Self { without: without.map(|name| name.to_ascii_lowercase().into_bytes()).collect(), set }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.without.is_empty()
    }

    /// What a field is set to.
    pub(crate) fn value(&self, name: &[u8]) -> Option<&[u8]> {
        self.set.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_slice())
    }

    /// Whether a field of this name is left out. To servers that make variables of fields, `X_User` is `X-User`: what a route
    /// sets or removes must not come in that way.
    pub(crate) fn leaves_out(&self, name: &[u8]) -> bool {
        self.without.iter().any(|other| is_alike(other, name))
    }

    /// Appends the fields of `lines` with these changes.
    pub(crate) fn write(&self, out: &mut Vec<u8>, lines: &[u8]) {
        let names: Vec<&[u8]> = self.without.iter().map(Vec::as_slice).collect();
        http::write_fields_without(out, lines, &names);
        for (name, value) in &self.set {
            http::write_field(out, name, value);
        }
    }
}

fn is_alike(one: &[u8], other: &[u8]) -> bool {
    let folded = |byte: &u8| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    one.len() == other.len() && one.iter().map(folded).eq(other.iter().map(folded))
}

/// The host without port and without the dot that a complete name may end with.
fn bare(host: &[u8]) -> &[u8] {
    let name = match memchr::memrchr(b':', host) {
        Some(at) if host[at + 1..].iter().all(u8::is_ascii_digit) => &host[..at],
        _ => host,
    };
    name.strip_suffix(b".").unwrap_or(name)
}

fn is_host(pattern: &HostPattern, host: &[u8]) -> bool {
    match pattern {
        HostPattern::Exact(name) => host.eq_ignore_ascii_case(name.as_bytes()),
        HostPattern::Below(end) => host
            .len()
            .checked_sub(end.len())
            .is_some_and(|start| 0 < start && host[start..].eq_ignore_ascii_case(end.as_bytes())),
    }
}

fn has_field(asked: Asked<'_>, name: &str, value: Option<&str>) -> bool {
    asked.head.fields.iter().any(|field| {
        field.name.of(asked.input).eq_ignore_ascii_case(name.as_bytes())
            && value.is_none_or(|value| field.value.of(asked.input) == value.as_bytes())
    })
}

#[cfg(test)]
pub(crate) mod tests;
