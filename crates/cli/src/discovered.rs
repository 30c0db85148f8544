//! Containers that come and go: a process of its own follows them, and the upstreams follow what it says.
//!
//! Invariant: the edge never opens the engine's socket. What it knows stays in use while that process is not there; it is started
//! again, and ends with the edge.

use std::{
    convert::Infallible,
    io::{self, Read, Write},
    process::Stdio,
    time::Duration,
};

use config::{Discover, Upstream, UpstreamAddress, UpstreamRole};
use discover::{Endpoint, Wanted};
use proxy::Followed;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::Command,
    sync::oneshot,
    time::sleep,
};

use crate::{args, exit::Exit, running::Running, say};

/// Before it is started again.
const AGAIN: Duration = Duration::from_secs(1);

/// A longer line is refused: a thousand containers take about 250 KiB.
const LINE_MAX: u64 = 4 * 1024 * 1024;

/// Requests that a container has at a time, at most; as for upstreams that are named.
const MAX_CONCURRENCY: u32 = 1024;

/// The hidden command: a line of JSON on standard output for each change, `[endpoints, notes]`.
pub(crate) fn report(args: &args::Discover) -> Exit {
    let wanted = Wanted { socket: args.socket.clone(), project: args.project.clone() };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say::message(&format!("error: containers cannot be followed: {error}"));
            return Exit::FAILED;
        }
    };
    let mut out = io::stdout();
    let tell = |endpoints: Option<&[Endpoint]>, notes: &[String]| {
        let mut line = serde_json::to_vec(&(endpoints, notes))?;
        line.push(b'\n');
        out.write_all(&line)?;
        out.flush()
    };
    // The edge holds the other end, and says nothing.
    let (ended, end) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        let _ended = ended;
        // Whatever it reads, that is the end.
        let _ = io::stdin().read(&mut [0]);
    });
    runtime.block_on(async {
        tokio::select! {
            _ = discover::follow(&wanted, tell) => {}
            _ = end => {}
        }
    });
    Exit::DONE
}

impl Running {
    /// Follows the containers as long as everything runs.
    pub(crate) async fn discover(&self) -> Infallible {
        let Some(discover) = self.config().discover.clone() else { return std::future::pending().await };
        loop {
            let why = match self.hear(&discover).await {
                Ok(()) => "it has ended".to_owned(),
                Err(error) => error.to_string(),
            };
            self.say(&format!(
                "the process that follows containers is started again: {why}; what is known of them stays as it is"
            ));
            sleep(AGAIN).await;
        }
    }

    async fn hear(&self, discover: &Discover) -> io::Result<()> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("discover").arg("--socket").arg(&discover.socket);
        if let Some(project) = &discover.project {
            command.arg("--project").arg(project);
        }
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0).kill_on_drop(true).spawn()?;
        // Ends when this does, however that is.
        let _held = child.stdin.take();
        let Some(out) = child.stdout.take() else { return Ok(()) };
        let mut out = BufReader::new(out);
        loop {
            let mut line = Vec::new();
            let read = (&mut out).take(LINE_MAX).read_until(b'\n', &mut line).await?;
            if read == 0 {
                return Ok(());
            }
            let (endpoints, notes): (Option<Vec<Endpoint>>, Vec<String>) = serde_json::from_slice(&line)?;
            notes.iter().for_each(|note| self.say(note));
            let Some(endpoints) = endpoints else { continue };
            let config = self.config();
            let upstreams = endpoints.into_iter().map(upstream).collect();
            let Followed { came, went } = self.upstreams.borrow_mut().discovered(&config, upstreams);
            came.iter().for_each(|name| self.record(&format!("{name} is a new container")));
            went.iter()
                .for_each(|name| self.record(&format!("{name} gets no more requests, and finishes what it has")));
        }
    }
}

fn upstream(Endpoint { id, name, host, port, .. }: Endpoint) -> Upstream {
    Upstream {
        address: UpstreamAddress::Tcp { host, port },
        container: Some(config::Container { id, name }),
        protocol: config::Protocol::Http,
        weight: 1,
        role: UpstreamRole::Usual,
        max_concurrency: MAX_CONCURRENCY,
        tls: None,
        proxy_protocol: None,
    }
}
