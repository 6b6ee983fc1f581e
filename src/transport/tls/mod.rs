//! What both sides of an encrypted connection agree on: TLS 1.3, the fixed name of every dispatcher, and certificates
//! under an authority whose public key the other side knows by its pin.
//!
//! [`AuthorityKey`] makes certificates, [`TlsServer`] presents them, [`pinned`] judges them. Nothing here reads or
//! writes a socket or a file: the link (`../link/tls.rs`) moves the bytes, and the dispatcher keeps the authority's
//! key.

mod authority;
mod error;
pub(super) mod pinned;
mod server;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::time_provider::TimeProvider;

pub use authority::{AuthorityKey, CertificateError};
pub use error::TlsError;
pub use pinned::client as pinned_client;
pub use server::TlsServer;

use crate::clock;

/// The name that every dispatcher's certificate has. It is no address, so a dispatcher that moves stays known.
const SERVER_NAME: &str = "dispatcher.surveil.internal";

/// The cipher suites, the key exchanges and the checks of signatures.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The clock by which certificates are judged: that of the whole program.
#[derive(Debug)]
struct WallClock;

impl TimeProvider for WallClock {
    fn current_time(&self) -> Option<rustls::pki_types::UnixTime> {
        let since = std::time::Duration::from_millis(clock::wall().0.unsigned_abs());
        Some(rustls::pki_types::UnixTime::since_unix_epoch(since))
    }
}
