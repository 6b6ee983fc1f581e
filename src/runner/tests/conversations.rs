//! Whole runners against a scripted dispatcher over TCP: real git, real output, a stand-in for the supervisor.

use std::fs;
use std::sync::Arc;

use crate::model::{Recipe, Tier};
use crate::protocol::hello::{Call, ErrorCode, Greeting, Opening, Refusal};
use crate::protocol::limits::MAX_LINE_BYTES;
use crate::protocol::runner::{FromRunner, LogOffset, StreamName, ToRunner};
use crate::shutdown::Stop;
use crate::transport::{Frame, Listener, Stream, write_frame};

use super::scene::*;

#[test]
fn a_commits_task_is_executed_from_the_pack_and_its_log_and_result_arrive() {
    let scene = Scene::new();
    let (repository, commit) = scene.repository();
    let runner = scene.start();
    let (mut peer, register) = scene.accept();
    let FromRunner::Register { slots: 1, labels, holding, .. } = register else { panic!("{register:?}") };
    assert!(labels.contains(&"gpu".to_owned()), "{labels:?}");
    assert!(labels.iter().any(|label| label.starts_with("os=")), "its own facts, too: {labels:?}");
    assert!(holding.is_empty(), "{holding:?}");
    peer.say(&ToRunner::Registered { gone: vec![], logs: vec![], drained: false });
    peer.say(&runtask(7, &commit, "cat hello.txt; echo $SURVEIL_TASK $EXTRA; exit 3"));
    peer.give_source(&repository, &commit);
    let results = peer.hear_log(true);
    assert_eq!(peer.log, b"hello from the commit\ntest 1\n");
    assert_results(&results, "failed", &peer.log);
    peer.record(7);
    peer.say(&runtask(8, &commit, "test -f hello.txt"));
    assert_eq!(peer.hear(), FromRunner::Started { attempt: 8 });
    assert_results(&peer.hear(), "passed", b"");
    peer.record(8);
    runner.stop.send(Stop::Drain).unwrap();
    assert_eq!(peer.hear(), FromRunner::Draining);
    // The runner waits until the ping after its message is answered.
    while let Ok(Some(FromRunner::Ping { .. })) = peer.reader.read(MAX_LINE_BYTES) {
        drop(write_frame(&peer.stream, &Frame::new(&ToRunner::Ack { gone: vec![] })));
    }
    runner.ended.recv_timeout(LONG).unwrap().unwrap();
    assert_eq!(file_count(&scene.settings.work.join("spool")), 0, "what was delivered is deleted");
}

#[test]
fn source_that_came_ahead_of_the_lease_is_not_asked_for() {
    let scene = Scene::new();
    let (repository, first) = scene.repository();
    let second = scene.commit("hello from the second\n");
    let third = scene.commit("hello from the third\n");
    let runner = scene.start();
    let (mut peer, register) = scene.accept();
    assert!(matches!(register, FromRunner::Register { takes_source: true, .. }), "{register:?}");
    peer.say(&ToRunner::Registered { gone: vec![], logs: vec![], drained: false });
    let sources = [(&first, vec![]), (&second, vec![first.as_str()])];
    for ((commit, haves), attempt) in sources.into_iter().zip(7..) {
        peer.give_ahead(commit, pack(&repository, commit, &haves));
        peer.say(&runtask(attempt, commit, "grep -q hello hello.txt"));
        assert_eq!(peer.hear(), FromRunner::Started { attempt });
        assert_results(&peer.hear(), "passed", b"");
        peer.record(attempt);
    }

    // Source that is not usable is skipped.
    peer.give_ahead(&third, b"no pack".to_vec());
    peer.say(&runtask(9, &third, "cat hello.txt"));
    let source = peer.hear();
    let FromRunner::Source { attempt: 9, haves, .. } = source else { panic!("{source:?}") };
    assert!(haves.contains(&second), "{haves:?}");
    let bytes = pack(&repository, &third, &[&second]);
    let message = ToRunner::Pack { attempt: 9, last: true, bytes: bytes.len() as u64, facts: None };
    write_frame(&peer.stream, &Frame::with_payload(&message, bytes)).unwrap();
    assert_results(&peer.hear_log(true), "passed", b"hello from the third\n");
    peer.record(9);
    runner.end(Stop::Now).unwrap();
}

