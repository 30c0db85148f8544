use std::{fs::File, future::poll_fn, io::Write, os::unix::fs::FileExt};

use rustix::fs::{MemfdFlags, memfd_create};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream, UnixStream},
    runtime::Builder,
};

use super::*;

const SIZE: usize = 3 * STEP + 1;

fn content() -> Vec<u8> {
    (0..SIZE).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

fn file() -> File {
    let mut file = File::from(memfd_create(c"body", MemfdFlags::CLOEXEC).unwrap());
    file.write_all(&content()).unwrap();
    file
}

fn body(file: &File, offset: usize, length: usize, way: Way) -> FileBody {
    let part = FilePart { offset: offset as u64, length: length as u64 };
    FileBody { way, ..FileBody::new(OwnedFd::from(file.try_clone().unwrap()), part) }
}

/// Sends all of it, while the other side reads; how that ended, and what was read.
async fn send(
    mut body: FileBody,
    mut stream: Stream,
    mut other: impl AsyncReadExt + Unpin,
) -> (Result<(), Broken>, Vec<u8>) {
    let sending = async {
        while 0 < body.left() {
            poll_fn(|context| body.poll_step(context, &mut stream)).await?;
        }
        drop(stream);
        Ok(())
    };
    let mut read = Vec::new();
    let (sent, _) = tokio::join!(sending, other.read_to_end(&mut read));
    (sent, read)
}

async fn unix() -> (Stream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Stream::Unix(ours), theirs)
}

async fn tcp() -> (Stream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (Stream::Tcp(listener.accept().await.unwrap().0), theirs)
}

fn run(test: impl Future<Output = ()>) {
    Builder::new_current_thread().enable_io().build().unwrap().block_on(test);
}

#[test]
fn exactly_the_part_is_sent_in_either_way() {
    run(async {
        let (file, content) = (file(), content());
        for (offset, length) in [(0, SIZE), (0, 1), (7, COPIED + 1), (STEP - 1, STEP + 2), (SIZE, 0)] {
            for way in [|| Way::Kernel, || Way::Copy(Vec::new(), 0)] {
                let expected = (Ok(()), content[offset..offset + length].to_vec());
                let (stream, other) = unix().await;
                assert_eq!(
                    send(body(&file, offset, length, way()), stream, other).await,
                    expected,
                    "{offset} {length}"
                );
                let (stream, other) = tcp().await;
                assert_eq!(
                    send(body(&file, offset, length, way()), stream, other).await,
                    expected,
                    "{offset} {length}"
                );
            }
        }
    });
}

#[test]
fn a_file_that_has_become_shorter_is_noticed_and_one_that_has_grown_makes_no_difference() {
    run(async {
        for way in [|| Way::Kernel, || Way::Copy(Vec::new(), 0)] {
            let file = file();
            file.set_len(COPIED as u64 + 1).unwrap();
            let (stream, other) = unix().await;
            let (sent, read) = send(body(&file, 0, SIZE, way()), stream, other).await;
            assert_eq!((sent, read == content()[..=COPIED]), (Err(Broken::File), true));
            file.write_all_at(b"more", COPIED as u64 + 1).unwrap();
            let (stream, other) = unix().await;
            let (sent, read) = send(body(&file, 0, COPIED + 1, way()), stream, other).await;
            assert_eq!((sent, read == content()[..=COPIED]), (Ok(()), true));
        }
    });
}

#[test]
fn a_client_that_has_gone_is_told_from_a_file_that_cannot_be_read() {
    run(async {
        for way in [|| Way::Kernel, || Way::Copy(Vec::new(), 0)] {
            let (mut stream, other) = unix().await;
            drop(other);
            let mut gone = body(&file(), 0, SIZE, way());
            let step = poll_fn(|context| gone.poll_step(context, &mut stream)).await;
            assert_eq!(step, Err(Broken::Client));
        }
    });
}

#[test]
fn what_can_only_be_read_is_read() {
    run(async {
        // The kernel hands such a file to readers only.
        let file = File::open("/proc/self/auxv").unwrap();
        let expected = std::fs::read("/proc/self/auxv").unwrap();
        let (stream, other) = tcp().await;
        let (sent, read) = send(body(&file, 0, expected.len(), Way::Kernel), stream, other).await;
        assert_eq!((sent, read), (Ok(()), expected));
    });
}
