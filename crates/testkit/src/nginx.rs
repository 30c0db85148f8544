//! A real nginx in front of what is tested.
//!
//! Invariant: it is one process that writes only into its own directory and ends with its handle.

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use crate::{ports::free_port, wait::wait_for};

/// An nginx that serves one port; killed when dropped.
#[derive(Debug)]
pub struct Nginx {
    directory: TempDir,
    child: Child,
    /// Where it listens.
    pub port: u16,
}

impl Nginx {
    /// Starts it with these directives in its `server` block.
    ///
    /// # Panics
    /// When nginx is missing, or takes offence at the directives.
    pub fn start(server: &str) -> Self {
        let program = program();
        let directory = tempfile::Builder::new().prefix("tierce-nginx-").tempdir().unwrap();
        let port = free_port();
        let path = directory.path();
        let config = path.join("nginx.conf");
        fs::write(&config, configuration(path, port, server)).unwrap();
        let mut command = Command::new(&program);
        command.arg("-p").arg(path).arg("-c").arg(&config).args(["-e", "error.log"]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut nginx = Self { directory, child, port };
        wait_for("nginx", || {
            let gone = nginx.child.try_wait().unwrap();
            assert!(gone.is_none(), "nginx ended ({gone:?}): {}", nginx.errors());
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        nginx
    }

    /// What it complains about.
    pub fn errors(&self) -> String {
        fs::read_to_string(self.directory.path().join("error.log")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It may have ended already; there is nothing to do then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps it where only root's PATH leads.
    let places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = places.map(|place| place.join("nginx")).find(|program| program.exists());
    found.expect("nginx is missing: run `cargo xtask test`, which installs it or says how (Debian: apt install nginx)")
}

fn configuration(path: &Path, port: u16, server: &str) -> String {
    let temporary: String = ["client_body", "proxy", "uwsgi", "fastcgi", "scgi"]
        .iter()
        .map(|name| format!("  {name}_temp_path {name};\n"))
        .collect();
    format!(
        "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log {errors} error;\nevents {{}}\nhttp {{\n{temporary}  \
         access_log off;\n  large_client_header_buffers 8 16k;\n  client_max_body_size 20m;\n  server {{\n    listen \
         127.0.0.1:{port};\n    server_name shop.example;\n{server}\n  }}\n}}\n",
        errors = path.join("error.log").display(),
    )
}