#[test]
fn a_session_that_breaks_is_taken_up_again_at_the_byte_where_the_dispatcher_stands() {
    let scene = Scene::new();
    let (repository, commit) = scene.repository();
    let gate = scene.fifo("gate");
    let runner = scene.start();
    let mut peer = scene.accept_and_register();
    peer.say(&runtask(7, &commit, &format!("printf 0123456789; cat {}; printf end", gate.display())));
    peer.give_source(&repository, &commit);
    peer.hear_bytes(10);
    peer.stream.close();

    let (mut peer, register) = scene.accept();
    assert!(matches!(register, FromRunner::Register { holding, .. } if holding == [7]));
    peer.say(&ToRunner::Registered {
        gone: vec![],
        logs: vec![LogOffset { attempt: 7, stream: StreamName::Log, offset: 4 }],
        drained: false,
    });
    peer.log = b"0123".to_vec();
    fs::write(&gate, "more").unwrap();
    let results = peer.hear_log(false);
    assert_eq!(peer.log, b"0123456789moreend");
    assert_results(&results, "passed", &peer.log);
    peer.stream.close();

    let (mut peer, register) = scene.accept();
    assert!(matches!(register, FromRunner::Register { holding, .. } if holding == [7]));
    peer.say(&ToRunner::Registered {
        gone: vec![],
        logs: vec![LogOffset { attempt: 7, stream: StreamName::Log, offset: 17 }],
        drained: false,
    });
    assert_results(&peer.hear(), "passed", b"0123456789moreend");
    // The dispatcher finds that it does not have the end after all.
    peer.log = b"0123456789".to_vec();
    peer.say(&ToRunner::LogAck { attempt: 7, stream: StreamName::Log, offset: 10 });
    assert_results(&peer.hear_log(true), "passed", b"0123456789moreend");
    peer.record(7);
    peer.say(&ToRunner::Drain);
    assert_eq!(peer.hear(), FromRunner::Draining);
    peer.stream.close();
    runner.ended.recv_timeout(LONG).unwrap().unwrap();
}

#[test]
fn a_pack_cut_off_by_the_end_of_the_session_is_asked_for_again() {
    let scene = Scene::new();
    let (repository, commit) = scene.repository();
    let runner = scene.start();
    let mut peer = scene.accept_and_register();
    peer.say(&runtask(7, &commit, "cat hello.txt"));
    let FromRunner::Source { attempt, .. } = peer.hear() else { panic!("source is asked for") };
    let message = ToRunner::Pack { attempt, last: false, bytes: 4, facts: None };
    write_frame(&peer.stream, &Frame::with_payload(&message, b"PACK".to_vec())).unwrap();
    peer.stream.close();
    let mut peer = scene.accept_and_register();
    peer.give_source(&repository, &commit);
    assert_results(&peer.hear_log(true), "passed", b"hello from the commit\n");
    peer.record(7);
    runner.end(Stop::Now).unwrap();
}

#[test]
fn a_source_that_is_missing_or_broken_is_a_loss_and_not_a_failure() {
    let scene = Scene::new();
    let (repository, commit) = scene.repository();
    let runner = scene.start();
    let mut peer = scene.accept_and_register();
    peer.say(&runtask(7, &commit, "true"));
    assert!(matches!(peer.hear(), FromRunner::Source { attempt: 7, .. }));
    peer.say(&ToRunner::SourceMissing { attempt: 7, reason: "pruned".into() });
    assert_results(&peer.hear(), "lost", b"");
    peer.record(7);
    peer.say(&runtask(8, &commit, "true"));
    assert!(matches!(peer.hear(), FromRunner::Source { attempt: 8, .. }));
    let message = ToRunner::Pack { attempt: 8, last: true, bytes: 5, facts: None };
    write_frame(&peer.stream, &Frame::with_payload(&message, b"trash".to_vec())).unwrap();
    assert_results(&peer.hear(), "lost", b"");
    peer.record(8);
    peer.say(&runtask(9, &commit, "true"));
    peer.give_source(&repository, &commit);
    assert_results(&peer.hear_log(true), "passed", b"");
    peer.record(9);
    runner.end(Stop::Now).unwrap();
}

