//! Which results were recorded lately, for a dispatcher that starts: a runner that delivers one again gets the same
//! answer.

use super::{Store, StoreError};
use crate::model::AttemptId;

/// How many are read. Runners that come back deliver what they hold, which is far less.
const LATELY: i64 = 8192;

impl Store {
    /// Attempts with a recorded outcome other than lost, oldest first.
    pub fn recorded_lately(&self) -> Result<Vec<AttemptId>, StoreError> {
        let read = || {
            let mut statement = self
                .conn
                .prepare_cached("SELECT attempt FROM outcomes WHERE outcome <> 6 ORDER BY attempt DESC LIMIT ?1")?;
            let rows = statement.query_map([LATELY], |row| row.get::<_, i64>(0))?;
            let mut attempts =
                rows.map(|id| Ok(AttemptId(id?.cast_unsigned()))).collect::<rusqlite::Result<Vec<_>>>()?;
            attempts.reverse();
            Ok(attempts)
        };
        read().map_err(self.failed("read recorded outcomes from"))
    }
}
