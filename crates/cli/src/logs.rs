//! What was logged.

use std::time::Duration;

use telemetry::{Tail, line_as_json};

use crate::{
    args::{Args, Format, Logs},
    exit::Exit,
    project, say,
};

/// How often a followed log is looked at.
const LOOK: Duration = Duration::from_millis(100);

pub(crate) fn run(args: &Args, wanted: &Logs) -> Exit {
    let place = match project::place(args) {
        Ok(place) => place,
        Err(exit) => return exit,
    };
    let denied = |error: &std::io::Error| error.kind() == std::io::ErrorKind::PermissionDenied;
    if place.log().metadata().is_err_and(|error| denied(&error)) {
        say::message(&format!(
            "error: no permission to read the log in {}\n  hint: only the user who started it may read it",
            place.log().display()
        ));
        return Exit::NO_PERMISSION;
    }
    if !place.log().is_dir() && place.is_in_use() {
        say::message("error: a node in a container keeps no log\n  hint: its platform does: `docker logs`");
        return Exit::FAILED;
    }
    if !place.log().is_dir() && !wanted.follow {
        say::message(&format!("error: there is no log in {}\n  hint: start it: `tierce up`", place.log().display()));
        return Exit::NOT_RUNNING;
    }
    let opened = Tail::open(&place.log(), wanted.node.as_deref(), wanted.lines);
    let (lines, mut tail) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            say::message(&format!("error: cannot read the log in {}: {error}", place.log().display()));
            return Exit::FAILED;
        }
    };
    if let Some(node) = &wanted.node
        && lines.is_empty()
        && 0 < wanted.lines
        && !wanted.follow
    {
        // Each node says when it is ready.
        say::message(&format!("error: the log has nothing of {node}\n  hint: `tierce ps` shows the nodes"));
        return Exit::USAGE;
    }
    if !say::raw(&shown(args, lines)) || !wanted.follow {
        return Exit::DONE;
    }
    loop {
        let mut fresh = Vec::new();
        if let Err(error) = tail.read(&mut fresh) {
            say::message(&format!("error: cannot read the log: {error}"));
            return Exit::FAILED;
        }
        if !fresh.is_empty() && !say::raw(&shown(args, fresh)) {
            return Exit::DONE;
        }
        std::thread::sleep(LOOK);
    }
}

/// Lines as they are wanted: a log may have been written as text, or partly as text.
fn shown(args: &Args, lines: Vec<u8>) -> Vec<u8> {
    match args.format {
        Format::Text => lines,
        Format::Json => lines.split_inclusive(|byte| *byte == b'\n').flat_map(line_as_json).collect(),
    }
}
