//! Credentials that read back.

use super::MakePlace;
use crate::model::*;

pub(super) fn credentials_are_replaced_forgotten_and_there_after_a_restart(make: MakePlace) {
    let place = make();
    let id = |text: &str| CredentialId::new(text).unwrap();
    let token = Credential {
        id: id("7f3k"),
        kind: CredentialKind::JoinToken { expires_at: WallTime(90), uses_left: 1 },
        role: AccessRole::Runner,
        name: None,
        labels: vec![Label::new("gpu").unwrap(), Label::new("zone=a").unwrap()],
        repos: vec![RepoName::new("app").unwrap()],
        hash: [7; 32],
        created_at: WallTime(1),
        created_by: Some("alice".into()),
        last_used: WallTime(1),
        revoked_at: None,
        revoked_by: None,
    };
    let spent = Credential {
        kind: CredentialKind::JoinToken { expires_at: WallTime(90), uses_left: 0 },
        revoked_at: Some(WallTime(5)),
        revoked_by: Some("bob".into()),
        ..token.clone()
    };
    let joined = Credential {
        id: id("2abc"),
        kind: CredentialKind::Joined { token: id("7f3k") },
        role: AccessRole::Admin,
        name: Some("w1".into()),
        labels: vec![],
        repos: vec![],
        created_by: None,
        ..token.clone()
    };
    let mut store = place.open();
    assert_eq!(store.credentials().unwrap(), []);
    store.save_credentials(std::slice::from_ref(&token), &[]).unwrap();
    assert_eq!(store.credentials().unwrap(), [token]);
    store.save_credentials(&[joined.clone(), spent.clone()], &[]).unwrap();
    drop(store);
    let mut store = place.open();
    assert_eq!(store.credentials().unwrap(), [joined.clone(), spent]);
    place.reader().check(&mut drop).unwrap();
    store.save_credentials(&[], &[id("7f3k"), id("none")]).unwrap();
    assert_eq!(store.credentials().unwrap(), [joined]);
}
