//! "The start_response() Callable" and "The write() Callable".

use testkit::wait_for;

use crate::{get, notes, project, up};

#[test]
fn what_it_is_given_is_checked() {
    let project = project();
    let running = up(&project);
    let mut client = running.client();
    let accepted = [
        ("'200 OK', []", 200),
        ("'404 Nothing Here', [('X', 'y')]", 404),
        ("'299', []", 299),
        ("'200 OK', [('X', 'y')], None", 200),
        ("'200 OK', [('Content-Length', '8'), ('Content-Length', '8')]", 200),
        ("Text('200 OK'), [(Text('X'), Text('y'))]", 200),
        (r"'200 caf\xe9', [('X', '\xe9\t!')]", 200),
        ("'500 Mine', [], exc_info()", 500),
    ];
    for (arguments, status) in accepted {
        let response = get(&mut client, "started", arguments);
        assert_eq!((response.status, response.text().as_str()), (status, "accepted"), "{arguments}");
    }
    // After a refusal the head is still to be had, so that an application can say what happened to it.
    let refused = [
        ("'OK', []", "ValueError"),
        ("'20 OK', []", "ValueError"),
        ("'2000 OK', []", "ValueError"),
        ("'200OK', []", "ValueError"),
        ("'099 Low', []", "ValueError"),
        ("'100 Continue', []", "ValueError"),
        (r"'200 O\rK', []", "ValueError"),
        (r"'200 O\nK', []", "ValueError"),
        (r"'200 \u20ac', []", "ValueError"),
        ("'', []", "ValueError"),
        ("b'200 OK', []", "TypeError"),
        ("200, []", "TypeError"),
        ("'200 OK'", "TypeError"),
        ("'200 OK', None", "TypeError"),
        ("'200 OK', [('X', 1)]", "TypeError"),
        ("'200 OK', [('X', b'y')]", "TypeError"),
        ("'200 OK', [(b'X', 'y')]", "TypeError"),
        ("'200 OK', [['X', 'y']]", "TypeError"),
        ("'200 OK', [('X',)]", "TypeError"),
        ("'200 OK', [('X', 'y', 'z')]", "TypeError"),
        ("'200 OK', ['Xy']", "TypeError"),
        ("'200 OK', {'X': 'y'}", "TypeError"),
        ("'200 OK', [('', 'y')]", "ValueError"),
        ("'200 OK', [('X Y', 'y')]", "ValueError"),
        ("'200 OK', [('X:', 'y')]", "ValueError"),
        (r"'200 OK', [('X\r\nY', 'y')]", "ValueError"),
        (r"'200 OK', [('\xe9', 'y')]", "ValueError"),
        (r"'200 OK', [('X', 'y\r\nSet-Cookie: z')]", "ValueError"),
        (r"'200 OK', [('X', 'y\r\n folded')]", "ValueError"),
        (r"'200 OK', [('X', 'y\n')]", "ValueError"),
        (r"'200 OK', [('X', 'y\0')]", "ValueError"),
        (r"'200 OK', [('X', '\u20ac')]", "ValueError"),
        (r"'200 OK', [('X', '\ud800')]", "ValueError"),
        (r"'200 \ud800', []", "ValueError"),
        ("'200 OK', [('Content-Length', 'x')]", "ValueError"),
        ("'200 OK', [('Content-Length', '-1')]", "ValueError"),
        ("'200 OK', [('Content-Length', '+8')]", "ValueError"),
        ("'200 OK', [('Content-Length', '')]", "ValueError"),
        ("'200 OK', [('Content-Length', '8'), ('Content-Length', '9')]", "ValueError"),
        ("'200 OK', [('X', 'y' * 1000000)]", "ValueError"),
        ("'200 OK', [], exc_info(), 'more'", "TypeError"),
    ];
    for (arguments, error) in refused {
        let response = get(&mut client, "started", arguments);
        let told = response.text();
        assert_eq!(response.status, 200, "{arguments}: {told}");
        // UnicodeError is a ValueError with more to say.
        assert!(told == error || error == "ValueError" && told == "UnicodeEncodeError", "{arguments}: {told}");
        assert_eq!(response.field("set-cookie"), None, "{arguments}");
    }
}

