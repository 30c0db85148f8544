//! Configuration and import, without serving; and the interpreter's preparation alone.

use std::sync::Arc;

use config::Overrides;
use control::Place;
use telemetry::{LineFormat, LogSink, Messages, Output};
use tokio::task::LocalSet;

use crate::{
    args::Args,
    exit::Exit,
    project,
    refuse::{Refusal, cannot_lock, cannot_start, fail, status},
    say,
    steps::Steps,
    up::{interpreter, parts},
};

/// `tierce build`.
pub(crate) fn build(args: &Args) -> Exit {
    let project = match project::directory(args) {
        Ok(project) => project,
        Err(exit) => return exit,
    };
    let mut steps = Steps::new(args);
    let built = supervise::build(&project, &project::environment(), &mut |step| steps.show(step));
    drop(steps);
    match built {
        Ok(interpreter) => {
            if !args.quiet {
                say::message(&format!("✓ {interpreter}"));
            }
            Exit::DONE
        }
        Err(error) => fail(&error.0, status(error.1)),
    }
}

/// `tierce check`.
pub(crate) fn check(args: &Args) -> Exit {
    match try_check(args) {
        Ok(text) => {
            say::result(&text);
            Exit::DONE
        }
        Err(exit) => exit,
    }
}

fn try_check(args: &Args) -> Result<String, Exit> {
    let config = Arc::new(project::load_or_say(args, &Overrides::default())?);
    let interpreter = interpreter(args, &config)?;
    let machine = |error: std::io::Error| Refusal::failed("cannot check", &error).say();
    let place = Place::of(&config.project, &project::environment());
    place.prepare().map_err(|error| cannot_lock(&error, &place))?;
    // What the application prints while it is imported is of interest here, and no part of the log.
    let directory = place.directory().join("check");
    let messages = Messages::start(say::message).map_err(machine)?;
    let sink = LogSink::start(directory.clone(), Output::Stdout, LineFormat::Text, messages).map_err(machine)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(machine)?;
    let local = LocalSet::new();
    let checked = local.block_on(&runtime, async {
        let (parts, _table) = parts(&config, &interpreter, &place, &sink, Vec::new())?;
        supervise::check_import(parts).await.map_err(|error| cannot_start(&error))
    });
    drop(local);
    sink.close();
    // Nobody reads it again.
    let _ = std::fs::remove_dir_all(directory);
    checked.map_err(Refusal::say)?;
    Ok(format!("{}: the configuration is valid and the application can be imported ({interpreter})", config.app))
}
