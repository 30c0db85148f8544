//! How many second tries there may be: a fifth of all requests, so that a failing upstream is not buried under them.

/// In parts of a try.
const TRY: u32 = 100;

/// What a request adds: a fifth of a try.
const EARNED: u32 = TRY / 5;

/// What can be saved up, and what there is at first.
const MOST: u32 = 10 * TRY;

/// The tries that are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBudget(u32);

impl Default for RetryBudget {
    fn default() -> Self {
        Self(MOST)
    }
}

impl RetryBudget {
    /// A request was tried for the first time.
    pub fn earn(&mut self) {
        self.0 = (self.0 + EARNED).min(MOST);
    }

    /// Takes a try, if there is one.
    #[must_use]
    pub fn spend(&mut self) -> bool {
        let left = self.0.checked_sub(TRY);
        self.0 = left.unwrap_or(self.0);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_of_many_requests_may_be_tried_again() {
        let mut budget = RetryBudget::default();
        let mut spent = 0;
        for _ in 0..1000 {
            budget.earn();
            spent += u32::from(budget.spend());
        }
        assert_eq!(spent, 210 - 1, "ten are saved up, and a fifth is earned");
        assert!((0..5).filter(|_| budget.spend()).count() <= 1);
    }
}
