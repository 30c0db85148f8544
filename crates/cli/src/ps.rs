//! What runs.

use control::{Answer, AppReasons, AppStatus, Ask, Ps};
use supervise::WorkerStatus;
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
    match (args.format, serde_json::to_string(&ps)) {
        (Format::Text, _) => say::result(&table(&ps)),
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

fn table(ps: &Ps) -> String {
    let mut rows = vec![
        ["NODE", "STATE", "GEN", "PID", "REQUESTS", "IN FLIGHT", "SLOTS", "THREADS", "RSS", "UPTIME", "HOSTNAME"]
            .map(ToOwned::to_owned)
            .to_vec(),
    ];
    for node in &ps.items {
        rows.push(vec![
            node.node.clone(),
            node.state.clone(),
            node.generation.to_string(),
            node.pid.to_string(),
            node.requests.to_string(),
            node.in_flight.to_string(),
            node.slots.to_string(),
            String::new(),
            size(node.rss),
            age(node.uptime),
            format!("{} ({})", node.hostname, node.isolation),
        ]);
        for worker in &node.workers {
            rows.push(vec![
                "  worker".to_owned(),
                worker.state.clone(),
                String::new(),
                worker.pid.to_string(),
                worker.requests.to_string(),
                worker.in_flight.to_string(),
                worker.slots.to_string(),
                worker.threads.to_string(),
                size(worker.rss),
            ]);
        }
    }
    let apps: Vec<_> = ps.apps.iter().map(app).collect();
    format!("{}\n{}", with_reasons(&columns(&rows), ps), apps.join("\n"))
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

fn app(app: &AppStatus) -> String {
    let reasons = app.reasons.map_or_else(String::new, |AppReasons { in_flight, bound }| {
        let bound = bound.map(|bound| format!(" (at most {bound}: with more, none was answered sooner)"));
        format!(", {in_flight} in flight{}", bound.unwrap_or_default())
    });
    format!("{}: {} queued{reasons}", app.name, app.queued)
}

fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..count).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().enumerate().map(|(at, cell)| {
            // Names and states to the left, numbers to the right.
            if at < 2 || at == 10 {
                format!("{cell:<width$}", width = widths[at])
            } else {
                format!("{cell:>width$}", width = widths[at])
            }
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
        let rows = [
            vec!["A".to_owned(), "BB".to_owned(), "C".to_owned()],
            vec!["aaa".to_owned(), "b".to_owned(), "10".to_owned()],
        ];
        assert_eq!(columns(&rows), "A    BB   C\naaa  b   10");
    }

    #[test]
    fn sizes_and_ages_are_short() {
        assert_eq!((size(27_123_456).as_str(), age(61.4).as_str(), age(7_300.0).as_str()), ("25MiB", "61s", "2h"));
    }
}
