use std::{
    io::ErrorKind,
    net::{TcpListener, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
};

use socket2::{Domain, SockAddr, Type};

use super::{
    binder::is_absent,
    socket::{Occupant, Sharing, occupant},
    *,
};

fn tcp(host: &str, port: u16) -> Vec<Listen> {
    vec![Listen::Tcp { host: host.to_owned(), port, protocol: Protocol::Http }]
}

fn port(bound: &Bound) -> u16 {
    let [Address::Tcp { port, .. }] = bound.addresses()[..] else { panic!("one address") };
    port
}

#[test]
fn each_thread_has_its_socket_and_nobody_else_may_join() {
    let bound = bind(&tcp("127.0.0.1", 0), 3).unwrap();
    assert_eq!(bound.doors().iter().map(|door| door.thread).collect::<Vec<_>>(), [Some(0), Some(1), Some(2)]);
    let port = port(&bound);
    assert_ne!(port, 0);
    let again = bind(&tcp("127.0.0.1", port), 1).unwrap_err();
    assert!(matches!(again, BindError::InUse { .. }), "{again}");
}

#[test]
fn a_socket_left_behind_is_replaced_and_one_in_use_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("web.sock");
    drop(UnixListener::bind(&path).unwrap());
    let listen = vec![Listen::Unix { path: path.clone(), protocol: Protocol::Http, mode: None }];
    let bound = bind(&listen, 2).unwrap();
    assert!(matches!(bind(&listen, 1), Err(BindError::InUse { .. })));
    drop(bound);
    assert!(!path.exists());
}

#[test]
fn a_socket_has_the_mode_that_is_wanted_whatever_the_umask_leaves() {
    let directory = tempfile::tempdir().unwrap();
    for mode in [0o666, 0o660, 0o200] {
        let path = directory.path().join(format!("{mode:o}.sock"));
        let listen = [Listen::Unix { path: path.clone(), protocol: Protocol::Http, mode: Some(mode) }];
        let _bound = bind(&listen, 2).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, mode);
        assert_eq!(occupant(&path), Occupant::Listener);
    }
}

#[test]
fn one_that_is_taken_by_ourselves_is_told_from_one_that_others_have() {
    let held = bind(&tcp("127.0.0.1", 0), 1).unwrap();
    let in_use = port(&held);
    drop(held);
    for (first, second) in [("0.0.0.0", "localhost"), ("localhost", "127.0.0.1"), ("127.0.0.1", "0.0.0.0")] {
        let error = bind(&[tcp(first, in_use), tcp(second, in_use)].concat(), 1).unwrap_err();
        assert!(matches!(error, BindError::Twice { .. }), "{first}, {second}: {error}");
    }
    let _others = TcpListener::bind(("127.0.0.1", in_use)).unwrap();
    let error = bind(&[tcp("127.0.0.2", in_use), tcp("127.0.0.1", in_use)].concat(), 1).unwrap_err();
    assert!(matches!(error, BindError::InUse { .. }), "{error}");
}

#[test]
fn what_is_no_socket_that_was_left_behind_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (file, dead, link) = ["notes.txt", "dead.sock", "link.sock"].map(|name| directory.path().join(name)).into();
    std::fs::write(&file, "precious").unwrap();
    drop(UnixListener::bind(&dead).unwrap());
    std::os::unix::fs::symlink(&dead, &link).unwrap();
    for path in [&file, &link, &directory.path().to_owned()] {
        let error = bind(&[Listen::Unix { path: path.clone(), protocol: Protocol::Http, mode: None }], 1).unwrap_err();
        assert!(matches!(error, BindError::Occupied { .. }), "{error}");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    assert_eq!(occupant(&dead), Occupant::DeadSocket);
    let listener = socket2::Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    let full = directory.path().join("full.sock");
    listener.bind(&SockAddr::unix(&full).unwrap()).unwrap();
    listener.listen(0).unwrap();
    assert_eq!((occupant(&full), occupant(&full)), (Occupant::Listener, Occupant::Listener));
}

#[test]
fn a_machine_without_ipv6_is_told_from_a_port_in_use() {
    use rustix::io::Errno;
    for (errno, absent) in [(Errno::AFNOSUPPORT, true), (Errno::ADDRNOTAVAIL, true), (Errno::ADDRINUSE, false)] {
        assert_eq!(is_absent(&errno.into()), absent, "{errno}");
    }
    // For documentation only, so nobody has it (RFC 3849).
    let error = Socket::bind("[2001:db8::1]:0".parse().unwrap(), Sharing::Refused).unwrap_err();
    assert!(is_absent(&error), "{error}");
}

