//! The project's configuration and place, for every command the same way.

use std::{collections::BTreeMap, path::PathBuf};

use config::{Config, Environment, Locate, Overrides, Problem, Problems, Role};
use control::Place;

use crate::{
    args::{Args, Contained, Edge, Up},
    exit::Exit,
    say,
};

/// The environment as it is now; what is not UTF-8 cannot be meant for us.
pub(crate) fn environment() -> Environment {
    let pairs =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Environment(pairs.collect::<BTreeMap<_, _>>())
}

fn locate(args: &Args) -> Locate {
    Locate {
        directory: args.directory.clone(),
        file: args.config.clone(),
        // A current directory that was deleted has nothing in it.
        current: std::env::current_dir().unwrap_or_else(|_| "/".into()),
        cores: sys::available_cores(),
    }
}

/// What `up` was given.
pub(crate) fn overrides(up: &Up) -> Overrides {
    Overrides {
        app: up.app.clone(),
        workers: up.workers.clone(),
        threads: up.threads.clone(),
        bind: up.bind.clone(),
        timeout: up.timeout.clone(),
        python: up.python.clone(),
        access_log: up.access_log.clone(),
        ..Overrides::default()
    }
}

/// What `edge` was given.
pub(crate) fn edge_overrides(edge: &Edge) -> Overrides {
    Overrides {
        bind: edge.bind.clone(),
        upstream: edge.upstream.clone(),
        discover: edge.discover.clone(),
        cores: edge.cores.clone(),
        timeout: edge.timeout.clone(),
        access_log: edge.access_log.clone(),
        role: Role::Edge,
        ..Overrides::default()
    }
}

/// What `node` was given.
pub(crate) fn node_overrides(node: &Contained) -> Overrides {
    Overrides {
        app: node.app.clone(),
        workers: node.workers.clone(),
        threads: node.threads.clone(),
        bind: node.bind.clone(),
        timeout: node.timeout.clone(),
        python: node.python.clone(),
        access_log: node.access_log.clone(),
        role: Role::Node,
        node: Some(own_name()),
        ..Overrides::default()
    }
}

/// The container's host name, by which its platform knows it. It goes into fields of responses: one that nobody could have
/// given to a container is none.
fn own_name() -> String {
    let system = rustix::system::uname();
    let name = system.nodename().to_str().unwrap_or_default();
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    if is_name && !name.is_empty() { name.to_owned() } else { "node".to_owned() }
}

/// Loads the configuration.
pub(crate) fn load(args: &Args, overrides: &Overrides) -> Result<Config, Problems> {
    config::load(&locate(args), &environment(), overrides)
}

/// Loads it as far as it is valid, with everything that is wrong with it.
pub(crate) fn examine(args: &Args) -> (Option<Config>, Vec<Problem>) {
    config::examine(&locate(args), &environment(), &Overrides::default())
}

/// Loads it again later, as it is then.
pub(crate) fn again(args: &Args) -> impl Fn(&Overrides) -> Result<Config, Problems> + 'static {
    let locate = locate(args);
    move |overrides| config::load(&locate, &environment(), overrides)
}

/// The same, with every problem said.
pub(crate) fn load_or_say(args: &Args, overrides: &Overrides) -> Result<Config, Exit> {
    load(args, overrides).map_err(|problems| {
        say::message(problems.to_string().trim_end());
        if problems.are_the_command_lines() { Exit::USAGE } else { Exit::CONFIG }
    })
}

/// The project's directory, for commands that do not need a valid configuration.
pub(crate) fn directory(args: &Args) -> Result<PathBuf, Exit> {
    config::project(&locate(args)).map_err(|problems| {
        say::message(problems.to_string().trim_end());
        Exit::CONFIG
    })
}

/// Where the project runs, for commands that do not need a valid configuration.
pub(crate) fn place(args: &Args) -> Result<Place, Exit> {
    Ok(Place::find(&directory(args)?, &environment()))
}
