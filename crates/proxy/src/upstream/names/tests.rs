use std::{net::UdpSocket, sync::mpsc, thread};

use hickory_resolver::config::{ConnectionConfig, NameServerConfig};

use super::*;

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn at(names: &Names) -> Vec<String> {
    names.addresses.iter().map(ToString::to_string).collect()
}

#[test]
fn what_an_answer_changes() {
    let now = Instant::now();
    let in_seconds = |seconds| now + Duration::from_secs(seconds);
    let mut names = Names::default();
    let mut learn = |found| {
        let (due, told) = names.learn(("a", 80), found, now);
        (due - now, told, at(&names), names.trouble.clone())
    };
    let second = Duration::from_secs(1);
    let trouble = |why: &str| Some(format!("a has no address: {why}"));
    // Nothing is known: every second.
    assert_eq!(learn(Found::Failed("x".to_owned())), (second, None, vec![], trouble("x")));
    assert_eq!(learn(Found::Nothing("y".to_owned())), (second, None, vec![], trouble("y")));
    // The records' own time, within bounds; in an order of ours.
    let two = vec!["[::1]:80".to_owned(), "10.0.0.1:80".to_owned()];
    let found = |seconds| Found::Addresses(ips(&["10.0.0.1", "::1", "10.0.0.1"]), in_seconds(seconds));
    assert_eq!(learn(found(0)), (second, None, two.clone(), None));
    assert_eq!(learn(found(30)), (Duration::from_secs(30), None, two.clone(), None));
    assert_eq!(learn(found(86_400)), (Duration::from_secs(300), None, two.clone(), None));
    // A resolver that fails takes nothing away, and is told of once.
    let told = Some("a cannot be looked up: z; its addresses from before stay in use".to_owned());
    assert_eq!(learn(Found::Failed("z".to_owned())), (second, told, two.clone(), None));
    assert_eq!(learn(Found::Failed("z".to_owned())), (second, None, two.clone(), None));
    assert_eq!(learn(found(1)), (second, Some("a can be looked up again".to_owned()), two, None));
    let moved = Found::Addresses(ips(&["10.0.0.2"]), now);
    assert_eq!(learn(moved).1.as_deref(), Some("a has moved to 10.0.0.2"));
    // One that says that there are none does.
    assert_eq!(learn(Found::Nothing("gone".to_owned())), (second, trouble("gone"), vec![], trouble("gone")));
}

/// A DNS server that answers what the test says: for each question about IPv4 an address and its time, or an error code.
struct Script {
    resolver: NameServerConfig,
    answers: mpsc::Sender<Result<([u8; 4], u32), u8>>,
}

impl Script {
    fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let mut resolver = NameServerConfig::udp("127.0.0.1".parse().unwrap());
        let mut connection = ConnectionConfig::udp();
        connection.port = port;
        resolver.connections = vec![connection];
        let (answers, script) = mpsc::channel::<Result<([u8; 4], u32), u8>>();
        thread::spawn(move || {
            let mut buffer = [0; 512];
            let mut last = Err(2);
            while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
                let question_end = 12 + buffer[12..length].iter().position(|byte| *byte == 0).unwrap() + 5;
                let is_v4 = buffer[question_end - 3] == 1;
                if is_v4 && let Ok(next) = script.try_recv() {
                    last = next;
                }
                let (code, address) = match last {
                    Ok(address) => (0, Some(address).filter(|_| is_v4)),
                    Err(code) => (code, None),
                };
                let mut answer = buffer[..question_end].to_vec();
                // A response, recursion desired and available; one question, the rest as it is.
                (answer[2], answer[3]) = (0x81, 0x80 | code);
                answer[6..12].copy_from_slice(&[0, u8::from(address.is_some()), 0, 0, 0, 0]);
                if let Some((ip, ttl)) = address {
                    answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1]);
                    answer.extend_from_slice(&ttl.to_be_bytes());
                    answer.extend_from_slice(&[0, 4]);
                    answer.extend_from_slice(&ip);
                }
                socket.send_to(&answer, peer).unwrap();
            }
        });
        Self { resolver, answers }
    }

    async fn find(&self, host: &str) -> Found {
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![self.resolver.clone()]);
        find(host, TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())).await
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_server_is_asked_each_time() {
    let script = Script::start();
    for (ip, ttl) in [([10, 0, 0, 1], 0), ([10, 0, 0, 2], 60)] {
        script.answers.send(Ok((ip, ttl))).unwrap();
        let Found::Addresses(found, until) = script.find("my_app.internal").await else { panic!("nothing found") };
        assert_eq!(found, [IpAddr::from(ip)]);
        let left = until.saturating_duration_since(Instant::now()).as_secs();
        assert!(left <= u64::from(ttl) && u64::from(ttl) <= left + 50, "{left} s of {ttl} s");
    }
    script.answers.send(Err(3)).unwrap();
    assert!(matches!(script.find("my_app.internal").await, Found::Nothing(why) if why == "there is no such name"));
    // It has failed, which says nothing of the name.
    script.answers.send(Err(2)).unwrap();
    assert!(matches!(script.find("my_app.internal").await, Found::Failed(_)));
}

#[tokio::test(flavor = "current_thread")]
async fn hosts_come_first_and_what_is_no_name_is_not_asked_for() {
    let script = Script::start();
    script.answers.send(Ok(([10, 0, 0, 1], 60))).unwrap();
    let Found::Addresses(found, _) = script.find("localhost").await else { panic!("nothing found") };
    assert!(found.iter().all(IpAddr::is_loopback), "{found:?}");
    assert!(matches!(script.find(&"a".repeat(64)).await, Found::Nothing(_)));
}
