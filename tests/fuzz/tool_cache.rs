//! Bytes that a client of a tool cache sends, and lines that Go says to its helper.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| surveil::fuzz::tool_cache(bytes));
