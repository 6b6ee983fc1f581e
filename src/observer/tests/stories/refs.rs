//! Stories of tags and other refs: the first look at them, and what comes after it.

use super::*;

#[test]
fn tags_that_are_there_at_the_first_look_are_noted_and_later_ones_announced() {
    check_with(
        main_only(),
        &["refs/tags/*"],
        "dispatcher has:  unseen refs/tags/* @0
         > look
         repository has: main=a refs/tags/v1=a refs/tags/v2=b
         > note refs/tags/v1=a refs/tags/v2=b at refs/tags/*
         noted
         > ask
         dispatcher has: refs/tags/v1=a! refs/tags/v2=b! @0
         > main -..a @0
         ok: @1
         > rest
         something changed
         > look
         repository has: main=a refs/tags/v1=c refs/tags/v2=b refs/tags/v3=c
         > date refs/tags/v1 refs/tags/v3
         dated: refs/tags/v1=1 refs/tags/v3=1
         > refs/tags/v1 a..c @0
         ok: @2
         > refs/tags/v3 -..c @0
         ok: @3
         > rest
         something changed
         > look
         repository has: main=a refs/tags/v1=c
         > refs/tags/v2 b gone @0
         ok: @4
         > refs/tags/v3 c gone @3
         ok: @5
         > rest",
    );
}

#[test]
fn a_branch_that_moves_while_many_tags_are_announced_is_next_but_not_twice_in_a_row() {
    check_with(
        main_only(),
        &["refs/changes/*", "refs/tags/*"],
        "dispatcher has:  @0
         > look
         repository has: main=a refs/changes/1=a refs/tags/v1=a refs/tags/v2=a refs/tags/v3=a
         > date refs/changes/1 main refs/tags/v1 refs/tags/v2 refs/tags/v3
         dated: main=9 refs/changes/1=1 refs/tags/v1=1 refs/tags/v2=2 refs/tags/v3=2
         > main -..a @0
         ok: @1
         > refs/changes/1 -..a @0
         ok: @2
         > refs/tags/v1 -..a @0
         ok: @3
         > refs/tags/v2 -..a @0
         something changed
         > look
         repository has: main=b refs/changes/1=b refs/tags/v1=a refs/tags/v2=a refs/tags/v3=a
         > date refs/changes/1 main
         dated: main=10 refs/changes/1=10
         > main a..b @1
         something changed
         > look
         repository has: main=b refs/changes/1=b refs/tags/v1=a refs/tags/v2=a refs/tags/v3=a
         > main a..b @1
         ok: @4
         > refs/tags/v2 -..a @0
         something changed
         > look
         repository has: main=c refs/changes/1=b refs/tags/v1=a refs/tags/v2=a refs/tags/v3=a
         > date main
         dated: main=11
         > refs/tags/v2 -..a @0
         ok: @5
         > main b..c @4
         ok: @6
         > refs/tags/v3 -..a @0
         ok: @7
         > refs/changes/1 a..b @2
         ok: @8
         > rest",
    );
}

#[test]
fn a_new_pattern_notes_what_only_it_matches_and_nothing_that_is_known() {
    check_with(
        main_only(),
        &["refs/pull/*/head", "refs/tags/*", "refs/tags/v*"],
        "dispatcher has: main=a refs/tags/v1=a unseen refs/pull/*/head refs/tags/* @4
         > look
         repository has: main=a refs/tags/v1=a refs/tags/v2=b refs/tags/x=b refs/pull/1/head=c
         > note refs/pull/1/head=c refs/tags/x=b at refs/pull/*/head refs/tags/*
         noted
         > ask
         dispatcher has: main=a refs/tags/v1=a refs/tags/x=b! refs/pull/1/head=c! @4
         > refs/tags/v2 -..b @4
         ok: @5
         > rest",
    );
}

/// Another observer has looked first: what it has not noted is new.
#[test]
fn a_ref_that_came_after_another_observers_first_look_is_announced() {
    check_with(
        main_only(),
        &["refs/tags/*"],
        "dispatcher has: unseen refs/tags/* @0
         > look
         repository has: refs/tags/v1=a refs/tags/v2=b
         > note refs/tags/v1=a refs/tags/v2=b at refs/tags/*
         noted
         > ask
         dispatcher has: refs/tags/v1=a! @0
         > refs/tags/v2 -..b @0",
    );
}

/// The mirror of a remote may be a year old when an observer starts.
#[test]
fn a_mirror_is_not_looked_at_before_it_is_fetched() {
    check_with(
        main_only(),
        &["refs/tags/*"],
        "dispatcher has: unseen refs/tags/* @0
         > look
         the mirror is old
         > look
         repository has: main=a refs/tags/v1=a
         > main -..a @0
         ok: @1
         > rest
         something changed
         > look
         the mirror is fetched
         > look
         repository has: main=a refs/tags/v1=a refs/tags/v2=b
         > note refs/tags/v1=a refs/tags/v2=b at refs/tags/*",
    );
}

/// A dispatcher of an earlier version.
#[test]
fn refs_that_are_not_watched_are_neither_announced_nor_missed() {
    check_with(
        globs(&["*"]),
        &[],
        "dispatcher has: main=a refs/tags/v1=a @1
         > look
         repository has: main=a refs/tags/v2=a refs/pull/1/head=a
         > rest",
    );
}

#[test]
fn a_pack_never_leaves_out_what_was_only_noted() {
    let mut watch = Watch::new(main_only());
    let head = |name: &str, at: &str, is_noted| KnownHead { reference: reference(name), commit: commit(at), is_noted };
    let heads = vec![head("main", "a", false), head("refs/tags/v1", "b", true)];
    watch.told(AcceptedHeads { heads, moves: None, unseen: Vec::new() });
    let change = Change::Head { commit: commit("c"), everything: false };
    let moved = Announcement { reference: reference("refs/tags/v1"), before: Some(commit("b")), seen: None, change };
    assert_eq!(watch.haves(&moved), [commit("a")]);
    assert!(!watch.is_delivered(commit("b")));
    watch.accepted(&moved, None);
    assert_eq!(watch.haves(&Announcement { before: Some(commit("c")), ..moved }), [commit("c"), commit("a")]);
}
