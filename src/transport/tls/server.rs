//! The dispatcher's side: presents a certificate under its authority, and makes a new one in time.

use std::sync::{Arc, Mutex};

use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, ServerConnection};

use super::authority::{BACKDATED, VALID};
use super::{AuthorityKey, CertificateError, WallClock, provider};
use crate::model::WallTime;
use crate::{clock, threads};

/// The dispatcher's half of encrypted connections. Clones share the certificate.
#[derive(Debug, Clone)]
pub struct TlsServer {
    config: Arc<ServerConfig>,
    /// `None` if the certificates come from elsewhere.
    current: Option<Arc<Current>>,
}

impl TlsServer {
    /// Makes the first certificate under this authority, or under the next one while it is replaced. The certificate
    /// lives in memory: a start makes another one, and so does the first connection after two thirds of its time.
    pub fn new(authority: Arc<AuthorityKey>, next: Option<Arc<AuthorityKey>>) -> Result<Self, CertificateError> {
        let current = Arc::new(Current { issued: Mutex::new(Issued::make(authority, next, clock::wall())?) });
        Ok(Self { current: Some(current.clone()), ..Self::presenting(current)? })
    }

    /// Makes certificates under this authority, or under the next one while it is replaced, from the next connection
    /// on.
    pub fn replace(
        &self,
        authority: Arc<AuthorityKey>,
        next: Option<Arc<AuthorityKey>>,
    ) -> Result<(), CertificateError> {
        if let Some(current) = &self.current {
            let issued = Issued::make(authority, next, clock::wall())?;
            *threads::lock(&current.issued) = issued;
        }
        Ok(())
    }

    /// Makes the present certificate one of that age.
    #[cfg(test)]
    pub(crate) fn set_age(&self, age: std::time::Duration) {
        let mut issued = threads::lock(&self.current.as_ref().unwrap().issued);
        let at = WallTime(clock::wall().0 - i64::try_from(age.as_millis()).unwrap());
        *issued = Issued::make(issued.authority.clone(), issued.next.clone(), at).unwrap();
    }

    /// Makes the half of connections that presents what `certificates` chooses.
    pub(super) fn presenting(certificates: Arc<dyn ResolvesServerCert>) -> Result<Self, CertificateError> {
        let mut config = ServerConfig::builder_with_details(provider(), Arc::new(WallClock))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(CertificateError::Use)?
            .with_no_client_auth()
            .with_cert_resolver(certificates);
        // Sessions last for days, so resuming one would save nothing, and would keep secrets for nothing.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self { config: Arc::new(config), current: None })
    }

    /// Makes the server's half of one connection. [`Stream`](crate::transport::Stream) moves its bytes; a program that
    /// changes encrypted bytes on their way, such as a network with faults, moves them itself.
    pub fn connection(&self) -> Result<ServerConnection, rustls::Error> {
        ServerConnection::new(self.config.clone())
    }
}

/// The certificate that is presented now.
#[derive(Debug)]
struct Current {
    issued: Mutex<Issued>,
}

#[derive(Debug)]
struct Issued {
    authority: Arc<AuthorityKey>,
    next: Option<Arc<AuthorityKey>>,
    key: Arc<CertifiedKey>,
    at: WallTime,
}

impl Issued {
    fn make(
        authority: Arc<AuthorityKey>,
        next: Option<Arc<AuthorityKey>>,
        at: WallTime,
    ) -> Result<Self, CertificateError> {
        let key = match &next {
            Some(next) => next.issue_after(&authority, at)?,
            None => authority.issue(at)?,
        };
        Ok(Self { authority, next, key: Arc::new(key), at })
    }
}

impl Current {
    /// Returns the certificate for a connection at `now`, which is a new one if the last one is old.
    fn at(&self, now: WallTime) -> Arc<CertifiedKey> {
        let mut issued = threads::lock(&self.issued);
        if is_due(issued.at, now) {
            match Issued::make(issued.authority.clone(), issued.next.clone(), now) {
                Ok(made) => {
                    log::info!("the certificate for encrypted connections is renewed");
                    *issued = made;
                }
                // The next connection tries again; the old certificate may be valid for another month.
                Err(error) => log::error!("the certificate for encrypted connections is not renewed: {error}"),
            }
        }
        issued.key.clone()
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.at(clock::wall()))
    }
}

/// Whether a certificate that was made at `made` is to be replaced: after two thirds of its time, or if the clock was
/// set back to before it is valid.
fn is_due(made: WallTime, now: WallTime) -> bool {
    let age_ms = i128::from(now.0) - i128::from(made.0);
    age_ms >= VALID.as_millis().cast_signed() * 2 / 3 || -age_ms > BACKDATED.as_millis().cast_signed() / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 24 * 60 * 60 * 1000;

    #[test]
    fn a_certificate_is_renewed_after_two_thirds_of_ninety_days_without_a_restart() {
        let made = WallTime(1_000 * DAY_MS);
        let issued = Issued::make(Arc::new(AuthorityKey::generate().unwrap()), None, made).unwrap();
        let first = issued.key.clone();
        let current = Current { issued: Mutex::new(issued) };
        let at = |days: i64| current.at(WallTime(made.0 + days * DAY_MS));
        assert!(Arc::ptr_eq(&at(0), &first) && Arc::ptr_eq(&at(59), &first));
        let second = at(60);
        assert!(!Arc::ptr_eq(&second, &first) && second.cert[0] != first.cert[0]);
        assert!(Arc::ptr_eq(&at(119), &second));
        let third = at(120);
        assert!(!Arc::ptr_eq(&third, &second));
        assert!(!Arc::ptr_eq(&at(0), &third), "the clock was set back to before the certificate is valid");
    }

    #[test]
    fn a_clock_far_in_the_future_or_before_1970_makes_a_certificate() {
        let authority = AuthorityKey::generate().unwrap();
        for now in [i64::MIN, -1, 0, i64::MAX] {
            assert_eq!(authority.issue(WallTime(now)).unwrap().cert.len(), 2, "{now}");
        }
        assert!(is_due(WallTime(i64::MIN), WallTime(i64::MAX)) && is_due(WallTime(i64::MAX), WallTime(i64::MIN)));
    }
}
