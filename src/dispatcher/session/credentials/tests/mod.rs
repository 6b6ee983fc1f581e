//! Tests of the rules, with times as arguments.

use super::ledger::*;
use super::*;
use crate::model::{AccessRole, CredentialKind, Label, RepoName};

const DAY: i64 = 24 * 60 * 60 * 1000;

/// The credential of a runner `w1`, used last at 0.
pub(super) fn credential(id: &str) -> Credential {
    Credential {
        id: CredentialId::new(id).unwrap(),
        kind: CredentialKind::Joined { token: CredentialId::new("t").unwrap() },
        role: AccessRole::Runner,
        name: Some("w1".into()),
        labels: vec![Label::new("gpu").unwrap(), Label::new("hostname=attic").unwrap()],
        repos: vec![],
        hash: hash(&secret(7)),
        created_at: WallTime(0),
        created_by: None,
        last_used: WallTime(0),
        revoked_at: None,
        revoked_by: None,
    }
}

fn secret(byte: u8) -> String {
    format!("{byte:02x}").repeat(32)
}

fn id(text: &str) -> CredentialId {
    CredentialId::new(text).unwrap()
}

fn token(kind: TokenKind, id: &str, byte: u8) -> Token {
    Token { kind, id: id.into(), secret: secret(byte), pins: vec![] }
}

fn new_token() -> NewToken {
    let labels = vec![Label::new("gpu").unwrap()];
    NewToken { role: AccessRole::Runner, name: None, labels, repos: vec![], ttl_ms: 1000, uses: 1 }
}

fn joiner(byte: u8, name: &str) -> Joiner {
    Joiner {
        token: token(TokenKind::Join, "t", 1),
        role: Role::Runner,
        name: name.into(),
        default_name: "attic".into(),
        hostname: Some("attic".into()),
        secret: secret(byte),
    }
}

/// A ledger with the join token `t`, created at 0.
fn ledger(new: &NewToken) -> Ledger {
    let mut ledger = Ledger::default();
    let (changes, _) = ledger.create(new, Some("alice".into()), id("t"), &secret(1), WallTime(0)).unwrap();
    ledger.put(changes);
    ledger
}

/// Lets the peer join at that time, and puts it in force.
fn join(ledger: &mut Ledger, joiner: &Joiner, own: &str, now: i64) -> Result<Credential, Denied> {
    let (changes, joined) = ledger.join(joiner, id(own), WallTime(now))?;
    ledger.put(changes);
    Ok(joined)
}

#[test]
fn a_token_is_spent_once_however_often_the_same_peer_asks() {
    let mut ledger = ledger(&new_token());
    let joined = join(&mut ledger, &joiner(7, ""), "c", 10).unwrap();
    assert_eq!((joined.name.as_deref(), joined.role), (Some("attic"), AccessRole::Runner));
    assert_eq!(joined.labels.iter().map(Label::as_str).collect::<Vec<_>>(), ["gpu", "hostname=attic"]);
    // The answer was lost, and meanwhile the token has expired.
    assert_eq!(join(&mut ledger, &joiner(7, ""), "d", 5000).unwrap(), joined);
    assert_eq!(ledger.rows().count(), 2);
    assert_eq!(join(&mut ledger, &joiner(8, "w2"), "e", 20), Err(Denied::Used { id: id("t") }));
    let admitted = ledger.admit(&token(TokenKind::Credential, "c", 7), Role::Runner, "attic", WallTime(20));
    assert_eq!(admitted, Ok(&joined));
}

#[test]
fn a_token_with_several_uses_lets_so_many_peers_join_under_names_of_their_own() {
    let mut ledger = ledger(&NewToken { uses: 2, ..new_token() });
    join(&mut ledger, &joiner(7, "w1"), "c", 10).unwrap();
    let taken = Err(Denied::NameTaken { name: "w1".into(), id: id("c") });
    assert_eq!(join(&mut ledger, &joiner(8, "w1"), "d", 10), taken);
    join(&mut ledger, &joiner(8, "w2"), "d", 10).unwrap();
    assert_eq!(join(&mut ledger, &joiner(9, "w3"), "e", 10), Err(Denied::Used { id: id("t") }));
}

