//! The authority over restarts, replacements that are cut short, and disks that take nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::error_chain::chain;

const LONG: Duration = Duration::from_secs(20);

fn pin_of(data: &DataDir) -> Pin {
    Authority::load(data).unwrap().pins()[0]
}

#[test]
fn a_first_start_draws_the_authority_for_its_owner_alone_and_later_ones_keep_it() {
    let place = tempfile::tempdir().unwrap();
    let data = DataDir::open(place.path()).unwrap();
    assert_eq!(pin::pin(place.path()), None);
    let first = pin_of(&data);
    assert_eq!(Authority::load(&data).unwrap().pins(), [first]);
    assert_eq!(pin::pin(place.path()), Some(first));
    let mut entries: Vec<_> = fs::read_dir(data.tls()).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    assert_eq!(entries, [key_file(&data), pin::file(data.root())], "nothing else is left");
    // The pin follows the key, whatever stands there.
    fs::write(pin::file(data.root()), "another").unwrap();
    pin_of(&data);
    assert_eq!(pin::pin(place.path()), Some(first));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&data.tls()), mode(&entries[0])), (0o700, 0o600));
    let other = tempfile::tempdir().unwrap();
    assert_ne!(pin_of(&DataDir::open(other.path()).unwrap()), first);
}

#[test]
fn a_key_that_cannot_be_read_is_refused_and_stays_as_it_is() {
    let place = tempfile::tempdir().unwrap();
    let data = DataDir::open(place.path()).unwrap();
    for broken in [&b""[..], b"half a key"] {
        fs::write(key_file(&data), broken).unwrap();
        let text = chain(&Authority::load(&data).err().unwrap());
        assert!(text.contains("authority.key") && text.contains("backup"), "{text}");
        assert_eq!(fs::read(key_file(&data)).unwrap(), broken);
    }
}

#[test]
fn an_authority_is_replaced_in_two_steps_over_restarts_and_names_who_does_not_have_the_next_pin() {
    let place = tempfile::tempdir().unwrap();
    let data = DataDir::open(place.path()).unwrap();
    let authority = Authority::load(&data).unwrap();
    let ids = ["2abc", "3abc"].map(|id| CredentialId::new(id).unwrap());
    let peers = || ids.iter().map(|id| (id.clone(), format!("peer {id}"))).collect::<Vec<_>>();
    let first = authority.pins()[0];
    assert!(matches!(authority.finish(peers(), true), Err(RotationError::NotBegun)));
    assert_eq!(authority.rotation(peers()), None);

    let next = authority.rotate().unwrap();
    assert_eq!((authority.rotate().unwrap(), authority.pins()), (next, vec![first, next]));
    let both = [first.to_string(), next.to_string()];
    assert_eq!(authority.news_for(&[first.to_string()]), both);
    assert!(authority.news_for(&both).is_empty() && authority.news_for(&[]).is_empty());
    authority.note(&ids[0], &[first.to_string()]);
    let missing = vec!["peer 2abc".into(), "peer 3abc".into()];
    assert_eq!(authority.rotation(peers()).unwrap(), Rotation { next, joined: 2, missing });
    authority.note(&ids[0], &both);

    let authority = Authority::load(&data).unwrap();
    assert_eq!((authority.pins(), pin::pin(place.path())), (vec![first, next], Some(first)));
    assert_eq!(authority.rotation(peers()).unwrap().missing, ["peer 3abc"]);
    let refused = authority.finish(peers(), false).unwrap_err().to_string();
    assert!(refused.starts_with("1 peer that joined does not have the next pin yet: peer 3abc; wait"), "{refused}");
    let backup = data.hold(false).unwrap();
    assert!(matches!(authority.finish(peers(), true), Err(RotationError::Held)));
    drop(backup);
    authority.note(&ids[1], &both);
    assert_eq!(authority.finish(peers(), false).unwrap(), next);
    assert_eq!((authority.pins(), pin::pin(place.path())), (vec![next], Some(next)));
    assert_eq!(authority.news_for(&both), [next.to_string()]);
    assert_eq!(Authority::load(&data).unwrap().pins(), [next]);
    assert_eq!(fs::read_dir(data.tls()).unwrap().count(), 2, "nothing else is left");
}

