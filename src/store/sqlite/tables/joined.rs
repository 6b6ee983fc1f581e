//! `joined`: the numbers of jobs that joined a build after it was added, from the first to the last, a row for each
//! time. Those that it had from the beginning are in `builds`.

use rusqlite::{Connection, params};

use super::execute;
use crate::model::{BuildId, JobId};

/// SQL for the jobs of build `?1`, as a table `j`. Numbers between the first and the last may be those of other builds.
macro_rules! jobs_of_build {
    () => {
        "(SELECT first_job, last_job FROM builds WHERE id = ?1 \
         UNION ALL SELECT first_job, last_job FROM joined WHERE build = ?1) r \
         JOIN jobs j ON j.id BETWEEN r.first_job AND r.last_job"
    };
}
pub(super) use jobs_of_build;

pub(crate) fn insert(conn: &Connection, build: BuildId, (first, last): (JobId, JobId)) -> rusqlite::Result<()> {
    const INSERT: &str = "INSERT INTO joined (build, first_job, last_job) VALUES (?1, ?2, ?3)";
    execute(conn, INSERT, params![build, first, last]).map(drop)
}
