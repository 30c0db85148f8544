//! The image that the tests build on, `tierce-test-base`: Debian's Python with pip, and a directory of packages that pip
//! installs from, as no registry or index is reached from the engine of the tests.
//!
//! Invariant: an image with the tag of this recipe was made by it.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result};

use super::client;
use crate::{nginx::succeeds, run};

/// Makes it, unless it is there.
pub(super) fn prepare(root: &Path, directory: &Path) -> Result<()> {
    let tag = format!("tierce-test-base:{RECIPE}");
    if !succeeds(client(directory).args(["image", "inspect", &tag])) {
        eprintln!("== making tierce-test-base");
        let base = directory.join("base");
        if base.exists() {
            fs::remove_dir_all(&base).context("target/docker/base")?;
        }
        fs::create_dir_all(&base).context("target/docker/base")?;
        let python = root.join("target/test-venv/bin/python");
        let mut make = Command::new("sh");
        make.args(["-euc", include_str!("base.sh"), "base"]).arg(&base).arg(python);
        run(&mut make).context("the base image of the container tests cannot be made; it needs Debian's packages")?;
        let mut import = client(directory);
        import.arg("import");
        for change in CHANGES {
            import.args(["--change", change]);
        }
        run(import.arg(base.join("root.tar")).arg(&tag))?;
        fs::remove_dir_all(&base).context("target/docker/base")?;
    }
    run(client(directory).args(["tag", &tag, "tierce-test-base"]))
}

/// To be raised with each change of `base.sh`.
const RECIPE: u32 = 1;

const CHANGES: [&str; 4] = [
    r#"CMD ["python3"]"#,
    "ENV PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels PIP_BREAK_SYSTEM_PACKAGES=1 PIP_ROOT_USER_ACTION=ignore",
    "ENV PYTHONUNBUFFERED=1",
    "ENV PATH=/usr/local/bin:/usr/bin:/usr/sbin",
];
