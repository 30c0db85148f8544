//! Bodies of a gibibyte in both directions, known length and chunks: every byte arrives, and memory stays flat.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::Duration,
};

use testkit::{Project, Running};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const APP: &str = include_str!("apps/bulk.py");

const GIB: usize = 1 << 30;
/// What is sent at a time, and no chunk of an answer is longer.
const PIECE: usize = 1 << 20;

/// By how much a process may ever have been larger than before: windows and buffers of one request are far below it, and
/// a body that was kept would be far above it.
const GROWTH_MAX: u64 = 16 << 20;

/// Bytes that tell where in the body they are, up to 256.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at % 256).unwrap()).collect()
}

/// The most memory that a process has ever had (proc_pid_status(5), `VmHWM`).
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().trim().parse::<u64>().unwrap() << 10
}

fn peaks(running: &Running<'_>) -> Vec<u64> {
    let mut pids = running.workers();
    pids.push(running.pid());
    pids.into_iter().map(peak).collect()
}

/// Runs `pass` and holds the memory of all processes against what it was before.
fn flat(pass: impl Fn(&Project)) {
    let project = Project::new(TIERCE, APP, "workers = 1\nlimits = { body = '2GiB' }");
    let running = project.up(&["--access-log", "off"]);
    assert_eq!(running.client().get("/known?65536").unwrap().body, pattern(65536));
    let before = peaks(&running);
    pass(&project);
    for (before, after) in before.into_iter().zip(peaks(&running)) {
        assert!(after < before + GROWTH_MAX, "from {before} to {after} bytes");
    }
}

/// Sends a request and has a reader for its answer.
fn ask(project: &Project, head: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", project.port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(stream, "{head} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n").unwrap();
    BufReader::with_capacity(PIECE, stream)
}

fn line(answer: &mut impl BufRead) -> String {
    let mut line = String::new();
    answer.read_line(&mut line).unwrap();
    line
}

fn upload(project: &Project, framing: &str) {
    let mut answer = ask(project, "POST /in");
    let stream = answer.get_mut();
    write!(stream, "{framing}\r\n\r\n").unwrap();
    let piece = pattern(PIECE);
    for _ in 0..GIB / PIECE {
        if framing.contains("chunked") {
            stream.write_all(&[format!("{PIECE:x}\r\n").as_bytes(), &piece, b"\r\n"].concat()).unwrap();
        } else {
            stream.write_all(&piece).unwrap();
        }
    }
    if framing.contains("chunked") {
        stream.write_all(b"0\r\n\r\n").unwrap();
    }
    let mut text = String::new();
    answer.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200") && text.contains(&GIB.to_string()), "{text}");
}

fn download(project: &Project, path: &str, framing: &str) {
    let mut answer = ask(project, &format!("GET /{path}?{GIB}"));
    answer.get_mut().write_all(b"\r\n").unwrap();
    let head: Vec<_> = std::iter::from_fn(|| Some(line(&mut answer)).filter(|line| line != "\r\n")).collect();
    assert!(head[0].starts_with("HTTP/1.1 200") && head.iter().any(|field| field == framing), "{head:?}");
    let chunked = framing.contains("chunked");
    let (expected, mut piece) = (pattern(PIECE + 256), Vec::new());
    let mut received = 0;
    while chunked || received < GIB {
        let length = match chunked {
            true => usize::from_str_radix(line(&mut answer).trim_end(), 16).unwrap(),
            false => PIECE,
        };
        piece.resize(length, 0);
        answer.read_exact(&mut piece).unwrap();
        assert!(piece.len() <= PIECE && piece == expected[received % 256..][..length], "wrong bytes behind {received}");
        received += length;
        if chunked {
            assert_eq!(line(&mut answer), "\r\n");
        }
        if length == 0 {
            break;
        }
    }
    assert_eq!((received, answer.read(&mut [0]).unwrap()), (GIB, 0), "this and nothing more");
}

#[test]
fn uploads_of_known_length() {
    flat(|project| upload(project, &format!("Content-Length: {GIB}")));
}

#[test]
fn uploads_in_chunks() {
    flat(|project| upload(project, "Transfer-Encoding: chunked"));
}

#[test]
fn downloads_of_known_length() {
    flat(|project| download(project, "known", &format!("Content-Length: {GIB}\r\n")));
}

#[test]
fn downloads_in_chunks() {
    flat(|project| download(project, "chunked", "Transfer-Encoding: chunked\r\n"));
}
