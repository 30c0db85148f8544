//! The asking side.
//!
//! Invariant: a socket that somebody listens at is never removed.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
};

use crate::{
    Place,
    differs::Differs,
    protocol::{Answer, Ask, LINE_MAX},
};

/// No answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nothing runs here. A dead socket was removed.
    #[error("nothing is running here")]
    NotRunning,
    /// One runs here, but there is no socket: it is starting or ending, or somebody has removed it.
    #[error("tierce runs here (process {pid}), but takes no commands")]
    NotAnswering {
        /// Its process.
        pid: u32,
    },
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
    ask_and_hear(place, ask, |_| ())
}

/// The same; `hear` gets what differs as soon as it is said.
pub fn ask_and_hear(place: &Place, ask: &Ask, mut hear: impl FnMut(Differs)) -> Result<Answer, AskError> {
    let mut stream = connect(place)?;
    let exchange = || {
        let mut line = serde_json::to_vec(ask)?;
        line.push(b'\n');
        stream.write_all(&line)?;
        let mut lines = BufReader::new(stream.take(LINE_MAX));
        loop {
            let mut answer = String::new();
            lines.read_line(&mut answer)?;
            if answer.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match serde_json::from_str(&answer)? {
                Answer::Differs { differs } => hear(differs),
                answer => return Ok(answer),
            }
        }
    };
    exchange().map_err(AskError::NoAnswer)
}

fn connect(place: &Place) -> Result<UnixStream, AskError> {
    let connected = place.socket_name().and_then(|name| UnixStream::connect(name.path()));
    connected.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => match place.holder() {
            Ok(Some(pid)) => AskError::NotAnswering { pid },
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                AskError::NoPermission { path: place.socket() }
            }
            _ => {
                // One that is there was left behind by a process that was killed.
                place.remove_dead_socket();
                AskError::NotRunning
            }
        },
        io::ErrorKind::PermissionDenied => AskError::NoPermission { path: place.socket() },
        _ => AskError::NoAnswer(error),
    })
}

#[cfg(test)]
mod tests {
    use config::Environment;

    use super::*;
    use crate::{Call, Server};

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
    fn the_socket_of_whoever_has_the_lock_is_left_alone() {
        let (_project, place) = place();
        drop(std::os::unix::net::UnixListener::bind(place.socket()).unwrap());
        let lock = place.lock().unwrap();
        let pid = std::process::id();
        assert!(matches!(ask(&place, &Ask::Ps), Err(AskError::NotAnswering { pid: found }) if found == pid));
        assert!(place.socket().exists());
        std::fs::remove_file(place.socket()).unwrap();
        assert!(matches!(ask(&place, &Ask::Ps), Err(AskError::NotAnswering { .. })), "somebody has removed it");
        drop(std::os::unix::net::UnixListener::bind(place.socket()).unwrap());
        drop(lock);
        assert!(matches!(ask(&place, &Ask::Ps), Err(AskError::NotRunning)));
        assert!(!place.socket().exists());
    }

    #[test]
    fn a_question_is_answered() {
        let (_project, place) = place();
        let asked = place.clone();
        serving(&place, async move |server, mut calls| {
            let asking = tokio::task::spawn_blocking(move || ask(&asked, &Ask::Compare));
            let call: Call = calls.recv().await.unwrap();
            assert_eq!(call.ask, Ask::Compare);
            call.answer.send(Answer::Done { text: "well".to_owned() }).unwrap();
            server.finish().await;
            assert_eq!(asking.await.unwrap().unwrap(), Answer::Done { text: "well".to_owned() });
        });
        assert!(!place.socket().exists());
    }

    #[test]
    fn what_differs_is_heard_before_the_answer() {
        let (_project, place) = place();
        let asked = place.clone();
        let differs = Differs { items: Vec::new(), more: 0, warnings: vec!["old".to_owned()] };
        serving(&place, async move |server, mut calls| {
            let (hears, heard) = std::sync::mpsc::channel();
            let asking = tokio::task::spawn_blocking(move || {
                ask_and_hear(&asked, &Ask::Compare, |differs| hears.send(differs).unwrap())
            });
            let Call { first, answer, .. } = calls.recv().await.unwrap();
            first.send(differs.clone()).unwrap();
            let heard = tokio::task::spawn_blocking(move || heard.recv().unwrap()).await.unwrap();
            assert_eq!(heard, differs, "there is no answer yet");
            answer.send(Answer::Done { text: "well".to_owned() }).unwrap();
            assert_eq!(asking.await.unwrap().unwrap(), Answer::Done { text: "well".to_owned() });
            server.finish().await;
        });
    }

    #[test]
    fn who_has_no_answer_at_the_end_is_told_so() {
        let (_project, place) = place();
        let asked = place.clone();
        let asking = std::thread::spawn(move || {
            while !asked.socket().exists() {
                std::thread::yield_now();
            }
            ask(&asked, &Ask::Compare)
        });
        serving(&place, async move |server, mut calls| {
            let call: Call = calls.recv().await.unwrap();
            server.finish().await;
            drop(call);
        });
        let answer = asking.join().unwrap().unwrap();
        assert!(matches!(&answer, Answer::Refused { code: 69, text } if text.contains("stopping")), "{answer:?}");
    }

    #[test]
    fn a_project_may_lie_deeper_than_a_socket_address_is_long() {
        let project = tempfile::tempdir().unwrap();
        let deep = project.path().join("a-directory-with-a-long-name/".repeat(8));
        std::fs::create_dir_all(&deep).unwrap();
        let place = Place::of(&deep, &Environment::default());
        place.prepare().unwrap();
        let asked = place.clone();
        serving(&place, async move |server, mut calls| {
            let asking = tokio::task::spawn_blocking(move || ask(&asked, &Ask::Restart));
            let call: Call = calls.recv().await.unwrap();
            call.answer.send(Answer::Done { text: "well".to_owned() }).unwrap();
            server.finish().await;
            assert!(asking.await.unwrap().is_ok());
        });
        assert!(!place.socket().exists());
    }

    #[test]
    fn a_question_that_nobody_understands_is_refused() {
        let (_project, place) = place();
        let path = place.socket();
        serving(&place, async move |server, _calls| {
            let asking = tokio::task::spawn_blocking(move || {
                let mut stream = UnixStream::connect(path).unwrap();
                stream.write_all(b"{\"do\":\"dance\"}\n").unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).unwrap();
                serde_json::from_str::<Answer>(&answer).unwrap()
            });
            let answer = asking.await.unwrap();
            assert!(matches!(&answer, Answer::Refused { code: 1, text } if text.contains("dance")), "{answer:?}");
            drop(server);
        });
    }

    #[test]
    fn a_line_without_an_end_is_not_read_for_ever() {
        let (_project, place) = place();
        let path = place.socket();
        serving(&place, async move |server, _calls| {
            let asking = tokio::task::spawn_blocking(move || {
                let mut stream = UnixStream::connect(path).unwrap();
                // It may hang up before it has taken all of it.
                let _ = stream.write_all(&vec![b' '; 1 << 20]);
                let mut answer = Vec::new();
                let _ = stream.read_to_end(&mut answer);
                answer
            });
            let answer = String::from_utf8(asking.await.unwrap()).unwrap();
            assert!(answer.is_empty() || answer.contains("refused"), "{answer}");
            drop(server);
        });
    }

    /// Runs `test` beside a server at `place`.
    fn serving(place: &Place, test: impl AsyncFnOnce(Server, tokio::sync::mpsc::Receiver<Call>)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let (server, calls) = Server::start(place).unwrap();
            test(server, calls).await;
        });
    }
}