#[test]
fn an_unknown_host_is_named() {
    let error = bind(&tcp("no-such-host.invalid", 80), 1).unwrap_err();
    assert!(error.to_string().contains("http://no-such-host.invalid:80"), "{error}");
}

fn connect(port: u16) -> TcpStream {
    TcpStream::connect(("127.0.0.1", port)).unwrap()
}

/// How many connections wait in a socket; they are accepted, and dropped.
fn queued(socket: &Socket) -> usize {
    let Listener::Tcp(listener) = socket.copy().unwrap() else { panic!("it was bound as TCP") };
    std::iter::from_fn(|| listener.accept().ok()).count()
}

fn sockets(bound: &Bound) -> Vec<Arc<Socket>> {
    bound.sockets().map(Arc::clone).collect()
}

fn same(one: &[Arc<Socket>], other: &[Arc<Socket>]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| Arc::ptr_eq(one, other))
}

/// Makes a change, which succeeds.
fn change(bound: &mut Bound, listen: &[Listen], threads: usize) -> Made {
    let change = bound.prepare(listen, threads).unwrap();
    let made = bound.make(change);
    assert!(made.failed.is_empty(), "{:?}", made.failed);
    made
}

#[test]
fn an_address_that_stays_keeps_its_sockets_and_its_number() {
    let any = tcp("127.0.0.1", 0);
    let mut bound = bind(&any, 2).unwrap();
    let (first, number) = (sockets(&bound), port(&bound));
    let more = [tcp("127.0.0.1", 0), any.clone()].concat();
    let made = change(&mut bound, &more, 2);
    assert_eq!((made.came.len(), made.went.len()), (1, 0));
    assert!(first.iter().all(|socket| bound.sockets().any(|known| Arc::ptr_eq(known, socket))));
    // One goes; the other is still the one that it was.
    let second = bound.addresses()[1].clone();
    let made = change(&mut bound, &any, 2);
    assert_eq!((made.came, made.went), (vec![], vec![second]));
    assert!(same(&sockets(&bound), &first) && port(&bound) == number);
    assert!(bound.doors().iter().all(|door| door.entry.number == 0));

    let https = [Listen::Tcp { host: "127.0.0.1".to_owned(), port: 0, protocol: Protocol::Https }];
    let made = change(&mut bound, &https, 2);
    assert_eq!(made.came[0].to_string(), format!("https://127.0.0.1:{number}"));
    assert_eq!(made.went[0].to_string(), format!("http://127.0.0.1:{number}"));
    assert!(same(&sockets(&bound), &first));
    assert!(bound.doors().iter().all(|door| door.entry == Entry { number: 0, protocol: Protocol::Https }));
}

#[test]
fn sockets_of_more_threads_take_no_connection_before_the_change_is_made() {
    let listen = tcp("127.0.0.1", 0);
    let mut bound = bind(&listen, 1).unwrap();
    let port = port(&bound);
    let prepared = bound.prepare(&listen, 4).unwrap();
    let _early: Vec<_> = (0..20).map(|_| connect(port)).collect();
    assert_eq!(queued(&sockets(&bound)[0]), 20);
    drop(prepared);
    assert!(change(&mut bound, &listen, 4).came.is_empty());
    let _late: Vec<_> = (0..200).map(|_| connect(port)).collect();
    let counts: Vec<_> = bound.sockets().map(|socket| queued(socket)).collect();
    assert_eq!((counts.len(), counts.iter().sum::<usize>()), (4, 200));
    assert!(counts.iter().all(|count| 0 < *count), "{counts:?}");

    // Fewer threads close none: a connection in any of them is somebody's.
    let of = |bound: &Bound, thread, threads| bound.doors().iter().filter(|door| door.is_of(thread, threads)).count();
    change(&mut bound, &listen, 3);
    assert_eq!([0, 1, 2, 3].map(|thread| of(&bound, thread, 3)), [2, 2, 2, 0]);
    assert_eq!([0, 1].map(|thread| of(&bound, thread, 1)), [4, 0]);
}

#[test]
fn a_wider_address_takes_the_sockets_that_it_covers_and_a_narrower_one_gets_them_back() {
    let mut bound = bind(&tcp("127.0.0.1", 0), 2).unwrap();
    let (narrow, port) = (sockets(&bound), port(&bound));
    let waiting = connect(port);
    let made = change(&mut bound, &tcp("0.0.0.0", port), 2);
    assert_eq!((made.came.len(), made.went.len()), (1, 1));
    let wide = sockets(&bound);
    assert_eq!(wide.len(), 4);
    assert!(same(&wide[2..], &narrow), "whoever waits there is accepted");
    assert!(narrow.iter().map(|socket| queued(socket)).sum::<usize>() == 1 && !narrow[0].lingers());
    let _elsewhere = TcpStream::connect(("127.0.0.2", port)).unwrap();
    assert_eq!(wide[..2].iter().map(|socket| queued(socket)).sum::<usize>(), 1);
    change(&mut bound, &tcp("localhost", port), 2);
    assert!(same(&sockets(&bound)[..2], &narrow));
    assert!(wide[0].lingers(), "handshakes of others may be under way there");
    drop(waiting);
    // A name for it is no other address.
    change(&mut bound, &tcp("127.0.0.1", port), 2);
    assert!(same(&sockets(&bound), &narrow));
}

