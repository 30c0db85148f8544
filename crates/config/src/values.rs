//! One value of one kind, or a problem that says what was expected.

use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

use units::Bytes;

use crate::{
    problem::Problem,
    read::{Given, Origin, Raw},
};

/// All values, and the problems found while they are asked for.
#[derive(Debug)]
pub(crate) struct Values {
    given: BTreeMap<String, Given>,
    pub(crate) problems: Vec<Problem>,
}

impl Values {
    pub(crate) fn new(given: BTreeMap<String, Given>, problems: Vec<Problem>) -> Self {
        Self { given, problems }
    }

    pub(crate) fn given(&self, path: &str) -> Option<Given> {
        self.given.get(path).cloned()
    }

    pub(crate) fn reject(&mut self, path: &str, given: &Given, what: impl std::fmt::Display, hint: Option<String>) {
        let problem = match &given.origin {
            Origin::File(place) => Problem::new(format!("`{path}`: {what}")).at(Some(place.clone())),
            Origin::Variable(name) => Problem::new(format!("{name}: {what}")),
            Origin::Flag(name) => Problem::new(format!("{name}: {what}")).of_command_line(),
        };
        self.problems.push(match hint {
            Some(hint) => problem.hint(hint),
            None => problem,
        });
    }

    fn wrong_kind(&mut self, path: &str, given: &Given, expected: &str, hint: Option<String>) {
        let found = match &given.raw {
            // Of a variable or a flag, the kind says nothing.
            Raw::Text(text) if given.origin.is_word() => format!("{text:?}"),
            raw => raw.kind().to_owned(),
        };
        self.reject(path, given, format!("expected {expected}, found {found}"), hint);
    }

    pub(crate) fn text(&mut self, path: &str) -> Option<(String, Given)> {
        let given = self.given(path)?;
        match &given.raw {
            Raw::Text(text) => self.usable(path, &given, text).then(|| (text.clone(), given.clone())),
            _ => {
                self.wrong_kind(path, &given, "a text", None);
                None
            }
        }
    }

    /// Whether the system can take the text as a name, a path or an argument.
    fn usable(&mut self, path: &str, given: &Given, text: &str) -> bool {
        let what = match text {
            "" => "the text is empty",
            text if text.contains('\0') => "the text holds a NUL",
            _ => return true,
        };
        self.reject(path, given, what, None);
        false
    }

    pub(crate) fn number(&mut self, path: &str, range: RangeInclusive<u32>) -> Option<u32> {
        let given = self.given(path)?;
        let number = match (&given.raw, &given.origin) {
            (Raw::Number(number), _) => Some(*number),
            (Raw::Text(text), origin) if origin.is_word() => text.trim().parse().ok(),
            _ => None,
        };
        match number.and_then(|number| u32::try_from(number).ok()).filter(|number| range.contains(number)) {
            Some(number) => Some(number),
            None => {
                let expected = format!("a number from {} to {}", range.start(), range.end());
                match (&given.raw, number) {
                    (_, Some(number)) => {
                        self.reject(path, &given, format!("expected {expected}, found {number}"), None)
                    }
                    (Raw::Text(text), None) => {
                        let digits = text.trim().parse::<u32>().is_ok();
                        let hint = digits.then(|| format!("write {} without quotes", text.trim()));
                        self.reject(path, &given, format!("expected {expected}, found {text:?}"), hint);
                    }
                    _ => self.wrong_kind(path, &given, &expected, None),
                }
                None
            }
        }
    }

    pub(crate) fn flag(&mut self, path: &str) -> Option<bool> {
        let given = self.given(path)?;
        match (&given.raw, &given.origin) {
            (Raw::Flag(flag), _) => Some(*flag),
            (Raw::Text(text), origin) if origin.is_word() && matches!(text.as_str(), "true" | "1") => Some(true),
            (Raw::Text(text), origin) if origin.is_word() && matches!(text.as_str(), "false" | "0") => Some(false),
            _ => {
                self.wrong_kind(path, &given, "true or false", None);
                None
            }
        }
    }

    pub(crate) fn duration(&mut self, path: &str, range: RangeInclusive<Duration>) -> Option<Duration> {
        let given = self.given(path)?;
        let shown = |duration| units::show_duration(duration);
        let text = match &given.raw {
            Raw::Text(text) => text.clone(),
            Raw::Number(number) => {
                let hint = format!("durations have a unit: write \"{number}s\" for seconds");
                self.wrong_kind(path, &given, "a duration", Some(hint));
                return None;
            }
            _ => {
                self.wrong_kind(path, &given, "a duration like \"30s\"", None);
                return None;
            }
        };
        match units::parse_duration(&text) {
            Ok(duration) if range.contains(&duration) => Some(duration),
            Ok(_) => {
                let between = format!("{} to {}", shown(*range.start()), shown(*range.end()));
                self.reject(path, &given, format!("expected a duration from {between}, found {text:?}"), None);
                None
            }
            Err(_) => {
                let hint = Some("durations have a unit: \"30s\", \"200ms\", \"5m\", \"1h\"".to_owned());
                self.reject(path, &given, format!("{text:?} is not a duration"), hint);
                None
            }
        }
    }

    pub(crate) fn size(&mut self, path: &str) -> Option<Bytes> {
        let given = self.given(path)?;
        let hint = || Some("sizes have a unit: \"512kB\", \"10MB\", \"64KiB\", \"1GiB\"".to_owned());
        match &given.raw {
            Raw::Text(text) => match text.parse() {
                Ok(size) => Some(size),
                Err(_) => {
                    self.reject(path, &given, format!("{text:?} is not a size"), hint());
                    None
                }
            },
            _ => {
                self.wrong_kind(path, &given, "a size", hint());
                None
            }
        }
    }

    pub(crate) fn choice<T: Copy>(&mut self, path: &str, choices: &[(&str, T)]) -> Option<T> {
        let (text, given) = self.text(path)?;
        if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == text) {
            return Some(*choice);
        }
        let names: Vec<_> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        self.reject(path, &given, format!("expected one of {}, found {text:?}", names.join(", ")), None);
        None
    }

    /// A list of texts; a single text counts as a list of one, words are split at commas.
    pub(crate) fn list(&mut self, path: &str) -> Option<Vec<(String, Given)>> {
        let given = self.given(path)?;
        match &given.raw {
            Raw::Text(text) if given.origin.is_word() => {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                Some(parts.map(|part| (part.to_owned(), given.clone())).collect())
            }
            Raw::Text(text) => self.usable(path, &given, text).then(|| vec![(text.clone(), given.clone())]),
            Raw::List(elements) => {
                let mut texts = Vec::new();
                for element in elements {
                    match &element.raw {
                        Raw::Text(text) if self.usable(path, element, text) => {
                            texts.push((text.clone(), element.clone()));
                        }
                        Raw::Text(_) => {}
                        _ => self.wrong_kind(path, element, "a text", None),
                    }
                }
                Some(texts)
            }
            _ => {
                self.wrong_kind(path, &given, "a list of texts", None);
                None
            }
        }
    }
}
