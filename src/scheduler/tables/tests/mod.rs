//! Tests of single tables.

mod queue;
