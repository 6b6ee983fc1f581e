//! The reasons why a connection could not be encrypted.

use std::io;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError, Error};

use super::pinned::WrongPin;

/// The reason why a connection could not be encrypted.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Another dispatcher answers, or the pin was mistyped. Only a person can help.
    #[error("the dispatcher there is not the one with this pin: {0}")]
    WrongPin(WrongPin),
    /// The certificate is right but for its dates.
    #[error(
        "the dispatcher's certificate is not valid at the present time: compare the clocks of this machine and of the \
         dispatcher's"
    )]
    Dates(#[source] Error),
    /// The first bytes of the peer are no TLS.
    #[error("the peer does not speak TLS: is it a dispatcher, and as new as this program?")]
    NotTls,
    /// The peer is too old, or its settings are odd.
    #[error("the peer does not speak TLS 1.3, or has no cipher in common with this program")]
    Incompatible(#[source] Error),
    /// The peer gave up; mostly because of its pin.
    #[error("the peer broke off: {0}")]
    Refused(&'static str),
    #[error("the peer's part of the handshake was not complete within {} ms", .0.as_millis())]
    TimedOut(Duration),
    #[error("the peer closed the connection during the handshake")]
    Ended,
    #[error("the connection broke during the handshake")]
    Broken(#[source] io::Error),
    #[error("the handshake failed")]
    Failed(#[source] Error),
}

impl TlsError {
    /// Sorts an error of the handshake by what a person does about it.
    #[expect(clippy::wildcard_enum_match_arm, reason = "nothing can be done about most errors, and more may come")]
    pub(in crate::transport) fn of(error: Error) -> Self {
        match &error {
            Error::InvalidCertificate(CertificateError::Other(other)) => match other.0.downcast_ref::<WrongPin>() {
                Some(wrong) => Self::WrongPin(wrong.clone()),
                None => Self::Failed(error),
            },
            Error::InvalidCertificate(
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. },
            ) => Self::Dates(error),
            Error::InvalidMessage(_) => Self::NotTls,
            Error::PeerIncompatible(_) => Self::Incompatible(error),
            Error::AlertReceived(alert) => Self::Refused(alert_text(*alert)),
            _ => Self::Failed(error),
        }
    }
}

/// Explains the alerts that a peer of this program sends.
#[expect(clippy::wildcard_enum_match_arm, reason = "others come from programs that are not ours")]
fn alert_text(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::CertificateExpired => "its clock says that the certificate has expired",
        AlertDescription::CertificateUnknown | AlertDescription::UnknownCA | AlertDescription::BadCertificate => {
            "it does not accept the certificate: its pin is that of another dispatcher, or it is a browser or another \
             client of HTTPS"
        }
        AlertDescription::ProtocolVersion => "it does not speak TLS 1.3",
        AlertDescription::HandshakeFailure => "it has no cipher in common with this program",
        AlertDescription::CloseNotify | AlertDescription::UserCanceled => "it closed the connection",
        _ => "it sent a fatal alert",
    }
}
