//! An error as a person needs it: what failed, while doing what, where, why, and what to do.

use std::fmt;

/// The parts of an error message; all but the first may be absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// What failed, in one line.
    pub what: String,
    /// What was being done.
    pub during: Option<String>,
    /// The file or process.
    pub place: Option<String>,
    /// Why.
    pub cause: Option<String>,
    /// Several lines: a traceback, a tool's output.
    pub detail: Option<String>,
    /// What to do; commands as `` `tierce …` ``, which are shown as they have to be typed.
    pub hint: Option<String>,
}

impl Explanation {
    /// An explanation that only says what failed.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), ..Self::default() }
    }

    /// Adds what was being done.
    pub fn during(mut self, during: impl Into<String>) -> Self {
        self.during = Some(during.into());
        self
    }

    /// Adds where.
    pub fn place(mut self, place: impl Into<String>) -> Self {
        self.place = Some(place.into());
        self
    }

    /// Adds why.
    pub fn cause(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Adds output or a traceback.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into()).filter(|detail| !detail.trim().is_empty());
        self
    }

    /// Adds what to do.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        let parts = [("while", &self.during), ("where", &self.place), ("cause", &self.cause)];
        for (name, text) in parts {
            if let Some(text) = text {
                write!(f, "\n  {name}: {}", text.trim().replace('\n', "\n         "))?;
            }
        }
        if let Some(detail) = &self.detail {
            for line in detail.trim_end().lines() {
                write!(f, "\n  | {line}")?;
            }
        }
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_stand_under_each_other() {
        let full = Explanation::new("a").during("b").place("c").cause("d\ne").detail("f\ng\n").hint("h");
        assert_eq!(
            full.to_string(),
            "error: a\n  while: b\n  where: c\n  cause: d\n         e\n  | f\n  | g\n  hint: h"
        );
        assert_eq!(Explanation::new("a").detail(" ").to_string(), "error: a");
    }
}
