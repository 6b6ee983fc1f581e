//! The client's side: judges the certificates of a dispatcher by the pin of its authority.
//!
//! The verifier only chooses the root: the certificate of the presented chain whose public key has the pin. Signatures,
//! dates, names and purposes are left to rustls. A hash alone would prove nothing, because the certificate that has it
//! is public: the peer must also show that it has the key of a certificate that this authority signed.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, OtherError, PeerIncompatible,
    RootCertStore, SignatureScheme,
};
use sha2::{Digest, Sha256};

use super::{SERVER_NAME, WallClock, provider};
use crate::model::Pin;

/// No certificate of the chain has the pin.
#[derive(Debug, Clone)]
pub struct WrongPin {
    expected: Vec<Pin>,
    /// Two while the dispatcher replaces its authority.
    presented: Vec<Pin>,
}

impl fmt::Display for WrongPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, pin) in self.expected.iter().enumerate() {
            write!(f, "{}{pin}", if at == 0 { "given is " } else { " or " })?;
        }
        for (at, pin) in self.presented.iter().enumerate() {
            write!(f, "{}{pin}", if at == 0 { ", its own is " } else { " or " })?;
        }
        if self.presented.is_empty() {
            return f.write_str(", and it shows no authority");
        }
        f.write_str(
            "; if its authority was replaced, give --pin with the pin that `surveil authority show` prints there, \
             once, or join again with a new token",
        )
    }
}

impl std::error::Error for WrongPin {}

/// Makes the client's half of a connection to the dispatcher with one of these pins. Like the server's half, it is
/// public for programs that move the bytes themselves.
pub fn client(pins: &[Pin]) -> Result<ClientConnection, Error> {
    let provider = provider();
    let verifier = Arc::new(PinVerifier { pins: pins.to_vec(), provider: provider.clone() });
    let mut config = ClientConfig::builder_with_details(provider, Arc::new(WallClock))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    // Each session makes a whole handshake: a resumed one would not see whether the pin still fits.
    config.resumption = Resumption::disabled();
    let name = ServerName::try_from(SERVER_NAME).expect("the fixed name is a valid name");
    ClientConnection::new(Arc::new(config), name)
}

/// Judges a dispatcher by the pin of its authority.
#[derive(Debug)]
struct PinVerifier {
    pins: Vec<Pin>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut presented = Vec::new();
        for certificate in intermediates {
            let mut roots = RootCertStore::empty();
            // What cannot be read as a certificate is no authority.
            let Ok(()) = roots.add(certificate.clone().into_owned()) else { continue };
            let pin = pin_of(&roots.roots[0].subject_public_key_info);
            if !self.pins.contains(&pin) {
                presented.push(pin);
                continue;
            }
            let judge = WebPkiServerVerifier::builder_with_provider(roots.into(), self.provider.clone())
                .build()
                .map_err(|error| Error::General(error.to_string()))?;
            return judge.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        }
        let wrong = WrongPin { expected: self.pins.clone(), presented };
        Err(Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(wrong)))))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls13RequiredForQuic))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Computes the pin of a public key. rustls gives the contents of the SPKI without the header of its sequence, which
/// belongs to what is hashed.
fn pin_of(spki_contents: &[u8]) -> Pin {
    let mut hash = Sha256::new();
    let len = spki_contents.len();
    match u8::try_from(len) {
        Ok(short) if short < 0x80 => hash.update([0x30, short]),
        Ok(byte) => hash.update([0x30, 0x81, byte]),
        Err(_) => {
            let [.., high, low] = len.to_be_bytes();
            hash.update([0x30, 0x82, high, low]);
        }
    }
    hash.update(spki_contents);
    Pin::new(hash.finalize().into())
}
