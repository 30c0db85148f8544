//! Builds the worker extension and puts it where the binary can embed it.
//!
//! A cargo of its own does it, because the worker has to be a cdylib without libpython, and in release mode whatever this
//! build is: it is the part that runs the application. The code is only checked when this build is only a check.

use std::{env, fs, path::PathBuf, process::Command};

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let root = manifest.parent().and_then(|crates| crates.parent()).expect("this crate is in crates/cli").to_owned();
    for part in
        ["crates/worker", "crates/link", "crates/policy", "crates/sys", "crates/units", "Cargo.toml", "Cargo.lock"]
    {
        println!("cargo::rerun-if-changed={}", root.join(part).display());
    }
    let embedded = out.join("tierce_worker.so");
    let checking =
        env::var_os("RUSTC_WORKSPACE_WRAPPER").is_some_and(|wrapper| wrapper.to_string_lossy().contains("clippy"));
    if checking {
        fs::write(&embedded, b"").expect("the output directory is writable");
        return;
    }
    let target = out.join("worker");
    let mut cargo = Command::new(env::var_os("CARGO").expect("cargo sets it"));
    // What this build was given is not meant for the other.
    for (name, _) in env::vars_os().filter(|(name, _)| is_of_this_build(&name.to_string_lossy())) {
        cargo.env_remove(name);
    }
    cargo
        .current_dir(&root)
        .args(["build", "--release", "--package", "worker", "--locked", "--config", "profile.release.strip=true"])
        .arg("--target-dir")
        .arg(&target)
        // A build directory that is configured for both would be locked by this build until the other has ended.
        .env("CARGO_BUILD_BUILD_DIR", &target)
        .env("PYO3_NO_PYTHON", "1")
        .env("PYO3_BUILD_EXTENSION_MODULE", "1");
    let status = cargo.status().expect("cargo runs");
    assert!(status.success(), "the worker extension could not be built");
    fs::copy(target.join("release/libtierce_worker.so"), &embedded).expect("cargo has built it");
}

/// Whether a variable describes this build: its package, its flags, or where its results go.
fn is_of_this_build(name: &str) -> bool {
    ["CARGO_FEATURE_", "CARGO_CFG_", "CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|start| name.starts_with(start))
        || matches!(
            name,
            "CARGO_ENCODED_RUSTFLAGS"
                | "CARGO_BUILD_RUSTFLAGS"
                | "RUSTFLAGS"
                | "RUSTC_WORKSPACE_WRAPPER"
                | "TARGET"
                | "CARGO_BUILD_TARGET"
                | "CARGO_TARGET_DIR"
                | "CARGO_BUILD_TARGET_DIR"
        )
}
