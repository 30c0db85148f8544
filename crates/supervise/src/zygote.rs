//! The process that imports the application: how it is started, told and heard.
//!
//! The control socket keeps packets apart and carries descriptors; it is of type SEQPACKET, which the runtime knows no
//! name for and handles like datagrams. Invariant: dropping a [`Zygote`] kills its process,
//! and with it, by the kernel's word, the workers that it has forked.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
    process::{ExitStatus, Stdio},
    rc::Rc,
};

use config::Config;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags,
    SocketType, recvmsg, sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};
use sys::{ChildSetup, User};
use tokio::{
    io::Interest,
    net::UnixDatagram,
    process::{Child, Command},
    sync::oneshot,
};

use crate::{
    adopted::Adopted,
    context::{HostName, ListenerName},
    node::Plan,
    start_error::StartError,
};

/// Loads the extension from the path that it is given, without anything being installed.
const LOADER: &str = "import sys\n\
    from importlib.machinery import ExtensionFileLoader as L\n\
    from importlib.util import module_from_spec as m, spec_from_file_location as s\n\
    l = L('tierce_worker', sys.argv[1])\n\
    w = m(s('tierce_worker', sys.argv[1], loader=l))\n\
    sys.modules['tierce_worker'] = w\n\
    l.exec_module(w)\n\
    sys.exit(w.main(sys.argv[2]))";

/// The longest packet on the control socket.
const PACKET_MAX: usize = 64 * 1024;

/// The kernel passes at most so many descriptors at a time (unix(7), `SCM_RIGHTS`).
const DESCRIPTORS_MAX: usize = 253;

/// What a zygote says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub(crate) enum Said {
    Imported {
        interface: String,
        threads: u32,
    },
    Failed {
        cause: String,
        traceback: String,
        missing_module: Option<String>,
        found: Vec<String>,
    },
    Forked {
        worker: u32,
        pid: u32,
    },
    ForkFailed {
        worker: u32,
        cause: String,
    },
    Ready {
        worker: u32,
        pid: u32,
    },
    Exited {
        pid: u32,
        code: Option<i32>,
        signal: Option<i32>,
    },
    /// A worker has become a zygote.
    Frozen,
    /// It cannot, and ends.
    CannotFork {
        obstacle: Obstacle,
        names: Vec<String>,
    },
    HasLetGo,
    Stays,
}

/// What stands in the way of forks of a worker that has served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Obstacle {
    /// Those with these names are not ours.
    Threads,
    /// Made while it served, to these.
    Connections,
    /// Its requests have run in greenlets.
    Gevent,
    /// One that was tried has failed, for this reason.
    Fork,
}

/// What it is told.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(crate) enum Order {
    Fork {
        worker: u32,
    },
    Become {
        worker: u32,
    },
    Exit,
    /// To a worker: become a zygote once drained.
    Freeze,
    /// Outlive the process from which you were forked.
    LetGo,
    /// That has ended: end with this one, which has adopted you.
    Stay {
        parent: u32,
    },
    /// Nothing but the next descriptors of the order before.
    More,
}

#[derive(Serialize)]
struct Packet {
    #[serde(flatten)]
    order: Order,
    /// So many are to come, in this packet and those behind it.
    descriptors: usize,
}

#[derive(Serialize)]
struct Boot<'a> {
    control: i32,
    extension: i32,
    project: &'a str,
    module: &'a str,
    callable: &'a str,
    pythonpath: Vec<&'a str>,
    threads: u32,
    node: &'a str,
    listeners: &'a [ListenerName],
    crowded: bool,
}

/// A running zygote; dropping it kills the process.
#[derive(Debug)]
pub(crate) struct Zygote {
    pid: u32,
    control: Rc<UnixDatagram>,
    _life: oneshot::Sender<()>,
}

/// A zygote that was just started, and what has to be listened to.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) zygote: Zygote,
    /// The reading end of its output.
    pub(crate) output: OwnedFd,
    pub(crate) end: End,
}

/// By which the end of the process is learnt.
#[derive(Debug)]
pub(crate) struct End {
    process: Watched,
    dropped: oneshot::Receiver<()>,
}

#[derive(Debug)]
enum Watched {
    Started(Child),
    Adopted(Adopted),
}

impl End {
    /// Waits until the process has ended, or ends it when its [`Zygote`] is dropped. Returns how it has ended by itself.
    pub(crate) async fn wait(mut self) -> Option<ExitStatus> {
        tokio::select! {
            // Whatever is wrong with waiting, the process is none of ours any more.
            ended = self.process.wait() => ended,
            _ = self.dropped => {
                self.process.kill().await;
                None
            }
        }
    }
}

impl Watched {
    async fn wait(&mut self) -> Option<ExitStatus> {
        match self {
            Self::Started(child) => child.wait().await.ok(),
            Self::Adopted(process) => process.wait().await,
        }
    }

    async fn kill(&mut self) {
        match self {
            Self::Started(child) => drop(child.kill().await),
            Self::Adopted(process) => process.kill().await,
        }
    }
}

