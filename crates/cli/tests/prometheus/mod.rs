//! The text format of Prometheus (0.0.4), read as a strict reader does: whatever is not in the format fails the test.

use std::collections::{BTreeMap, HashMap, HashSet};

type Labels = BTreeMap<String, String>;

/// A page that was read.
#[derive(Debug)]
pub(crate) struct Page(Vec<(String, Labels, f64)>);

impl Page {
    pub(crate) fn read(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line has no end");
        let (mut samples, mut kinds, mut helped) = (Vec::new(), HashMap::new(), HashSet::new());
        let mut family = String::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, _) = rest.split_once(' ').unwrap_or_else(|| panic!("{line}"));
                assert!(is_name(name) && helped.insert(name.to_owned()), "{line}");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap_or_else(|| panic!("{line}"));
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert!(helped.contains(name), "{line}: no help before it");
                assert!(kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "{line}: twice");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                name.clone_into(&mut family);
            } else {
                let (name, labels, value) = sample(line);
                let suffix = name.strip_prefix(family.as_str()).unwrap_or_else(|| panic!("{line}: not of {family}"));
                match kinds[&family].as_str() {
                    "histogram" => assert!(["_bucket", "_sum", "_count"].contains(&suffix), "{line}"),
                    _ => assert_eq!(suffix, "", "{line}"),
                }
                samples.push((name, labels, value));
            }
        }
        let all: HashSet<_> = samples.iter().map(|(name, labels, _)| format!("{name}{labels:?}")).collect();
        assert_eq!(all.len(), samples.len(), "a sample is there twice");
        let page = Self(samples);
        let histograms = kinds.iter().filter(|(_, kind)| *kind == "histogram");
        histograms.for_each(|(name, _)| page.check_histogram(name));
        page
    }

    /// Buckets only grow, and the last is the count.
    fn check_histogram(&self, name: &str) {
        for (_, labels, count) in self.0.iter().filter(|(known, ..)| *known == format!("{name}_count")) {
            let buckets = self.0.iter().filter_map(|(known, with, value)| {
                let mut rest = with.clone();
                let bound = (*known == format!("{name}_bucket")).then(|| rest.remove("le"))??;
                (rest == *labels).then(|| (bound.parse::<f64>().unwrap(), *value))
            });
            let buckets: Vec<_> = buckets.collect();
            assert!(2 < buckets.len(), "{name} {labels:?}");
            assert!(buckets.windows(2).all(|two| two[0].0 < two[1].0 && two[0].1 <= two[1].1), "{name} {buckets:?}");
            assert_eq!(buckets.last(), Some(&(f64::INFINITY, *count)), "{name} {labels:?}");
        }
    }

    /// The sum of all samples of this name that have these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |known: &Labels| labels.iter().all(|(name, value)| known.get(*name).is_some_and(|it| it == value));
        assert!(self.0.iter().any(|(known, ..)| known == name), "there is no {name}");
        self.0.iter().filter(|(known, with, _)| known == name && has(with)).map(|(_, _, value)| value).sum()
    }
}

fn is_name(name: &str) -> bool {
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    first && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// `name{label="value",…} number`
fn sample(line: &str) -> (String, Labels, f64) {
    let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("{line}"));
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let mut labels = Labels::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
            assert!(is_name(label), "{line}");
            let mut value = String::new();
            let mut chars = after.char_indices();
            let at = loop {
                match chars.next().unwrap_or_else(|| panic!("{line}")) {
                    (at, '"') => break at,
                    (_, '\\') => value.push(match chars.next() {
                        Some((_, 'n')) => '\n',
                        Some((_, c @ ('"' | '\\'))) => c,
                        _ => panic!("{line}"),
                    }),
                    (_, c) => value.push(c),
                }
            };
            assert!(labels.insert(label.to_owned(), value).is_none(), "{line}");
            rest = &after[at + 1..];
            match rest.split_at(1) {
                (",", more) => rest = more,
                ("}", more) => {
                    rest = more;
                    break;
                }
                _ => panic!("{line}"),
            }
        }
    }
    let number = rest.strip_prefix(' ').unwrap_or_else(|| panic!("{line}"));
    assert!(!number.contains(' ') && !number.starts_with('+'), "{line}");
    (name.to_owned(), labels, number.parse().unwrap_or_else(|_| panic!("{line}")))
}
