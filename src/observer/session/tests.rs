//! Sessions over an in-memory connection with a scripted dispatcher.

use std::thread::scope;

use super::*;
use crate::config::KnownPins;
use crate::git::RefGlob;
use crate::model::{ObservedRefs, RepoName};
use crate::observer::submit::{self, HeadsAnswer};
use crate::observer::tests::support::{DEADLINE, Scripted};
use crate::observer::watch::AcceptedHeads;
use crate::protocol::hello::{ErrorCode, Role};
use crate::protocol::limits::MAX_LINE_BYTES;
use crate::protocol::observer::{FromObserver, Head, ToObserver};

fn caller() -> Caller {
    let token = TokenSource::new("/data/tokens/observer".into());
    Caller { name: "app".into(), incarnation: 5, pins: KnownPins::new(Vec::new(), token.clone()), token }
}

fn address() -> Address {
    "localhost:9000".parse().unwrap()
}

/// Opens a session while `script` plays the dispatcher.
fn open(script: impl FnOnce(&mut Scripted) + Send) -> (Result<Live, DialError>, Scripted) {
    let (ours, theirs) = Stream::pair();
    let mut dispatcher = Scripted::new(theirs);
    let result = scope(|scope| {
        scope.spawn(|| script(&mut dispatcher));
        let opened = caller().open(ours, "secret", &address());
        opened.map(|live| live.expect("it has news of no pins"))
    });
    (result, dispatcher)
}

pub(in super::super) fn opened() -> (Live, Scripted) {
    let (live, dispatcher) = open(Scripted::welcome);
    (live.unwrap(), dispatcher)
}

fn app() -> RepoName {
    RepoName::new("app").unwrap()
}

fn heads_of(repo: &str) -> ToObserver {
    ToObserver::Heads { repo: repo.into(), heads: Vec::new(), more: false, moves: None, unseen: Vec::new() }
}

#[test]
fn a_session_opens_with_a_hello_in_the_observers_role() {
    let (ours, theirs) = Stream::pair();
    let mut dispatcher = Scripted::new(theirs);
    scope(|scope| {
        scope.spawn(|| caller().open(ours, "secret", &address()).unwrap_err());
        let hello = dispatcher.hello();
        assert_eq!((hello.role, hello.name.as_str(), hello.token.as_str()), (Role::Observer, "app", "secret"));
        assert_eq!(hello.incarnation, 5);
        dispatcher.stream.close();
    });
}

