//! Stories of several branches: their order, their deletion, and events that only look like a deletion.

use super::*;

#[test]
fn branches_are_announced_in_turn_so_that_a_busy_one_holds_up_no_other() {
    check(
        globs(&["*"]),
        "dispatcher has
         > look
         repository has: busy=a main=b topic/x=c
         > date busy main topic/x
         dated: busy=1 main=5 topic/x=5
         > busy -..a
         ok
         > main -..b
         something changed
         > look
         repository has: busy=d main=b topic/x=c
         > date busy
         dated: busy=2
         > main -..b
         ok
         > topic/x -..c
         ok
         > busy a..d
         ok
         > rest",
    );
}

#[test]
fn a_broken_branch_holds_up_no_other() {
    check(
        globs(&["*"]),
        "dispatcher has
         > look
         repository has: bad=a good=b
         > date bad good
         dated: bad=- good=1
         > bad -..a
         error
         > good -..b
         ok
         > rest",
    );
}

#[test]
fn a_deleted_branch_is_reported_once_and_announced_as_new_when_it_comes_back() {
    check(
        globs(&["*"]),
        "dispatcher has: main=a topic=b
         > look
         repository has: main=a
         > topic b gone
         ok
         > rest
         something changed
         > look
         repository has: main=a topic=b
         > topic -..b
         ok
         > rest",
    );
}

#[test]
fn only_branches_of_the_selection_can_be_gone() {
    check(
        globs(&["release/*"]),
        "dispatcher has: main=a release/1=b release/2=c
         > look
         repository has: release/1=b
         > release/2 c gone
         ok
         > rest",
    );
}

#[test]
fn when_head_names_another_branch_the_former_one_is_not_called_gone() {
    check(
        main_only(),
        "dispatcher has: main=a
         > look
         repository has: trunk=b
         > trunk -..b
         ok
         > rest
         something changed
         > look
         repository has
         > rest",
    );
}

#[test]
fn a_repository_that_cannot_be_read_announces_nothing_gone() {
    // The watch is not told of a failed look, so it goes on asking for one.
    check(
        globs(&["*"]),
        "dispatcher has: main=a topic=b
         > look
         something changed
         > look
         something changed
         > look
         repository has: main=a topic=b
         > rest",
    );
}

#[test]
fn a_deletion_that_was_not_believed_is_looked_at_again_later() {
    check(
        globs(&["*"]),
        "dispatcher has: main=a
         > look
         repository has
         > main a gone
         error
         > rest
         something changed
         > look
         repository has: main=a
         > rest",
    );
}

#[test]
fn a_refusal_without_end_is_told_once_for_each_commit() {
    let mut watch = Watch::new(main_only());
    let announced = |at: &str| Announcement {
        reference: RefName::of_branch("main"),
        before: None,
        seen: None,
        change: Change::Head { commit: commit(at), everything: false },
    };
    let mut told = |at: &str, ms: u64| watch.refused(&announced(at), Moment(ms));
    assert!(told("a", 0) && !told("a", 1_000) && !told("a", 3_000));
    assert!(told("b", 4_000) && !told("b", 5_000));
}

#[test]
fn refs_are_announced_in_the_order_of_their_times_and_branches_before_the_others() {
    check_with(
        globs(&["*"]),
        &["refs/tags/*"],
        "dispatcher has: main=a old=a @0
         > look
         repository has: main=b new=c old=d refs/tags/a=e refs/tags/v10=b refs/tags/v2=b refs/tags/z=a
         > date main new old refs/tags/a refs/tags/v10 refs/tags/v2 refs/tags/z
         dated: main=8 new=9 old=7 refs/tags/a=6 refs/tags/v10=5 refs/tags/v2=5 refs/tags/z=-
         > old a..d @0
         ok: @1
         > main a..b @0
         ok: @2
         > new -..c @0
         ok: @3
         > refs/tags/z -..a @0
         ok: @4
         > refs/tags/v2 -..b @0
         something changed
         > look
         repository has: main=b new=c old=d refs/tags/a=e refs/tags/b=b refs/tags/v10=b refs/tags/v2=b refs/tags/z=f
         > date refs/tags/b refs/tags/z
         dated: refs/tags/b=4 refs/tags/z=1
         > refs/tags/b -..b @0
         ok: @5
         > refs/tags/v2 -..b @0
         ok: @6
         > refs/tags/v10 -..b @0
         ok: @7
         > refs/tags/a -..e @0
         ok: @8
         > refs/tags/z a..f @4
         ok: @9
         > rest",
    );
}
