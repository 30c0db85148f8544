//! What runs.

use control::{Answer, AppReasons, AppStatus, Ask, Ps};
use policy::Standing;
use supervise::{NodeStatus, StaffChanged, StaffStatus, WorkerStatus};
use units::Bytes;

use crate::{
    args::{Args, Format},
    ask::ask,
    exit::Exit,
    say,
};

pub(crate) fn run(args: &Args) -> Exit {
    let ps = match ask(args, &Ask::Ps) {
        Ok(Answer::Ps { ps }) if args.verbose => ps,
        Ok(Answer::Ps { ps }) => without_reasons(ps),
        Ok(_) => return Exit::FAILED,
        Err(exit) => return exit,
    };
    let detail = if args.verbose { Detail::All } else { Detail::Usual };
    match (args.format, serde_json::to_string(&ps)) {
        (Format::Text, _) => say::result(&table(&ps, detail)),
        (Format::Json, Ok(text)) => say::result(&text),
        (Format::Json, Err(_)) => return Exit::FAILED,
    }
    Exit::DONE
}

fn without_reasons(mut ps: Ps) -> Ps {
    ps.apps.iter_mut().for_each(|app| app.reasons = None);
    ps.items.iter_mut().flat_map(|node| &mut node.workers).for_each(|worker| worker.reasons = None);
    ps
}

/// How much is shown of each node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Detail {
    /// What fits into 80 columns.
    Usual,
    /// `-v`
    All,
}

/// Names and states stand to the left, numbers to the right.
const LEFT: [&str; 4] = ["NODE", "SERVICE", "STATE", "HOSTNAME"];

/// Only shown with all details.
const DETAILS: [&str; 2] = ["THREADS", "HOSTNAME"];

fn table(ps: &Ps, detail: Detail) -> String {
    let mut rows = vec![
        [
            "NODE",
            "SERVICE",
            "STATE",
            "GEN",
            "PID",
            "REQUESTS",
            "IN FLIGHT",
            "SLOTS",
            "RSS",
            "UPTIME",
            "THREADS",
            "HOSTNAME",
        ]
        .map(ToOwned::to_owned),
    ];
    for node in &ps.items {
        rows.push([
            node.node.clone(),
            node.service.clone().unwrap_or_default(),
            node.state.clone(),
            node.generation.to_string(),
            node.pid.to_string(),
            node.requests.to_string(),
            node.in_flight.to_string(),
            node.slots.to_string(),
            size(node.rss),
            age(node.uptime),
            String::new(),
            format!("{} ({})", node.hostname, node.isolation),
        ]);
        for worker in &node.workers {
            rows.push([
                "  worker".to_owned(),
                String::new(),
                worker.state.clone(),
                String::new(),
                worker.pid.to_string(),
                worker.requests.to_string(),
                worker.in_flight.to_string(),
                worker.slots.to_string(),
                size(worker.rss),
                String::new(),
                worker.threads.to_string(),
                String::new(),
            ]);
        }
    }
    let mut end: Vec<_> = ps.apps.iter().map(app).collect();
    end.extend(ps.items.iter().filter_map(trouble));
    end.extend(ps.items.iter().filter_map(|node| standing(node, &ps.items)));
    let isolated = |how: &str| ps.items.iter().any(|node| node.isolation == how);
    if isolated("uts") {
        end.push("each node has a host name of its own (uts)".to_owned());
    }
    // A node in a container has the host name that is its machine's.
    if ps.items.iter().any(|node| node.isolation == "env" && node.hostname != node.node) {
        end.push("gethostname() is this machine's in all nodes; HOSTNAME names the node (env)".to_owned());
    }
    format!("{}\n{}", with_reasons(&columns(&rows, detail), ps), end.join("\n"))
}

/// A line below each worker's, where there are reasons.
fn with_reasons(table: &str, ps: &Ps) -> String {
    let reasons = ps.items.iter().flat_map(|node| std::iter::once(None).chain(node.workers.iter().map(Some)));
    let lines = table.lines().zip(std::iter::once(None).chain(reasons));
    lines
        .map(|(line, worker)| format!("{line}{}", worker.map(reasons_of).unwrap_or_default()))
        .collect::<Vec<_>>()
        .join("\n")
}

fn reasons_of(worker: &WorkerStatus) -> String {
    let ms = |seconds: f64| format!("{:.1} ms", seconds * 1000.0);
    worker.reasons.as_ref().map_or_else(String::new, |reasons| {
        format!(
            "\n    {}; window {}, GIL wait {}, switch interval {}",
            reasons.verdict,
            reasons.window,
            ms(reasons.gil_wait),
            ms(reasons.switch_interval)
        )
    })
}

