//! Which dispatchers a client with a pin accepts. Certificates are made to be wrong in one thing each.

use std::sync::Arc;
use std::time::Duration;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::{AuthorityKey, TlsError, TlsServer};
use crate::clock;
use crate::model::{Pin, WallTime};
use crate::threads;
use crate::transport::{Stream, TransportError};

const LONG: Duration = Duration::from_secs(30);
const MINUTE_MS: i64 = 60 * 1000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;

/// Presents one certificate.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesServerCert for Always {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

fn key() -> AuthorityKey {
    AuthorityKey::generate().unwrap()
}

/// Lets a client with these pins meet a dispatcher that presents this. Returns what each side says of it.
fn meet(pins: &[Pin], presented: CertifiedKey) -> (Result<(), TlsError>, Result<(), TlsError>) {
    let server = TlsServer::presenting(Arc::new(Always(Arc::new(presented)))).unwrap();
    let (here, there) = Stream::pair();
    let serving = threads::spawn("peer", move || tried(there.encrypt_as(&server, Vec::new(), LONG))).unwrap();
    let client = tried(here.encrypt(pins, LONG));
    here.close();
    (client, serving.join().unwrap())
}

fn tried(result: Result<Stream, TransportError>) -> Result<(), TlsError> {
    match result {
        Ok(_) => Ok(()),
        Err(TransportError::Tls { source, .. }) => Err(*source),
        Err(other) => panic!("{other:?}"),
    }
}

/// The present time, so many minutes later.
fn at(minutes: i64) -> WallTime {
    WallTime(clock::wall().0 + minutes * MINUTE_MS)
}

#[test]
fn the_dispatcher_with_the_pin_is_accepted_also_if_it_is_the_second_of_two() {
    let authority = key();
    let other = Pin::new([9; 32]);
    for pins in [vec![authority.pin()], vec![other, authority.pin()]] {
        let (client, server) = meet(&pins, authority.issue(at(0)).unwrap());
        client.unwrap();
        server.unwrap();
    }
    // The key that is read back from its file is the same authority.
    let restored = AuthorityKey::from_der(authority.to_der()).unwrap();
    meet(&[authority.pin()], restored.issue(at(0)).unwrap()).0.unwrap();
}

#[test]
fn while_an_authority_is_replaced_either_pin_is_accepted_and_afterwards_the_new_one_alone() {
    let (before, next) = (key(), key());
    for pins in [vec![before.pin()], vec![next.pin()], vec![before.pin(), next.pin()], vec![next.pin(), before.pin()]] {
        let (client, server) = meet(&pins, next.issue_after(&before, at(0)).unwrap());
        client.unwrap();
        server.unwrap();
    }
    let (client, _) = meet(&[before.pin()], next.issue(at(0)).unwrap());
    assert!(matches!(client, Err(TlsError::WrongPin(_))), "{client:?}");
    meet(&[before.pin(), next.pin()], next.issue(at(0)).unwrap()).0.unwrap();
    // A key that another authority has not signed gains nothing by its certificate.
    let CertifiedKey { mut cert, key, .. } = next.issue_after(&before, at(0)).unwrap();
    cert[1] = next.issue(at(0)).unwrap().cert[1].clone();
    let (client, _) = meet(&[before.pin()], CertifiedKey::new(cert, key));
    assert!(matches!(client, Err(TlsError::Failed(_))), "{client:?}");
}

#[test]
fn another_authority_is_refused_with_both_pins_in_the_text_and_the_dispatcher_is_told() {
    let (expected, presented) = (Pin::new([9; 32]), key());
    let (client, server) = meet(&[expected], presented.issue(at(0)).unwrap());
    let error = client.unwrap_err();
    assert!(matches!(error, TlsError::WrongPin(_)), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(&expected.to_string()) && text.contains(&presented.pin().to_string()), "{text}");
    let said = server.unwrap_err();
    assert!(said.to_string().contains("does not accept the certificate"), "{said}");
}

/// A name proves nothing: all authorities have the same one.
#[test]
fn an_authority_with_the_same_name_and_a_copy_of_the_real_certificate_is_refused() {
    let (real, imitator) = (key(), key());
    let real_chain = real.issue(at(0)).unwrap().cert;
    // The imitator's own certificate, with the real authority's certificate, which is public, in place of its own.
    let CertifiedKey { mut cert, key, .. } = imitator.issue(at(0)).unwrap();
    cert[1] = real_chain[1].clone();
    let (client, _) = meet(&[real.pin()], CertifiedKey::new(cert, key));
    assert!(matches!(client, Err(TlsError::Failed(_))), "{client:?}");
    // Both authorities in the chain.
    let CertifiedKey { mut cert, key, .. } = imitator.issue(at(0)).unwrap();
    cert.push(real_chain[1].clone());
    let (client, _) = meet(&[real.pin()], CertifiedKey::new(cert, key));
    assert!(matches!(client, Err(TlsError::Failed(_))), "{client:?}");
}

#[test]
fn a_copy_of_the_public_certificates_with_another_key_is_refused() {
    let real = key();
    let copied = real.issue(at(0)).unwrap().cert;
    let own_key = key().issue(at(0)).unwrap().key;
    let (client, _) = meet(&[real.pin()], CertifiedKey::new(copied, own_key));
    assert!(matches!(client, Err(TlsError::Failed(_))), "{client:?}");
}

#[test]
fn a_chain_without_its_authority_is_refused() {
    let real = key();
    let CertifiedKey { mut cert, key, .. } = real.issue(at(0)).unwrap();
    cert.pop();
    let (client, _) = meet(&[real.pin()], CertifiedKey::new(cert, key));
    let text = client.unwrap_err().to_string();
    assert!(text.contains("it shows no authority"), "{text}");
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let real = key();
    let (client, _) = meet(&[real.pin()], real.issue_for("runner.surveil.internal", at(0)).unwrap());
    assert!(matches!(client, Err(TlsError::Failed(_))), "{client:?}");
}

#[test]
fn an_expired_certificate_is_refused_and_the_text_speaks_of_clocks() {
    let real = key();
    let made = WallTime(at(0).0 - 91 * DAY_MS);
    let (client, server) = meet(&[real.pin()], real.issue(made).unwrap());
    let error = client.unwrap_err();
    assert!(matches!(error, TlsError::Dates(_)) && error.to_string().contains("compare the clocks"), "{error}");
    assert!(server.unwrap_err().to_string().contains("expired"));
    // One that will be valid tomorrow is no better.
    let (client, _) = meet(&[real.pin()], real.issue(at(24 * 60)).unwrap());
    assert!(matches!(client, Err(TlsError::Dates(_))), "{client:?}");
}

#[test]
fn clocks_that_are_five_minutes_off_in_either_direction_do_not_matter() {
    let real = key();
    for minutes in [-5, 5] {
        let (client, _) = meet(&[real.pin()], real.issue(at(minutes)).unwrap());
        client.unwrap();
    }
}

/// `openssl pkey -pubin -outform der | sha256sum` gives the same.
#[test]
fn a_pin_is_the_hash_of_the_whole_public_key_with_its_header() {
    use sha2::{Digest, Sha256};
    let authority = key();
    let chain = authority.issue(at(0)).unwrap().cert;
    let der = chain[1].as_ref();
    // An SPKI of a P-256 key has 91 bytes and begins like this, wherever it stands in the certificate.
    let start = der.windows(4).position(|window| window == [0x30, 0x59, 0x30, 0x13]).unwrap();
    assert_eq!(authority.pin(), Pin::new(Sha256::digest(&der[start..start + 91]).into()));
}
