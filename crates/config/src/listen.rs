//! Addresses: `http://HOST:PORT`, `HOST:PORT`, `:PORT`, `unix:PATH`, and `uwsgi://HOST:PORT`, `uwsgi:PATH`.

use std::path::Path;

use crate::model::{Listen, Protocol};

/// What is wrong with an address: what, and what to do.
pub(crate) type Wrong = (String, Option<String>);

/// Reads one address; paths are relative to `project`.
pub(crate) fn parse(text: &str, project: &Path) -> Result<Listen, Wrong> {
    if let Some(path) = text.strip_prefix("unix:") {
        return socket(path, Protocol::Http, project);
    }
    if let Some(path) = text.strip_prefix("uwsgi:").filter(|path| !path.starts_with("//")) {
        let port = path.rsplit_once(':').map_or("", |(_, port)| port);
        if !path.contains('/') && port.parse::<u16>().is_ok() {
            let hint = format!("write uwsgi://{path}; for a socket of that name, uwsgi:./{path}");
            return Err((format!("{text:?} would be the path of a socket"), Some(hint)));
        }
        return socket(path, Protocol::Uwsgi, project);
    }
    let (protocol, address) = match text.split_once("://") {
        Some(("uwsgi", address)) => (Protocol::Uwsgi, address),
        Some(("https", address)) => (Protocol::Https, address),
        Some(("http", address)) => (Protocol::Http, address),
        _ => (Protocol::Http, text),
    };
    let address = address.strip_suffix('/').unwrap_or(address);
    let (host, port) = match address.rsplit_once(':') {
        // In `[::1]` the last colon is the address's own.
        Some((host, port)) if !port.ends_with(']') && !host.ends_with(':') => (host, Some(port)),
        _ => (address, None),
    };
    let hint = || {
        Some(match protocol {
            Protocol::Http => "write HOST:PORT, :PORT, http://HOST:PORT or unix:PATH".to_owned(),
            Protocol::Https => "write https://HOST:PORT".to_owned(),
            Protocol::Uwsgi => "write uwsgi://HOST:PORT or uwsgi:PATH".to_owned(),
        })
    };
    let port = match port {
        Some(port) => port.parse().map_err(|_| (format!("{port:?} in {text:?} is not a port (0 to 65535)"), hint()))?,
        None if text.starts_with("http://") => 80,
        None if protocol == Protocol::Https => 443,
        None => return Err((format!("{text:?} has no port"), hint())),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let host = match host {
        "" | "*" => "0.0.0.0",
        host => host,
    };
    let plain =
        host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'%'));
    if !plain {
        return Err((format!("{host:?} in {text:?} is not a host"), hint()));
    }
    Ok(Listen::Tcp { host: host.to_owned(), port, protocol })
}

fn socket(path: &str, protocol: Protocol, project: &Path) -> Result<Listen, Wrong> {
    if path.is_empty() {
        let hint = format!("write {}:PATH", protocol.of_socket());
        return Err(("the path of the socket is missing".to_owned(), Some(hint)));
    }
    let path = crate::source::clean(&project.join(path));
    /// `sun_path` holds 108 bytes with its NUL (unix(7)).
    const PATH_MAX: usize = 107;
    if PATH_MAX < path.as_os_str().len() {
        return Err((format!("{} is longer than a socket's path may be ({PATH_MAX} bytes)", path.display()), None));
    }
    Ok(Listen::Unix { path, protocol, mode: None })
}

/// Reads the mode of the sockets in the file system, as chmod(1) takes it in digits. Who may not write may not connect
/// (unix(7)), so one in which nobody may is a mistake.
pub(crate) fn parse_mode(text: &str) -> Option<u32> {
    let digits = (3..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let mode = u32::from_str_radix(text, 8).ok().filter(|_| digits)?;
    (mode <= 0o777 && mode & 0o222 != 0).then_some(mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        for (text, expected) in [
            ("660", Some(0o660)),
            ("0666", Some(0o666)),
            ("200", Some(0o200)),
            ("1666", None),
            ("440", None),
            ("689", None),
            ("66", None),
            ("00660", None),
            ("+66", None),
            ("u=rw", None),
            ("0o660", None),
            ("", None),
        ] {
            assert_eq!(parse_mode(text), expected, "{text}");
        }
    }

    #[test]
    fn addresses() {
        for (text, expected) in [
            ("http://localhost:8080", "http://localhost:8080"),
            ("http://example.org", "http://example.org:80"),
            ("http://example.org:81/", "http://example.org:81"),
            ("127.0.0.1:1", "http://127.0.0.1:1"),
            (":8000", "http://0.0.0.0:8000"),
            ("*:8000", "http://0.0.0.0:8000"),
            ("[::1]:80", "http://[::1]:80"),
            ("https://localhost:8443", "https://localhost:8443"),
            ("https://example.org/", "https://example.org:443"),
            ("http://[::1]", "http://[::1]:80"),
            ("unix:run/web.sock", "unix:/p/run/web.sock"),
            ("uwsgi://127.0.0.1:3031", "uwsgi://127.0.0.1:3031"),
            ("uwsgi://[::1]:3031/", "uwsgi://[::1]:3031"),
            ("uwsgi://:3031", "uwsgi://0.0.0.0:3031"),
            ("uwsgi:run/web.sock", "uwsgi:/p/run/web.sock"),
            ("uwsgi:/run/web.sock", "uwsgi:/run/web.sock"),
            ("uwsgi:./a:1", "uwsgi:/p/a:1"),
        ] {
            assert_eq!(
                parse(text, Path::new("/p")).map(|listen| listen.to_string()).as_deref(),
                Ok(expected),
                "{text}"
            );
        }
        for text in [
            "8080",
            "a:b",
            "a:70000",
            "https://a/b",
            "ftp://a:1",
            "unix:",
            "uwsgi:",
            "uwsgi://",
            "uwsgi://a",
            "uwsgi:127.0.0.1:3031",
            "uwsgi::3031",
            "http://a/b:80",
            "a b:80",
            "::1",
            "[::1]",
            "[::1:80",
            "[]:",
            "",
        ] {
            assert!(parse(text, Path::new("/p")).is_err(), "{text}");
        }
    }
}
