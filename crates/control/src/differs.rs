//! What differs between two configurations, as it is told to commands and printed by them as JSON.
//!
//! Invariant: it is bounded, whatever was configured.

use config::{Change, Difference, Hidden};
use serde::{Deserialize, Serialize};

/// So many are told; of those beyond, the number.
const TOLD_MAX: usize = 200;

/// What differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Differs {
    /// One for each key; none: the configuration is the same.
    pub items: Vec<Differing>,
    /// How many more there are.
    pub more: usize,
    /// What is to be said of the new one although it is valid.
    pub warnings: Vec<String>,
}

/// One key that is set otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Differing {
    /// All of it in one line, for people.
    pub text: String,
    /// The element of a list that the key belongs to.
    pub of: Option<String>,
    /// The key.
    pub key: String,
    /// How.
    pub change: How,
    /// What counts; nothing where there is none, or where it is not shown.
    pub old: Option<String>,
    /// What is read now, in the same way.
    pub new: Option<String>,
    /// Of an element that was moved: the one before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<String>,
}

/// How a key is set otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// To another value.
    Changed,
    /// There is one more.
    Added,
    /// There is one less.
    Removed,
    /// It stands elsewhere.
    Moved,
}

impl Differs {
    /// As many of these as are told.
    pub fn of(differences: &[Difference]) -> Self {
        let items: Vec<_> = differences.iter().take(TOLD_MAX).map(Differing::from).collect();
        Self { more: differences.len() - items.len(), items, warnings: Vec::new() }
    }

    /// For people, a line for each.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let more = (self.more > 0).then(|| format!("and {} more", self.more));
        self.items.iter().map(|item| item.text.clone()).chain(more)
    }
}

impl From<&Difference> for Differing {
    fn from(difference: &Difference) -> Self {
        let Difference { of, key, change } = difference;
        let (how, old, new, behind) = match change.clone() {
            Change::Value { old, new } => (How::Changed, old, new, None),
            Change::Hidden(Hidden::Added) => (How::Added, None, None, None),
            Change::Hidden(Hidden::Removed) => (How::Removed, None, None, None),
            Change::Hidden(Hidden::Changed) => (How::Changed, None, None, None),
            Change::Added(what) => (How::Added, None, Some(what), None),
            Change::Removed(what) => (How::Removed, Some(what), None, None),
            Change::Moved { what, behind } => (How::Moved, Some(what.clone()), Some(what), behind),
        };
        let of = Some(of.clone()).filter(|of| !of.is_empty());
        Self { text: difference.to_string(), of, key: key.clone(), change: how, old, new, behind }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(change: Change) -> Difference {
        Difference { of: String::new(), key: "listen".to_owned(), change }
    }

    #[test]
    fn the_words_for_programs() {
        let moved = Change::Moved { what: "b".to_owned(), behind: Some("a".to_owned()) };
        for (change, expected) in [
            (
                Change::Value { old: None, new: Some("1".to_owned()) },
                r#"{"text":"listen: none → 1","of":null,"key":"listen","change":"changed","old":null,"new":"1"}"#,
            ),
            (
                Change::Hidden(Hidden::Removed),
                r#"{"text":"listen: removed","of":null,"key":"listen","change":"removed","old":null,"new":null}"#,
            ),
            (
                Change::Added("b".to_owned()),
                r#"{"text":"listen: + b","of":null,"key":"listen","change":"added","old":null,"new":"b"}"#,
            ),
            (
                moved,
                r#"{"text":"listen b: moved behind a","of":null,"key":"listen","change":"moved","old":"b","new":"b","behind":"a"}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&Differing::from(&difference(change))).unwrap(), expected);
        }
    }

    #[test]
    fn however_many_there_are_few_are_told() {
        let many: Vec<_> = (0..TOLD_MAX + 7).map(|at| difference(Change::Added(at.to_string()))).collect();
        let differs = Differs::of(&many);
        assert_eq!((differs.items.len(), differs.more), (TOLD_MAX, 7));
        assert_eq!(differs.lines().last().as_deref(), Some("and 7 more"));
        assert_eq!(Differs::of(&many[..1]).lines().collect::<Vec<_>>(), ["listen: + 0"]);
    }
}
