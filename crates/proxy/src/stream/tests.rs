use std::{future::poll_fn, io::Read, thread};

use config::{CertificateFiles, Tls};
use testkit::{Trust, certificate};
use tls::{Authority, Loaded, Store};
use tokio::{net::TcpListener, runtime::Builder};
use tokio_rustls::TlsAcceptor;

use super::*;

const PIECE: &[u8] = &[7; 16 * 1024];

fn server() -> (tls::Server, String) {
    let directory = tempfile::tempdir().unwrap();
    let (path, made) = (|name| directory.path().join(name), certificate(&["a.example"]));
    std::fs::write(path("certificate"), &made.certificate).unwrap();
    std::fs::write(path("key"), &made.key).unwrap();
    let files = CertificateFiles { certificate: path("certificate"), key: path("key"), place: String::new() };
    let loaded = Loaded::read(&Tls::Files(vec![files]), &Authority::new(path("ca"))).unwrap();
    (Store::new(loaded).unwrap().server(), made.certificate)
}

/// Bytes that the other side does not take are refused once there are too many, and what was taken is not forgotten: it
/// goes when there is room, without another write.
#[test]
fn what_tls_has_taken_is_sent_when_there_is_room() {
    let (server, certificate) = server();
    Builder::new_current_thread().enable_io().build().unwrap().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (go, may_read) = std::sync::mpsc::channel::<()>();
        let reader = thread::spawn(move || {
            let mut client = Trust::new(&[&certificate]).connect(port, "a.example").unwrap();
            may_read.recv().unwrap();
            let mut all = Vec::new();
            client.stream().read_to_end(&mut all).unwrap();
            all.len()
        });
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = Stream::Tls(Box::new(TlsAcceptor::from(server).accept(stream).await.unwrap().into()));
        let mut taken = 0;
        let mut write = async || poll_fn(|context| Poll::Ready(stream.poll_write(context, PIECE))).await;
        while let Poll::Ready(count) = write().await {
            taken += count.unwrap();
            assert!(taken < 64 << 20, "nobody takes it");
        }
        assert!(stream.holds_bytes());
        go.send(()).unwrap();
        poll_fn(|context| stream.poll_flush(context)).await.unwrap();
        assert!(!stream.holds_bytes());
        poll_fn(|context| stream.poll_shutdown_write(context)).await;
        drop(stream);
        assert_eq!(reader.join().unwrap(), taken);
    });
}

#[tokio::test]
async fn what_has_arrived_is_acknowledged_at_once() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    set_tcp_quickack(&stream, false).unwrap();
    let stream = Stream::Tcp(stream);
    stream.acknowledge();
    let Stream::Tcp(stream) = stream else { unreachable!() };
    assert!(rustix::net::sockopt::tcp_quickack(&stream).unwrap());
}

/// The kernel waits for what follows, though not for ever (tcp(7), `TCP_CORK`): one that was held up for so long may have sent it.
#[test]
fn what_is_written_ahead_goes_with_what_follows() {
    const AT_MOST: Duration = Duration::from_millis(200);
    Builder::new_current_thread().enable_io().build().unwrap().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        // As listeners of ours have it.
        accepted.set_nodelay(true).unwrap();
        let mut stream = Stream::Tcp(accepted);
        let began = std::time::Instant::now();
        assert_eq!(poll_fn(|context| stream.poll_write_ahead(context, b"head ")).await.unwrap(), 5);
        let seen = recv(&client, &mut [0; 8][..], RecvFlags::PEEK | RecvFlags::DONTWAIT).map(|(count, _)| count);
        assert!(seen == Err(Errno::AGAIN) || AT_MOST <= began.elapsed(), "{seen:?}");
        assert_eq!(poll_fn(|context| stream.poll_write(context, b"body")).await.unwrap(), 4);
        drop(stream);
        let mut all = String::new();
        client.read_to_string(&mut all).unwrap();
        assert_eq!(all, "head body");
    });
}
