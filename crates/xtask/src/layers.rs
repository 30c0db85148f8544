//! The layer test: a crate depends on crates of lower layers only. The numbers stand beside the members in Cargo.toml.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result, bail};

/// Checks every crate of the workspace.
pub(crate) fn check(root: &Path) -> Result<()> {
    let layers = read_layers(&fs::read_to_string(root.join("Cargo.toml"))?)?;
    let mut wrong = Vec::new();
    for (name, layer) in &layers {
        let manifest =
            fs::read_to_string(root.join("crates").join(name).join("Cargo.toml")).with_context(|| name.clone())?;
        for dependency in dependencies(&manifest) {
            if let Some(other) = layers.get(&dependency)
                && layer <= other
            {
                wrong.push(format!("{name} (layer {layer}) must not depend on {dependency} (layer {other})"));
            }
        }
    }
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

/// The names in `[dependencies]`; those in `[dev-dependencies]` are free.
fn dependencies(manifest: &str) -> Vec<String> {
    let lines = manifest.lines().skip_while(|line| *line != "[dependencies]").skip(1);
    let section = lines.take_while(|line| !line.starts_with('['));
    section
        .filter_map(|line| line.split(['.', ' ', '=']).next().map(str::trim))
        .filter(|name| !name.is_empty())
        .map(ToOwned::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_and_dependencies_are_read() {
        let layers = read_layers("members = [\n  \"crates/cli\", # 5: x\n  \"crates/kit\", # dev: y\n]").unwrap();
        assert_eq!(layers, BTreeMap::from([("cli".to_owned(), 5), ("kit".to_owned(), u32::MAX)]));
        assert_eq!(
            dependencies("[dependencies]\na.workspace = true\nb = \"1\"\n\n[dev-dependencies]\nc = \"1\"\n"),
            ["a", "b"]
        );
        assert!(read_layers("\"crates/a\",").is_err());
    }
}
