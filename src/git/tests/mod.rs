//! Test support of this room. The tests themselves stand with the modules that they test.

pub(crate) mod support;
