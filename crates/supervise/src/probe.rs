//! Whether a Python can run the application, asked of that Python.
//!
//! Invariant: there is an answer within a bounded time, whatever it was that was started. Where to look for a Python is
//! decided in `interpreter`.

use std::{
    io::{self, Read},
    os::{fd::AsFd, unix::process::CommandExt},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open},
};

/// A cold start from a slow disk takes seconds; nothing that works takes longer than this.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is read of an answer, which is one short line.
const ANSWER_MAX: usize = 4096;

/// Says what it is, and which of the packages named as arguments it has not. Its own path is all it looks at (`-I`), and
/// what `PYTHONPATH` adds for the application.
const PROGRAM: &str = "import os, platform, sys, sysconfig\n\
    lacking = []\n\
    if sys.argv[1:]:\n\
    \x20   from importlib import metadata\n\
    \x20   sys.path += filter(None, os.environ.get('PYTHONPATH', '').split(os.pathsep))\n\
    for name in sys.argv[1:]:\n\
    \x20   try:\n\
    \x20       metadata.distribution(name)\n\
    \x20   except metadata.PackageNotFoundError:\n\
    \x20       lacking.append(name)\n\
    print('.'.join(map(str, sys.version_info[:3])), sys.implementation.name, platform.libc_ver()[0] or '-',\n\
    \x20   sysconfig.get_config_var('Py_GIL_DISABLED') or 0, *lacking[:5])";

/// Its version if it is a CPython from 3.10 on glibc, else why not. It is started in `directory`, as the application
/// will be: a shim may choose another Python elsewhere.
pub(crate) fn probe(path: &Path, directory: &Path) -> Result<String, String> {
    probe_for(&[], path, directory).map(|found| found.version)
}

/// What a Python is that can run applications.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) version: String,
    /// Packages that were asked for and are not installed; the first few.
    pub(crate) lacking: Vec<String>,
}

/// The same, with the question which of these packages are not installed.
pub(crate) fn probe_for(packages: &[String], path: &Path, directory: &Path) -> Result<Found, String> {
    let answer = ask(packages, path, directory, PATIENCE)?;
    let words: Vec<_> = answer.output.split_whitespace().collect();
    let [version, implementation, libc, free_threaded, lacking @ ..] = &words[..] else {
        let why = answer.errors.trim().lines().last().map_or_else(|| answer.status.to_string(), ToOwned::to_owned);
        return Err(format!("it did not run ({why})"));
    };
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    let at_least = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (3, 10);
    match () {
        () if *implementation != "cpython" => Err(format!("it is {implementation}, not CPython")),
        () if !at_least => Err(format!("it is Python {version}; 3.10 is the oldest that works")),
        () if *libc != "glibc" => Err("it does not use glibc".to_owned()),
        () if *free_threaded == "1" => Err("free-threaded builds are not supported yet".to_owned()),
        () => Ok(Found {
            version: (*version).to_owned(),
            lacking: lacking.iter().map(|name| (*name).to_owned()).collect(),
        }),
    }
}

struct Answer {
    status: ExitStatus,
    output: String,
    errors: String,
}

fn ask(packages: &[String], path: &Path, directory: &Path, patience: Duration) -> Result<Answer, String> {
    // A group of its own, so that what it starts can be ended with it.
    let mut child = Command::new(path)
        .args(["-I", "-c", PROGRAM])
        .args(packages)
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| cannot_start(path, &error))?;
    let ended = has_ended(&child, patience);
    if !matches!(ended, Ok(true)) {
        // It may have ended just now; then there is nobody to kill.
        let _ = kill_process_group(pid(&child), Signal::KILL);
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    match ended {
        Ok(true) => Ok(Answer { status, output: available(child.stdout), errors: available(child.stderr) }),
        Ok(false) => Err(format!("it did not answer within {} s", patience.as_secs())),
        Err(error) => Err(error.to_string()),
    }
}

fn cannot_start(path: &Path, error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::NotFound && path.is_symlink() {
        return "its python is a broken link: the Python it was made with is gone".to_owned();
    }
    format!("{}: {error}", path.display())
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

/// Waits for its end. It is not waited for by reading: what it has started may hold its output open for ever.
fn has_ended(child: &Child, patience: Duration) -> io::Result<bool> {
    let descriptor = pidfd_open(pid(child), PidfdFlags::empty())?;
    let patience = Timespec::try_from(patience).map_err(io::Error::other)?;
    let ready = rustix::io::retry_on_intr(|| poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&patience)))?;
    Ok(ready != 0)
}

/// What is in a pipe by now.
fn available(pipe: Option<impl Read + AsFd>) -> String {
    let Some(mut pipe) = pipe else { return String::new() };
    let mut buffer = vec![0; ANSWER_MAX];
    let ready = poll(&mut [PollFd::new(&pipe, PollFlags::IN)], Some(&Timespec::default()));
    let length = if matches!(ready, Ok(1..)) { pipe.read(&mut buffer).unwrap_or(0) } else { 0 };
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

#[cfg(test)]
pub(crate) mod tests;
