//! When the core is at rest after much work, so that the memory of that work is worth giving back.

use crate::dispatcher::limits;

/// Counts what was committed since the store last gave memory back.
#[derive(Debug, Default)]
pub(super) struct Rest {
    records: usize,
    /// Checks of the leases since the last commit.
    quiet_checks: u32,
}

impl Rest {
    /// Counts the records of a commit.
    pub(super) fn committed(&mut self, records: usize) {
        self.records += records;
        self.quiet_checks = 0;
    }

    /// Whether to give memory back now. Called at each check of the leases.
    pub(super) fn is_due(&mut self) -> bool {
        self.quiet_checks += 1;
        let is_due = self.quiet_checks >= limits::QUIET_CHECKS && self.records >= limits::RECORDS_WORTH_A_RELEASE;
        if is_due {
            self.records = 0;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_once_after_much_work_and_never_between_commits() {
        let mut rest = Rest::default();
        let checks = |rest: &mut Rest| (0..2 * limits::QUIET_CHECKS).filter(|_| rest.is_due()).count();
        rest.committed(limits::RECORDS_WORTH_A_RELEASE - 1);
        assert_eq!(checks(&mut rest), 0, "too little was committed");
        rest.committed(1);
        assert!((1..limits::QUIET_CHECKS).all(|_| !rest.is_due()), "the last commit was just now");
        rest.committed(1);
        assert_eq!(checks(&mut rest), 1);
        assert_eq!(checks(&mut rest), 0, "nothing was committed since");
    }
}
