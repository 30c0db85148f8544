//! `cargo xtask counts`: how many instructions the codec and the balancing decisions take, counted by valgrind, which is the same on
//! every machine and however busy that is. `bench/instructions.txt` holds what was counted last; a change that makes it more or
//! less has to say so there (`--update`).
//!
//! Invariant: each number is the difference between many times and a few, so that nothing of a process's start is in it.

use std::{fmt::Write as _, fs, path::Path, process::Command};

use anyhow::{Context, Result, bail};

use crate::nginx;

const FILE: &str = "bench/instructions.txt";

/// By so much in a hundred a count may differ: processors differ in the instructions that memchr chooses.
const TOLERANCE: u64 = 5;

/// What is counted: `crates/xtask/src/bin/count.rs` does it.
const CELLS: [&str; 6] =
    ["parse-request", "parse-response", "write-head", "decode-chunk", "dispatch-4", "dispatch-1000"];

const FEW: u64 = 100;
const MANY: u64 = 1100;

const NEEDED: &str = "instructions are counted by valgrind (Debian: apt install valgrind)";

/// What is done with the counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counts {
    /// They are held against the file.
    Checked,
    /// The file becomes what they are.
    Updated,
}

/// Counts, where that is possible. In CI it has to be; elsewhere a word says that it is not.
pub(crate) fn count(root: &Path, purpose: Counts) -> Result<()> {
    let is_present = || nginx::succeeds(Command::new("valgrind").arg("--version"));
    if !is_present() && nginx::install("valgrind", NEEDED).is_err() && !is_present() {
        if purpose == Counts::Updated || std::env::var_os("CI").is_some() {
            bail!("{NEEDED}");
        }
        eprintln!("== instructions are not counted here: {NEEDED}");
        return Ok(());
    }
    crate::cargo(&["build", "--release", "--locked", "--package", "xtask", "--bin", "count"])?;
    let program = root.join("target/release/count");
    let mut counted = Vec::new();
    for cell in CELLS {
        let count = (instructions(&program, cell, MANY)? - instructions(&program, cell, FEW)?) / (MANY - FEW);
        eprintln!("== {cell}: {count} instructions");
        counted.push((cell.to_owned(), count));
    }
    match purpose {
        Counts::Updated => write(root, &counted),
        Counts::Checked => check(&fs::read_to_string(root.join(FILE)).context(FILE)?, &counted),
    }
}

/// What the whole process takes.
fn instructions(program: &Path, cell: &str, times: u64) -> Result<u64> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program).args([cell, &times.to_string()]);
    let output = command.output().context(NEEDED)?;
    let said = String::from_utf8_lossy(&output.stderr);
    let count = said.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    count.filter(|_| output.status.success()).with_context(|| format!("{command:?} did not count: {said}"))
}

fn write(root: &Path, counted: &[(String, u64)]) -> Result<()> {
    let mut text = String::new();
    for (name, count) in counted {
        writeln!(text, "{name} {count}")?;
    }
    fs::write(root.join(FILE), text).context(FILE)
}

fn check(known: &str, counted: &[(String, u64)]) -> Result<()> {
    let mut differ = String::new();
    for (name, count) in counted {
        let before = known.lines().find_map(|line| line.strip_prefix(name.as_str())?.trim().parse::<u64>().ok());
        match before {
            Some(before) if before.abs_diff(*count) * 100 <= before * TOLERANCE => {}
            Some(before) => writeln!(differ, "  {name}: {before} before, {count} now")?,
            None => writeln!(differ, "  {name}: {count} now")?,
        }
    }
    if !differ.is_empty() {
        bail!(
            "{FILE} is not what was counted; if that is meant, run `cargo xtask counts --update` and commit it\n{differ}"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_told() {
        let counted = |count| [("a-4".to_owned(), count)];
        for (known, count, fine) in [
            ("a-4 1000\n", 1050, true),
            ("a-4 1000\n", 950, true),
            ("a-4 1000\n", 1051, false),
            ("a-4 1000\n", 900, false),
            ("a-40 1000\n", 1000, false),
        ] {
            assert_eq!(check(known, &counted(count)).is_ok(), fine, "{known} {count}");
        }
    }
}
