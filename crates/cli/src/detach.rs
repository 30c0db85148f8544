//! `up -d`: the same program again, in a session of its own; it says how starting goes through its standard error, which
//! it gives up when it is ready.

use std::{
    fs::OpenOptions,
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    process::{Command, Stdio},
};

use crate::{args::Args, exit::Exit, say};

const VARIABLE: &str = "TIERCE_DETACHED";

/// Ends what is said before being ready. No message begins with it.
const READY: &str = "\x06ready";

/// Whether this process is the one in the background.
pub(crate) fn is_detached() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// What the service manager is told: in the background this is another process than the one it has started.
pub(crate) fn ready_state() -> String {
    if is_detached() { format!("READY=1\nMAINPID={}", std::process::id()) } else { "READY=1".to_owned() }
}

/// Starts the one in the background and waits until it is ready or has failed.
pub(crate) fn start(args: &Args) -> Exit {
    let mut command = Command::new("/proc/self/exe");
    let mut words = std::env::args_os();
    if let Some(program) = words.next() {
        command.arg0(program);
    }
    command.args(words).env(VARIABLE, "1").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    sys::prepare_daemon(&mut command);
    let spawned =
        command.spawn().and_then(|mut child| Ok((child.stderr.take().ok_or(std::io::ErrorKind::BrokenPipe)?, child)));
    let (said, mut child) = match spawned {
        Ok(spawned) => spawned,
        Err(error) => {
            say::message(&format!("error: cannot start in the background: {error}"));
            return Exit::FAILED;
        }
    };
    for line in BufReader::new(said).lines().map_while(Result::ok) {
        if line == READY {
            if !args.quiet {
                say::message(&format!("✓ running in the background (process {})", child.id()));
            }
            return Exit::DONE;
        }
        say::message(&line);
    }
    match child.wait() {
        Ok(status) => Exit(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)),
        Err(_) => Exit::FAILED,
    }
}

/// In the background: says that everything is ready, and gives the caller's standard error up.
pub(crate) fn ready() {
    if !is_detached() {
        return;
    }
    // A caller that has gone does not want to know.
    let _ = writeln!(std::io::stderr(), "{READY}");
    if let Ok(null) = OpenOptions::new().write(true).open("/dev/null") {
        // Without it messages go to a pipe that nobody reads, which is an error that we ignore.
        let _ = rustix::stdio::dup2_stderr(&null);
    }
}
