//! Tests of the contract, for every implementation: values read back, batches are whole or refused, and builds are
//! forgotten. Each test here is a function over [`MakePlace`], and [`over`] runs all of them over one
//! implementation: a second one adds one line to the end of this file. Tests of an implementation's own matters, such
//! as damaged files, lie with it.

mod artifacts;
mod caches;
mod credentials;
mod history;
mod outputs;
mod passes;
mod records;
mod retention;
mod secrets;
mod short_logs;
pub(super) mod values;

use super::{Reader, Readers, Store};

/// Makes an empty place for a store.
type MakePlace = fn() -> Box<dyn Place>;

/// A place that keeps one store, for as long as it lives. Opened again, the store has what was committed.
pub(super) trait Place {
    fn open(&self) -> Box<dyn Store>;
    fn readers(&self) -> Readers;

    fn reader(&self) -> Box<dyn Reader> {
        self.readers().open().unwrap()
    }
}

/// Runs the tests of this directory over an implementation. A function that is not named here is dead code.
macro_rules! over {
    ($implementation:ident, $place:expr, $($module:ident: $($test:ident)*;)*) => {
        mod $implementation {
            $($(
                #[test]
                fn $test() {
                    super::$module::$test(|| Box::new($place));
                }
            )*)*
        }
    };
    ($implementation:ident, $place:expr) => {
        over! {
            $implementation, $place,
            history: any_history_reads_back_however_it_was_cut_into_batches;
            artifacts:
                artifacts_of_an_attempt_read_back_and_go_with_its_build
                a_removed_artifact_of_a_finished_build_says_when_and_why_and_the_others_stay;
            caches:
                a_cache_is_written_once_in_each_scope
                an_entry_of_a_tool_is_written_once_and_found_by_its_key;
            credentials: credentials_are_replaced_forgotten_and_there_after_a_restart;
            short_logs: short_logs_are_kept_with_their_batch_until_they_are_forgotten_or_their_build_is;
            secrets: secrets_are_replaced_and_removed_by_name_and_repository;
            outputs: the_outputs_of_a_task_are_those_of_its_newest_attempt_and_go_with_its_build;
            records:
                a_new_store_knows_of_nothing
                answers_in_a_read_transaction_are_of_one_moment
                unfinished_work_is_there_after_a_restart
                a_reopened_build_is_unfinished_again_and_keeps_its_attempts
                a_job_has_the_task_with_the_values_that_it_got_last
                jobs_that_joined_a_build_are_its_own_after_a_restart_and_go_with_it
                a_build_knows_when_it_was_run_again_last
                the_same_submission_makes_one_build
                a_build_is_found_by_its_trigger
                an_attempt_has_one_outcome_and_a_number_of_its_own
                a_batch_with_a_contradiction_leaves_nothing_behind
                what_is_finished_stays_so_until_it_is_queued_or_reopened
                a_build_is_found_by_the_beginning_of_its_commit_and_as_the_newest
                a_beginning_that_several_commits_have_gives_the_newest_build_of_each
                finished_builds_come_newest_first_and_by_repository
                how_an_attempt_was_executed_reads_back_and_goes_with_its_build
                late_results_and_decisions_are_kept_beside_the_record
                refs_of_a_first_look_are_heads_without_source_or_build
                a_repository_remembers_where_it_was_observed
                reasons_beyond_those_kept_once_read_back_too;
            passes:
                the_newest_pass_of_a_task_is_found_on_its_ref
                the_times_of_tasks_that_a_task_wrote_are_those_of_the_newest_build_that_has_some
                a_build_that_left_a_task_out_names_the_build_in_which_it_passed
                a_new_ref_finds_passes_at_the_commits_that_it_comes_from
                a_trusted_build_counts_no_pass_of_an_untrusted_one;
            retention:
                forgotten_builds_leave_nothing_but_their_numbers_and_why_they_went
                a_survey_tells_of_each_build_what_its_removal_depends_on;
        }
    };
}

over!(sqlite, crate::store::sqlite::tests::Place::new());