#[test]
fn what_is_narrower_than_before_is_bound_beside_it() {
    let mut bound = bind(&tcp("0.0.0.0", 0), 1).unwrap();
    let port = port(&bound);
    let prepared = bound.prepare(&tcp("127.0.0.1", port), 1).unwrap();
    let early = connect(port);
    assert_eq!(queued(&sockets(&bound)[0]), 1, "the change has not been made");
    bound.make(prepared);
    let _late = connect(port);
    assert_eq!(queued(&sockets(&bound)[0]), 1);
    assert!(TcpStream::connect(("127.0.0.2", port)).is_err());
    drop(early);
}

#[test]
fn an_address_that_comes_again_takes_back_what_is_not_closed_yet() {
    let mut bound = bind(&tcp("127.0.0.1", 0), 2).unwrap();
    let (port, mut held) = (port(&bound), sockets(&bound));
    change(&mut bound, &[], 2);
    // One thread has closed its own.
    held.pop();
    let _client = connect(port);
    let made = change(&mut bound, &tcp("127.0.0.1", port), 2);
    assert_eq!(made.came.len(), 1);
    assert!(Arc::ptr_eq(&sockets(&bound)[0], &held[0]) && sockets(&bound).len() == 2);
    change(&mut bound, &[], 2);
    assert!(bind(&tcp("0.0.0.0", port), 1).is_err());
    change(&mut bound, &tcp("0.0.0.0", port), 1);
    assert!(sockets(&bound).iter().any(|socket| Arc::ptr_eq(socket, &held[0])));
    change(&mut bound, &[], 1);
    drop(held);
    bind(&tcp("127.0.0.1", port), 1).unwrap();
}

#[test]
fn what_cannot_be_had_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("web.sock");
    let others = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = others.local_addr().unwrap().port();
    let mut bound = bind(&tcp("127.0.0.1", 0), 1).unwrap();
    let (before, own) = (sockets(&bound), port(&bound));
    let free = {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    let unix = Listen::Unix { path: path.clone(), protocol: Protocol::Http, mode: None };
    for refused in [tcp("127.0.0.1", taken), tcp("0.0.0.0", taken)] {
        let listen = [tcp("127.0.0.1", free), vec![unix.clone()], refused].concat();
        let error = bound.prepare(&listen, 2).unwrap_err();
        assert!(matches!(error, BindError::InUse { .. }), "{error}");
        assert!(!path.exists(), "what was made is gone again");
        assert!(TcpStream::connect(("127.0.0.1", free)).is_err());
    }
    for twice in [[tcp("127.0.0.1", 0), tcp("0.0.0.0", own)], [tcp("0.0.0.0", own), tcp("localhost", own)]] {
        let error = bound.prepare(&twice.concat(), 1).unwrap_err();
        assert!(matches!(error, BindError::Twice { .. }), "{error}");
    }
    assert!(same(&sockets(&bound), &before));
    let _client = connect(own);
    assert_eq!(queued(&before[0]), 1);
    change(&mut bound, &[unix], 1);
    assert!(path.exists() && TcpStream::connect(("127.0.0.1", own)).is_ok(), "somebody holds the socket still");
    drop(before);
    assert_eq!(TcpStream::connect(("127.0.0.1", own)).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_socket_in_the_file_system_comes_stays_and_goes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("web.sock");
    let unix = |mode| [Listen::Unix { path: path.clone(), protocol: Protocol::Http, mode }];
    let mode = || path.metadata().unwrap().permissions().mode() & 0o7777;
    let mut bound = Bound::default();
    let prepared = bound.prepare(&unix(None), 1).unwrap();
    let umask = mode();
    bound.make(prepared);
    let (first, _client) = (sockets(&bound), UnixStream::connect(&path).unwrap());
    for (wanted, expected) in [(Some(0o622), 0o622), (None, umask)] {
        change(&mut bound, &unix(wanted), 3);
        assert!(same(&sockets(&bound), &first) && mode() == expected);
        assert_eq!([0, 1, 2].map(|thread| bound.doors()[0].is_of(thread, 3)), [true; 3]);
    }
    change(&mut bound, &[], 1);
    assert!(!path.exists());
    drop(bound);
}
