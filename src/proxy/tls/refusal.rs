//! Why a client's certificate was not accepted. What the client is told is the alert of RFC 8446 section 6.2.

use std::io;

use rustls::{CertificateError, Error};

/// What was wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A list of its authority's says that it is revoked (alert `certificate_revoked`).
    Revoked,
    /// There are lists, and none of them is of its authority (`unknown_ca`).
    NoList,
    /// The list of its authority is past its `nextUpdate` (`unknown_ca`).
    ListOutdated,
    /// An authority that is not trusted (`unknown_ca`).
    UnknownAuthority,
    /// It is out of date, or not good yet (`certificate_expired`).
    OutOfDate,
    /// There is none where one must be shown (`certificate_required`).
    Missing,
    /// Anything else.
    Invalid,
}

impl Refusal {
    /// The reason that a handshake failed for, if it is a certificate.
    pub fn of_handshake(error: &io::Error) -> Option<Self> {
        Self::of(error.get_ref()?.downcast_ref::<Error>()?)
    }

    /// The reason of an error of TLS, if it is a certificate.
    pub fn of(error: &Error) -> Option<Self> {
        match error {
            Error::NoCertificatesPresented => Some(Self::Missing),
            Error::InvalidCertificate(fault) => Some(Self::of_certificate(fault)),
            _ => None,
        }
    }

    fn of_certificate(fault: &CertificateError) -> Self {
        match fault {
            CertificateError::Revoked => Self::Revoked,
            CertificateError::UnknownRevocationStatus => Self::NoList,
            CertificateError::ExpiredRevocationList | CertificateError::ExpiredRevocationListContext { .. } => {
                Self::ListOutdated
            }
            CertificateError::UnknownIssuer => Self::UnknownAuthority,
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Self::OutOfDate,
            _ => Self::Invalid,
        }
    }

    /// The stable word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::NoList => "no-revocation-list",
            Self::ListOutdated => "revocation-list-outdated",
            Self::UnknownAuthority => "unknown-authority",
            Self::OutOfDate => "out-of-date",
            Self::Missing => "missing",
            Self::Invalid => "invalid",
        }
    }
}
