//! Pointers of Git LFS.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| surveil::fuzz::lfs_pointer(bytes));
