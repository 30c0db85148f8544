//! What stands before the application: how often clients may come and how much they may hold, and what is said in its place.
//!
//! The keys of all requests, and the same keys of a route, are read here. Invariant: a page is read when the configuration is, so
//! that it is there when the application is not.

use std::time::Duration;

use units::Bytes;

use crate::{
    read::{Given, Raw},
    source::{self, Source},
    trusted::TrustedProxies,
    values::Values,
};

/// What protects the application, for all requests that have no route which says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Protection {
    /// How often a client may come.
    pub rate: Option<RateLimit>,
    /// How many requests of one client may be in flight.
    pub client_in_flight: Option<u32>,
    /// How many connections one address may have.
    pub client_connections: Option<u32>,
    /// The longest body of a response.
    pub response: Option<Bytes>,
    /// Nobody is served at present.
    pub maintenance: Option<Maintenance>,
    /// What browsers see in place of our own pages.
    pub pages: ErrorPages,
}

/// What a route says of something that is decided for all requests too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Own<T> {
    /// Nothing.
    #[default]
    AsForAll,
    /// That there is none.
    Off,
    /// This.
    This(T),
}

impl<T> Own<T> {
    /// What counts, where `all` does for all.
    pub fn or<'a>(&'a self, all: Option<&'a T>) -> Option<&'a T> {
        match self {
            Self::AsForAll => all,
            Self::Off => None,
            Self::This(own) => Some(own),
        }
    }

    fn this(self) -> Option<T> {
        match self {
            Self::This(own) => Some(own),
            Self::AsForAll | Self::Off => None,
        }
    }
}

/// How often a client may come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// One request in this time, in the long run.
    pub every: Duration,
    /// So many at once.
    pub burst: u32,
    /// Who is one client.
    pub by: RateKey,
}

impl RateLimit {
    /// As it is written: how many, and in which time. Of several ways, the one that needs no `burst` beside it.
    pub(crate) fn written(&self) -> (u32, &'static str) {
        let fits = |count: u32, whole: Duration| whole.checked_div(count) == Some(self.every);
        let with_burst = UNITS.iter().find(|(_, whole)| fits(self.burst, *whole)).map(|(unit, _)| (self.burst, *unit));
        let with_any = || {
            UNITS.iter().find_map(|(unit, whole)| {
                let count = u32::try_from(whole.as_nanos() / self.every.as_nanos().max(1)).ok()?;
                fits(count, *whole).then_some((count, *unit))
            })
        };
        with_burst.or_else(with_any).expect("it was read from one of these")
    }
}

/// Who is one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RateKey {
    /// Whoever has the same address, of IPv6 the same /64.
    Client,
    /// Whoever sends the same value in this field; those that do not send it, by their address.
    Header(String),
}

/// Nobody is served at present, but a few.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maintenance {
    /// What browsers see, if it is not our own page.
    pub page: Option<String>,
    /// When clients are to come again.
    pub retry_after: Duration,
    /// Who is served all the same.
    pub allow: TrustedProxies,
}

/// Pages of one's own, by status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorPages(Vec<(u16, u16, String)>);

impl ErrorPages {
    /// The one for a status: rather that of the status than that of its class.
    pub fn of(&self, status: u16) -> Option<&str> {
        let fits = self.0.iter().filter(|(from, to, _)| (*from..=*to).contains(&status));
        fits.min_by_key(|(from, to, _)| to - from).map(|(_, _, page)| page.as_str())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// By `"502"` or `"5xx"`, as in the file.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (String, String)> {
        self.0.iter().map(|(from, to, page)| {
            let status = if from == to { from.to_string() } else { format!("{}xx", from / 100) };
            (status, page.clone())
        })
    }
}

/// How long clients are asked to stay away, where nothing is said of it.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(60);

/// The times of rates.
const UNITS: [(&str, Duration); 3] =
    [("s", Duration::from_secs(1)), ("min", Duration::from_secs(60)), ("h", Duration::from_secs(3600))];

const RATE_HINT: &str =
    "write \"10/s\", \"100/min\" or \"1000/h\", or { rate = \"100/min\", burst = 20, by = \"client\" }";

/// The keys that concern all requests.
pub(crate) fn protection(source: &Source, values: &mut Values) -> Protection {
    Protection {
        rate: rate("rate_limit", values).this(),
        client_in_flight: values.number("limits.client_in_flight", 1..=1_000_000),
        client_connections: values.number("limits.client_connections", 1..=1_000_000),
        response: values.size("limits.response"),
        maintenance: maintenance("maintenance", source, values).and_then(|(own, _)| own.this()),
        pages: pages(source, values),
    }
}

/// How often clients may come: a text, or a table of keys below `path`.
pub(crate) fn rate(path: &str, values: &mut Values) -> Own<RateLimit> {
    let [rate_path, burst_path, by_path] = ["rate", "burst", "by"].map(|key| format!("{path}.{key}"));
    let short = values.given(path).is_some();
    let burst = values.number(&burst_path, 1..=1_000_000);
    let by = values.text(&by_path);
    let Some((text, given)) = values.text(if short { path } else { &rate_path }) else {
        if let Some(given) = values.given(&burst_path).or_else(|| by.map(|(_, given)| given))
            && values.given(&rate_path).is_none()
            && !short
        {
            values.reject(path, &given, "`rate` is missing: how often?", Some(RATE_HINT.to_owned()));
        }
        return Own::AsForAll;
    };
    if text == "off" {
        return Own::Off;
    }
    let by = by.map_or(Some(RateKey::Client), |(text, given)| key(&by_path, &text, &given, values));
    match (parse_rate(&text), by) {
        (Some((count, every)), Some(by)) => Own::This(RateLimit { every, burst: burst.unwrap_or(count), by }),
        (Some(_), None) => Own::AsForAll,
        (None, _) => {
            values.reject(path, &given, format!("{text:?} is not a rate"), Some(RATE_HINT.to_owned()));
            Own::AsForAll
        }
    }
}

