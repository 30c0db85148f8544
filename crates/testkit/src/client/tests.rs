use std::net::TcpListener;

use super::*;

/// A server that says what it is told, whatever it is asked, and closes.
fn says(bytes: &'static str) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || listener.accept().unwrap().0.write_all(bytes.as_bytes()).unwrap());
    Client::connect(port).unwrap()
}

#[test]
fn bodies_end_where_the_framing_says() {
    for (bytes, body, rest) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP", "ok", "HTTP"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n1\r\n!\r\n0\r\n\r\nmore", "ok!", "more"),
        ("HTTP/1.1 200 OK\r\n\r\nto the end", "to the end", ""),
        ("HTTP/1.1 204 No Content\r\n\r\nmore", "", "more"),
    ] {
        let mut client = says(bytes);
        let response = client.response().unwrap();
        assert_eq!((response.text().as_str(), client.rest().unwrap()), (body, rest.into()), "{bytes:?}");
    }
}

#[test]
fn what_a_careful_client_refuses_is_an_error() {
    for bytes in [
        "HTTP/1.0 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokay\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA name: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
    ] {
        assert!(says(bytes).response().is_err(), "{bytes:?}");
    }
}

#[test]
fn an_interruption_is_no_error() {
    let mut results = vec![Ok(7), Err(io::ErrorKind::Interrupted.into()), Err(io::ErrorKind::Interrupted.into())];
    assert_eq!(uninterrupted(|| results.pop().unwrap()).unwrap(), 7);
    assert!(uninterrupted(|| Err::<(), _>(io::ErrorKind::TimedOut.into())).is_err());
}
