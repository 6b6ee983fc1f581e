//! What the dispatcher remembers, in words of the model. The tables and files are SQLite's and lie in `sqlite/`.

mod sqlite;

pub use sqlite::{BuildName, Reader, Restoring, Rule, Store, StoreError, Surveyed, back_up, restore};