#[test]
fn fields_of_the_connection_are_the_servers() {
    let project = project();
    let running = up(&project);
    let mut client = running.client();
    for field in ["Connection", "Keep-Alive", "Proxy-Connection", "TE", "Trailer", "Transfer-Encoding", "Upgrade"] {
        let response = get(&mut client, "started", &format!("'200 OK', [('{field}', 'chunked, close'), ('X', 'y')]"));
        assert_eq!((response.text().as_str(), response.field("x")), ("accepted", Some("y")), "{field}");
        assert_eq!(response.field(&field.to_ascii_lowercase()), None, "{field}");
    }
}

#[test]
fn the_head_can_be_replaced_until_it_is_sent() {
    let project = project();
    let running = up(&project);
    let response = get(&mut running.client(), "replaced_after_empty_blocks", "");
    assert_eq!((response.status, response.text().as_str()), (503, "replaced"));
    assert_eq!(
        [response.field("x-first"), response.field("x-second"), response.field("x-third")],
        [None, None, Some("yes")]
    );
}

#[test]
fn after_the_head_the_error_is_raised_again() {
    let project = project();
    let running = up(&project);
    let mut client = running.client();
    client.send("GET /not_replaced HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(client.head().unwrap().status, 200);
    assert!(client.rest().map_or(true, |rest| rest == b"begun"), "the rest is missing, and the client sees it");
    wait_for("the application's word", || notes(&project, "raised again an error of the application True") == 1);
    wait_for("the traceback", || running.out().contains("ValueError: an error of the application"));
}

#[test]
fn it_may_be_called_as_late_as_the_first_block() {
    let project = project();
    let running = up(&project);
    let response = get(&mut running.client(), "late_start", "");
    assert_eq!((response.status, response.field("x-late"), response.text().as_str()), (201, Some("yes"), "late"));
    assert_eq!(get(&mut running.client(), "never_started", "").status, 500);
    wait_for("the reason", || running.out().contains("before start_response was called"));
}

#[test]
fn what_is_written_leaves_at_once() {
    let project = project();
    let running = up(&project);
    let mut client = running.client();
    client.send("GET /written_at_once HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(client.head().unwrap().status, 200);
    assert_eq!(client.chunk().unwrap(), b"first", "while the application goes on");
    project.write("gate", "");
    assert_eq!(client.chunk().unwrap(), b"second");
}

#[test]
fn writing_past_the_length_raises() {
    let project = project();
    let running = up(&project);
    let response = get(&mut running.client(), "written_too_much", "");
    assert_eq!((response.status, response.text().as_str()), (200, "123"));
    wait_for("both errors", || project.read("notes.txt").lines().count() == 2);
    assert_eq!(project.read("notes.txt"), "write b'345' ValueError\nwrite b'6' ValueError\n");
    // An answer to HEAD has no body that could be too long.
    let mut client = running.client();
    client.send("HEAD /written_too_much HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(client.head().unwrap().field("content-length"), Some("3"));
    running.wait_until_idle();
    assert_eq!(project.read("notes.txt").lines().count(), 2);
    assert_eq!(get(&mut client, "written_text", "").text(), "TypeError");
}

#[test]
fn what_is_kept_beyond_the_request_raises() {
    let project = project();
    let running = up(&project);
    let mut client = running.client();
    let body = vec![b'x'; 100_000];
    assert_eq!(client.last_post("/kept", &body).map(|response| response.status).unwrap_or(200), 200);
    let mut client = running.client();
    let told = "write RuntimeError; start_response RuntimeError; read ConnectionAbortedError";
    assert_eq!(get(&mut client, "kept", "").text(), told);
    assert_eq!(client.get("/value?x").unwrap().text(), "None", "the connection is none the worse for it");
}
