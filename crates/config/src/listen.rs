//! Addresses: `http://HOST:PORT`, `HOST:PORT`, `:PORT`, `unix:PATH`.

use std::path::Path;

use crate::model::Listen;

/// What is wrong with an address: what, and what to do.
pub(crate) type Wrong = (String, Option<String>);

/// Reads one address; paths are relative to `project`.
pub(crate) fn parse(text: &str, project: &Path) -> Result<Listen, Wrong> {
    if let Some(path) = text.strip_prefix("unix:") {
        if path.is_empty() {
            return Err(("the path of the socket is missing".to_owned(), Some("write unix:PATH".to_owned())));
        }
        let path = crate::source::clean(&project.join(path));
        /// `sun_path` holds 108 bytes with its NUL (unix(7)).
        const PATH_MAX: usize = 107;
        if PATH_MAX < path.as_os_str().len() {
            return Err((format!("{} is longer than a socket's path may be ({PATH_MAX} bytes)", path.display()), None));
        }
        return Ok(Listen::Unix { path });
    }
    if text.starts_with("https://") {
        return Err((
            format!("{text:?}: this version does not serve https"),
            Some("write http:// and put a TLS proxy in front".to_owned()),
        ));
    }
    let address = text.strip_prefix("http://").unwrap_or(text);
    let address = address.strip_suffix('/').unwrap_or(address);
    let (host, port) = match address.rsplit_once(':') {
        // In `[::1]` the last colon is the address's own.
        Some((host, port)) if !port.ends_with(']') && !host.ends_with(':') => (host, Some(port)),
        _ => (address, None),
    };
    let hint = || Some("write HOST:PORT, :PORT, http://HOST:PORT or unix:PATH".to_owned());
    let port = match port {
        Some(port) => port.parse().map_err(|_| (format!("{port:?} in {text:?} is not a port (0 to 65535)"), hint()))?,
        None if text.starts_with("http://") => 80,
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
    Ok(Listen::Tcp { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

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
            ("http://[::1]", "http://[::1]:80"),
            ("unix:run/web.sock", "unix:/p/run/web.sock"),
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
            "https://a",
            "unix:",
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