/// Why an upstream gets no requests, which stands there in place of how a node is isolated.
fn trouble(node: &NodeStatus) -> Option<String> {
    let is_well = matches!(node.isolation.as_str(), "upstream" | "uts" | "env");
    (!is_well).then(|| format!("{}: {}", node.node, node.isolation))
}

/// What an operator has said of a node.
fn standing(node: &NodeStatus, all: &[NodeStatus]) -> Option<String> {
    let NodeStatus { node: name, service, weight, drained, .. } = node;
    // By what it has to be called where it is in two.
    let twins = all.iter().filter(|other| other.node == *name).count();
    let name = match service {
        Some(service) if 1 < twins => &format!("{service}/{name}"),
        _ => name,
    };
    let weighs = *weight != Standing::WEIGHT;
    let weight = weighs.then(|| format!("{name} has weight {weight} instead of {}", Standing::WEIGHT));
    let drained = drained.then(|| format!("{name} gets no requests until `{} ready {name}`", say::program()));
    let said: Vec<_> = drained.into_iter().chain(weight).collect();
    (!said.is_empty()).then(|| said.join("; "))
}

fn app(app: &AppStatus) -> String {
    let reasons = app.reasons.as_ref().map_or_else(String::new, |AppReasons { in_flight, bound, staff: workers }| {
        let bound = bound.map(|bound| format!(" (at most {bound}: with more, none was answered sooner)"));
        let workers = workers.as_ref().map(staff);
        format!(", {in_flight} in flight{}{}", bound.unwrap_or_default(), workers.unwrap_or_default())
    });
    format!("{}: {} queued{reasons}", app.name, app.queued)
}

/// A line why there are as many workers, and one how their number has changed last.
fn staff(staff: &StaffStatus) -> String {
    let StaffStatus { workers, least, most, reason, last } = staff;
    let last = last.as_ref().map(|StaffChanged { ago, from, to, reason }| {
        format!("\n    {} ago, {to} instead of {from}: {reason}", age(*ago))
    });
    let workers = units::plural(*workers, "worker");
    format!("\n    {workers}, {least} to {most} in each node: {reason}{}", last.unwrap_or_default())
}

fn columns<const N: usize>(rows: &[[String; N]], detail: Detail) -> String {
    let Some(head) = rows.first() else { return String::new() };
    let is_empty = |at: usize| rows.iter().skip(1).all(|row| row[at].is_empty());
    let shown = |at: &usize| match head[*at].as_str() {
        "SERVICE" => !is_empty(*at),
        name => detail == Detail::All || !DETAILS.contains(&name),
    };
    let shown: Vec<_> = (0..N).filter(shown).collect();
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells = shown.iter().map(|at| {
            let (cell, width) = (&row[*at], widths[*at]);
            if LEFT.contains(&head[*at].as_str()) { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn size(bytes: u64) -> String {
    Bytes::new(bytes >> 20 << 20).to_string()
}

fn age(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0}s"),
        s if s < 7_200.0 => format!("{:.0}m", s / 60.0),
        s if s < 172_800.0 => format!("{:.0}h", s / 3_600.0),
        s => format!("{:.0}d", s / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other() {
        let rows = [["NODE", "PID", "THREADS"], ["web.1", "1", "10"]].map(|row| row.map(ToOwned::to_owned));
        assert_eq!(columns(&rows, Detail::Usual), "NODE   PID\nweb.1    1");
        assert_eq!(columns(&rows, Detail::All), "NODE   PID  THREADS\nweb.1    1       10");
    }

    #[test]
    fn a_table_fits_into_80_columns() {
        let ps: Ps = serde_json::from_value(serde_json::json!({
            "schema": 1,
            "apps": [{ "name": "web", "queued": 0 }],
            "items": [{
                "node": "web.10", "state": "draining", "hostname": "a-machine-with-a-long-name.example.org",
                "isolation": "env", "generation": 12, "pid": 4_000_000, "requests": 12_345_678, "in_flight": 5120,
                "slots": 5120, "rss": 1_000_000_000, "uptime": 7_199.0,
                "workers": [{ "pid": 4_000_001, "state": "starting", "requests": 1_234_567, "in_flight": 256,
                    "slots": 256, "threads": 257, "rss": 100_000_000 }]
            }]
        }))
        .unwrap();
        let text = table(&ps, Detail::Usual);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.ends_with("HOSTNAME names the node (env)"), "{text}");
        assert!(table(&ps, Detail::All).contains("a-machine-with-a-long-name.example.org (env)"));
    }

    #[test]
    fn sizes_and_ages_are_short() {
        assert_eq!((size(27_123_456).as_str(), age(61.4).as_str(), age(7_300.0).as_str()), ("25MiB", "61s", "2h"));
    }
}
