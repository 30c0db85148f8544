//! Flag > `TIERCE_*` > file > `PORT`, `WEB_CONCURRENCY` > default.

use std::collections::BTreeMap;

use crate::{
    keys,
    read::{Given, Origin, Raw},
    source::{Environment, Overrides},
};

/// The port that a platform gives.
pub(crate) const PORT: &str = "PORT";

/// Where it is to be listened on: everywhere, as platforms expect.
pub(crate) const PORT_HOST: &str = "0.0.0.0:";

fn variable(text: &str, name: &str) -> Given {
    Given { raw: Raw::Text(text.to_owned()), origin: Origin::Variable(name.to_owned()) }
}

/// The value that counts for each key that was given anywhere.
pub(crate) fn merge(
    file: BTreeMap<String, Given>,
    environment: &Environment,
    flags: &Overrides,
) -> BTreeMap<String, Given> {
    let mut values = BTreeMap::new();
    if let Some(port) = environment.value(PORT) {
        values.insert("listen".to_owned(), variable(&format!("{PORT_HOST}{port}"), PORT));
    }
    if let Some(count) = environment.value("WEB_CONCURRENCY") {
        values.insert("workers".to_owned(), variable(count, "WEB_CONCURRENCY"));
    }
    values.extend(file);
    // Tables are set in the file only; the variables of the application are set as variables anyway.
    for key in keys::all().filter(|key| keys::has_variable(key.path)) {
        let name = keys::variable(key.path);
        if let Some(value) = environment.value(&name) {
            values.insert(key.path.to_owned(), variable(value, &name));
        }
    }
    let seconds = flags
        .timeout
        .as_ref()
        .map(|text| if text.bytes().all(|byte| byte.is_ascii_digit()) { format!("{text}s") } else { text.clone() });
    let upstream = (!flags.upstream.is_empty()).then(|| flags.upstream.join(","));
    let bind = (!flags.bind.is_empty()).then(|| flags.bind.join(","));
    for (path, value, flag) in [
        ("app", &flags.app, "APP"),
        ("workers", &flags.workers, "--workers"),
        ("threads", &flags.threads, "--threads"),
        ("listen", &bind, "--bind"),
        ("limits.time", &seconds, "--timeout"),
        ("upstream", &upstream, "--upstream"),
        ("discover", &flags.discover, "--discover"),
        ("cores", &flags.cores, "--cores"),
        ("python", &flags.python, "--python"),
        ("log.access", &flags.access_log, "--access-log"),
    ] {
        if let Some(value) = value {
            let given = Given { raw: Raw::Text(value.clone()), origin: Origin::Flag(flag) };
            values.insert(path.to_owned(), given);
        }
    }
    values
}
