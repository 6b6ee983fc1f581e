//! Reasons in English: the only folder that makes text of them. The dispatcher's reports, answers and log, the store
//! beside each code, and the commands all show these texts.

mod answers;
mod phrases;
mod reasons;
mod status;

pub use phrases::{attempt_detail, drained_words, missing_output, outcome_detail, outcome_words};
