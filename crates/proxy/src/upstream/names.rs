//! What an upstream's name stands for: it is looked up again when its records have grown old, and sooner when connections fail.
//!
//! | the resolver says | addresses | told |
//! |---|---|---|
//! | these addresses | they take the place of those from before | when they are others |
//! | there are none | there are none: whoever has those from before by now is somebody else | when there were some |
//! | nothing, or that it has failed | stay | once, until it answers again |
//!
//! Invariant: between two look-ups there is a second at least, and five minutes at most.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use config::UpstreamAddress;
use hickory_resolver::{
    Hosts, ResolverBuilder, TokioResolver,
    config::{LookupIpStrategy, ResolveHosts, ResolverConfig},
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::{
        op::{Query, ResponseCode},
        rr::{Name, RecordType},
    },
};
use telemetry::LogSink;
use tokio::time::{sleep_until, timeout};

use super::Upstream;

/// Between two look-ups.
const PAUSE_LEAST: Duration = Duration::from_secs(1);
const PAUSE_MOST: Duration = Duration::from_secs(300);

/// One server is waited for so long, so often; and all of it together.
const SERVER_TIME: Duration = Duration::from_secs(5);
const ATTEMPTS_MAX: usize = 3;
const LOOK_UP_TIME: Duration = Duration::from_secs(30);

/// A name that stands for more has the first of them.
const ADDRESSES_MAX: usize = 64;

/// Who is asked: the system's resolver as its files describe it at this moment.
pub(super) type Resolver = ResolverBuilder<TokioRuntimeProvider>;

/// What came of a look-up.
#[derive(Debug)]
pub(super) enum Found {
    /// These, until then.
    Addresses(Vec<IpAddr>, Instant),
    /// The name does not exist, or has no address.
    Nothing(String),
    /// Nobody could say.
    Failed(String),
}

/// What is known of a name.
#[derive(Debug, Default)]
pub(super) struct Names {
    addresses: Arc<[SocketAddr]>,
    /// Why there is no address.
    trouble: Option<String>,
    /// The resolver has failed since it last answered.
    is_stale: bool,
}

impl Names {
    /// Of an address that needs no look-up.
    pub(super) fn of(address: &UpstreamAddress) -> Self {
        let addresses = match address {
            UpstreamAddress::Tcp { host, port } => host.parse().ok().map(|ip| SocketAddr::new(ip, *port)),
            UpstreamAddress::Unix { .. } => None,
        };
        Self { addresses: addresses.into_iter().collect(), ..Self::default() }
    }

    pub(super) fn addresses(&self) -> Arc<[SocketAddr]> {
        Arc::clone(&self.addresses)
    }

    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Takes over what was found; returns when to look again, and what to tell.
    fn learn(&mut self, (host, port): (&str, u16), found: Found, now: Instant) -> (Instant, Option<String>) {
        let soon = now + PAUSE_LEAST;
        match found {
            Found::Addresses(ips, until) => {
                let pause = until.saturating_duration_since(now).clamp(PAUSE_LEAST, PAUSE_MOST);
                let told = self.move_to(host, sorted(ips, port));
                let told = told.or_else(|| self.is_stale.then(|| format!("{host} can be looked up again")));
                (self.is_stale, self.trouble) = (false, None);
                (now + pause, told)
            }
            Found::Nothing(why) => {
                let trouble = format!("{host} has no address: {why}");
                let told = (!self.addresses.is_empty()).then(|| trouble.clone());
                *self = Self { trouble: Some(trouble), ..Self::default() };
                (soon, told)
            }
            Found::Failed(why) if self.addresses.is_empty() => {
                self.trouble = Some(format!("{host} has no address: {why}"));
                (soon, None)
            }
            Found::Failed(why) => {
                let is_new = !std::mem::replace(&mut self.is_stale, true);
                let told = || format!("{host} cannot be looked up: {why}; its addresses from before stay in use");
                (soon, is_new.then(told))
            }
        }
    }

    fn move_to(&mut self, host: &str, addresses: Vec<SocketAddr>) -> Option<String> {
        if *self.addresses == *addresses {
            return None;
        }
        let is_first = self.addresses.is_empty();
        self.addresses = addresses.into();
        let shown = self.addresses.iter().map(|address| address.ip().to_string()).collect::<Vec<_>>().join(", ");
        (!is_first).then(|| format!("{host} has moved to {shown}"))
    }
}

/// In an order that does not depend on the resolver's; IPv6 first (RFC 8305 §4).
fn sorted(mut ips: Vec<IpAddr>, port: u16) -> Vec<SocketAddr> {
    ips.sort_by_key(|ip| (ip.is_ipv4(), *ip));
    ips.dedup();
    ips.into_iter().take(ADDRESSES_MAX).map(|ip| SocketAddr::new(ip, port)).collect()
}