#[test]
fn a_cancelled_attempt_ends_and_says_so() {
    let scene = Scene::new();
    let (repository, commit) = scene.repository();
    let gate = scene.fifo("gate");
    let runner = scene.start();
    let mut peer = scene.accept_and_register();
    peer.say(&runtask(7, &commit, &format!("cat {}", gate.display())));
    peer.give_source(&repository, &commit);
    assert_eq!(peer.hear(), FromRunner::Started { attempt: 7 });
    peer.say(&ToRunner::Cancel { attempt: 7 });
    assert_results(&peer.hear(), "cancelled", b"");
    peer.record(7);
    runner.end(Stop::Now).unwrap();
}

#[test]
fn what_could_not_be_delivered_is_delivered_by_the_next_start() {
    let mut scene = Scene::new();
    let (repository, commit) = scene.repository();
    scene.settings.slots = 2;
    let gate = scene.fifo("gate");
    let runner = scene.start();
    let mut peer = scene.accept_and_register();
    peer.say(&runtask(7, &commit, "echo seven"));
    peer.give_source(&repository, &commit);
    assert_results(&peer.hear_log(true), "passed", b"seven\n");
    peer.say(&runtask(8, &commit, &format!("echo eight; cat {}", gate.display())));
    peer.log.clear();
    peer.hear_bytes(6);
    peer.stream.close();
    scene.listener.close();
    runner.end(Stop::Now).unwrap();

    let listener = Arc::new(Listener::bind(&"127.0.0.1:0".parse().unwrap()).unwrap());
    scene.settings.dispatch = vec![listener.local_addr().to_string().parse().unwrap()];
    scene.listener = listener;
    let runner = scene.start();
    let (mut peer, register) = scene.accept();
    let FromRunner::Register { holding, warm, .. } = register else { panic!("{register:?}") };
    assert_eq!(holding, [7, 8]);
    assert_eq!(warm[0].commit, commit);
    peer.say(&ToRunner::Registered {
        gone: vec![],
        logs: vec![LogOffset { attempt: 7, stream: StreamName::Log, offset: 6 }],
        drained: false,
    });
    let mut found = [peer.hear_log(true), peer.hear_log(true)];
    found.sort_by_key(|message| matches!(message, FromRunner::Results { attempt: 8, .. }));
    assert_results(&found[0], "passed", b"seven\n");
    assert_results(&found[1], "cancelled", b"eight\n");
    assert_eq!(peer.log, b"eight\n");
    peer.record(7);
    peer.record(8);
    runner.end(Stop::Now).unwrap();
}

#[test]
fn a_runner_with_a_wrong_token_ends_and_says_what_to_do() {
    let scene = Scene::new();
    let runner = scene.start();
    let mut peer = Peer::new(scene.listener.accept().unwrap().unwrap());
    peer.hello();
    let refusal = Refusal::new(ErrorCode::Token, "the token is wrong");
    write_frame(&peer.stream, &Frame::new(&Greeting::Error(refusal))).unwrap();
    let error = runner.ended.recv_timeout(LONG).unwrap().unwrap_err();
    let text = error.to_string();
    assert!(text.contains("the token is wrong (the token was read from ") && text.contains("--token-file"), "{text}");
}

#[test]
fn a_runner_whose_name_is_taken_tries_again() {
    let scene = Scene::new();
    let runner = scene.start();
    let mut peer = Peer::new(scene.listener.accept().unwrap().unwrap());
    peer.hello();
    let refusal = Refusal::new(ErrorCode::NameTaken, "w1 is connected");
    write_frame(&peer.stream, &Frame::new(&Greeting::Error(refusal))).unwrap();
    let peer = scene.accept_and_register();
    runner.end(Stop::Now).unwrap();
    drop(peer);
}

