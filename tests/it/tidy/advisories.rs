//! No package in `Cargo.lock` has a version that is known to be bad.
//!
//! The database of advisories cannot be fetched on every machine, so this table repeats the part that concerns packages
//! of ours. `cargo deny check advisories` asks the whole database; docs/contributing.md says when.

use std::fs;

use super::root;

/// A package, its first version that is good, the advisories that this version answers, and what they are about.
type Row = (&'static str, &'static str, &'static str, &'static str);

const BAD: &[Row] = &[
    ("bytes", "1.11.1", "RUSTSEC-2026-0007", "a size that wraps in `reserve`"),
    ("crossbeam-channel", "0.5.15", "RUSTSEC-2025-0024", "a double free when a channel is dropped"),
    (
        "git2",
        "0.21.0",
        "RUSTSEC-2026-0008, -0183, -0184",
        "undefined behaviour in buffers, lists of remotes, and blame",
    ),
    ("hashbrown", "0.15.1", "RUSTSEC-2024-0402", "maps that are serialized in more than one way"),
    ("libgit2-sys", "0.16.2", "RUSTSEC-2024-0013", "libgit2 with memory corruption"),
    ("libsqlite3-sys", "0.25.1", "RUSTSEC-2022-0090", "SQLite with an array overflow"),
    ("rand", "0.10.1", "RUSTSEC-2026-0097", "unsound if a logger draws random numbers"),
    ("ring", "0.17.12", "RUSTSEC-2025-0009", "a panic in AES if overflow is checked, as it is here"),
    ("rustls", "0.23.46", "RUSTSEC-2026-0285, -0346 to -0349", "published for all versions before; peers reach it"),
    ("rustls", "0.23.18", "RUSTSEC-2024-0336, -0399", "an endless loop and a panic that a peer can cause"),
    ("rustls-webpki", "0.103.13", "RUSTSEC-2026-0049, -0098, -0099, -0104", "name constraints and revocation lists"),
    ("shlex", "1.3.0", "RUSTSEC-2024-0006", "quoting that leaves characters out"),
    ("smallvec", "1.6.1", "RUSTSEC-2021-0003", "a buffer overflow"),
    ("time", "0.3.47", "RUSTSEC-2026-0009", "a stack that a date exhausts"),
    ("zlib-rs", "0.4.0", "RUSTSEC-2024-0401", "a stack that compressed input exhausts"),
];

/// The number of a version, in an order in which a pre-release comes before its release. Build metadata counts nothing.
fn order(version: &str) -> ([u64; 3], bool) {
    let version = version.split('+').next().unwrap();
    let (numbers, pre_release) = version.split_once('-').map_or((version, None), |(a, b)| (a, Some(b)));
    let numbers: Vec<u64> = numbers.split('.').map(|number| number.parse().unwrap()).collect();
    (numbers.try_into().unwrap(), pre_release.is_none())
}

/// The name and the version of each package in the text of a lock file.
fn packages(lock: &str) -> Vec<(String, String)> {
    let lock: toml::Table = lock.parse().unwrap();
    let text = |package: &toml::Value, key| package[key].as_str().unwrap().to_owned();
    lock["package"].as_array().unwrap().iter().map(|one| (text(one, "name"), text(one, "version"))).collect()
}

/// The advisories that concern packages in the text of a lock file, one line each.
fn found(lock: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, version) in packages(lock) {
        for (package, good, advisories, about) in BAD {
            if name == *package && order(&version) < order(good) {
                lines.push(format!("{name} {version}: {advisories} ({about}); take {good} or newer"));
            }
        }
    }
    lines
}

fn locks() -> [String; 2] {
    ["Cargo.lock", "tests/fuzz/Cargo.lock"].map(|name| fs::read_to_string(root().join(name)).unwrap())
}

#[test]
fn no_package_has_a_version_that_is_known_to_be_bad() {
    for lock in locks() {
        assert_eq!(found(&lock), Vec::<String>::new());
    }
}

/// The fuzz targets are a workspace of their own. If its lock file is behind, they do not build with `--locked`.
#[test]
fn the_fuzz_targets_lock_what_the_program_locks() {
    let [ours, fuzz] = locks().map(|lock| packages(&lock));
    let manifest: toml::Table = fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    let dependencies = manifest["dependencies"].as_table().unwrap().keys();
    let missing: Vec<&String> = dependencies.filter(|name| !fuzz.iter().any(|(other, _)| other == *name)).collect();
    assert!(missing.is_empty(), "{missing:?} is not in tests/fuzz/Cargo.lock: copy Cargo.lock there and build");
    let is_ours = |name: &str| ours.iter().any(|(other, _)| other == name);
    let differs = |package: &&(String, String)| is_ours(&package.0) && !ours.contains(package);
    let differing: Vec<_> = fuzz.iter().filter(differs).collect();
    assert!(differing.is_empty(), "{differing:?} is another version than in Cargo.lock");
}

/// A row with a misspelt name would never refuse anything.
#[test]
fn each_row_of_the_advisories_concerns_a_package_of_ours() {
    let ours: Vec<String> = locks().iter().flat_map(|lock| packages(lock)).map(|(name, _)| name).collect();
    for (package, ..) in BAD {
        assert!(ours.iter().any(|name| name == package), "{package} is in no Cargo.lock: remove its row");
    }
}

#[test]
fn a_version_before_the_first_good_one_is_refused() {
    let lock = |version: &str| format!("[[package]]\nname = \"rustls\"\nversion = \"{version}\"\n");
    let count = |version: &str| found(&lock(version)).len();
    assert_eq!(count("0.23.17"), 2);
    assert_eq!((count("0.23.45"), count("0.23.46-dev.1"), count("0.9.100")), (1, 1, 2));
    assert_eq!((count("0.23.46"), count("0.23.46+build"), count("0.23.100"), count("0.24.0-dev.2")), (0, 0, 0, 0));
    let told = "rustls 0.23.45: RUSTSEC-2026-0285, -0346 to -0349 (published for all versions before; peers reach it); \
                take 0.23.46 or newer";
    assert_eq!(found(&lock("0.23.45")), [told]);
}
