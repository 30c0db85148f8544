//! `cargo xtask bench`: builds Tierce as it is released, then leaves the rest to `bench/run.py`.

use std::{os::unix::process::CommandExt, path::Path, process::Command};

use anyhow::{Context, Result};

/// Does not return when all is well: the bench takes this process over, so that Ctrl-C meets it alone and it can end its
/// servers.
pub(crate) fn run(root: &Path, words: &[&str]) -> Result<()> {
    crate::cargo(&["build", "--release", "--locked"])?;
    let error = Command::new("python3").arg(root.join("bench/run.py")).args(words).exec();
    Err(error).context("cannot run python3, which the bench is written in (Debian: apt install python3 python3-venv)")
}
