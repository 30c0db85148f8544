use super::*;

fn tcp(host: &str, port: u16) -> Vec<Listen> {
    vec![Listen::Tcp { host: host.to_owned(), port, protocol: Protocol::Http }]
}

#[test]
fn each_thread_has_its_socket_and_nobody_else_may_join() {
    let bound = bind(&tcp("127.0.0.1", 0), 3).unwrap();
    assert_eq!(bound.by_thread.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1]);
    let [Address::Tcp { port, .. }] = bound.addresses() else { panic!("one address") };
    assert_ne!(*port, 0);
    let again = bind(&tcp("127.0.0.1", *port), 1).unwrap_err();
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
    let [Address::Tcp { port, .. }] = held.addresses() else { panic!("one address") };
    let in_use = *port;
    drop(held);
    for (first, second) in [("0.0.0.0", "localhost"), ("localhost", "127.0.0.1"), ("127.0.0.1", "0.0.0.0")] {
        let error = bind(&[tcp(first, in_use), tcp(second, in_use)].concat(), 1).unwrap_err();
        assert!(matches!(error, BindError::Twice { .. }), "{first}, {second}: {error}");
    }
    let other = Address::Tcp { host: "127.0.0.2".to_owned(), port: in_use, protocol: Protocol::Http };
    let error = taken_by_ourselves(
        &[other],
        BindError::InUse {
            address: Address::Tcp { host: "127.0.0.1".to_owned(), port: in_use, protocol: Protocol::Http },
        },
    );
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
    let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
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
    let error = listen_on("[2001:db8::1]:0".parse().unwrap(), Sharing::Refused).unwrap_err();
    assert!(is_absent(&error), "{error}");
}

#[test]
fn an_unknown_host_is_named() {
    let error = bind(&tcp("no-such-host.invalid", 80), 1).unwrap_err();
    assert!(error.to_string().contains("http://no-such-host.invalid:80"), "{error}");
}
