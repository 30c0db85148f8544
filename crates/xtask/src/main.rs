//! The project's own commands: `cargo xtask test` installs what the tests need and runs all of them; `cargo xtask bench`
//! measures Tierce beside its peers; `cargo xtask counts` counts instructions.

mod bench; // Tierce and its peers, side by side
mod counts; // instructions of the codec and of the decisions
mod docker; // the engine of the container tests
mod layers; // who may depend on whom
mod nginx; // the nginx of the whole-program tests
mod python; // the environment of the whole-program tests

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail};

use self::counts::Counts;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let result = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["test"] => test(None),
        ["test", "--containers"] => docker::prepare(&root()).and_then(test),
        ["reference"] => write_reference(),
        ["counts"] => counts::count(&root(), Counts::Checked),
        ["counts", "--update"] => counts::count(&root(), Counts::Updated),
        ["docker", "up"] => docker::up(&root()),
        ["docker", "down"] => docker::down(&root()),
        ["bench", ref options @ ..] => bench::run(&root(), options),
        _ => Err(anyhow::anyhow!(
            "usage: cargo xtask test [--containers] | reference | counts [--update] | docker up|down | bench [CELL...] [--help]"
        )),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Runs all tests; an engine for those in containers stays until they have ended, however they do.
fn test(_engine: Option<docker::Engine>) -> Result<()> {
    layers::check(&root())?;
    check_reference()?;
    cargo(&["fmt", "--all", "--check"])?;
    cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])?;
    check_fuzz_targets()?;
    step(Command::new("python3").args(["-m", "unittest", "discover", "-s", "bench"]))?;
    python::prepare(&root())?;
    nginx::prepare()?;
    counts::count(&root(), Counts::Checked)?;
    // Each whole-program test is a load of its own: more at once, on any machine, would only disturb each other.
    step(Command::new(env!("CARGO")).args(["test", "--workspace", "--locked"]).env("RUST_TEST_THREADS", "2"))
}

/// Whether the fuzz targets, which are no part of the workspace, still fit the crates. libFuzzer is not built for that: a library in its
/// place is never linked.
fn check_fuzz_targets() -> Result<()> {
    let words = ["check", "--manifest-path", "fuzz/Cargo.toml", "--target-dir", "target/fuzz"];
    let mut check = Command::new(env!("CARGO"));
    check.args(words).env("RUSTFLAGS", "--cfg fuzzing -D warnings").env("CUSTOM_LIBFUZZER_PATH", "absent/libfuzzer.a");
    step(&mut check)
}

fn cargo(words: &[&str]) -> Result<()> {
    step(Command::new(env!("CARGO")).args(words))
}

/// Runs a step in the project's directory and says which one.
fn step(command: &mut Command) -> Result<()> {
    let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
    eprintln!("== {} {}", Path::new(command.get_program()).file_name().unwrap_or_default().display(), words.join(" "));
    run(command.current_dir(root()))
}

/// Runs a tool that has to succeed.
fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {}", command.get_program().display()))?;
    if !status.success() {
        bail!("{command:?} failed: {status}");
    }
    Ok(())
}

const REFERENCE: &str = "docs/reference/config.md";

/// The page is made from the schema; a stale one is an error.
fn check_reference() -> Result<()> {
    let page = std::fs::read_to_string(root().join(REFERENCE)).unwrap_or_default();
    if page != config::reference_markdown() {
        bail!("{REFERENCE} is not what the schema says: run `cargo xtask reference` and commit it");
    }
    Ok(())
}

fn write_reference() -> Result<()> {
    std::fs::write(root().join(REFERENCE), config::reference_markdown()).context(REFERENCE)
}
