//! What the admin listener says.
//!
//! Invariant: an answer is made from one [`Sight`], so that its numbers fit each other.

use supervise::{NodeStatus, WorkerStatus};
use telemetry::{EXPOSITION_TYPE, Exposition, Kind, Metrics};

use super::{Asked, write_date};
use crate::protocol::{AppStatus, Ps};

/// What there is to see at a moment.
#[derive(Debug)]
pub struct Sight {
    /// The node table.
    pub ps: Ps,
    /// Why nothing is ready, whatever the nodes are: `starting`, `cannot be loaded`, `draining`.
    pub obstacle: Option<&'static str>,
    /// What the edge has counted.
    pub metrics: Metrics,
    /// Workers that have ended, by kind.
    pub worker_ends: Vec<(&'static str, u64)>,
    /// Reloads that were made, and that failed.
    pub reloads: [(&'static str, u64); 2],
}

impl Sight {
    /// What there is to see of these services before anything runs.
    pub fn of_start(names: &[String]) -> Self {
        let app = |name: &String| AppStatus { name: name.clone(), queued: 0, reasons: None };
        let apps = names.iter().map(app).collect();
        Self {
            ps: Ps { schema: 1, apps, items: Vec::new() },
            obstacle: Some("starting"),
            metrics: Metrics::default(),
            worker_ends: Vec::new(),
            reloads: [("made", 0), ("failed", 0)],
        }
    }
}

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// The whole response.
pub(super) fn answer(asked: &Asked, look: &dyn Fn() -> Sight) -> Vec<u8> {
    let (path, is_head) = match asked {
        Asked::Path { path, is_head } => (path.as_str(), *is_head),
        Asked::Refused { status, is_head } => return respond(*status, TEXT, &refusal(*status), *is_head),
    };
    let (status, kind, body) = match path {
        "/metrics" => (200, EXPOSITION_TYPE, metrics(&look())),
        "/health" => (200, JSON, "{\"healthy\":true}\n".to_owned()),
        "/ready" => ready(&look(), |_| true),
        "/nodes" => match serde_json::to_string(&without_reasons(look().ps)) {
            Ok(text) => (200, JSON, format!("{text}\n")),
            Err(_) => (500, TEXT, refusal(500)),
        },
        "/" => (200, TEXT, "/metrics\n/health\n/ready\n/nodes\n".to_owned()),
        path => match path.strip_prefix("/ready/") {
            Some(name) => ready(&look(), |app| app.name == name),
            None => (404, TEXT, "there are /metrics, /health, /ready and /nodes\n".to_owned()),
        },
    };
    respond(status, kind, &body, is_head)
}

fn refusal(status: u16) -> String {
    format!("{status} {}\n", http::reason_phrase(status))
}

fn respond(status: u16, kind: &str, body: &str, is_head: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 256);
    http::write_status_line(&mut out, status, b"");
    out.extend_from_slice(b"Date: ");
    write_date(&mut out);
    out.extend_from_slice(b"\r\n");
    http::write_field(&mut out, b"Content-Type", kind.as_bytes());
    http::write_field(&mut out, b"Cache-Control", b"no-store");
    if status == 405 {
        http::write_field(&mut out, b"Allow", b"GET, HEAD");
    }
    http::write_content_length(&mut out, body.len() as u64);
    out.extend_from_slice(b"Connection: close\r\n\r\n");
    if !is_head {
        out.extend_from_slice(body.as_bytes());
    }
    out
}

/// As `ps --format json` prints it.
fn without_reasons(mut ps: Ps) -> Ps {
    ps.apps.iter_mut().for_each(|app| app.reasons = None);
    ps.items.iter_mut().flat_map(|node| &mut node.workers).for_each(|worker| worker.reasons = None);
    ps
}

/// The name of a node's service, which it tells only where there are several.
fn service<'a>(node: &'a NodeStatus, apps: &'a [AppStatus]) -> &'a str {
    let only = || apps.first().map_or("", |app| app.name.as_str());
    node.service.as_deref().unwrap_or_else(only)
}

/// Whether every service that is asked for has a ready node, with the states of their nodes.
fn ready(sight: &Sight, is_asked: impl Fn(&AppStatus) -> bool) -> (u16, &'static str, String) {
    let Ps { apps, items, .. } = &sight.ps;
    let asked: Vec<_> = apps.iter().filter(|app| is_asked(app)).collect();
    if asked.is_empty() {
        return (404, TEXT, "there is no such service\n".to_owned());
    }
    let is_of = |node: &NodeStatus, app: &AppStatus| service(node, apps) == app.name;
    let has_ready = |app: &AppStatus| items.iter().any(|node| is_of(node, app) && node.state == "ready");
    let open = sight.obstacle.is_none();
    let told = |app: &AppStatus| {
        let nodes = items.iter().filter(|node| is_of(node, app));
        let nodes: Vec<_> = nodes.map(|node| serde_json::json!({ "node": node.node, "state": node.state })).collect();
        serde_json::json!({ "name": app.name, "ready": open && has_ready(app), "nodes": nodes })
    };
    let all = open && asked.iter().all(|app| has_ready(app));
    let why = sight.obstacle.or_else(|| {
        let ending = items.iter().any(|node| node.state == "draining");
        (!all).then_some(if ending { "draining" } else { "no node is ready" })
    });
    let mut body = serde_json::json!({ "ready": all, "apps": asked.into_iter().map(told).collect::<Vec<_>>() });
    if let (Some(why), Some(body)) = (why, body.as_object_mut()) {
        body.insert("why".to_owned(), why.into());
    }
    (if all { 200 } else { 503 }, JSON, format!("{body}\n"))
}

fn metrics(sight: &Sight) -> String {
    let mut page = Exposition::default();
    page.family("tierce_build_info", Kind::Gauge, "The version that runs.");
    page.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    sight.metrics.write(&mut page);
    page.family("tierce_queue_depth", Kind::Gauge, "Requests that wait for a slot.");
    for app in &sight.ps.apps {
        page.sample(&[("service", &app.name)], app.queued);
    }
    nodes(&sight.ps, &mut page);
    workers(&sight.ps.items, &mut page);
    page.family("tierce_worker_ends_total", Kind::Counter, "Workers that have ended, by kind.");
    sight.worker_ends.iter().for_each(|(kind, count)| page.sample(&[("kind", kind)], count));
    page.family("tierce_reloads_total", Kind::Counter, "Reloads, by result.");
    sight.reloads.iter().for_each(|(result, count)| page.sample(&[("result", result)], count));
    page.finish()
}

/// A number of a node or a worker: its name, its kind, what it is, where it is found.
type Column<T> = (&'static str, Kind, &'static str, fn(&T) -> u64);

fn nodes(ps: &Ps, page: &mut Exposition) {
    let columns: [Column<NodeStatus>; 5] = [
        ("tierce_node_ready", Kind::Gauge, "Whether the node is ready.", |node| u64::from(node.state == "ready")),
        ("tierce_node_requests_total", Kind::Counter, "Requests that the node has ended.", |node| node.requests),
        ("tierce_node_in_flight", Kind::Gauge, "Requests that the node has.", |node| u64::from(node.in_flight)),
        ("tierce_node_slots", Kind::Gauge, "Requests that the node could have.", |node| u64::from(node.slots)),
        ("tierce_node_resident_memory_bytes", Kind::Gauge, "Resident memory of its processes.", |node| node.rss),
    ];
    for (name, kind, help, value) in columns {
        page.family(name, kind, help);
        for node in &ps.items {
            let (service, generation) = (service(node, &ps.apps), node.generation.to_string());
            page.sample(&[("service", service), ("node", &node.node), ("generation", &generation)], value(node));
        }
    }
}

fn workers(nodes: &[NodeStatus], page: &mut Exposition) {
    let columns: [Column<WorkerStatus>; 5] = [
        ("tierce_worker_requests_total", Kind::Counter, "Requests that the worker has ended.", |it| it.requests),
        ("tierce_worker_in_flight", Kind::Gauge, "Requests that the worker has.", |it| u64::from(it.in_flight)),
        ("tierce_worker_slots", Kind::Gauge, "Requests that the worker could have.", |it| u64::from(it.slots)),
        ("tierce_worker_threads", Kind::Gauge, "Threads of the worker.", |it| u64::from(it.threads)),
        ("tierce_worker_resident_memory_bytes", Kind::Gauge, "Resident memory of the worker.", |it| it.rss),
    ];
    for (name, kind, help, value) in columns {
        page.family(name, kind, help);
        for node in nodes {
            // One that is being started has no process yet.
            for worker in node.workers.iter().filter(|worker| 0 < worker.pid) {
                page.sample(&[("node", &node.node), ("worker", &worker.pid.to_string())], value(worker));
            }
        }
    }
}