#[test]
fn expired_used_and_revoked_are_told_apart_only_to_somebody_who_has_the_secret() {
    let mut ledger = ledger(&new_token());
    let stranger = |byte| Joiner { token: token(TokenKind::Join, "t", byte), ..joiner(7, "") };
    assert_eq!(join(&mut ledger, &joiner(7, ""), "c", 1000), Err(Denied::Expired { id: id("t"), is_token: true }));
    for now in [0, 1000] {
        assert_eq!(join(&mut ledger, &stranger(2), "c", now), Err(Denied::Unknown));
    }
    join(&mut ledger, &joiner(7, ""), "c", 999).unwrap();
    assert_eq!(join(&mut ledger, &joiner(8, ""), "d", 999), Err(Denied::Used { id: id("t") }));
    assert_eq!(join(&mut ledger, &stranger(2), "d", 999), Err(Denied::Unknown));
    let (changes, _) = ledger.revoke(&id("t"), Some("bob".into()), WallTime(999)).unwrap();
    ledger.put(changes);
    assert_eq!(join(&mut ledger, &joiner(8, ""), "d", 999), Err(Denied::Revoked { id: id("t"), is_token: true }));
    assert_eq!(join(&mut ledger, &stranger(2), "d", 999), Err(Denied::Unknown));
    // A join token is no credential, and the other way round.
    let wrong = ledger.admit(&token(TokenKind::Credential, "t", 1), Role::Runner, "attic", WallTime(0));
    assert_eq!(wrong, Err(Denied::Unknown));
    let unknown = ledger.admit(&token(TokenKind::Credential, "nobody", 1), Role::Runner, "attic", WallTime(0));
    assert_eq!(unknown, Err(Denied::Unknown));
}

