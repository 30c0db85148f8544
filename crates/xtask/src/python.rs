//! The environment of the whole-program tests: real frameworks in `target/test-venv`.
//!
//! Invariant: what `prepare` has accepted can be imported; a half-made environment is made anew.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::run;

const PACKAGES: [&str; 6] =
    ["flask==3.1.3", "django==5.2.19", "bottle==0.13.4", "pyramid==2.1", "falcon==4.4.0", "gevent==26.9.0"];

const IMPORTS: &str = "import flask, django, bottle, pyramid.config, falcon, gevent";

const NEEDED: &str =
    "the tests need CPython 3.10 or newer with its venv module (Debian: apt install python3 python3-venv)";

/// Makes it, unless it is there with these packages.
pub(crate) fn prepare(root: &Path) -> Result<()> {
    let venv = root.join("target/test-venv");
    let stamp = venv.join("packages");
    let wanted = PACKAGES.join(" ");
    let python = venv.join("bin/python");
    if fs::read_to_string(&stamp).is_ok_and(|present| present == wanted) && can_run(&python, IMPORTS) {
        return Ok(());
    }
    if !can_run(Path::new("python3"), "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))") {
        bail!("{NEEDED}");
    }
    eprintln!("== making target/test-venv with {wanted}");
    if venv.exists() {
        fs::remove_dir_all(&venv).with_context(|| format!("cannot remove {}", venv.display()))?;
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv)).context(NEEDED)?;
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(PACKAGES);
    run(&mut pip).context("the frameworks could not be installed; the tests need them")?;
    fs::write(stamp, wanted).context("target/test-venv")
}

/// Whether `python` is there and ends well with this program.
fn can_run(python: &Path, program: &str) -> bool {
    let output = Command::new(python).args(["-c", program]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    output.is_ok_and(|status| status.success())
}
