//! What is said when it serves: what answers, where, and what can be done next.

use std::time::Instant;

use config::{Config, Service, Workers};
use proxy::Address;
use supervise::Interpreter;

use crate::{application::Application, certificates, detach, say, up::Manner};

/// What serves now.
pub(crate) struct Ready<'a> {
    pub(crate) config: &'a Config,
    /// The application, if there is one, and what runs it.
    pub(crate) app: Option<(&'a Application, &'a Interpreter)>,
    pub(crate) addresses: &'a [Address],
    pub(crate) began: Instant,
}

impl Ready<'_> {
    pub(crate) fn announcement(&self) -> String {
        match self.app {
            Some((app, _)) if app.broken.get() => self.failed(),
            _ => self.served(),
        }
    }

    fn served(&self) -> String {
        let (program, config) = (say::program(), self.config);
        let mut lines = Vec::new();
        if let Some((app, interpreter)) = self.app {
            let workers = workers(config.workers);
            let nodes = config.node.clone().unwrap_or_else(|| units::plural(app.nodes.get(), "node"));
            lines.push(format!("✓ {} on {interpreter}: {nodes} of {workers}", config.app));
        }
        lines.extend(config.services().iter().map(|service| upstreams(service, config)));
        let developed = self.app.is_some_and(|(app, _)| app.manner == Manner::Developed);
        let develops = if developed { ", reloads when a file changes" } else { "" };
        for shown in self.shown() {
            lines.push(format!("✓ {shown}  ready in {:.1} s{develops}", self.began.elapsed().as_secs_f64()));
        }
        lines.extend(certificates::how_to_trust(config));
        if config.node.is_some() {
            // Nobody types anything where this is read.
            return lines.join("\n");
        }
        let scale = self.app.map(|(app, _)| format!("{program} scale {}={}", config.name, app.nodes.get().max(1) + 1));
        let mut next: Vec<_> = scale.into_iter().collect();
        next.extend(["ps", "logs -f", "reload"].map(|command| format!("{program} {command}")));
        next.push(if detach::is_detached() { format!("{program} down") } else { "Ctrl-C to stop".to_owned() });
        lines.extend(say::folded(&next));
        lines.join("\n")
    }

    fn failed(&self) -> String {
        let line = |shown| format!("✗ {shown}  shows why {} cannot be loaded; waiting for a change", self.config.app);
        self.shown().map(line).collect::<Vec<_>>().join("\n")
    }

    /// A wildcard is no address that a browser can open.
    fn shown(&self) -> impl Iterator<Item = String> {
        self.addresses.iter().map(|address| address.to_string().replace("://0.0.0.0:", "://localhost:"))
    }
}

fn workers(workers: Workers) -> String {
    if workers.adapts() { format!("{workers} workers") } else { units::plural(workers.least, "worker") }
}

fn upstreams(service: &Service, config: &Config) -> String {
    if service.upstreams.is_empty() {
        return "✓ requests go to containers".to_owned();
    }
    let addresses: Vec<_> = service.upstreams.iter().map(|upstream| upstream.address.to_string()).collect();
    let addresses = addresses.join(", ");
    match &service.name {
        name if *name == config.name => format!("✓ requests go to {addresses}"),
        name => format!("✓ {name}: requests go to {addresses}"),
    }
}