#[test]
fn a_revoked_token_takes_what_came_from_it_along_and_a_credential_goes_alone() {
    let mut ledger = ledger(&NewToken { uses: 3, ..new_token() });
    for (own, byte, name) in [("c", 7, "w1"), ("d", 8, "w2"), ("e", 9, "w3")] {
        join(&mut ledger, &joiner(byte, name), own, 10).unwrap();
    }
    let mut revoke = |which: &str| {
        let (changes, revoked) = ledger.revoke(&id(which), Some("bob".into()), WallTime(20)).unwrap();
        ledger.put(changes);
        revoked.iter().map(|row| row.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(revoke("d"), ["d"]);
    assert_eq!(revoke("t"), ["c", "e", "t"]);
    assert_eq!(revoke("t"), [""; 0]);
    for (own, byte, name) in [("c", 7, "w1"), ("d", 8, "w2")] {
        let denied = ledger.admit(&token(TokenKind::Credential, own, byte), Role::Runner, name, WallTime(20));
        assert_eq!(denied, Err(Denied::Revoked { id: id(own), is_token: false }));
    }
    // The peer that comes back to join is told so too.
    assert_eq!(join(&mut ledger, &joiner(7, "w1"), "f", 20), Err(Denied::Revoked { id: id("c"), is_token: false }));
    assert!(matches!(ledger.revoke(&id("none"), Some("bob".into()), WallTime(0)), Err(Denied::NoSuchId { .. })));
}

#[test]
fn a_credential_lives_as_long_as_it_is_used_and_90_days_more() {
    let mut ledger = Ledger::new(vec![credential("c")]);
    let own = token(TokenKind::Credential, "c", 7);
    assert!(ledger.admit(&own, Role::Runner, "w1", WallTime(90 * DAY - 1)).is_ok());
    let expired = Err(Denied::Expired { id: id("c"), is_token: false });
    assert_eq!(ledger.admit(&own, Role::Runner, "w1", WallTime(90 * DAY)), expired);
    assert_eq!(ledger.expiring(WallTime(76 * DAY - 1)).len(), 0);
    assert_eq!(ledger.expiring(WallTime(76 * DAY)).len(), 1);
    assert_eq!(ledger.expiring(WallTime(90 * DAY)).len(), 0, "it has expired");
    // A use within the day after the recorded one is not recorded.
    assert!(ledger.touch(&[id("c")], WallTime(DAY - 1)).is_empty());
    let used = ledger.touch(&[id("c"), id("none")], WallTime(80 * DAY));
    ledger.put(used);
    assert_eq!(ledger.expiring(WallTime(90 * DAY)).len(), 0);
    assert!(ledger.admit(&own, Role::Runner, "w1", WallTime(170 * DAY - 1)).is_ok());
    // A clock that goes back makes nothing invalid, and records nothing.
    assert!(ledger.admit(&own, Role::Runner, "w1", WallTime(-DAY)).is_ok());
    assert!(ledger.touch(&[id("c")], WallTime(-DAY)).is_empty());
}

#[test]
fn a_credential_is_bound_to_its_role_and_name() {
    let ledger = Ledger::new(vec![credential("c")]);
    let own = token(TokenKind::Credential, "c", 7);
    let role = Denied::Role { id: id("c"), role: AccessRole::Runner, wanted: Role::Operator };
    assert_eq!(ledger.admit(&own, Role::Operator, "w1", WallTime(0)), Err(role));
    let name = Denied::Name { id: id("c"), own: "w1".into(), wanted: "w2".into() };
    assert_eq!(ledger.admit(&own, Role::Runner, "w2", WallTime(0)), Err(name));
}

#[test]
fn a_token_with_a_name_gives_it_and_takes_no_other() {
    let mut ledger = ledger(&NewToken { name: Some("build-3".into()), ..new_token() });
    let name = Err(Denied::Name { id: id("t"), own: "build-3".into(), wanted: "w9".into() });
    assert_eq!(join(&mut ledger, &joiner(7, "w9"), "c", 10), name);
    assert_eq!(join(&mut ledger, &joiner(7, ""), "c", 10).unwrap().name.as_deref(), Some("build-3"));
}

#[test]
fn a_runner_has_the_labels_of_its_credential_and_facts_and_no_other() {
    let credential = credential("c");
    let labels = |texts: &[&str]| {
        let claimed = texts.iter().map(|text| Label::new(text).unwrap()).collect();
        let labels = ledger::labels(&credential, claimed);
        labels.map(|labels| labels.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    };
    let facts = ["can=x", "hostname=attic", "os=linux"];
    assert_eq!(labels(&facts).unwrap(), "can=x gpu hostname=attic os=linux", "none is named, so all are meant");
    assert_eq!(labels(&["gpu", "os=linux"]).unwrap(), "gpu os=linux");
    assert_eq!(labels(&[]).unwrap(), "gpu");
    for foreign in ["deploy", "hostname=prod", "gpu=2"] {
        let denied = labels(&["gpu", foreign]).unwrap_err();
        assert!(matches!(&denied, Denied::Label { label, .. } if label == foreign), "{denied}");
        assert!(denied.to_string().contains(foreign) && denied.to_string().contains("it allows gpu"), "{denied}");
    }
}

#[test]
fn a_wish_that_makes_no_sense_is_refused_with_the_reason() {
    let observer = NewToken { role: AccessRole::Observer, labels: vec![], ..new_token() };
    let app = vec![RepoName::new("app").unwrap()];
    for (new, words) in [
        (observer.clone(), "--repo"),
        (NewToken { labels: new_token().labels, repos: app.clone(), ..observer }, "labels are for runners"),
        (NewToken { repos: app, ..new_token() }, "repositories are for observers"),
        (NewToken { uses: 0, ..new_token() }, "1 to 10000 uses"),
        (NewToken { ttl_ms: 0, ..new_token() }, "at most 366 days"),
        (NewToken { ttl_ms: u64::MAX, ..new_token() }, "at most 366 days"),
        (NewToken { uses: 2, name: Some("w1".into()), ..new_token() }, "one use"),
        (NewToken { name: Some("a b".into()), ..new_token() }, "a b"),
    ] {
        let denied =
            Ledger::default().create(&new, Some("alice".into()), id("t"), &secret(1), WallTime(0)).unwrap_err();
        assert!(denied.to_string().contains(words), "{denied}");
    }
}

#[test]
fn a_token_of_no_use_is_forgotten_after_a_month() {
    let ledger = ledger(&new_token());
    let forgotten = |now| {
        let (changes, _) =
            ledger.create(&new_token(), Some("alice".into()), id("u"), &secret(2), WallTime(now)).unwrap();
        changes.forgotten
    };
    assert_eq!(forgotten(30 * DAY + 1000), []);
    assert_eq!(forgotten(30 * DAY + 1001), [id("t")]);
}