#[test]
fn a_listening_runner_answers_only_who_shows_its_key() {
    let mut scene = Scene::new();
    scene.settings.listen = Some("127.0.0.1:0".parse().unwrap());
    let runner = scene.start();
    let mut announced = Peer::new(scene.listener.accept().unwrap().unwrap());
    let hello = announced.hello();
    announced.welcome();
    let address = hello.listens_at.unwrap();
    let key = hello.callback_key.unwrap();
    assert_eq!(key.len(), 64);

    let mut impostor = Peer::new(Stream::dial(&address.parse().unwrap(), LONG).unwrap());
    let call = |callback_key: &str| Frame::new(&Call::Dialled { callback_key: callback_key.to_owned() });
    write_frame(&impostor.stream, &call("0000")).unwrap();
    assert!(impostor.reader.read::<Opening>(MAX_LINE_BYTES).is_ok_and(|message| message.is_none()));

    let mut peer = Peer::new(Stream::dial(&address.parse().unwrap(), LONG).unwrap());
    write_frame(&peer.stream, &call(&key)).unwrap();
    assert_eq!(peer.hello().listens_at, None);
    peer.welcome();
    assert!(matches!(peer.hear(), FromRunner::Register { .. }));
    peer.say(&ToRunner::Registered { gone: vec![], logs: vec![], drained: false });
    peer.stream.close();
    let mut announced = Peer::new(scene.listener.accept().unwrap().unwrap());
    assert_eq!(announced.hello().callback_key, Some(key), "it announces itself again");
    runner.end(Stop::Now).unwrap();
}

#[test]
fn a_task_that_fills_the_disk_for_logs_is_a_loss() {
    let scene = Scene::new();
    let (repository, commit) = scene.repository();
    let runner = scene.start();
    let mut peer = scene.accept_and_register();
    // A directory is in the place of the spool file, so that it cannot be written.
    fs::create_dir(scene.settings.work.join("spool/a7.log")).unwrap();
    let gate = scene.fifo("gate");
    peer.say(&runtask(7, &commit, &format!("echo lost; cat {}", gate.display())));
    peer.give_source(&repository, &commit);
    assert_results(&peer.hear_log(true), "lost", b"");
    peer.record(7);
    runner.end(Stop::Now).unwrap();
}

#[test]
fn too_little_free_disk_is_said_before_anything_is_done() {
    let mut scene = Scene::new();
    scene.settings.min_free = u64::MAX;
    let runner = scene.start();
    let mut peer = scene.accept_and_register();
    peer.say(&runtask(7, &"ab".repeat(20), "true"));
    let FromRunner::Results { outcome, reason, .. } = peer.hear() else { panic!("results") };
    assert_eq!(outcome, "lost");
    assert!(reason.unwrap().starts_with("free disk space of"));
    peer.record(7);
    runner.end(Stop::Now).unwrap();
}

#[test]
fn a_task_that_asks_for_more_than_the_runner_offers_is_lost_so_that_another_runner_gets_it() {
    let scene = Scene::new();
    let runner = scene.start();
    let mut peer = scene.accept_and_register();
    let ToRunner::Runtask(mut lease) = runtask(7, &"2".repeat(40), "true") else { panic!("it is a lease") };
    let task = lease.task.as_mut().unwrap();
    task.recipe = Arc::new(Recipe { isolation: Some(Tier::Sealed), ..(*task.recipe).clone() });
    peer.say(&ToRunner::Runtask(lease));
    let results = peer.hear();
    assert_results(&results, "lost", b"");
    let FromRunner::Results { reason, .. } = results else { panic!("{results:?}") };
    assert_eq!(reason.as_deref(), Some("this runner does not offer isolation `sealed`"));
    runner.end(Stop::Now).unwrap();
}

#[test]
fn the_runners_own_repository_is_asked_before_the_dispatcher() {
    let mut scene = Scene::new();
    let (_, commit) = scene.repository();
    scene.settings.local_source = Some(scene.directory.path().join("repo"));
    let runner = scene.start();
    let mut peer = scene.accept_and_register();
    peer.say(&runtask(7, &commit, "cat hello.txt"));
    assert_results(&peer.hear_log(true), "passed", b"hello from the commit\n");
    peer.record(7);
    runner.end(Stop::Now).unwrap();
}

#[test]
fn much_output_arrives_whole() {
    let scene = Scene::new();
    let (repository, commit) = scene.repository();
    let runner = scene.start();
    let mut peer = scene.accept_and_register();
    peer.say(&runtask(7, &commit, "head -c 50000000 /dev/zero"));
    peer.give_source(&repository, &commit);
    let results = peer.hear_log(true);
    assert_results(&results, "passed", &vec![0; 50_000_000]);
    assert_eq!(peer.log.len(), 50_000_000);
    peer.record(7);
    runner.end(Stop::Now).unwrap();
}
