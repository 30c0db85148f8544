//! The upstreams of routes: services beside the application, or beside the upstreams of the whole.
//!
//! Invariant: names are unique, and none is that of the configuration. Routes with the same name, or without one, and with the
//! same upstreams lead to one service.

use std::{collections::BTreeMap, path::Path};

use super::{HostPattern, Route, Service};
use crate::{load::is_service_name, model::Upstream, read::Given, upstream, values::Values};

/// Leaves room for a number behind a name that is there already.
const DERIVED_MAX: usize = 36;

/// What a route says of the service that it leads to.
#[derive(Debug)]
pub(super) struct Wanted {
    name: Option<(String, Given)>,
    upstreams: Vec<Upstream>,
}

/// The keys `upstream` and `name` of a route.
pub(super) fn wanted(project: &Path, values: &mut Values) -> Option<Wanted> {
    let name = values.text("route.name");
    if let Some((name, given)) = &name
        && !is_service_name(name)
    {
        let what = format!("expected lower-case letters, digits and `-`, at most 40, found {name:?}");
        values.reject("route.name", given, what, None);
    }
    let Some(given) = values.given("route.upstream") else {
        if let Some((_, given)) = &name {
            let hint = "`name` is how `upstream`s of this route are called, and it has none";
            values.reject("route.name", given, "there is nothing to be named", Some(hint.to_owned()));
        }
        return None;
    };
    let mut own = Values::new(BTreeMap::from([("upstream".to_owned(), given)]), Vec::new());
    let upstreams = upstream::upstreams(&mut own, project).unwrap_or_default();
    values.problems.append(&mut own.problems);
    Some(Wanted { name, upstreams })
}

/// Gives each route its service. `main` is the name of the configuration.
pub(super) fn services(
    routes: &mut [Route],
    wanted: Vec<Option<Wanted>>,
    main: &str,
    values: &mut Values,
) -> Vec<Service> {
    let mut services: Vec<Service> = Vec::new();
    // Names that were given come first: none of them is to depend on those that are derived.
    let (named, others): (Vec<_>, Vec<_>) = routes
        .iter_mut()
        .zip(wanted)
        .filter_map(|(route, wanted)| Some((route, wanted?)))
        .partition(|(_, wanted)| wanted.name.is_some());
    for (route, Wanted { name, upstreams }) in named {
        let Some((name, given)) = name else { continue };
        route.service = Some(name.clone());
        match services.iter().find(|service| service.name == name) {
            _ if name == main => {
                let hint = Some("the key `name` outside of routes has it, or it is the default there".to_owned());
                values.reject("route.name", &given, format!("{name:?} is the name of the whole"), hint);
            }
            Some(known) if known.upstreams == upstreams => {}
            Some(_) => {
                let what = format!("{name:?} is the name of a route with other upstreams");
                values.reject("route.name", &given, what, None);
            }
            None => services.push(Service { name, upstreams }),
        }
    }
    for (route, Wanted { upstreams, .. }) in others {
        let name = free_name(&derived_name(route), &upstreams, main, &services);
        route.service = Some(name.clone());
        if services.iter().all(|service| service.name != name) {
            services.push(Service { name, upstreams });
        }
    }
    // In the order of the file.
    let first = |service: &Service| routes.iter().position(|route| route.service.as_ref() == Some(&service.name));
    services.sort_by_key(first);
    services
}

/// This name, or the first of `NAME-2`, `NAME-3`, … that is free or has the same upstreams.
fn free_name(name: &str, upstreams: &[Upstream], main: &str, services: &[Service]) -> String {
    let names = std::iter::once(name.to_owned()).chain((2u32..).map(|number| format!("{name}-{number}")));
    let fits = |name: &String| {
        name != main && services.iter().all(|service| service.name != *name || service.upstreams == upstreams)
    };
    let mut fitting = names.filter(fits);
    fitting.next().expect("there are more numbers than services")
}

/// `/api/v1` → `api-v1`; without a path, the host in the same way.
fn derived_name(route: &Route) -> String {
    let text = match (route.path.as_str(), route.hosts.first()) {
        ("/", Some(HostPattern::Exact(host) | HostPattern::Below(host))) => host,
        (path, _) => path,
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric();
    let words: Vec<_> = text.split(|c| !is_plain(c)).filter(|word| !word.is_empty()).collect();
    let mut name = words.join("-").to_ascii_lowercase();
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        name = format!("upstream-{name}");
    }
    name.truncate(DERIVED_MAX);
    name.trim_end_matches('-').to_owned()
}
