//! What runs, from /proc. It says nothing about processes that are zombies: those have ended.

use std::{
    fs,
    os::unix::ffi::OsStrExt,
    path::Path,
    process::{Command, Stdio},
};

/// Whether the process is there and not a zombie.
pub fn is_alive(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != "Z")
}

/// All processes below `pid`.
pub fn descendants(pid: u32) -> Vec<u32> {
    let all: Vec<(u32, u32)> = pids().into_iter().filter_map(|pid| Some((pid, stat(pid)?.1))).collect();
    let mut found = vec![pid];
    let mut at = 0;
    while at < found.len() {
        let parent = found[at];
        found.extend(all.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    found.split_off(1)
}

/// All processes that have to do with a directory: they work in it, or their command line names it. Those that lost
/// their parent are found too.
pub fn processes_of(directory: &Path) -> Vec<u32> {
    let name = directory.as_os_str().as_bytes();
    let concerned = |pid: &u32| {
        let cwd = fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(directory));
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        cwd || line.windows(name.len()).any(|part| part == name)
    };
    pids().into_iter().filter(|pid| is_alive(*pid) && concerned(pid)).collect()
}

/// Sends a signal to a process.
///
/// # Panics
/// When there is no such process.
pub fn signal(pid: u32, name: &str) {
    assert!(sent(pid, name), "cannot send {name} to {pid}");
}

/// Kills a process, unless it has ended.
pub(crate) fn kill(pid: u32) {
    let _ended_before = !sent(pid, "KILL");
}

fn sent(pid: u32, name: &str) -> bool {
    Command::new("kill").args(["-s", name, &pid.to_string()]).stderr(Stdio::null()).status().unwrap().success()
}

fn pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// Its state and its parent; the name before them may contain anything.
fn stat(pid: u32) -> Option<(String, u32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit(')').next()?.split_whitespace();
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}
