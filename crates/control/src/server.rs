//! The running side: takes questions and hands them to whoever runs Tierce.
//!
//! Invariant: a client can hold one of [`CLIENTS_MAX`] turns, and no more of this process. What an answer says is not
//! decided here.

use std::{io, os::unix::fs::PermissionsExt, path::PathBuf, sync::Arc};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream, unix::OwnedWriteHalf},
    sync::{Semaphore, mpsc, oneshot, watch},
    task::{JoinHandle, spawn_local},
    time::{Duration, timeout},
};

use crate::{
    Place,
    differs::Differs,
    protocol::{Answer, Ask},
};

/// Commands that are served at a time.
const CLIENTS_MAX: usize = 64;

/// A question is one short line.
const QUESTION_MAX: u64 = 64 * 1024;

/// How long a client may take to ask.
const QUESTION_TIME: Duration = Duration::from_secs(10);

/// How long a client may take to read its answer, and how long the end of the process waits for that.
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// A question, and where its answer goes.
#[derive(Debug)]
pub struct Call {
    /// What is asked.
    pub ask: Ask,
    /// Where to say what differs, before the answer, to whoever has asked for that.
    pub first: oneshot::Sender<Differs>,
    /// Where to answer.
    pub answer: oneshot::Sender<Answer>,
}

/// The control socket; dropping it removes it.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    turns: Arc<Semaphore>,
    task: JoinHandle<()>,
    /// Tells that what has not been answered will not be any more.
    end: watch::Sender<()>,
}

impl Server {
    /// Listens; the caller holds the lock of `place`, so a socket that is there is a dead one. On a local task set.
    pub fn start(place: &Place) -> io::Result<(Self, mpsc::Receiver<Call>)> {
        let path = place.socket();
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(place.socket_name()?.path())?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        let (calls, receiver) = mpsc::channel(CLIENTS_MAX);
        let turns = Arc::new(Semaphore::new(CLIENTS_MAX));
        let free = Arc::clone(&turns);
        let (end, ended) = watch::channel(());
        let task = spawn_local(async move {
            loop {
                let Ok(turn) = Arc::clone(&free).acquire_owned().await else { return };
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let (calls, ended) = (calls.clone(), ended.clone());
                        spawn_local(async move {
                            // A client that has gone does not want its answer.
                            let _ = serve(stream, &calls, ended).await;
                            drop(turn);
                        });
                    }
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        });
        Ok((Self { path, turns, task, end }, receiver))
    }

    /// Takes no more questions, tells those who have no answer that there will be none, and returns when all answers
    /// have been written.
    pub async fn finish(self) {
        self.task.abort();
        // Where nobody waits, nobody has to be told.
        let _ = self.end.send(());
        // A client that does not read, or does not ask, is not waited for any longer.
        let all = u32::try_from(CLIENTS_MAX).unwrap_or(u32::MAX);
        let _ = timeout(ANSWER_TIME, self.turns.acquire_many(all)).await;
    }
}

async fn serve(stream: UnixStream, calls: &mpsc::Sender<Call>, mut ended: watch::Receiver<()>) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(reader).take(QUESTION_MAX);
    timeout(QUESTION_TIME, reader.read_line(&mut line)).await??;
    let answer = match serde_json::from_str(&line) {
        Ok(ask) => {
            let (sender, mut answer) = oneshot::channel();
            let (first, told) = oneshot::channel();
            let gone = || Answer::Refused { code: 69, text: "error: tierce is stopping".to_owned() };
            let answered = async {
                tokio::select! {
                    biased;
                    // Where nothing is said first, this is dropped.
                    Ok(differs) = told => say(&mut writer, &Answer::Differs { differs }).await?,
                    answer = &mut answer => return io::Result::Ok(answer.unwrap_or_else(|_| gone())),
                }
                Ok(answer.await.unwrap_or_else(|_| gone()))
            };
            match calls.send(Call { ask, first, answer: sender }).await {
                Ok(()) => tokio::select! {
                    biased;
                    answer = answered => answer?,
                    _ = ended.changed() => gone(),
                },
                Err(_) => gone(),
            }
        }
        Err(error) => Answer::Refused { code: 1, text: format!("error: this command is not understood: {error}") },
    };
    say(&mut writer, &answer).await
}

async fn say(writer: &mut OwnedWriteHalf, answer: &Answer) -> io::Result<()> {
    let mut text = serde_json::to_vec(answer)?;
    text.push(b'\n');
    timeout(ANSWER_TIME, writer.write_all(&text)).await?
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
        // It may be gone already; a dead one is recognised by the next.
        let _ = std::fs::remove_file(&self.path);
    }
}
