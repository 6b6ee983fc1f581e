//! The dispatcher's records: a contract in words of the model, and one implementation of it.
//!
//! A dispatcher's core owns the one [`Store`], which writes: [`Store::commit`] returns once its records are synced, so
//! a message sent afterwards promises nothing that a crash takes back. [`Readers`] opens a [`Reader`] for everybody who
//! answers people; readers see what was committed, and neither wait for the writer nor are waited for.
//!
//! A store must never begin an empty store where another was, mend a damaged one by guessing, hand out a number twice,
//! or decide anything: a batch that contradicts what is stored is refused whole.
//!
//! The files beside this one name no database. [`sqlite`] keeps everything in one file of the data directory. The start
//! of a dispatcher and the copying of a data directory choose it by name; everybody else knows only the contract. The
//! tests in `tests/` hold for every implementation.

mod error;
mod reader;
pub mod sqlite;
mod writer;

#[cfg(test)]
mod tests;

pub use error::{Cause, StoreError};
pub use reader::{
    LateResult, Lineage, PassScope, ReadTransaction, Reader, Readers, Rule, Scope, Sequence, Surveyed, TaskPass,
};
pub use writer::Store;
