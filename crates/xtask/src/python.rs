//! The environment of the whole-program tests: real Flask and Django in `target/test-venv`.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result};

use crate::run;

const PACKAGES: [&str; 2] = ["flask==3.1.3", "django==5.2.19"];

/// Makes it, unless it is there with these packages.
pub(crate) fn prepare(root: &Path) -> Result<()> {
    let venv = root.join("target/test-venv");
    let stamp = venv.join("packages");
    let wanted = PACKAGES.join(" ");
    if fs::read_to_string(&stamp).is_ok_and(|present| present == wanted) {
        return Ok(());
    }
    eprintln!("== making target/test-venv with {wanted}");
    if venv.exists() {
        fs::remove_dir_all(&venv)?;
    }
    fs::create_dir_all(root.join("target"))?;
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv))
        .context("the tests need Python 3.10 or newer with its venv module (Debian: apt install python3-venv)")?;
    let mut pip = Command::new(venv.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(PACKAGES);
    run(&mut pip).context("Flask and Django could not be installed; the tests need them")?;
    fs::write(stamp, wanted).context("target/test-venv")
}
