//! Stories of several branches: their order, their deletion, and events that only look like a deletion.

use super::*;

#[test]
fn branches_are_announced_in_turn_so_that_a_busy_one_holds_up_no_other() {
    check(
        globs(&["*"]),
        "dispatcher has
         > look
         repository has: busy=a main=b topic/x=c
         > busy -..a
         ok
         > main -..b
         something changed
         > look
         repository has: busy=d main=b topic/x=c
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
