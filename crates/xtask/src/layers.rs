//! The layer test: a crate depends on crates of lower layers only. The numbers stand beside the members in Cargo.toml.
//!
//! It reads the few forms that these manifests use, and refuses the others instead of overlooking them.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result, bail};

/// Checks every crate of the workspace.
pub(crate) fn check(root: &Path) -> Result<()> {
    let layers = read_layers(&fs::read_to_string(root.join("Cargo.toml"))?)?;
    let wrong = violations(&layers, &read_manifests(&root.join("crates"))?)?;
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    Ok(())
}

/// `"crates/cli",  # 5: …`; helpers of development (`# dev:`) stand above everything.
fn read_layers(manifest: &str) -> Result<BTreeMap<String, u32>> {
    let mut layers = BTreeMap::new();
    for line in manifest.lines() {
        let Some(rest) = line.trim().strip_prefix("\"crates/") else { continue };
        let (name, rest) = rest.split_once('"').context("a member's closing quote")?;
        let (_, layer) = rest.split_once("# ").with_context(|| format!("{name} has no layer"))?;
        let layer = match layer.split(':').next() {
            Some("dev") => u32::MAX,
            Some(number) => number.parse().with_context(|| format!("the layer of {name}"))?,
            None => bail!("{name} has no layer"),
        };
        layers.insert(name.to_owned(), layer);
    }
    if layers.is_empty() {
        bail!("no member has a layer");
    }
    Ok(layers)
}

/// The manifest of each crate in a folder, by the crate's name.
fn read_manifests(folder: &Path) -> Result<BTreeMap<String, String>> {
    let mut manifests = BTreeMap::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let manifest = entry.path().join("Cargo.toml");
        if manifest.exists() {
            let text = fs::read_to_string(&manifest).with_context(|| manifest.display().to_string())?;
            manifests.insert(entry.file_name().to_string_lossy().into_owned(), text);
        }
    }
    Ok(manifests)
}

fn violations(layers: &BTreeMap<String, u32>, manifests: &BTreeMap<String, String>) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for (name, manifest) in manifests {
        let Some(layer) = layers.get(name) else {
            wrong.push(format!("crates/{name} is not among the members in Cargo.toml"));
            continue;
        };
        for dependency in dependencies(manifest).with_context(|| format!("crates/{name}/Cargo.toml"))? {
            if let Some(other) = layers.get(&dependency)
                && layer <= other
            {
                wrong.push(format!("{name} (layer {layer}) must not depend on {dependency} (layer {other})"));
            }
        }
    }
    Ok(wrong)
}

/// The names in `[dependencies]` and `[build-dependencies]`; those in `[dev-dependencies]` are free.
fn dependencies(manifest: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let mut counts = false;
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            counts = matches!(line, "[dependencies]" | "[build-dependencies]");
            if !counts && line.contains("dependencies") && line != "[dev-dependencies]" {
                bail!("{line}: write it in [dependencies], which is what the layer test reads");
            }
        } else if counts && !line.is_empty() && !line.starts_with('#') {
            names.extend(line.split(['.', ' ', '=']).next().map(ToOwned::to_owned));
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_and_dependencies_are_read() {
        let layers = read_layers("members = [\n  \"crates/cli\", # 5: x\n  \"crates/kit\", # dev: y\n]").unwrap();
        assert_eq!(layers, BTreeMap::from([("cli".to_owned(), 5), ("kit".to_owned(), u32::MAX)]));
        assert!(read_layers("\"crates/a\",").is_err(), "a member without a layer");
        let manifest = "[dependencies]\na.workspace = true\n# why\nb = \"1\"\n\n[dev-dependencies]\nc = \"1\"\n\n\
                        [build-dependencies]\nd = \"1\"\n[lints]\nworkspace = true\n";
        assert_eq!(dependencies(manifest).unwrap(), ["a", "b", "d"]);
        for hidden in ["[dependencies.http]", "[target.'cfg(unix)'.dependencies]"] {
            assert!(dependencies(&format!("{hidden}\nx = \"1\"\n")).is_err(), "{hidden}");
        }
    }

    #[test]
    fn a_dependency_on_the_same_or_a_higher_layer_is_found() {
        let layers = |low, high| BTreeMap::from([("low".to_owned(), low), ("high".to_owned(), high)]);
        let low = |section: &str| BTreeMap::from([("low".to_owned(), format!("[{section}]\nhigh.workspace = true\n"))]);
        for (low_layer, high_layer, section, told) in [
            (0, 1, "dependencies", &["low (layer 0) must not depend on high (layer 1)"][..]),
            (1, 1, "build-dependencies", &["low (layer 1) must not depend on high (layer 1)"]),
            (1, 0, "dependencies", &[]),
            (0, 1, "dev-dependencies", &[]),
        ] {
            let found = violations(&layers(low_layer, high_layer), &low(section)).unwrap();
            assert_eq!(found, told, "{low_layer} {high_layer} {section}");
        }
        let stray = BTreeMap::from([("stray".to_owned(), String::new())]);
        assert_eq!(violations(&layers(0, 1), &stray).unwrap(), ["crates/stray is not among the members in Cargo.toml"]);
    }
}