/// The name of an upstream, if it is one that has to be looked up.
pub(super) fn name(address: &UpstreamAddress) -> Option<(&str, u16)> {
    match address {
        UpstreamAddress::Tcp { host, port } if host.parse::<IpAddr>().is_err() => Some((host, *port)),
        _ => None,
    }
}

/// Looks the name up; returns when to do it again. Whoever connects sees at once what came of it.
pub(super) async fn look_up(upstream: &Upstream, resolver: &impl Fn() -> Resolver, sink: &LogSink) -> Instant {
    let Some((host, port)) = name(upstream.address()) else { return Instant::now() + PAUSE_MOST };
    let found = match timeout(LOOK_UP_TIME, find(host, resolver())).await {
        Ok(found) => found,
        Err(_) => Found::Failed("no server has answered in time".to_owned()),
    };
    let (due, told) = upstream.names().learn((host, port), found, Instant::now());
    if let Some(told) = told {
        sink.message(&told);
    }
    due
}

/// Looks it up again and again; when it has moved it is probed.
pub(super) async fn follow(upstream: &Upstream, resolver: &impl Fn() -> Resolver, sink: &LogSink, mut due: Instant) {
    if name(upstream.address()).is_none() {
        return;
    }
    loop {
        let soonest = Instant::now() + PAUSE_LEAST;
        tokio::select! {
            () = sleep_until(due.into()) => {}
            () = upstream.failing.notified() => sleep_until(soonest.into()).await,
        }
        let before = upstream.names().addresses();
        due = look_up(upstream, resolver, sink).await;
        if !Arc::ptr_eq(&before, &upstream.names().addresses) {
            upstream.moved.notify_one();
        }
    }
}

/// As /etc/resolv.conf says at present; without it only /etc/hosts knows names.
pub(super) fn system() -> Resolver {
    let mut builder = TokioResolver::builder_tokio().unwrap_or_else(|_| {
        TokioResolver::builder_with_config(ResolverConfig::default(), TokioRuntimeProvider::default())
    });
    let options = builder.options_mut();
    options.timeout = options.timeout.min(SERVER_TIME);
    options.attempts = options.attempts.min(ATTEMPTS_MAX);
    builder
}

async fn find(host: &str, mut resolver: Resolver) -> Found {
    // Not as text: names of containers may have an underscore.
    let Ok(name) = Name::from_ascii(host) else { return Found::Nothing("this is no name".to_owned()) };
    if let Some(ips) = in_hosts(&name) {
        return Found::Addresses(ips, Instant::now() + PAUSE_MOST);
    }
    let options = resolver.options_mut();
    // What is old is to be looked up; and hosts were asked, for both families at once.
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    (options.cache_size, options.use_hosts_file) = (0, ResolveHosts::Never);
    let looked_up = match resolver.build() {
        Ok(resolver) => resolver.lookup_ip(name).await,
        Err(error) => Err(error),
    };
    match looked_up {
        Ok(ips) => Found::Addresses(ips.iter().collect(), ips.valid_until()),
        Err(error) => failed(&error),
    }
}

/// The addresses of a name in /etc/hosts. One that stands there is not asked for elsewhere.
fn in_hosts(name: &Name) -> Option<Vec<IpAddr>> {
    let hosts = Hosts::from_system().ok()?;
    let of = |kind| hosts.lookup_static_host(&Query::query(name.to_lowercase(), kind));
    let found = [of(RecordType::AAAA), of(RecordType::A)].into_iter().flatten();
    let ips: Vec<_> = found
        .flat_map(|lookup| lookup.answers().iter().filter_map(|record| record.data.ip_addr()).collect::<Vec<_>>())
        .collect();
    (!ips.is_empty()).then_some(ips)
}

fn failed(error: &NetError) -> Found {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => Found::Nothing("there is no such name".to_owned()),
            ResponseCode::NoError => Found::Nothing("the name has none".to_owned()),
            code => Found::Failed(format!("the resolver says: {code}")),
        },
        NetError::Dns(DnsError::ResponseCode(code)) => Found::Failed(format!("the resolver says: {code}")),
        NetError::Timeout => Found::Failed("no server has answered in time".to_owned()),
        NetError::NoConnections => Found::Failed("no server of /etc/resolv.conf can be asked".to_owned()),
        NetError::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Found::Failed("the server of /etc/resolv.conf takes no questions".to_owned())
        }
        other => Found::Failed(other.to_string()),
    }
}

#[cfg(test)]
mod tests;
