//! How many workers a node has: a number, or bounds between which it adapts.

use std::{fmt, ops::RangeInclusive};

use crate::{
    read::{Given, Raw},
    values::Values,
};

/// Whoever needs more has more nodes.
const RANGE: RangeInclusive<u32> = 1..=1024;

/// `"auto"`: a worker that computes fills a core, and more than that serve handlers which wait while `threads` is low.
const AUTO_PER_CORE: u32 = 4;

const EXPECTED: &str = "a number from 1 to 1024, \"auto\" or bounds like \"2..8\"";

/// The bounds of the number of workers in each node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workers {
    /// There are never fewer; at least one.
    pub least: u32,
    /// There are never more.
    pub most: u32,
}

impl Workers {
    /// Always so many.
    pub fn fixed(count: u32) -> Self {
        Self { least: count, most: count }
    }

    fn auto(cores: u32) -> Self {
        Self { least: 1, most: cores.saturating_mul(AUTO_PER_CORE).clamp(1, *RANGE.end()) }
    }

    /// Whether the number adapts.
    pub fn adapts(self) -> bool {
        self.least < self.most
    }
}

/// `4` or `1..8`.
impl fmt::Display for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.adapts() {
            true => write!(f, "{}..{}", self.least, self.most),
            false => write!(f, "{}", self.least),
        }
    }
}

/// The value of `workers` on a machine of so many cores, if it was given and is valid.
pub(crate) fn workers(values: &mut Values, cores: u32) -> Option<Workers> {
    let path = "workers";
    let given = values.given(path)?;
    let parsed = match (&given.raw, &given.origin) {
        (Raw::Number(number), _) => count(*number),
        (Raw::Text(text), origin) => match text.trim() {
            "auto" => Ok(Workers::auto(cores)),
            text => match text.parse() {
                Ok(number) if origin.is_word() => count(number),
                Ok(number) => Err(refused(&given, Some(format!("write {number} without quotes")))),
                Err(_) => bounds(text, &given),
            },
        },
        _ => Err(refused(&given, None)),
    };
    match parsed {
        Ok(workers) => Some(workers),
        Err((what, hint)) => {
            values.reject(path, &given, what, hint);
            None
        }
    }
}

fn count(number: i64) -> Result<Workers, (String, Option<String>)> {
    let valid = u32::try_from(number).ok().filter(|count| RANGE.contains(count));
    valid.map(Workers::fixed).ok_or_else(|| (format!("expected a number from 1 to 1024, found {number}"), None))
}

/// `2..8`
fn bounds(text: &str, given: &Given) -> Result<Workers, (String, Option<String>)> {
    let number = |text: &str| text.trim().parse::<u32>().ok();
    let Some((least, most)) = text.split_once("..") else {
        // What people write instead, as in 2-8.
        let pair = ["-", ",", ":", " "].iter().find_map(|between| text.split_once(between));
        let meant = pair.and_then(|(least, most)| Some((number(least)?, number(most)?)));
        return Err(refused(given, meant.map(|(least, most)| format!("write \"{least}..{most}\""))));
    };
    match (number(least), number(most)) {
        (Some(least), Some(most)) if RANGE.contains(&least) && RANGE.contains(&most) => {
            let hint = || Some(format!("write \"{most}..{least}\""));
            if most < least {
                return Err((format!("the lower bound comes first, found {text:?}"), hint()));
            }
            Ok(Workers { least, most })
        }
        (Some(_), Some(_)) => Err((format!("expected bounds from 1 to 1024, found {text:?}"), None)),
        _ => Err(refused(given, Some("both bounds are numbers: \"2..8\"".to_owned()))),
    }
}

fn refused(given: &Given, hint: Option<String>) -> (String, Option<String>) {
    let found = match &given.raw {
        Raw::Text(text) => format!("{text:?}"),
        raw => raw.kind().to_owned(),
    };
    (format!("expected {EXPECTED}, found {found}"), hint)
}
