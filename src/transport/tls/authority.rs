//! A dispatcher's certificate authority: its key, its pin, and the certificates that it signs.
//!
//! The key is all that must last. The authority's own certificate is made anew at each start, because peers know the
//! authority by its public key, and a certificate of it says nothing more than that key and a name.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};

use super::{SERVER_NAME, provider};
use crate::model::{Pin, WallTime};

/// The time by which certificates are valid before they are made. The clock of a peer may be slow.
pub(super) const BACKDATED: Duration = Duration::from_secs(60 * 60);
/// The time for which a dispatcher's certificate is valid after it was made.
pub(super) const VALID: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// The time for which the authority's certificate is valid. Peers judge its key alone.
const AUTHORITY_VALID: Duration = Duration::from_secs(20 * 365 * 24 * 60 * 60);

/// The latest time at which a certificate can be made: in the year 9,000 or so.
const LATEST: Duration = Duration::from_secs(7_000 * 365 * 24 * 60 * 60);

/// The key of a certificate authority.
pub struct AuthorityKey {
    key: KeyPair,
}

/// The reason why there is no authority or no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("the file does not hold the private key of an authority")]
    Key(#[source] rcgen::Error),
    #[error("could not make a key or a certificate")]
    Make(#[source] rcgen::Error),
    #[error("could not use a certificate")]
    Use(#[source] rustls::Error),
}

impl AuthorityKey {
    /// Draws a new key (ECDSA over P-256).
    pub fn generate() -> Result<Self, CertificateError> {
        Ok(Self { key: KeyPair::generate().map_err(CertificateError::Make)? })
    }

    /// Reads a key (PKCS #8 in DER).
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        let der = PrivatePkcs8KeyDer::from(der);
        Ok(Self { key: KeyPair::try_from(&der).map_err(CertificateError::Key)? })
    }

    /// Returns the private key, as [`AuthorityKey::from_der`] reads it.
    #[must_use]
    pub fn to_der(&self) -> &[u8] {
        self.key.serialized_der()
    }

    /// Returns the pin by which peers know this authority.
    #[must_use]
    pub fn pin(&self) -> Pin {
        Pin::new(Sha256::digest(self.key.subject_public_key_info()).into())
    }

    /// Makes a key and a certificate for the fixed name, valid from `now`, and the chain up to this authority.
    pub(super) fn issue(&self, now: WallTime) -> Result<CertifiedKey, CertificateError> {
        self.issue_for(SERVER_NAME, now)
    }

    /// Like [`AuthorityKey::issue`], but the chain goes on to the authority before this one, which has signed this
    /// one's certificate: so peers that know either of the two accept it.
    pub(super) fn issue_after(&self, before: &Self, now: WallTime) -> Result<CertifiedKey, CertificateError> {
        let mut issued = self.issue(now)?;
        let (root, der) = before.certificate(now)?;
        let crossed = Self::params(now).signed_by(&self.key, &Issuer::from_params(&root, &before.key));
        issued.cert[1] = crossed.map_err(CertificateError::Make)?.der().clone();
        issued.cert.push(der);
        Ok(issued)
    }

    /// Like [`AuthorityKey::issue`], for any name.
    pub(super) fn issue_for(&self, name: &str, now: WallTime) -> Result<CertifiedKey, CertificateError> {
        let make = CertificateError::Make;
        let root = self.certificate(now)?;
        let key = KeyPair::generate().map_err(make)?;
        let mut params = CertificateParams::new(vec![name.to_owned()]).map_err(make)?;
        params.distinguished_name = named(SERVER_NAME);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        set_dates(&mut params, now, VALID);
        let leaf = params.signed_by(&key, &Issuer::from_params(&root.0, &self.key)).map_err(make)?;
        let chain = vec![leaf.der().clone(), root.1];
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        CertifiedKey::from_der(chain, key, &provider()).map_err(CertificateError::Use)
    }

    /// Makes the authority's own certificate.
    fn certificate(&self, now: WallTime) -> Result<(CertificateParams, CertificateDer<'static>), CertificateError> {
        let params = Self::params(now);
        let der = params.self_signed(&self.key).map_err(CertificateError::Make)?.der().clone();
        Ok((params, der))
    }

    fn params(now: WallTime) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = named("Surveil dispatcher's authority");
        // The next authority may stand between this one and a dispatcher.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        set_dates(&mut params, now, AUTHORITY_VALID);
        params
    }
}

impl std::fmt::Debug for AuthorityKey {
    /// Shows the pin alone: a log must not tell the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("AuthorityKey").field(&self.pin()).finish()
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

/// Sets from when until when a certificate is valid.
fn set_dates(params: &mut CertificateParams, now: WallTime, valid: Duration) {
    // A clock that is set to the far future must not exceed the years that a certificate can name.
    let since_1970 = Duration::from_millis(u64::try_from(now.0).unwrap_or(0)).min(LATEST);
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since_1970.saturating_sub(BACKDATED);
    params.not_after = epoch + since_1970 + valid;
}