#[test]
fn a_refused_token_is_told_with_the_file_it_was_read_from_and_what_to_do() {
    let (result, _dispatcher) = open(|d| d.turn_away(ErrorCode::Token, "the token is not this dispatcher's"));
    let error = result.unwrap_err();
    assert!(error.is_final());
    let text = error.to_string();
    for part in ["localhost:9000", "/data/tokens/observer", "not this dispatcher's", "--token-file"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn a_busy_dispatcher_is_no_final_refusal() {
    let (result, _dispatcher) = open(|d| d.turn_away(ErrorCode::Busy, "full"));
    assert!(!result.unwrap_err().is_final());
}

#[test]
fn pings_go_out_while_somebody_waits_for_an_answer() {
    let (live, mut dispatcher) = open(|d| d.welcome_with(10, 60_000));
    let live = live.unwrap();
    scope(|scope| {
        let asking =
            scope.spawn(|| submit::ask_heads(&live.session, &app(), ("here:/app", &[]), &ObservedRefs::default()));
        let mut pings = 0;
        while pings < 3 {
            match dispatcher.hear_any().unwrap() {
                FromObserver::Ping => pings += 1,
                FromObserver::Status { repo, source, .. } => {
                    assert_eq!((repo.as_str(), &*source), ("app", "here:/app"))
                }
                other @ (FromObserver::Pack { .. }
                | FromObserver::Existing { .. }
                | FromObserver::Dispatch { .. }
                | FromObserver::Supply { .. }
                | FromObserver::Gone { .. }) => {
                    panic!("{other:?}")
                }
            }
        }
        dispatcher.say(&heads_of("app"));
        assert_eq!(asking.join().unwrap(), Ok(HeadsAnswer::Heads(AcceptedHeads::default())));
    });
}

#[test]
fn a_dispatcher_that_answers_no_ping_is_given_up() {
    let (live, _dispatcher) = open(|d| d.welcome_with(10, 50));
    let error = live.unwrap().ended.recv_timeout(DEADLINE).unwrap();
    assert!(matches!(error, SessionError::Silent), "{error}");
}

#[test]
fn a_dispatcher_that_answers_pings_is_kept() {
    // More pings than may stay unanswered, and enough of them that a loaded machine may answer some of them late.
    let (live, mut dispatcher) = open(|d| d.welcome_with(10, 2_000));
    let live = live.unwrap();
    for _ in 0..250 {
        assert_eq!(dispatcher.hear_any(), Some(FromObserver::Ping));
        dispatcher.say(&ToObserver::Ack);
    }
    assert!(live.ended.try_recv().is_err());
}

#[test]
fn an_answer_about_something_else_is_passed_over() {
    let (live, mut dispatcher) = opened();
    scope(|scope| {
        let asking = scope.spawn(|| submit::ask_heads(&live.session, &app(), ("s", &[]), &ObservedRefs::default()));
        dispatcher.hear();
        dispatcher.say(&heads_of("other"));
        dispatcher.say(&heads_of("app"));
        assert_eq!(asking.join().unwrap(), Ok(HeadsAnswer::Heads(AcceptedHeads::default())));
    });
}

#[test]
fn a_message_of_an_unknown_type_is_passed_over() {
    let (live, mut dispatcher) = opened();
    scope(|scope| {
        let asking = scope.spawn(|| submit::ask_heads(&live.session, &app(), ("s", &[]), &ObservedRefs::default()));
        dispatcher.hear();
        let frame = Frame { line: b"{\"type\":\"weather\",\"is\":\"fine\"}\n".to_vec(), payload: Vec::new() };
        write_frame(&dispatcher.stream, &frame).unwrap();
        dispatcher.say(&heads_of("app"));
        assert_eq!(asking.join().unwrap(), Ok(HeadsAnswer::Heads(AcceptedHeads::default())));
    });
}

/// More pieces than the asker's queue takes, with other messages between them.
#[test]
fn heads_that_come_in_pieces_are_one_answer() {
    let (live, mut dispatcher) = opened();
    let commit = "4f2a91c6b0d1e2f3a4b5c6d7e8f9010203040506";
    scope(|scope| {
        let asking = scope.spawn(|| submit::ask_heads(&live.session, &app(), ("s", &[]), &ObservedRefs::default()));
        dispatcher.hear();
        for n in 0..100 {
            let heads = vec![Head { branch: format!("b{n:02}"), reference: None, noted: false, commit: commit.into() }];
            let (repo, more, moves, unseen) = ("app".into(), n < 99, Some(7), vec!["refs/tags/v*".into()]);
            dispatcher.say(&ToObserver::Heads { repo, heads, more, moves, unseen });
            dispatcher.say(&ToObserver::Ack);
        }
        let Ok(HeadsAnswer::Heads(heads)) = asking.join().unwrap() else { panic!("no heads") };
        assert_eq!((heads.moves, heads.unseen), (Some(7), vec![RefGlob::new("refs/tags/v*")]));
        let names: Vec<_> = heads.heads.iter().map(|head| head.reference.short().to_owned()).collect();
        assert_eq!(names, (0..100).map(|n| format!("b{n:02}")).collect::<Vec<_>>());
    });
}

/// Sabotage tried: the session ends at such a line; it fails, and an observer dials again without end.
#[test]
fn an_answer_that_is_too_long_is_a_refusal_and_the_session_goes_on() {
    let (live, mut dispatcher) = opened();
    scope(|scope| {
        let asking = scope.spawn(|| submit::ask_heads(&live.session, &app(), ("s", &[]), &ObservedRefs::default()));
        dispatcher.hear();
        let heads =
            vec![Head { branch: "b".repeat(MAX_LINE_BYTES), reference: None, noted: false, commit: "0".repeat(40) }];
        dispatcher.say(&ToObserver::Heads { repo: "app".into(), heads, more: false, moves: None, unseen: Vec::new() });
        let Ok(HeadsAnswer::Refused(refused)) = asking.join().unwrap() else { panic!("not refused") };
        assert_eq!(refused.kind, RefusalKind::Request);
        assert!(refused.text.contains("more than 1048576 bytes"), "{}", refused.text);
        let asking = scope.spawn(|| submit::ask_heads(&live.session, &app(), ("s", &[]), &ObservedRefs::default()));
        dispatcher.tell_heads(&[]);
        assert_eq!(asking.join().unwrap(), Ok(HeadsAnswer::Heads(AcceptedHeads::default())));
    });
}

#[test]
fn two_who_ask_at_once_are_answered_one_after_the_other() {
    let (live, mut dispatcher) = opened();
    let names = ["one", "two"].map(|name| RepoName::new(name).unwrap());
    scope(|scope| {
        let asking = names.each_ref().map(|name| {
            let session = &live.session;
            scope.spawn(move || submit::ask_heads(session, name, ("s", &[]), &ObservedRefs::default()))
        });
        let mut asked = [dispatcher.tell_heads(&[]), dispatcher.tell_heads(&[])];
        asked.sort();
        assert_eq!(asked, ["one", "two"]);
        for asking in asking {
            assert_eq!(asking.join().unwrap(), Ok(HeadsAnswer::Heads(AcceptedHeads::default())));
        }
    });
}

#[test]
fn a_refusal_that_ends_the_session_still_reaches_whoever_asked() {
    let (live, mut dispatcher) = opened();
    scope(|scope| {
        let asking = scope.spawn(|| submit::ask_heads(&live.session, &app(), ("s", &[]), &ObservedRefs::default()));
        dispatcher.hear();
        dispatcher.refuse(ErrorCode::NameTaken, "app is another repository");
        let HeadsAnswer::Refused(refused) = asking.join().unwrap().unwrap() else { panic!("not refused") };
        assert_eq!(refused.kind, RefusalKind::Name);
    });
    let error = live.ended.recv_timeout(DEADLINE).unwrap();
    assert!(matches!(error, SessionError::Refused(_)), "{error}");
}

#[test]
fn whoever_asks_and_whoever_waits_to_ask_gets_an_end_when_the_dispatcher_hangs_up() {
    let (live, mut dispatcher) = opened();
    scope(|scope| {
        let asking = [(); 3]
            .map(|()| scope.spawn(|| submit::ask_heads(&live.session, &app(), ("s", &[]), &ObservedRefs::default())));
        dispatcher.hear();
        dispatcher.stream.close();
        let error = live.ended.recv_timeout(DEADLINE).unwrap();
        assert!(matches!(error, SessionError::Closed | SessionError::Broken(_)), "{error}");
        live.session.close();
        for asking in asking {
            assert_eq!(asking.join().unwrap(), Err(SessionOver));
        }
    });
}

#[test]
fn a_session_ends_with_its_threads_although_a_repository_still_holds_it() {
    let (live, _dispatcher) = opened();
    let held = Arc::clone(&live.session);
    let (tell, ended) = bounded(1);
    let thread = threads::spawn("ends", move || {
        drop(live);
        tell.send(()).unwrap();
    });
    ended.recv_timeout(DEADLINE).unwrap();
    drop(thread);
    assert_eq!(submit::ask_heads(&held, &app(), ("s", &[]), &ObservedRefs::default()), Err(SessionOver));
}

#[test]
fn an_impossible_commit_id_ends_the_session() {
    let (live, mut dispatcher) = opened();
    scope(|scope| {
        let asking = scope.spawn(|| submit::ask_heads(&live.session, &app(), ("s", &[]), &ObservedRefs::default()));
        dispatcher.tell_heads(&[("main", "not hexadecimal")]);
        assert_eq!(asking.join().unwrap(), Err(SessionOver));
    });
    let error = live.ended.recv_timeout(DEADLINE).unwrap();
    assert!(matches!(error, SessionError::Nonsense(_)) && error.is_misunderstanding(), "{error}");
    assert!(!SessionError::Closed.is_misunderstanding() && !SessionError::Silent.is_misunderstanding());
}
