//! `cargo xtask test`: every check of the project, in the order in which they fail fastest.
#![forbid(unsafe_code)]

use std::process::{Command, ExitCode};

fn main() -> anyhow::Result<ExitCode> {
    match std::env::args().nth(1).as_deref() {
        Some("test") => test(),
        _ => {
            eprintln!("usage: cargo xtask test");
            Ok(ExitCode::from(2))
        }
    }
}

fn test() -> anyhow::Result<ExitCode> {
    for arguments in [
        &["fmt", "--all", "--check"][..],
        &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"],
        &["test", "--workspace", "--locked"],
    ] {
        eprintln!("+ cargo {}", arguments.join(" "));
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        if !Command::new(cargo).args(arguments).status()?.success() {
            eprintln!("error: `cargo {}` failed", arguments.join(" "));
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}
