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
    if !succeeds(Command::new("apt-get").arg("--version")) || !succeeds(Command::new("test").args(["-w", "/usr/sbin"]))
    {
        bail!("{NEEDED}");
    }
    eprintln!("== installing nginx");
    let mut install = Command::new("apt-get");
    install.args(["install", "--yes", "--no-install-recommends", "nginx"]).env("DEBIAN_FRONTEND", "noninteractive");
    run(&mut install).context(NEEDED)?;
    if !is_present() {
        bail!("nginx was installed but does not run; {NEEDED}");
    }
    Ok(())
}

/// Where a shell finds it, or where Debian keeps it.
fn is_present() -> bool {
    ["nginx", "/usr/sbin/nginx"].iter().any(|program| succeeds(Command::new(program).arg("-v")))
}

fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
