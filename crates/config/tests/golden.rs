//! Golden files: `golden/*.toml` hold a configuration, a line `---`, and what becomes of it: all that differs from the
//! defaults, or all problems. `UPDATE_GOLDEN=1 cargo test -p config` writes them anew.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{fmt::Write, fs, path::Path};

use config::{Config, Environment, Listen, Locate, Overrides, Upstream, load};

fn outcome(input: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("app.py"), "app = None\n").unwrap();
    fs::write(directory.path().join("tierce.toml"), input).unwrap();
    let locate = Locate { directory: None, file: None, current: directory.path().to_owned(), cores: 2 };
    let text = match load(&locate, &Environment::default(), &Overrides::default()) {
        Ok(config) => describe(&config),
        Err(problems) => problems.to_string(),
    };
    text.replace(directory.path().to_str().unwrap(), "/project")
}

fn describe(config: &Config) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| writeln!(text, "{name} = {value}").unwrap();
    if config.upstreams.is_empty() {
        line("app", config.app.to_string());
    }
    for Upstream { address, container: _, protocol, weight, role, max_concurrency, tls, proxy_protocol } in
        &config.upstreams
    {
        line("upstream", format!("{protocol}, {address}, {weight}, {role:?}, {max_concurrency}"));
        if let Some(tls) = tls {
            line("  tls", format!("{tls:?}"));
        }
        if let Some(version) = proxy_protocol {
            line("  proxy protocol", format!("{version:?}"));
        }
    }
    if !config.upstreams.is_empty() {
        line("health", format!("{:?}", config.health));
    }
    if config.balance != config::Balance::LeastOutstanding || config.sticky.is_some() || !config.slow_start.is_zero() {
        line(
            "balance, sticky, slow start",
            format!("{:?}, {:?}, {:?}", config.balance, config.sticky, config.slow_start),
        );
    }
    line(
        "name, nodes, workers, threads, cores",
        format!("{}, {}, {}, {}, {}", config.name, config.nodes, config.workers, config.threads, config.cores),
    );
    line("listen", config.listen.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    let modes: Vec<_> = config.listen.iter().filter_map(mode).collect();
    if !modes.is_empty() {
        line("socket modes", modes.join(", "));
    }
    if config.tls != config::Tls::Local {
        line("tls", format!("{:?}", config.tls));
    }
    if let Some(port) = config.https_redirect {
        line("https redirect", port.to_string());
    }
    if config.proxy_protocol == config::ProxyProtocol::Required {
        line("proxy protocol", "required".to_owned());
    }
    if !config.trusted_proxies.is_empty() {
        line("trusted proxies", config.trusted_proxies.to_string());
    }
    if config.compression != config::Compression::Off {
        line("compression", format!("{:?}", config.compression));
    }
    if config.admin != config::Admin::Socket {
        line("admin", format!("{:?}", config.admin));
    }
    for mount in &config.routes.files {
        line("static", format!("{} = {}", mount.path, mount.directory.display()));
    }
    for mount in &config.routes.internal {
        line("internal", format!("{} = {}", mount.path, mount.directory.display()));
    }
    for config::Service { name, upstreams } in &config.routes.services {
        let upstreams: Vec<_> = upstreams.iter().map(|upstream| upstream.address.to_string()).collect();
        line("service", format!("{name}: {}", upstreams.join(", ")));
    }
    for route in &config.routes.list {
        line("route", format!("{route:?}"));
    }
    if config.protection != config::Protection::default() {
        line("protection", format!("{:?}", config.protection));
    }
    line("python, pythonpath", format!("{:?}, {:?}", config.python, config.pythonpath));
    line("env, user, expose", format!("{:?}, {:?}, {:?}", config.env, config.user, config.expose));
    if (config.server_timing, config.tracing) != (config::ServerTiming::Hidden, config::Tracing::Make) {
        line("server timing, tracing", format!("{:?}, {:?}", config.server_timing, config.tracing));
    }
    line("limits", format!("{:?}", config.limits));
    line("access log", format!("{:?}", config.access_log));
    text
}

fn mode(listen: &Listen) -> Option<String> {
    match listen {
        Listen::Unix { mode, .. } => mode.map(|mode| format!("{mode:o}")),
        Listen::Tcp { .. } => None,
    }
}

#[test]
fn each_file_becomes_what_it_says() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut wrong = Vec::new();
    for path in &files {
        let text = fs::read_to_string(path).unwrap();
        let (input, expected) = text.split_once("---\n").unwrap_or((&text, ""));
        let got = outcome(input);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(path, format!("{input}---\n{got}")).unwrap();
        } else if got != expected {
            wrong.push(format!("{}:\n{got}", path.display()));
        }
    }
    assert!(40 <= files.len(), "only {} golden files", files.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
