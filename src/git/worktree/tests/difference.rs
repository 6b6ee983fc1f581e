//! Going from commit to commit writes the difference and nothing else.

use super::*;

#[test]
fn a_tree_goes_from_commit_to_commit() {
    let mut fixture = Fixture::new(|repo| {
        repo.write("same", "same").write("changed", "1").write("gone", "x").write("d/e/f", "deep");
        let first = repo.commit("first");
        repo.write("changed", "2").write("new/file", "new");
        fs::remove_file(repo.path().join("gone")).unwrap();
        fs::remove_dir_all(repo.path().join("d")).unwrap();
        repo.write("d", "now a file");
        let second = repo.commit("second");
        fs::remove_file(repo.path().join("d")).unwrap();
        fs::remove_dir_all(repo.path().join("new")).unwrap();
        symlink("same", repo.path().join("new")).unwrap();
        fs::remove_file(repo.path().join("changed")).unwrap();
        repo.write("changed/now", "a directory");
        set_mode(&repo.path().join("same"), 0o755);
        vec![first, second, repo.commit("third")]
    });
    for at in [1, 2, 0, 2, 1, 0, 0] {
        fixture.check_out(at);
    }
}

#[test]
fn only_what_differs_is_written() {
    let mut fixture = Fixture::new(|repo| {
        let first = repo.write("same", "same").write("changed", "1").commit("first");
        vec![first, repo.write("changed", "2").commit("second")]
    });
    let before = fs::metadata(fixture.at("same")).unwrap();
    fixture.check_out(1);
    let after = fs::metadata(fixture.at("same")).unwrap();
    assert_eq!((before.ino(), before.ctime_nsec()), (after.ino(), after.ctime_nsec()));
}

#[test]
fn a_file_that_changes_is_right_whatever_an_attempt_made_of_it() {
    let mut fixture = Fixture::new(|repo| {
        let first = repo.write("file", "1").write("link", "1").commit("first");
        fs::remove_file(repo.path().join("link")).unwrap();
        symlink("file", repo.path().join("link")).unwrap();
        let second = repo.write("file", "2").commit("second");
        fs::remove_file(repo.path().join("link")).unwrap();
        symlink("elsewhere", repo.path().join("link")).unwrap();
        vec![first, second, repo.write("file", "3").commit("third")]
    });
    for (n, at) in [1, 2, 1, 0, 2, 0, 1].into_iter().enumerate() {
        let file = fixture.at("file");
        match n % 3 {
            // The content of the next commit, written early.
            0 => fs::write(&file, (at + 1).to_string()).unwrap(),
            1 => fs::remove_file(&file).unwrap(),
            _ => set_mode(&file, 0o400),
        }
        fixture.check_out(at);
        // The second checkout of the same commit starts from a fully known state.
        fs::write(&file, "changed").unwrap();
        fixture.check_out(at);
    }
}
