//! The text that Prometheus reads (exposition format 0.0.4).
//!
//! Invariant: a reader that is strict reads it: each family once, with its help and kind before its samples, no two samples
//! with the same labels, label values escaped.

use std::{
    collections::HashSet,
    fmt::{Display, Write},
};

/// What the media type of the text is.
pub const EXPOSITION_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a family of samples is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, until the process ends.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

/// A page of metrics, family by family.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
    family: String,
    /// The labels that the family has samples of.
    seen: HashSet<String>,
}

impl Exposition {
    /// Begins a family; the samples that follow are its.
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
        name.clone_into(&mut self.family);
        self.seen.clear();
    }

    /// A sample of the family. One with labels that were there already is left out: a reader would refuse the whole page.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        let labels = in_braces(labels, None);
        if self.seen.insert(labels.clone()) {
            let family = std::mem::take(&mut self.family);
            self.line(format_args!("{family}{labels} {value}"));
            self.family = family;
        }
    }

    /// A histogram of the family: how many samples each bucket has got, by upper bound, and the sum of all.
    pub(crate) fn histogram(
        &mut self,
        labels: &[(&str, &str)],
        buckets: impl Iterator<Item = (String, u64)>,
        sum: &str,
    ) {
        let family = std::mem::take(&mut self.family);
        let mut count = 0;
        for (bound, more) in buckets {
            count += more;
            self.line(format_args!("{family}_bucket{} {count}", in_braces(labels, Some(&bound))));
        }
        let labels = in_braces(labels, None);
        self.line(format_args!("{family}_sum{labels} {sum}"));
        self.line(format_args!("{family}_count{labels} {count}"));
        self.family = family;
    }

    /// The whole page.
    pub fn finish(self) -> String {
        self.text
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to memory cannot fail.
        let _ = writeln!(self.text, "{line}");
    }
}

/// `{node="web.1",le="0.5"}`; nothing without labels.
fn in_braces(labels: &[(&str, &str)], bound: Option<&str>) -> String {
    let all = labels.iter().copied().chain(bound.map(|bound| ("le", bound)));
    let written: Vec<_> = all.map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    if written.is_empty() { String::new() } else { format!("{{{}}}", written.join(",")) }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let mut page = Exposition::default();
        page.family("a_total", Kind::Counter, "One \\ and\nanother.");
        page.sample(&[("x", "say \"no\"\\\n")], 1);
        page.sample(&[("x", "say \"no\"\\\n")], 2);
        page.sample(&[], 3.5);
        let expected = "# HELP a_total One \\\\ and\\nanother.\n# TYPE a_total counter\n\
                        a_total{x=\"say \\\"no\\\"\\\\\\n\"} 1\na_total 3.5\n";
        assert_eq!(page.finish(), expected);
    }
}
