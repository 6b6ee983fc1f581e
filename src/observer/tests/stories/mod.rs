//! Stories of one repository and a dispatcher: each line is a fact, each `>` line what the observer does next.

mod branches;
mod refs;

use crate::git::{BranchSelection, Head, RefGlob};
use crate::model::{CommitId, Moment, RefName};
use crate::observer::watch::*;

/// The commit that a story calls by one letter.
fn commit(letter: &str) -> CommitId {
    CommitId::from_bytes(&[letter.as_bytes()[0]; 20]).unwrap()
}

fn letter(commit: CommitId) -> char {
    char::from(commit.as_bytes()[0])
}

fn heads(words: &str) -> Vec<(RefName, CommitId)> {
    words
        .split_whitespace()
        .map(|word| {
            let (name, at) = word.split_once('=').unwrap();
            (reference(name), commit(at))
        })
        .collect()
}

/// Like [`heads`], where a head that is only noted ends with `!`.
fn all_heads(words: &str) -> Vec<(RefName, CommitId, bool)> {
    let of = |word: &str| {
        let found = heads(word.trim_end_matches('!')).remove(0);
        (found.0, found.1, word.ends_with('!'))
    };
    words.split_whitespace().map(of).collect()
}

/// A ref by its full name, or a branch.
fn reference(name: &str) -> RefName {
    if name.starts_with("refs/") { RefName::new(name) } else { RefName::of_branch(name) }
}

fn show(step: &Step) -> String {
    match step {
        Step::Ask => "ask".into(),
        Step::Look => "look".into(),
        Step::Rest => "rest".into(),
        Step::Date(heads) => {
            let refs: Vec<_> = heads.iter().map(|head| head.reference.short()).collect();
            format!("date {}", refs.join(" "))
        }
        Step::Note(FirstLook { refs, patterns }) => {
            let refs: Vec<_> = refs.iter().map(|head| format!("{}={}", head.reference, letter(head.commit))).collect();
            let patterns: Vec<_> = patterns.iter().map(RefGlob::as_str).collect();
            format!("note {} at {}", refs.join(" "), patterns.join(" "))
        }
        Step::Announce(Announcement { reference, before, seen, change }) => {
            let (branch, before) = (reference.short(), before.map_or('-', letter));
            let seen = seen.map(|seen| format!(" @{seen}")).unwrap_or_default();
            match change {
                Change::Head { commit, everything } => {
                    let all = if *everything { " with everything" } else { "" };
                    format!("{branch} {before}..{}{all}{seen}", letter(*commit))
                }
                Change::Gone => format!("{branch} {before} gone{seen}"),
            }
        }
    }
}

/// Plays the facts of a story and checks the steps against it.
#[track_caller]
fn check(selection: BranchSelection, story: &str) {
    check_with(selection, &[], story);
}

/// The same, of an observer that watches other refs as well.
#[track_caller]
fn check_with(selection: BranchSelection, globs: &[&str], story: &str) {
    let mut watch = Watch::new(selection);
    watch.watch_refs(&globs.iter().map(|glob| RefGlob::new(glob)).collect::<Vec<_>>());
    let mut now = Moment(0);
    let mut told = String::new();
    for line in story.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('>')) {
        let announced = || match watch.next(now) {
            Step::Announce(announcement) => announcement,
            other @ (Step::Ask | Step::Look | Step::Date(_) | Step::Note(_) | Step::Rest) => {
                panic!("`{line}` answers nothing: {other:?}")
            }
        };
        let (verb, rest) = line.split_once(": ").unwrap_or((line, ""));
        let (rest, moves) =
            rest.split_once('@').map_or((rest, None), |(rest, moves)| (rest.trim(), moves.parse().ok()));
        match verb {
            "session closes" => watch.session_closed(),
            "dispatcher has" => {
                let (known, unseen) = rest.split_once("unseen ").unwrap_or((rest, ""));
                let noted = |(reference, commit, is_noted)| KnownHead { reference, commit, is_noted };
                let heads = all_heads(known).into_iter().map(noted).collect();
                let unseen = unseen.split_whitespace().map(RefGlob::new).collect();
                watch.told(AcceptedHeads { heads, moves, unseen });
            }
            "noted" => watch.looked(),
            "the mirror is old" => watch.set_current(false),
            "the mirror is fetched" => watch.set_current(true),
            "repository has" => {
                watch.seen(heads(rest).into_iter().map(|(reference, commit)| Head { reference, commit }));
            }
            "dated" => {
                let time = |word: &str| {
                    let (name, time) = word.split_once('=').unwrap();
                    (reference(name), time.parse().ok())
                };
                watch.dated(rest.split_whitespace().map(time).collect::<Vec<_>>());
            }
            "something changed" => watch.look_again(),
            "ok" => watch.accepted(&announced(), moves),
            "stale" => {
                let head = (rest != "-").then(|| commit(rest));
                watch.stale(&announced(), head, moves, now);
            }
            "need source" => {
                watch.need_source(&announced(), now);
            }
            "error" => _ = watch.refused(&announced(), now),
            "seconds pass" => now = now.after(1000 * rest.parse::<u64>().unwrap()),
            other => panic!("no such fact: {other}"),
        }
        told.push_str(&format!("{line}\n> {}\n", show(&watch.next(now))));
    }
    let written: String =
        story.lines().map(str::trim).filter(|line| !line.is_empty()).map(|l| format!("{l}\n")).collect();
    assert_eq!(told, written);
}

fn main_only() -> BranchSelection {
    BranchSelection::Main
}

fn globs(globs: &[&str]) -> BranchSelection {
    BranchSelection::Matching(globs.iter().map(|glob| (*glob).to_owned()).collect())
}

