//! `up -d`: the same program again, in a session of its own; it says how starting goes through its standard error, which
//! it gives up when it is ready.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::process::CommandExt,
    process::Stdio,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use telemetry::Messages;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

use crate::{
    args::Args,
    exit::Exit,
    say,
    signals::{Signals, Stop},
};

const VARIABLE: &str = "TIERCE_DETACHED";

/// Ends what is said before being ready. No message begins with it.
const READY: &str = "\x06ready";

/// How long the last messages wait for somebody who reads them.
const MESSAGES_TIME: Duration = Duration::from_secs(2);

/// Whether this process is the one in the background.
pub(crate) fn is_detached() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// What the service manager is told: in the background this is another process than the one it has started.
pub(crate) fn ready_state() -> String {
    if is_detached() { format!("READY=1\nMAINPID={}", std::process::id()) } else { "READY=1".to_owned() }
}

/// Starts the one in the background and waits until it is ready or has failed; whoever stops this stops that one too.
pub(crate) fn start(args: &Args) -> Exit {
    let mut command = std::process::Command::new("/proc/self/exe");
    let mut words = std::env::args_os();
    if let Some(program) = words.next() {
        command.arg0(program);
    }
    command.args(words).env(VARIABLE, "1").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    sys::prepare_daemon(&mut command);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let attended = runtime.and_then(|runtime| runtime.block_on(attend(Command::from(command), args)));
    attended.unwrap_or_else(|error| {
        say::message(&format!("error: cannot start in the background: {error}"));
        Exit::FAILED
    })
}

async fn attend(mut command: Command, args: &Args) -> io::Result<Exit> {
    let mut signals = Signals::new()?;
    // A thread's, so that signals are heard whether or not anybody reads.
    let messages = Messages::start(say::message)?;
    let mut child = command.spawn()?;
    let pid = child.id();
    let mut said = BufReader::new(child.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?).lines();
    let mut stopped = None;
    let exit = loop {
        tokio::select! {
            line = said.next_line() => match line {
                Ok(Some(line)) if line != READY => messages.show(&line),
                // One that was told to stop may have become ready before it heard of it.
                Ok(Some(_)) if stopped.is_some() => {}
                Ok(Some(_)) => {
                    if !args.quiet {
                        messages.show(&format!("✓ running in the background (process {})", pid.unwrap_or(0)));
                    }
                    break Exit::DONE;
                }
                Ok(None) | Err(_) => {
                    let code = child.wait().await?.code().and_then(|code| u8::try_from(code).ok());
                    break stopped.map_or_else(|| code.map_or(Exit::FAILED, Exit), not_started);
                }
            },
            stop = signals.stop() => {
                stopped = Some(stop);
                if let Some(pid) = pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
                    // One that has ended needs no telling.
                    let _ = kill_process(pid, Signal::TERM);
                }
            }
        }
    };
    messages.close(MESSAGES_TIME);
    Ok(exit)
}

/// For whoever waits for all nodes to be ready, an ordered end is none of success: as a shell shows a signal.
fn not_started(stop: Stop) -> Exit {
    match stop {
        Stop::Interrupt => Exit::INTERRUPTED,
        Stop::Terminate => Exit::TERMINATED,
        Stop::TerminalLost => Exit::HUNG_UP,
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
