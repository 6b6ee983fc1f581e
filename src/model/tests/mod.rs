//! Tests of the nouns that need more than a line beside the code.

pub(crate) mod reasons;
mod sentences;