#[test]
fn the_dispatcher_is_asked_before_the_repository_is_read_and_a_new_commit_is_announced() {
    check(
        main_only(),
        "session closes
         > ask
         dispatcher has: main=a
         > look
         repository has: main=a
         > rest
         something changed
         > look
         repository has: main=b
         > main a..b
         ok
         > rest",
    );
}

/// Each fact has the number of the dispatcher's last move behind `@`.
#[test]
fn an_announcement_names_the_last_move_that_was_known_of_its_branch() {
    check(
        globs(&["*"]),
        "dispatcher has: main=a topic=b @4
         > look
         repository has: main=c
         > main a..c @4
         ok: @9
         > topic b gone @4
         stale: d @12
         > look
         repository has: main=a
         > main c..a @9
         ok: @13
         > topic d gone @12
         ok: @14
         > rest
         something changed
         > look
         repository has: main=a topic=b
         > topic -..b @14",
    );
}

#[test]
fn a_branch_the_dispatcher_does_not_know_is_announced_without_a_before() {
    check(
        main_only(),
        "dispatcher has
         > look
         repository has: main=a
         > main -..a
         ok
         > rest",
    );
}

#[test]
fn an_unborn_head_announces_nothing() {
    check(
        main_only(),
        "dispatcher has
         > look
         repository has
         > rest
         something changed
         > look
         repository has: main=a
         > main -..a",
    );
}

#[test]
fn a_force_push_is_a_move_like_any_other_also_back_to_an_older_commit() {
    check(
        main_only(),
        "dispatcher has: main=c
         > look
         repository has: main=a
         > main c..a
         ok
         > rest
         something changed
         > look
         repository has: main=c
         > main a..c",
    );
}

#[test]
fn what_happened_while_nobody_was_connected_is_announced_after_the_dispatcher_was_asked_again() {
    check(
        main_only(),
        "dispatcher has: main=b
         > look
         repository has: main=b
         > rest
         session closes
         > ask
         dispatcher has: main=a
         > look
         repository has: main=e
         > main a..e",
    );
}

#[test]
fn an_announcement_whose_answer_was_lost_with_the_session_is_not_made_twice() {
    check(
        main_only(),
        "dispatcher has: main=a
         > look
         repository has: main=b
         > main a..b
         session closes
         > ask
         dispatcher has: main=b
         > look
         repository has: main=b
         > rest",
    );
}

#[test]
fn a_stale_announcement_is_compared_anew_with_a_fresh_look() {
    check(
        main_only(),
        "dispatcher has: main=a
         > look
         repository has: main=b
         > main a..b
         stale: c
         > look
         repository has: main=c
         > rest",
    );
}

#[test]
fn a_branch_that_the_dispatcher_forgot_is_announced_as_new() {
    check(
        main_only(),
        "dispatcher has: main=a
         > look
         repository has: main=b
         > main a..b
         stale: -
         > look
         repository has: main=b
         > main -..b",
    );
}

#[test]
fn a_dispatcher_that_always_says_stale_is_not_asked_in_a_circle() {
    check(
        main_only(),
        "dispatcher has: main=a
         > look
         repository has: main=b
         > main a..b
         stale: a
         > look
         repository has: main=b
         > main a..b
         stale: a
         > look
         repository has: main=b
         > main a..b
         stale: a
         > look
         repository has: main=b
         > main a..b
         stale: a
         > look
         repository has: main=b
         > rest
         seconds pass: 1
         > main a..b",
    );
}

#[test]
fn missing_source_is_sent_whole_once_and_then_waits() {
    check(
        main_only(),
        "dispatcher has: main=a
         > look
         repository has: main=b
         > main a..b
         need source
         > main a..b with everything
         need source
         > rest
         seconds pass: 1
         > main a..b with everything
         ok
         > rest",
    );
}

#[test]
fn a_refused_commit_waits_longer_each_time_and_the_next_commit_does_not_wait_for_it() {
    check(
        main_only(),
        "dispatcher has: main=a
         > look
         repository has: main=b
         > main a..b
         error
         > rest
         seconds pass: 1
         > main a..b
         error
         > rest
         seconds pass: 1
         > rest
         seconds pass: 1
         > main a..b
         error
         > rest
         something changed
         > look
         repository has: main=c
         > main a..c
         ok
         > rest",
    );
}

#[test]
fn a_refused_commit_goes_on_waiting_in_the_next_session() {
    check(
        main_only(),
        "dispatcher has: main=a
         > look
         repository has: main=b
         > main a..b
         error
         > rest
         session closes
         > ask
         dispatcher has: main=a
         > look
         repository has: main=b
         > rest
         seconds pass: 1
         > main a..b",
    );
}

#[test]
fn what_a_pack_may_leave_out_is_bounded_and_starts_with_the_nearest() {
    let mut watch = Watch::new(globs(&["*"]));
    let head = |n: u8| KnownHead {
        reference: RefName::of_branch(format!("b{n}")),
        commit: CommitId::from_bytes(&[n; 20]).unwrap(),
        is_noted: false,
    };
    watch.told(AcceptedHeads { heads: (0..100u8).map(head).collect(), moves: None, unseen: Vec::new() });
    let announcement = Announcement {
        reference: RefName::of_branch("b1"),
        before: Some(commit("z")),
        seen: None,
        change: Change::Head { commit: commit("y"), everything: false },
    };
    let haves = watch.haves(&announcement);
    assert_eq!(haves.len(), MAX_HAVES);
    assert_eq!(haves[0], commit("z"));
    watch.accepted(&announcement, None);
    let next = Announcement { reference: RefName::of_branch("new"), before: None, ..announcement };
    assert_eq!(watch.haves(&next)[0], commit("y"));
}
