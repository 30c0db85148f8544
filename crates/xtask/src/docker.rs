//! The Docker engine of the container tests: `cargo xtask docker up|down`, and for as long as `cargo xtask test --containers` runs.
//!
//! Invariant: it is an engine of its own, in namespaces of its own, with all that it keeps under `target/docker`: the machine's
//! engine, addresses, packet filter and mounts are not touched. What ends its first process ends all of it.

mod base; // the image that the tests build on

use std::{
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::nginx::{install, succeeds};

const NEEDED: &str = "the container tests need root and Docker (Debian: apt install docker.io docker-compose iproute2)";

/// What is needed, and the package that has it.
const TOOLS: [(&str, &str); 3] = [("dockerd", "docker.io"), ("docker-compose", "docker-compose"), ("ip", "iproute2")];

/// Longer than a start takes on a busy machine, and than a stop that has to kill containers.
const PATIENCE: Duration = Duration::from_secs(60);

/// An engine that was started for a run of the tests; stopped when dropped.
pub(crate) struct Engine(PathBuf);

impl Drop for Engine {
    fn drop(&mut self) {
        if let Err(error) = stop(&self.0) {
            eprintln!("error: the engine of the tests does not stop: {error:#}");
        }
    }
}

/// An engine for the tests. One that runs already is used, and left running. Without one the container tests are skipped, unless
/// this is continuous integration.
pub(crate) fn prepare(root: &Path) -> Result<Option<Engine>> {
    let directory = directory(root)?;
    if running(&directory).is_some() {
        return base::prepare(root, &directory).map(|()| None);
    }
    if let Err(error) = install_tools() {
        if std::env::var_os("CI").is_some() {
            return Err(error);
        }
        eprintln!("== container tests are skipped: {error:#}");
        return Ok(None);
    }
    start(&directory, Until::ThisEnds)?;
    let engine = Engine(directory);
    base::prepare(root, &engine.0)?;
    Ok(Some(engine))
}

/// Starts an engine that stays, for `cargo test -p cli --test docker`.
pub(crate) fn up(root: &Path) -> Result<()> {
    let directory = directory(root)?;
    if running(&directory).is_none() {
        install_tools()?;
        start(&directory, Until::Stopped)?;
    }
    base::prepare(root, &directory)?;
    eprintln!("ready: docker --host unix://{}", socket(&directory).display());
    Ok(())
}

/// Stops it; its images are kept.
pub(crate) fn down(root: &Path) -> Result<()> {
    stop(&directory(root)?)
}

fn directory(root: &Path) -> Result<PathBuf> {
    let directory = root.join("target/docker");
    fs::create_dir_all(&directory).context("target/docker")?;
    directory.canonicalize().context("target/docker")
}

fn socket(directory: &Path) -> PathBuf {
    directory.join("engine.sock")
}

/// Its client. Debian's has BuildKit built in, others may stand before it in the path.
fn client(directory: &Path) -> Command {
    let mut client = Command::new("/usr/bin/docker");
    client.arg("--host").arg(format!("unix://{}", socket(directory).display()));
    client
}

/// Installs what is missing, where that is ours to do.
fn install_tools() -> Result<()> {
    if !succeeds(Command::new("unshare").args(["--net", "--mount", "--pid", "--fork", "true"])) {
        bail!("{NEEDED}: new namespaces are not permitted");
    }
    for (program, package) in TOOLS {
        if !is_in_path(program) {
            without_services(|| install(package, NEEDED))?;
        }
    }
    Ok(())
}

fn is_in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]).any(|place| place.join(program).exists())
}

/// Debian's packages start what they bring unless this file says no. One that is there is left alone.
fn without_services(install: impl FnOnce() -> Result<()>) -> Result<()> {
    let policy = Path::new("/usr/sbin/policy-rc.d");
    let ours = !policy.exists();
    if ours {
        fs::write(policy, "#!/bin/sh\nexit 101\n").context("/usr/sbin/policy-rc.d")?;
        fs::set_permissions(policy, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    }
    let result = install();
    if ours {
        fs::remove_file(policy).context("/usr/sbin/policy-rc.d")?;
    }
    result
}

/// How long an engine runs.
enum Until {
    Stopped,
    /// Also when this process is killed.
    ThisEnds,
}

fn start(directory: &Path, until: Until) -> Result<()> {
    let log = fs::File::create(directory.join("log")).context("target/docker/log")?;
    let mut command = match until {
        Until::Stopped => Command::new("unshare"),
        Until::ThisEnds => {
            // `unshare` holds back other signals while it waits; its child is sent TERM when it ends.
            let mut leashed = Command::new("setpriv");
            leashed.args(["--pdeathsig", "KILL", "unshare"]);
            leashed
        }
    };
    command.args(["--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child=TERM", "sh", "-c"]);
    command.arg(include_str!("docker/engine.sh")).arg("engine").arg(directory).arg(group(directory));
    // Interrupts of the terminal are for the tests; a proxy of the machine is not reached from the engine's network.
    command.process_group(0).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let mut first = command.spawn().context("cannot run unshare")?;
    fs::write(directory.join("pid"), first.id().to_string()).context("target/docker/pid")?;
    wait_until_ready(directory, &mut first)
}

fn wait_until_ready(directory: &Path, first: &mut Child) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    while !succeeds(client(directory).arg("version")) {
        if let Some(status) = first.try_wait()? {
            bail!("the engine of the tests has ended ({status}); target/docker/log says why");
        }
        if until < Instant::now() {
            stop(directory)?;
            bail!("the engine of the tests is not ready after {PATIENCE:?}; target/docker/log says why");
        }
        sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Asks the first process of its namespaces to end, and waits until it has.
fn stop(directory: &Path) -> Result<()> {
    let Some(outer) = running(directory) else { return Ok(()) };
    let children = fs::read_to_string(format!("/proc/{outer}/task/{outer}/children")).unwrap_or_default();
    let Some(first) = children.split_whitespace().next() else { bail!("process {outer} has no engine") };
    crate::run(Command::new("kill").args(["-s", "TERM", first]))?;
    let until = Instant::now() + PATIENCE;
    while running(directory).is_some() {
        if until < Instant::now() {
            bail!("process {first} still runs after {PATIENCE:?}; target/docker/log says why");
        }
        sleep(Duration::from_millis(50));
    }
    fs::remove_file(directory.join("pid")).context("target/docker/pid")
}

/// The process whose namespaces the engine is in, unless that number is now something else's.
fn running(directory: &Path) -> Option<u32> {
    let pid: u32 = fs::read_to_string(directory.join("pid")).ok()?.trim().parse().ok()?;
    // Nothing is left to read of a zombie.
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    line.split(|byte| *byte == 0).any(|word| word == directory.as_os_str().as_encoded_bytes()).then_some(pid)
}

/// The cgroup of its containers: another one for each clone of the project.
fn group(directory: &Path) -> String {
    let number = directory.as_os_str().as_encoded_bytes().iter();
    format!(
        "tierce-test-{:08x}",
        number.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(16_777_619))
    )
}
