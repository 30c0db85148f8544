//! GET requests over the Unix socket of a Docker engine, and nothing else.
//!
//! Paths carry no version: each engine answers them in its own, and what is read of the answers is the same in all of them.
//! Every request opens the path anew, as an engine that was restarted has another socket there.

use std::{io, path::PathBuf, time::Duration};

use http::{BodyDecoder, Limits, ReceivedBody, ReceivedHead};
use serde::de::DeserializeOwned;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};

use crate::facts::{Container, Event, Listed};

/// For a whole answer; of events, for its head.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// A longer answer is refused: a container with many labels takes about 20 KiB, a list of a thousand of them 2 MiB.
const ANSWER_MAX: usize = 16 * 1024 * 1024;

/// A longer event is refused.
const EVENT_MAX: usize = 256 * 1024;

const HEAD: Limits = Limits { head: 16 * 1024, target: 0, fields: 64, field: 8 * 1024 };

/// `filters` of the events that matter. Those of HEALTHCHECKs (`exec_…`) would be most of them.
const EVENTS: &str = "/events?filters=%7B%22type%22%3A%5B%22container%22%2C%22network%22%5D%2C%22event%22%3A%5B\
    %22start%22%2C%22kill%22%2C%22die%22%2C%22stop%22%2C%22destroy%22%2C%22health_status%22%2C%22pause%22%2C\
    %22unpause%22%2C%22rename%22%2C%22restart%22%2C%22connect%22%2C%22disconnect%22%5D%7D";

/// An engine.
#[derive(Clone, Debug)]
pub struct Engine {
    socket: PathBuf,
}

/// Why the engine was of no use.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Its socket.
    #[error("the engine at {}: {error}", path.display())]
    Io {
        /// Where it is.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// It takes too long.
    #[error("the engine has not answered GET {0} within 5 s")]
    Slow(String),
    /// Its events have ended.
    #[error("the engine has closed the stream of events: it ends, or is restarted")]
    Ended,
    /// It refuses.
    #[error("the engine answers GET {path} with status {status}")]
    Status {
        /// What was asked.
        path: String,
        /// Its answer.
        status: u16,
    },
    /// What it says is not what is expected there.
    #[error("the engine's answer to GET {path} cannot be read: {why}")]
    Unreadable {
        /// What was asked.
        path: String,
        /// Where reading has ended.
        why: String,
    },
}