impl Zygote {
    /// Starts the interpreter.
    pub(crate) fn start(plan: &Plan, node: &str) -> Result<Started, StartError> {
        let user = crate::context::user(&plan.config, node)?;
        Self::spawn(plan, node, user.as_ref().map(|(_, user)| user.clone())).map_err(|error| {
            let user = user.as_ref().map(|(name, user)| (*name, user));
            StartError::cannot_execute(&plan.interpreter.path, node, user, &error)
        })
    }

    fn spawn(plan: &Plan, node: &str, user: Option<User>) -> io::Result<Started> {
        let Plan { context, config, interpreter, front, .. } = plan;
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        let (output, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let boot = Boot {
            control: theirs.as_raw_fd(),
            extension: context.extension.number(),
            project: text(&config.project)?,
            module: &config.app.module,
            callable: &config.app.callable,
            pythonpath: config.pythonpath.iter().map(|path| text(path)).collect::<io::Result<_>>()?,
            threads: config.threads,
            node,
            listeners: &front.listeners,
            crowded: is_crowded(config, node),
        };
        let mut command = std::process::Command::new(&interpreter.path);
        command
            .args(["-c", LOADER, &format!("/proc/self/fd/{}", context.extension.number())])
            .arg(serde_json::to_string(&boot)?)
            .current_dir(&config.project)
            .envs(crate::context::variables(user.as_ref()))
            .envs(&config.env)
            .env("HOSTNAME", node)
            .env_remove("NOTIFY_SOCKET")
            .env_remove("TIERCE_DETACHED")
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer);
        let host_name = context.host_name(node)?;
        let setup = ChildSetup { host_name: host_name.as_ref().map(HostName::own).transpose()?, user };
        sys::prepare_child(&mut command, setup, vec![theirs.as_raw_fd(), context.extension.number()]);
        let child = Command::from(command).kill_on_drop(true).spawn()?;
        let control = Rc::new(UnixDatagram::from_std(ours.into())?);
        let (life, dropped) = oneshot::channel();
        let zygote = Self { pid: child.id().unwrap_or(0), control, _life: life };
        Ok(Started { zygote, output, end: End { process: Watched::Started(child), dropped } })
    }

    /// Takes a worker for one, which is told so by its `orders`.
    pub(crate) fn adopt(pid: u32, orders: OwnedFd) -> io::Result<(Self, End)> {
        let process = Watched::Adopted(Adopted::new(pid)?);
        rustix::io::ioctl_fionbio(&orders, true)?;
        let control = Rc::new(UnixDatagram::from_std(orders.into())?);
        let (life, dropped) = oneshot::channel();
        Ok((Self { pid, control, _life: life }, End { process, dropped }))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// The socket by which it is heard.
    pub(crate) fn control(&self) -> Rc<UnixDatagram> {
        Rc::clone(&self.control)
    }

    /// Sends an order with descriptors, whose copies here may then be closed.
    pub(crate) async fn order(&self, order: Order, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut left = descriptors;
        let mut order = order;
        loop {
            let (now, later) = left.split_at(left.len().min(DESCRIPTORS_MAX));
            self.send(&Packet { order, descriptors: left.len() }, now).await?;
            if later.is_empty() {
                return Ok(());
            }
            (order, left) = (Order::More, later);
        }
    }

    async fn send(&self, packet: &Packet, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let text = serde_json::to_vec(packet)?;
        self.control
            .async_io(Interest::WRITABLE, || {
                let mut space = vec![MaybeUninit::uninit(); SendAncillaryMessage::ScmRights(descriptors).size()];
                let mut ancillary = SendAncillaryBuffer::new(&mut space);
                if !descriptors.is_empty() {
                    ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
                }
                sendmsg(&*self.control, &[IoSlice::new(&text)], &mut ancillary, SendFlags::NOSIGNAL)
                    .map_err(io::Error::from)
            })
            .await
            .map(drop)
    }
}

/// Whether there are many workers for each core, counting the nodes up to this one. Where their number adapts, those that
/// compute are no more than the cores, however many there are.
fn is_crowded(config: &Config, node: &str) -> bool {
    const MANY: u32 = 2;
    let index = node.rsplit('.').next().and_then(|index| index.parse().ok()).unwrap_or(1);
    MANY * sys::available_cores() < config.workers.least.saturating_mul(config.nodes.max(index))
}

/// The next thing that is said; `None` when the socket has been closed or says nonsense.
pub(crate) async fn hear(control: &UnixDatagram) -> Option<Said> {
    let mut packet = vec![0; PACKET_MAX];
    let received = control
        .async_io(Interest::READABLE, || {
            let mut ancillary = RecvAncillaryBuffer::default();
            let received = recvmsg(control, &mut [IoSliceMut::new(&mut packet)], &mut ancillary, RecvFlags::empty());
            received.map_err(io::Error::from)
        })
        .await
        .ok()?;
    serde_json::from_slice(&packet[..received.bytes]).ok()
}

fn text(path: &Path) -> io::Result<&str> {
    path.to_str().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("{} is not UTF-8", path.display())))
}
