use std::{
    io::{Read, Write},
    os::unix::net::UnixListener,
    thread::{JoinHandle, spawn},
};

use super::*;

/// Answers one request with these bytes, and returns the request.
fn engine(answer: &str) -> (tempfile::TempDir, Engine, JoinHandle<String>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("d.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let answer = answer.to_owned();
    let served = spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            asked.push(byte[0]);
        }
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8(asked).unwrap()
    });
    (folder, Engine::at(path), served)
}

fn framed(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn what_is_unknown_is_passed_over() {
    let body = r#"{"Id":"ab","Name":"/x","State":{"Status":"levitating","Running":true,"Health":null,"New":[1]},"Config":null}"#;
    let (_folder, engine, served) = engine(&framed(body));
    let container = engine.inspect("ab").await.unwrap().unwrap();
    assert_eq!((container.name(), container.state.running, container.health()), ("x", true, None));
    assert!(served.join().unwrap().starts_with("GET /containers/ab/json HTTP/1.1\r\n"));
}

#[tokio::test]
async fn a_list_ends_with_its_connection_or_its_chunks() {
    for answer in [
        "HTTP/1.0 200 OK\r\n\r\n[{\"Id\":\"a\"},{\"Id\":\"b\"}]".to_owned(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nd\r\n[{\"Id\":\"a\"},{\r\n9\r\n\"Id\":\"b\"}\r\n1\r\n]\r\n0\r\n\r\n".to_owned(),
    ] {
        let (_folder, engine, _served) = engine(&answer);
        assert_eq!(engine.list().await.unwrap(), ["a", "b"]);
    }
}

#[tokio::test]
async fn events_come_in_pieces_until_the_engine_ends() {
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
        1d\r\n{\"Type\":\"container\",\"Action\":\r\n8\r\n\"die\"}\n\n\r\n3\r\n{}\n\r\n0\r\n\r\n";
    let (_folder, engine, _served) = engine(answer);
    let mut events = engine.events().await.unwrap();
    assert_eq!(events.next().await.unwrap().unwrap().action, "die");
    assert_eq!(events.next().await.unwrap().unwrap().action, "");
    assert!(events.next().await.unwrap().is_none());
}

#[tokio::test]
async fn refusals_say_what_was_asked() {
    for (answer, expected) in [
        ("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", "the engine answers GET /containers/json with status 500"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[",
            "the engine's answer to GET /containers/json cannot be read: it is cut off",
        ),
        ("", "the engine's answer to GET /containers/json cannot be read: the connection was closed"),
    ] {
        let (_folder, engine, _served) = engine(answer);
        assert_eq!(engine.list().await.unwrap_err().to_string(), expected);
    }
    let (_folder, engine, _served) = engine("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n");
    assert!(engine.inspect("ab").await.unwrap().is_none());
}

#[tokio::test]
async fn an_id_cannot_change_the_request() {
    let engine = Engine::at("/nonexistent");
    for id in ["", "a/kill", "a b", "a\r\nx", "a?x", "..%2f"] {
        assert!(engine.inspect(id).await.unwrap().is_none(), "{id:?}");
    }
}
