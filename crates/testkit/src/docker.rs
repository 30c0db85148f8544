//! The Docker engine of the tests, which `cargo xtask docker up` starts, and projects of Compose in it.
//!
//! Invariant: what a project has made in the engine goes with its handle; images stay, so that the next run finds them.

use std::{
    fs,
    io::{self, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::TempDir;

use crate::{client::Client, project::Finished};

/// The image with the program that is tested.
pub const IMAGE: &str = "tierce-test";

/// The engine of the tests.
#[derive(Debug)]
pub struct Engine {
    directory: PathBuf,
}

impl Engine {
    /// The engine with an image of `tierce`, unless none runs.
    ///
    /// # Panics
    /// When the image cannot be built.
    pub fn find(tierce: &str) -> Option<&'static Self> {
        static FOUND: OnceLock<Option<Engine>> = OnceLock::new();
        let found = FOUND.get_or_init(|| {
            let engine = Self { directory: root().join("target/docker").canonicalize().ok()? };
            engine.run(&mut engine.docker(&["version"])).ok()?;
            engine.build(tierce);
            Some(engine)
        });
        if found.is_none() {
            let missing = "no Docker engine of the tests runs: `cargo xtask docker up` starts it";
            // Not with a macro: the test harness would keep that to itself.
            let _unseen = writeln!(io::stderr(), "skipped: {missing}");
        }
        found.as_ref()
    }

    /// What a command of the client prints; it has to succeed.
    pub fn ok(&self, words: &[&str]) -> String {
        self.run(&mut self.docker(words)).unwrap_or_else(|finished| panic!("docker {words:?}: {finished:?}")).out
    }

    /// Whether a command of the client succeeds.
    pub fn succeeds(&self, words: &[&str]) -> bool {
        self.run(&mut self.docker(words)).is_ok()
    }

    /// What a container has printed.
    pub fn logs(&self, container: &str) -> String {
        let logs = self.run(&mut self.docker(&["logs", container])).unwrap();
        logs.out + &logs.err
    }

    fn docker(&self, words: &[&str]) -> Command {
        let mut docker = Command::new("/usr/bin/docker");
        docker.args(words);
        docker
    }

    /// A connection to a port that a container has published. It is made by a thread that has entered the engine's network, which
    /// no other thread of the test may be in.
    pub fn connect(&self, port: u16) -> io::Result<Client> {
        let process = fs::read_to_string(self.directory.join("pid")).unwrap();
        let network = fs::File::open(format!("/proc/{process}/ns/net")).unwrap();
        let connecting = thread::spawn(move || {
            move_into_link_name_space(std::os::fd::AsFd::as_fd(&network), Some(LinkNameSpaceType::Network)).unwrap();
            TcpStream::connect(("127.0.0.1", port))
        });
        Client::over_tcp(connecting.join().unwrap()?)
    }

    /// Builds the image as the `Dockerfile` at the root says. Its builder is one whose cargo has the program ready.
    fn build(&self, tierce: &str) {
        // Those of earlier runs that a newer one has replaced.
        self.ok(&["image", "prune", "-f"]);
        let builder = tempfile::Builder::new().prefix("tierce-builder-").tempdir().unwrap();
        let path = builder.path();
        let stripped = Command::new("strip").arg("-o").arg(path.join("tierce")).arg(tierce).status().unwrap();
        assert!(stripped.success(), "strip {tierce}: {stripped}");
        let cargo = "#!/bin/sh\nset -e\nmkdir -p target/release\ncp /tierce target/release/tierce\n";
        fs::write(path.join("cargo"), cargo).unwrap();
        fs::write(path.join("strip"), "#!/bin/sh\n").unwrap();
        let recipe = "FROM tierce-test-base\nCOPY tierce /tierce\nCOPY cargo strip /usr/local/bin/\n\
                      RUN chmod 755 /usr/local/bin/cargo /usr/local/bin/strip\n";
        fs::write(path.join("Dockerfile"), recipe).unwrap();
        self.ok(&["build", "-q", "-t", "tierce-test-builder", path.to_str().unwrap()]);
        let [builder, base] = ["BUILDER=tierce-test-builder", "BASE=tierce-test-base"];
        let source = root();
        let words = ["build", "-q", "-t", IMAGE, "--build-arg", builder, "--build-arg", base, source.to_str().unwrap()];
        self.ok(&words);
    }

    fn run(&self, command: &mut Command) -> Result<Finished, Finished> {
        let address = format!("unix://{}", self.directory.join("engine.sock").display());
        let finished: Finished = command.env("DOCKER_HOST", address).stdin(Stdio::null()).output().unwrap().into();
        if finished.code == 0 { Ok(finished) } else { Err(finished) }
    }
}

/// `examples/hello` under a name of its own, with another application.
#[derive(Debug)]
pub struct Compose<'a> {
    engine: &'a Engine,
    directory: TempDir,
    name: String,
    /// Where its balancer is published.
    pub port: u16,
}

impl<'a> Compose<'a> {
    /// A copy of the example that publishes this port.
    pub fn example(engine: &'a Engine, port: u16, app: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("tierce-compose-").tempdir().unwrap();
        for entry in fs::read_dir(root().join("examples/hello")).unwrap() {
            let file = entry.unwrap().path();
            if file.is_file() {
                fs::copy(&file, directory.path().join(file.file_name().unwrap())).unwrap();
            }
        }
        fs::write(directory.path().join("app.py"), app).unwrap();
        Self { engine, directory, name: format!("tierce{}x{port}", std::process::id()), port }
    }

    /// What a command of docker-compose prints; it has to succeed.
    pub fn ok(&self, words: &[&str]) -> String {
        self.run(words).unwrap_or_else(|finished| panic!("docker-compose {words:?}: {finished:?}")).out
    }

    /// The containers of a service that run.
    pub fn containers(&self, service: &str) -> Vec<String> {
        self.ok(&["ps", "-q", service]).split_whitespace().map(ToOwned::to_owned).collect()
    }

    /// What there is of the project in the engine: containers and networks.
    pub fn left(&self) -> String {
        let label = format!("label=com.docker.compose.project={}", self.name);
        self.engine.ok(&["ps", "-aq", "--filter", &label])
            + &self.engine.ok(&["network", "ls", "-q", "--filter", &label])
    }

    fn run(&self, words: &[&str]) -> Result<Finished, Finished> {
        let mut compose = Command::new("docker-compose");
        compose.args(["-p", &self.name, "-f"]).arg(self.directory.path().join("compose.yaml")).args(words);
        compose.env("PORT", self.port.to_string()).env("TIERCE", IMAGE).env("BASE", "tierce-test-base");
        self.engine.run(compose.env("WEB", format!("{IMAGE}-hello-{}", self.port)))
    }
}

impl Drop for Compose<'_> {
    fn drop(&mut self) {
        // A test that has failed tells why by itself.
        let _ = self.run(&["down", "-t", "1", "--rmi", "local"]);
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