/// `100/min`: how many, and how long one takes.
fn parse_rate(text: &str) -> Option<(u32, Duration)> {
    let (count, unit) = text.split_once('/')?;
    let unit = if unit.trim() == "m" { "min" } else { unit.trim() };
    let (_, whole) = UNITS.iter().find(|(known, _)| *known == unit)?;
    let count = count.trim().parse().ok().filter(|count| (1..=1_000_000).contains(count))?;
    Some((count, *whole / count))
}

fn key(path: &str, text: &str, given: &Given, values: &mut Values) -> Option<RateKey> {
    match text.strip_prefix("header:") {
        _ if text == "client" => return Some(RateKey::Client),
        Some(name) if crate::routes::is_token(name) => return Some(RateKey::Header(name.to_owned())),
        _ => {}
    }
    values.reject(path, given, format!("expected \"client\" or \"header:NAME\", found {text:?}"), None);
    None
}

/// Whether nobody is served: a flag, or a table of keys below `path`; and where that was said.
pub(crate) fn maintenance(path: &str, source: &Source, values: &mut Values) -> Option<(Own<Maintenance>, Given)> {
    let keys = ["page", "retry_after", "allow"].map(|key| format!("{path}.{key}"));
    let [page_path, retry_path, allow_path] = &keys;
    let inner = keys.iter().find_map(|key| values.given(key));
    let given = values.given(path).or(inner)?;
    let page = values.text(page_path).and_then(|(text, given)| page(page_path, &text, &given, source, values));
    let day = Duration::from_secs(86_400);
    let retry_after = values.duration(retry_path, Duration::from_secs(1)..=day).unwrap_or(RETRY_AFTER);
    let allow = TrustedProxies::read(allow_path, values);
    Some(match values.flag(path) {
        Some(false) => (Own::Off, given),
        Some(true) => (Own::This(Maintenance { page, retry_after, allow }), given),
        None if values.given(path).is_some() => (Own::AsForAll, given),
        None => (Own::This(Maintenance { page, retry_after, allow }), given),
    })
}

fn pages(source: &Source, values: &mut Values) -> ErrorPages {
    let mut pages = ErrorPages::default();
    let Some(given) = values.given("error_pages") else { return pages };
    let Raw::Table(entries) = &given.raw else {
        let hint = Some("write `error_pages = { \"502\" = \"502.html\", \"5xx\" = \"sorry.html\" }`".to_owned());
        let what = format!("expected a table of files, found {}", given.raw.kind());
        values.reject("error_pages", &given, what, hint);
        return pages;
    };
    for (status, entry) in entries {
        let key = format!("error_pages.{status:?}");
        let range = match status.as_str() {
            "4xx" => Some((400, 499)),
            "5xx" => Some((500, 599)),
            one => one.parse().ok().filter(|status| (400..=599).contains(status)).map(|status| (status, status)),
        };
        let Some((from, to)) = range else {
            values.reject(&key, entry, "expected a status from \"400\" to \"599\", \"4xx\" or \"5xx\"", None);
            continue;
        };
        match &entry.raw {
            Raw::Text(text) => {
                pages.0.extend(page(&key, text, entry, source, values).map(|page| (from, to, page)));
            }
            other => values.reject(&key, entry, format!("expected a file, found {}", other.kind()), None),
        }
    }
    pages
}

/// The text of an HTML file.
fn page(path: &str, text: &str, given: &Given, source: &Source, values: &mut Values) -> Option<String> {
    let file = source::clean(&source.project.join(text));
    match source::text(&file) {
        Ok(page) => Some(page),
        Err(what) => {
            values.reject(path, given, what, None);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_a_number_and_a_unit() {
        for (text, expected) in [
            ("10/s", Some((10, Duration::from_millis(100)))),
            ("100/min", Some((100, Duration::from_millis(600)))),
            ("60 / m", Some((60, Duration::from_secs(1)))),
            ("1/h", Some((1, Duration::from_secs(3600)))),
            ("0/s", None),
            ("10", None),
            ("10r/s", None),
            ("-1/s", None),
            ("1.5/s", None),
            ("10/day", None),
            ("2000000/s", None),
        ] {
            assert_eq!(parse_rate(text), expected, "{text}");
        }
    }

    #[test]
    fn a_rate_is_written_as_it_was_read() {
        for text in ["10/s", "3/s", "7/min", "100/min", "1000/h", "1000000/h", "999999/s", "1/h"] {
            let (burst, every) = parse_rate(text).unwrap();
            let (count, unit) = RateLimit { every, burst, by: RateKey::Client }.written();
            assert_eq!(format!("{count}/{unit}"), text);
            let (count, unit) = RateLimit { every, burst: 12345, by: RateKey::Client }.written();
            assert_eq!(parse_rate(&format!("{count}/{unit}")).unwrap().1, every, "{text} beside another burst");
        }
    }

    #[test]
    fn the_page_of_the_status_comes_before_that_of_its_class() {
        let pages = ErrorPages(vec![(500, 599, "class".into()), (502, 502, "status".into())]);
        assert_eq!([404, 500, 502].map(|status| pages.of(status)), [None, Some("class"), Some("status")]);
    }
}
