use std::{
    net::{TcpListener, TcpStream},
    thread::spawn,
};

use super::*;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A server that treats each connection in the same way; it ends with the test.
fn server(treat: impl Fn(&mut TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let treat = Arc::new(treat);
    spawn(move || {
        for stream in listener.incoming() {
            let treat = Arc::clone(&treat);
            spawn(move || treat(&mut stream.unwrap()));
        }
    });
    port
}

/// Reads until a request's short body is there: all of them end with their id.
fn hear(stream: &mut TcpStream) -> Option<String> {
    use std::io::Read;
    let mut text = String::new();
    loop {
        let mut piece = [0; 4096];
        match stream.read(&mut piece) {
            Ok(count) if 0 < count => text.push_str(std::str::from_utf8(&piece[..count]).unwrap()),
            _ => return None,
        }
        if text.split_once("\r\n\r\n").is_some_and(|(_, body)| !body.is_empty()) {
            return Some(text);
        }
    }
}

fn load(port: u16, connections: Connections) -> OpenLoop {
    OpenLoop { port, rate: 500, connections }
}

#[test]
fn each_id_is_sent_once_and_has_an_outcome() {
    use std::io::Write;
    for connections in [Connections::Kept, Connections::OneShot] {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&heard);
        let port = server(move |stream| {
            while let Some(request) = hear(stream) {
                let id: u64 = request.split(['/', ' ']).nth(3).unwrap().parse().unwrap();
                noted.lock().unwrap().push(id);
                stream.write_all(OK).unwrap();
                if request.contains("Connection: close") {
                    return;
                }
            }
        });
        let outcomes = load(port, connections).run(|progress| progress.more(50));
        let mut heard = heard.lock().unwrap().clone();
        heard.sort_unstable();
        assert!(50 <= outcomes.len() && outcomes.values().all(|outcome| outcome.status() == Some(200)));
        assert_eq!(outcomes.keys().copied().collect::<Vec<_>>(), heard, "{connections:?}");
    }
}

#[test]
fn a_slow_server_is_not_spared() {
    use std::io::Write;
    // Nobody is answered before the hundredth request is there: with a closed loop that moment would never come.
    let waiting = Arc::new(AtomicU64::new(0));
    let port = server(move |stream| {
        while hear(stream).is_some() {
            waiting.fetch_add(1, SeqCst);
            wait_for("a hundred requests", || 100 <= waiting.load(SeqCst));
            stream.write_all(OK).unwrap();
        }
    });
    let outcomes = load(port, Connections::Kept).run(|progress| progress.more(100));
    assert!(outcomes.values().all(|outcome| outcome.status() == Some(200)));
}

#[test]
fn what_is_not_answered_is_broken_and_not_sent_again() {
    let heard = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&heard);
    let port = server(move |stream| {
        if hear(stream).is_some() {
            counted.fetch_add(1, SeqCst);
        }
    });
    let outcomes = load(port, Connections::Kept).run(|progress| progress.more(20));
    assert!(outcomes.values().all(|outcome| matches!(outcome, Outcome::Broken(_))));
    assert_eq!(heard.load(SeqCst), u64::try_from(outcomes.len()).unwrap());
}
