//! The nginx of the whole-program tests, from the system's packages.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::run;

const NEEDED: &str = "the tests need nginx (Debian: apt install nginx)";

/// Installs it, unless it is there; where that is not ours to do, says what is missing.
pub(crate) fn prepare() -> Result<()> {
    if is_present() {
        return Ok(());
    }
    install("nginx", NEEDED)?;
    if !is_present() {
        bail!("nginx was installed but does not run; {NEEDED}");
    }
    Ok(())
}

/// Installs a package of the system, where that is ours to do.
pub(crate) fn install(package: &str, needed: &'static str) -> Result<()> {
    if !succeeds(Command::new("apt-get").arg("--version")) || !succeeds(Command::new("test").args(["-w", "/usr/sbin"]))
    {
        bail!("{needed}");
    }
    eprintln!("== installing {package}");
    let mut install = Command::new("apt-get");
    install.args(["install", "--yes", "--no-install-recommends", package]).env("DEBIAN_FRONTEND", "noninteractive");
    run(&mut install).context(needed)
}

/// Where a shell finds it, or where Debian keeps it.
fn is_present() -> bool {
    ["nginx", "/usr/sbin/nginx"].iter().any(|program| succeeds(Command::new(program).arg("-v")))
}

pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
