//! Two written configurations side by side.
//!
//! Invariant: what is compared is the whole; what is shown of it is a line without control characters, and not endless.

use std::collections::{BTreeSet, HashMap};

use super::{
    Change, Difference, Hidden,
    written::{Element, Keys, Setting, Text},
};

/// The longest value or name that is shown whole.
const SHOWN_MAX: usize = 200;

pub(super) fn compare(old: &Keys, new: &Keys) -> Vec<Difference> {
    let mut found = Vec::new();
    keys("", old, new, &mut found);
    found
}

/// Both have the same keys in the same order, as the same function has written them.
fn keys(of: &str, old: &Keys, new: &Keys, found: &mut Vec<Difference>) {
    for ((key, old), (_, new)) in old.iter().zip(new) {
        match (old, new) {
            (Setting::One(old), Setting::One(new)) => one(of, key, (old.as_ref(), new.as_ref()), found),
            (Setting::Table(old), Setting::Table(new)) => {
                for name in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
                    one(of, &format!("{key}.{name}"), (old.get(name), new.get(name)), found);
                }
            }
            (Setting::List(old), Setting::List(new)) => list(of, key, (old, new), found),
            _ => unreachable!("a key is always written in the same way"),
        }
    }
}

fn one(of: &str, key: &str, sides: (Option<&Text>, Option<&Text>), found: &mut Vec<Difference>) {
    let shown = |text: Option<&Text>| match text {
        Some(Text::Shown(text)) => Some(clean(text)),
        Some(Text::Hidden(_)) | None => None,
    };
    let change = match sides {
        (old, new) if old == new => return,
        (None, Some(Text::Hidden(_))) => Change::Hidden(Hidden::Added),
        (Some(Text::Hidden(_)), None) => Change::Hidden(Hidden::Removed),
        (Some(Text::Hidden(_)), _) | (_, Some(Text::Hidden(_))) => Change::Hidden(Hidden::Changed),
        (old, new) => Change::Value { old: shown(old), new: shown(new) },
    };
    found.push(difference(of, key, change));
}

fn list(of: &str, key: &str, (old, new): (&[Element], &[Element]), found: &mut Vec<Difference>) {
    let places = |list: &[Element]| -> HashMap<String, usize> {
        list.iter().enumerate().map(|(at, element)| (element.name.clone(), at)).collect()
    };
    let (before, after) = (places(old), places(new));
    for gone in old.iter().filter(|element| !after.contains_key(&element.name)) {
        found.push(difference(of, key, Change::Removed(clean(&gone.name))));
    }
    let kept: Vec<_> = new.iter().filter_map(|element| before.get(&element.name).copied()).collect();
    let in_order = longest_rise(&kept);
    let mut ahead: Option<&Element> = None;
    for element in new {
        let behind = ahead.replace(element);
        let what = clean(&element.name);
        let Some(&place) = before.get(&element.name) else {
            found.push(difference(of, key, Change::Added(what)));
            continue;
        };
        if !in_order.contains(&place) {
            let behind = behind.map(|element| clean(&element.name));
            found.push(difference(of, key, Change::Moved { what, behind }));
        }
        let inner =
            if of.is_empty() { format!("{key} {}", element.name) } else { format!("{of}: {key} {}", element.name) };
        keys(&inner, &old[place].keys, &element.keys, found);
    }
}

fn difference(of: &str, key: &str, change: Change) -> Difference {
    Difference { of: clean(of), key: clean(key), change }
}

/// As many of the numbers as possible that follow each other in rising order: what need not be moved. No number is there twice.
fn longest_rise(numbers: &[usize]) -> BTreeSet<usize> {
    // For each length the rise that ends lowest, by its last number; and what stands before a number in its rise.
    let (mut ends, mut previous) = (Vec::<usize>::new(), HashMap::new());
    for &number in numbers {
        let length = ends.partition_point(|end| *end < number);
        if let Some(before) = length.checked_sub(1) {
            previous.insert(number, ends[before]);
        }
        match ends.get_mut(length) {
            Some(end) => *end = number,
            None => ends.push(number),
        }
    }
    std::iter::successors(ends.last().copied(), |number| previous.get(number).copied()).collect()
}

/// In one line, and not longer than people read.
fn clean(text: &str) -> String {
    let mut shown = String::new();
    for (count, letter) in text.chars().enumerate() {
        match letter {
            _ if count == SHOWN_MAX => {
                shown.push('…');
                break;
            }
            letter if letter.is_control() => shown.extend(letter.escape_default()),
            letter => shown.push(letter),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_few_as_possible_are_moved() {
        for (numbers, expected) in [
            (&[][..], &[][..]),
            (&[0, 1, 2], &[0, 1, 2]),
            (&[2, 0, 1], &[0, 1]),
            (&[1, 2, 0], &[1, 2]),
            (&[3, 0, 1, 2, 4], &[0, 1, 2, 4]),
            (&[5, 1, 6, 2, 3], &[1, 2, 3]),
        ] {
            assert_eq!(longest_rise(numbers), expected.iter().copied().collect(), "{numbers:?}");
        }
        assert_eq!(longest_rise(&[2, 1, 0]).len(), 1);
    }

    #[test]
    fn a_line_stays_a_line() {
        assert_eq!(clean("a\nb\u{1b}[1m"), "a\\nb\\u{1b}[1m");
        assert_eq!(clean(&"ä".repeat(SHOWN_MAX)), "ä".repeat(SHOWN_MAX));
        assert_eq!(clean(&"ä".repeat(SHOWN_MAX + 1)), format!("{}…", "ä".repeat(SHOWN_MAX)));
    }
}
