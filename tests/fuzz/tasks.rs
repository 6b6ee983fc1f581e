//! A task file with any bytes, as a committer can write it.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| surveil::fuzz::task_file(bytes));