#[test]
fn a_rotation_that_is_cut_short_after_any_step_leaves_an_authority_that_peers_know() {
    let place = tempfile::tempdir().unwrap();
    let data = DataDir::open(place.path()).unwrap();
    let first = pin_of(&data);
    let next = AuthorityKey::generate().unwrap();
    // Of the beginning: the ids of an earlier rotation are gone before the next key is there.
    write_taken(&data, &BTreeSet::new()).unwrap();
    assert_eq!(Authority::load(&data).unwrap().pins(), [first]);
    write_taken(&data, &BTreeSet::new()).unwrap();
    write_private(&next_file(&data), next.to_der()).unwrap();
    assert_eq!(Authority::load(&data).unwrap().pins(), [first, next.pin()]);
    // Of the end: the next key has taken the place of the first one, and nothing else is done.
    write_private(&key_file(&data), next.to_der()).unwrap();
    assert_eq!(pin::pin(place.path()), Some(first));
    assert_eq!(Authority::load(&data).unwrap().pins(), [next.pin()]);
    assert_eq!(pin::pin(place.path()), Some(next.pin()));
    assert_eq!(fs::read_dir(data.tls()).unwrap().count(), 2, "nothing else is left");
}

/// A certificate that is older than 90 days would be refused, so a new one was made.
#[test]
fn a_certificate_is_renewed_also_if_nothing_can_be_written_and_while_the_authority_is_replaced() {
    let place = tempfile::tempdir().unwrap();
    let data = DataDir::open(place.path()).unwrap();
    let authority = Authority::load(&data).unwrap();
    let tls = authority.tls().clone();
    let meet = |pin: Pin| {
        let (here, there) = Stream::pair();
        let tls = tls.clone();
        let serving = threads::spawn("peer", move || drop(there.encrypt_as(&tls, Vec::new(), LONG))).unwrap();
        let met = here.encrypt(&[pin], LONG).map(drop);
        serving.join().unwrap();
        met
    };
    let first = authority.pin();
    let next = authority.rotate().unwrap();
    place.close().unwrap();
    for pin in [first, next] {
        tls.set_age(Duration::from_secs(91 * 24 * 60 * 60));
        meet(pin).unwrap();
    }
    assert!(!data.root().exists());
}

#[test]
fn an_authority_that_cannot_be_written_stays_the_one_that_it_is_and_the_order_can_be_repeated() {
    let place = tempfile::tempdir().unwrap();
    let data = DataDir::open(place.path()).unwrap();
    let authority = Authority::load(&data).unwrap();
    let first = authority.pins()[0];
    // A directory in the place of a file: no user can write that, also not root.
    let in_the_way = |file: PathBuf| {
        fs::create_dir_all(file.join("full")).unwrap();
        file
    };
    let path = in_the_way(next_file(&data));
    let text = chain(&authority.rotate().unwrap_err());
    assert!(text.starts_with(&format!("could not write {}: ", path.display())), "{text}");
    assert_eq!(authority.pins(), [first]);
    fs::remove_dir_all(path).unwrap();
    let next = authority.rotate().unwrap();
    let path = in_the_way(data.tls().join("authority.new"));
    let text = chain(&authority.finish(Vec::new(), false).unwrap_err());
    assert!(text.starts_with(&format!("could not write {}: ", key_file(&data).display())), "{text}");
    assert_eq!((authority.pins(), Authority::load(&data).unwrap().pins()), (vec![first, next], vec![first, next]));
    fs::remove_dir_all(path).unwrap();
    assert_eq!(authority.finish(Vec::new(), false).unwrap(), next);
    assert_eq!(authority.pins(), [next]);
}