impl Engine {
    /// At this socket.
    pub fn at(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// The ids of the containers that run.
    pub async fn list(&self) -> Result<Vec<String>, EngineError> {
        let list: Vec<Listed> = self.whole("/containers/json").await?;
        Ok(list.into_iter().map(|listed| listed.id).collect())
    }

    /// A container by its id or name; `None`: there is none.
    pub async fn inspect(&self, id: &str) -> Result<Option<Container>, EngineError> {
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte)) {
            return Ok(None);
        }
        match self.whole(&format!("/containers/{id}/json")).await {
            Ok(container) => Ok(Some(container)),
            Err(EngineError::Status { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What happens from now on.
    pub async fn events(&self) -> Result<Events, EngineError> {
        let opened = timeout(ANSWER_TIME, self.ask(EVENTS)).await;
        let answer = opened.map_err(|_| EngineError::Slow("/events".to_owned()))??;
        Ok(Events { answer, text: Vec::new() })
    }

    async fn whole<T: DeserializeOwned>(&self, path: &str) -> Result<T, EngineError> {
        let read = async {
            let mut answer = self.ask(path).await?;
            let mut body = Vec::new();
            while answer.piece(&mut body).await? {
                if ANSWER_MAX < body.len() {
                    return Err(answer.unreadable("it is longer than 16 MiB"));
                }
            }
            serde_json::from_slice(&body).map_err(|error| answer.unreadable(error))
        };
        timeout(ANSWER_TIME, read).await.map_err(|_| EngineError::Slow(path.to_owned()))?
    }

    async fn ask(&self, path: &str) -> Result<Answer, EngineError> {
        let failed = |error| EngineError::Io { path: self.socket.clone(), error };
        let mut stream = UnixStream::connect(&self.socket).await.map_err(failed)?;
        let question =
            format!("GET {path} HTTP/1.1\r\nHost: docker\r\nUser-Agent: tierce\r\nConnection: close\r\n\r\n");
        stream.write_all(question.as_bytes()).await.map_err(failed)?;
        let (mut input, mut head) = (Vec::new(), ReceivedHead::default());
        let short = path.split('?').next().unwrap_or(path).to_owned();
        let unreadable = |why: &str| EngineError::Unreadable { path: short.clone(), why: why.to_owned() };
        let length = loop {
            if stream.read_buf(&mut input).await.map_err(failed)? == 0 {
                return Err(unreadable("the connection was closed"));
            }
            match http::parse_response(&input, &HEAD, false, &mut head) {
                Ok(Some(length)) if head.is_interim() => drop(input.drain(..length)),
                Ok(Some(length)) => break length,
                Ok(None) => {}
                Err(refusal) => return Err(unreadable(refusal.why)),
            }
        };
        if head.status != 200 {
            return Err(EngineError::Status { path: short, status: head.status });
        }
        input.drain(..length);
        let decoder = match head.body {
            ReceivedBody::Framed(framing) => Some(BodyDecoder::new(framing)),
            ReceivedBody::UntilClose => None,
        };
        Ok(Answer { engine: self.socket.clone(), path: short, stream, input, decoder })
    }
}

/// The body of an answer, as it comes.
#[derive(Debug)]
struct Answer {
    engine: PathBuf,
    path: String,
    stream: UnixStream,
    input: Vec<u8>,
    /// None where the body ends with the connection.
    decoder: Option<BodyDecoder>,
}

impl Answer {
    /// Appends what has come; false at the end. Nothing is lost when this is dropped before it is done.
    async fn piece(&mut self, to: &mut Vec<u8>) -> Result<bool, EngineError> {
        loop {
            let Some(decoder) = &mut self.decoder else {
                if self.input.is_empty() {
                    return Ok(self.more().await? != 0 && self.take_all(to));
                }
                return Ok(self.take_all(to));
            };
            let decoded = decoder.decode(&self.input);
            let decoded = decoded.map_err(|refusal| self.unreadable(refusal.why))?;
            to.extend_from_slice(&self.input[decoded.data.clone()]);
            self.input.drain(..decoded.consumed);
            if !decoded.data.is_empty() {
                return Ok(true);
            }
            if decoded.done || self.decoder.as_ref().is_some_and(BodyDecoder::is_done) {
                return Ok(false);
            }
            if decoded.consumed == 0 && self.more().await? == 0 {
                return Err(self.unreadable("it is cut off"));
            }
        }
    }

    fn take_all(&mut self, to: &mut Vec<u8>) -> bool {
        to.append(&mut self.input);
        true
    }

    async fn more(&mut self) -> Result<usize, EngineError> {
        let read = self.stream.read_buf(&mut self.input).await;
        read.map_err(|error| EngineError::Io { path: self.engine.clone(), error })
    }

    fn unreadable(&self, why: impl ToString) -> EngineError {
        EngineError::Unreadable { path: self.path.clone(), why: why.to_string() }
    }
}

/// What happens, one event after the other.
#[derive(Debug)]
pub struct Events {
    answer: Answer,
    text: Vec<u8>,
}

impl Events {
    /// The next; `None` when the engine has ended. Nothing is lost when this is dropped before it is done.
    pub async fn next(&mut self) -> Result<Option<Event>, EngineError> {
        loop {
            if let Some(end) = self.text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<_> = self.text.drain(..=end).collect();
                if line.trim_ascii().is_empty() {
                    continue;
                }
                return serde_json::from_slice(&line).map(Some).map_err(|error| self.answer.unreadable(error));
            }
            if EVENT_MAX < self.text.len() {
                return Err(self.answer.unreadable("an event is longer than 256 KiB"));
            }
            if !self.answer.piece(&mut self.text).await? {
                return Ok(None);
            }
        }
    }
}

#[cfg(test)]
mod tests;
