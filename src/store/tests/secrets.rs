//! Secrets, sealed.

use super::MakePlace;
use crate::model::*;

fn secret(name: &str, repo: Option<&str>) -> Secret {
    let rule = SecretRule {
        repo: repo.map(str::to_owned),
        refs: vec!["main".into(), "refs/tags/v*".into()],
        tasks: vec!["deploy*".into()],
        labels: vec![Label::recorded("deploy")],
    };
    let (set_at, set_by) = (WallTime(1_700_000_000_000), Some("alice".into()));
    Secret { name: name.into(), rule, sealed: vec![0, 255, 7], set_at, set_by, last_use: None }
}

pub(super) fn secrets_are_replaced_and_removed_by_name_and_repository(make: MakePlace) {
    let place = make();
    let mut store = place.open();
    assert_eq!(place.reader().secrets().unwrap(), []);
    let (all, app, other) = (secret("A", None), secret("A", Some("app")), secret("B", Some("app")));
    for secret in [&other, &app, &all] {
        store.save_secret(secret).unwrap();
    }
    assert_eq!(place.reader().secrets().unwrap(), [all.clone(), app.clone(), other.clone()]);
    let used = SecretUse { at: WallTime(1_700_000_000_001), task: "b1/deploy".into() };
    let again = Secret { sealed: vec![1], set_by: None, last_use: Some(used), ..app };
    store.save_secret(&again).unwrap();
    drop(store);
    let mut store = place.open();
    assert_eq!(place.reader().secrets().unwrap(), [all, again.clone(), other]);
    assert!(store.remove_secret("A", None).unwrap());
    assert!(!store.remove_secret("A", None).unwrap() && !store.remove_secret("B", None).unwrap());
    assert_eq!(place.reader().secrets().unwrap().len(), 2);
    place.reader().check(&mut drop).unwrap();
}
