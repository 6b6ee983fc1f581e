//! The Debian package: built by its script from the program under test, looked into, installed and removed again.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{World, text};

/// Roots and databases that dpkg needs, without a package in them.
fn empty_root(world: &World) -> PathBuf {
    let root = world.path("root");
    for directory in ["etc", "var/lib/dpkg/info", "var/lib/dpkg/updates", "var/log"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    for file in ["etc/passwd", "etc/group", "etc/shadow", "etc/gshadow", "var/lib/dpkg/status"] {
        fs::write(root.join(file), "").unwrap();
    }
    root
}

/// A command as root, in a user namespace if the test's user is not root.
fn as_root(world: &World, program: &str) -> Command {
    if rustix::process::geteuid().is_root() {
        return world.sealed(program);
    }
    let mut command = world.sealed("unshare");
    command.args(["--user", "--map-root-user", program]);
    command
}

fn dpkg(world: &World, root: &Path, arguments: &[&str]) -> String {
    let mut command = as_root(world, "dpkg");
    let root = format!("--root={}", root.display());
    command.args([&root, "--force-script-chrootless", "--force-bad-path"]).args(arguments);
    world.run(command).ok()
}

/// On a machine without Debian's tools there is nothing that could make or take a package. A Debian that lacks them
/// fails this test.
#[test]
fn a_package_is_built_installed_and_removed() {
    let has_dpkg = Command::new("dpkg-deb").arg("--version").output().is_ok();
    if !has_dpkg && !Path::new("/etc/debian_version").exists() {
        return;
    }
    let world = World::new();
    // A small program that is the one under test: compressing the real one with its debug information takes long.
    let program = world.path("surveil");
    fs::write(&program, format!("#!/bin/sh\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_surveil"))).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/packaging/build-deb.sh");
    let mut build = world.sealed(text(&script));
    build.args([text(&program), text(&world.path("out"))]);
    let package = world.run(build).ok().trim().to_owned();

    let root = empty_root(&world);
    dpkg(&world, &root, &["--install", &package]);
    assert!(world.run(world.sealed(text(&root.join("usr/bin/surveil")))).stderr.contains("Usage:"));
    let share = root.join("usr/share");
    for file in [
        "man/man1/surveil.1.gz",
        "man/man1/surveil-runner.1.gz",
        "bash-completion/completions/surveil",
        "zsh/vendor-completions/_surveil",
        "fish/vendor_completions.d/surveil.fish",
        "doc/surveil/operating.md",
        "doc/surveil/copyright",
    ] {
        assert!(fs::metadata(share.join(file)).is_ok_and(|found| found.len() > 100), "{file}");
    }
    for role in ["dispatcher", "observer", "runner"] {
        let unit = root.join(format!("usr/lib/systemd/system/surveil-{role}.service"));
        let unit = fs::read_to_string(unit).unwrap();
        assert!(unit.starts_with("[Unit]") && unit.contains("ExecStart=/usr/bin/surveil "), "{unit}");
        assert!(!unit.contains("/usr/local/bin/surveil") && !unit.contains("/usr/local/share"), "{unit}");
    }
    let users = fs::read_to_string(root.join("etc/passwd")).unwrap();
    assert!(users.contains("surveil:") && users.contains("surveil-runner:"), "{users}");

    // What a dispatcher has written is its owner's.
    fs::create_dir_all(root.join("var/lib/surveil/tokens")).unwrap();
    dpkg(&world, &root, &["--remove", "surveil"]);
    assert!(!root.join("usr/bin/surveil").exists() && !share.join("man/man1/surveil.1.gz").exists());
    dpkg(&world, &root, &["--purge", "surveil"]);
    assert!(root.join("var/lib/surveil/tokens").is_dir());
    assert!(!root.join("etc/surveil").exists());
}
