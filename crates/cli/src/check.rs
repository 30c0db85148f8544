//! Configuration and import, without serving; and the interpreter's preparation alone.

use std::{path::Path, sync::Arc};

use config::Config;
use control::Place;
use serde_json::json;
use supervise::{Front, Interpreter};
use telemetry::{LineFormat, LogSink, Messages, Output};
use tokio::task::LocalSet;

use crate::{
    args::{Args, Format},
    certificates,
    exit::Exit,
    outcome::{self, Fault},
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
            match args.format {
                Format::Text => outcome::done(args, &interpreter.to_string()),
                Format::Json => {
                    let Interpreter { path, version, .. } = &interpreter;
                    let text = interpreter.to_string();
                    let built = json!({ "schema": 1, "text": text, "python": path, "version": version });
                    say::result(&built.to_string());
                }
            }
            Exit::DONE
        }
        Err(error) => fail(&error.0, status(error.1)),
    }
}

/// `tierce check`: what is wrong with the configuration does not keep the application from being looked at.
pub(crate) fn check(args: &Args) -> Exit {
    let (config, problems) = project::examine(args);
    let mut faults: Vec<_> = problems.iter().map(Fault::from).collect();
    let mut found = None;
    if let Some(config) = config.map(Arc::new) {
        let (wrong, notices) = certificates::check(&config);
        faults.extend(wrong.into_iter().map(Fault::from));
        notices.iter().for_each(|notice| say::message(&certificates::warning(notice)));
        if !config.has_app() {
            return if faults.is_empty() { upstreams_are_valid(args, &config) } else { outcome::faulty(args, &faults) };
        }
        match import(args, &config) {
            Ok(interpreter) => found = Some((config, interpreter)),
            Err(refusal) => faults.push(refusal.into()),
        }
    }
    let Some((config, interpreter)) = found.filter(|_| faults.is_empty()) else {
        return outcome::faulty(args, &faults);
    };
    let app = config.app.to_string();
    say::result(&match args.format {
        Format::Text => {
            format!("{app}: the configuration is valid and the application can be imported ({interpreter})")
        }
        Format::Json => {
            let items: [(); 0] = [];
            json!({ "schema": 1, "items": items, "app": app, "python": interpreter.path }).to_string()
        }
    });
    Exit::DONE
}

/// Whether they answer is no matter of the configuration: they may come later.
fn upstreams_are_valid(args: &Args, config: &Config) -> Exit {
    let services = config.services();
    let upstreams = services.iter().flat_map(|service| &service.upstreams);
    let upstreams: Vec<_> = upstreams.map(|upstream| upstream.address.to_string()).collect();
    say::result(&match args.format {
        Format::Text => format!("{}: the configuration is valid", upstreams.join(", ")),
        Format::Json => json!({ "schema": 1, "items": [], "upstreams": upstreams }).to_string(),
    });
    Exit::DONE
}

fn import(args: &Args, config: &Arc<Config>) -> Result<Interpreter, Refusal> {
    let interpreter = interpreter(args, config)?;
    let machine = |error: std::io::Error| Refusal::failed("cannot check", &error);
    let place = Place::of(&config.project, &project::environment());
    place.prepare().map_err(|error| cannot_lock(&error, &place))?;
    let directory = place.directory().join("check");
    let sink = log(args, &directory).map_err(machine)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(machine)?;
    let local = LocalSet::new();
    let checked = local.block_on(&runtime, async {
        let (parts, _table) = parts(config, &interpreter, &place, &sink, Front::default())?;
        supervise::check_import(parts).await.map_err(|error| cannot_start(&error))
    });
    drop(local);
    sink.close();
    // Nobody reads it again.
    let _ = std::fs::remove_dir_all(directory);
    checked.map(|()| interpreter)
}

/// What the application prints while it is imported is of interest to people here, and no part of the log.
fn log(args: &Args, directory: &Path) -> std::io::Result<LogSink> {
    let output = match args.format {
        Format::Text => Output::Stdout,
        Format::Json => Output::FileOnly,
    };
    LogSink::start(directory.to_owned(), output, LineFormat::Text, Messages::start(say::message)?)
}
