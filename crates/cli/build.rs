//! Builds the worker extension and puts it where the binary can embed it.
//!
//! A cargo of its own does it, because the worker has to be a cdylib without libpython, and in release mode whatever this
//! build is: it is the part that runs the application. The code is only checked when this build is only a check.

use std::{env, fs, path::PathBuf, process::Command};

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let root = manifest.parent().and_then(|crates| crates.parent()).expect("this crate is in crates/cli").to_owned();
    for part in ["crates/worker", "crates/link", "crates/sys", "crates/units", "Cargo.toml", "Cargo.lock"] {
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
    cargo
        .current_dir(&root)
        .args(["build", "--release", "--package", "worker", "--locked", "--config", "profile.release.strip=true"])
        .arg("--target-dir")
        .arg(&target)
        .env("PYO3_NO_PYTHON", "1")
        .env("PYO3_BUILD_EXTENSION_MODULE", "1");
    // What this build was given is not meant for the other.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let ours = ["CARGO_FEATURE_", "CARGO_CFG_", "CARGO_PKG_", "CARGO_MANIFEST_"]
            .iter()
            .any(|start| text.starts_with(start));
        if ours
            || matches!(&*text, "CARGO_ENCODED_RUSTFLAGS" | "RUSTC_WORKSPACE_WRAPPER" | "TARGET" | "CARGO_TARGET_DIR")
        {
            cargo.env_remove(&name);
        }
    }
    let status = cargo.status().expect("cargo runs");
    assert!(status.success(), "the worker extension could not be built");
    fs::copy(target.join("release/libtierce_worker.so"), &embedded).expect("cargo has built it");
}
