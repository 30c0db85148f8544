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
    // A machine that is new has no list of packages, or an old one.
    for words in [&["update", "--quiet"][..], &["install", "--yes", "--no-install-recommends", package]] {
        run(Command::new("apt-get").args(words).env("DEBIAN_FRONTEND", "noninteractive")).context(needed)?;
    }
    Ok(())
}

/// Where a shell finds it, or where Debian keeps it.
fn is_present() -> bool {
    ["nginx", "/usr/sbin/nginx"].iter().any(|program| succeeds(Command::new(program).arg("-v")))
}

pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
