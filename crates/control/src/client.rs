//! The asking side.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
};

use crate::{
    Place,
    protocol::{Answer, Ask, LINE_MAX},
};

/// No answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nothing runs here. A dead socket was removed.
    #[error("nothing is running here")]
    NotRunning,
    /// The socket belongs to somebody else.
    #[error("no permission to use {path}", path = path.display())]
    NoPermission {
        /// The socket.
        path: std::path::PathBuf,
    },
    /// The answer did not come, or made no sense.
    #[error("the running tierce did not answer: {0}")]
    NoAnswer(io::Error),
}

/// Asks and waits for the answer, as long as it takes.
pub fn ask(place: &Place, ask: &Ask) -> Result<Answer, AskError> {
    let path = place.socket();
    let mut stream = match UnixStream::connect(&path) {
        Ok(stream) => stream,
        Err(error) => {
            return Err(match error.kind() {
                io::ErrorKind::NotFound => AskError::NotRunning,
                io::ErrorKind::ConnectionRefused => {
                    // Left behind by a process that was killed.
                    let _ = std::fs::remove_file(&path);
                    AskError::NotRunning
                }
                io::ErrorKind::PermissionDenied => AskError::NoPermission { path },
                _ => AskError::NoAnswer(error),
            });
        }
    };
    let exchange = || {
        let mut line = serde_json::to_vec(ask)?;
        line.push(b'\n');
        stream.write_all(&line)?;
        let mut answer = String::new();
        BufReader::new(stream.take(LINE_MAX)).read_line(&mut answer)?;
        if answer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        serde_json::from_str(&answer).map_err(io::Error::from)
    };
    exchange().map_err(AskError::NoAnswer)
}

#[cfg(test)]
mod tests {
    use config::Environment;

    use super::*;
    use crate::Server;

    fn place() -> (tempfile::TempDir, Place) {
        let project = tempfile::tempdir().unwrap();
        let place = Place::of(project.path(), &Environment::default());
        place.prepare().unwrap();
        (project, place)
    }

    #[test]
    fn a_dead_socket_is_nothing_running_and_is_removed() {
        let (_project, place) = place();
        assert!(matches!(ask(&place, &Ask::Ps), Err(AskError::NotRunning)));
        drop(std::os::unix::net::UnixListener::bind(place.socket()).unwrap());
        assert!(matches!(ask(&place, &Ask::Ps), Err(AskError::NotRunning)));
        assert!(!place.socket().exists());
    }

    #[test]
    fn a_question_is_answered() {
        let (_project, place) = place();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let asked = place.clone();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let (server, mut calls) = Server::start(&place).unwrap();
            let asking = tokio::task::spawn_blocking(move || ask(&asked, &Ask::Reload));
            let call = calls.recv().await.unwrap();
            assert_eq!(call.ask, Ask::Reload);
            call.answer.send(Answer::Done { text: "well".to_owned() }).unwrap();
            assert_eq!(asking.await.unwrap().unwrap(), Answer::Done { text: "well".to_owned() });
            drop(server);
        });
        assert!(!place.socket().exists());
    }
}
