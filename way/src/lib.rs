//! Why the way to a server failed: the one table of causes, for stores and API servers alike. What is said of a cause, and
//! which field of whose spec it leads to, is for those who know the server. Causes are known by their types: the text of
//! foreign errors goes nowhere.

#![forbid(unsafe_code)]

use std::error::Error as StdError;
use std::io;

use rustls::{AlertDescription, CertificateError, Error as Tls};

/// Why there was no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The server's certificate is signed by nobody whom we believe.
    UnknownAuthority,
    /// It is for another name.
    OtherName,
    /// It is over.
    Expired,
    /// It is still to come.
    NotYetValid,
    /// It was called back.
    Revoked,
    /// It is not acceptable for another reason.
    Certificate,
    /// The server does not speak TLS there.
    NoTls,
    /// The server does not accept what we show of ourselves.
    ClientCertificate,
    /// We and the server agree on nothing, or it wants to see a client certificate.
    NoAgreement,
    /// The handshake failed in another way.
    Handshake,
    /// Its name is nobody's.
    NoName,
    /// Nothing listens there.
    Refused,
    /// There is no route.
    NoRoute,
    /// It took too long.
    Timeout,
}

impl Fault {
    /// The cause that a client's error holds, however deep; `None` where it is none of these.
    pub fn of(error: &(dyn StdError + 'static)) -> Option<Self> {
        if let Some(tls) = causes(error).find_map(|cause| cause.downcast_ref::<Tls>()) {
            return Some(Self::of_tls(tls));
        }
        // The one that has no type of its own that anybody could ask for.
        if causes(error).any(|cause| cause.to_string() == "dns error") {
            return Some(Self::NoName);
        }
        causes(error).filter_map(|cause| cause.downcast_ref::<io::Error>()).find_map(|error| match error.kind() {
            io::ErrorKind::ConnectionRefused => Some(Self::Refused),
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Some(Self::NoRoute),
            io::ErrorKind::TimedOut => Some(Self::Timeout),
            _ => None,
        })
    }

    fn of_tls(error: &Tls) -> Self {
        match error {
            // A bad signature is what a CA looks like that was made anew under its old name.
            Tls::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
                Self::UnknownAuthority
            }
            Tls::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ) => Self::OtherName,
            Tls::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
                Self::Expired
            }
            Tls::InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => {
                Self::NotYetValid
            }
            Tls::InvalidCertificate(CertificateError::Revoked) => Self::Revoked,
            Tls::InvalidCertificate(_) => Self::Certificate,
            // The first bytes were no TLS record: most often the server speaks plain http there.
            Tls::InvalidMessage(_) => Self::NoTls,
            Tls::AlertReceived(
                AlertDescription::CertificateRequired
                | AlertDescription::BadCertificate
                | AlertDescription::UnknownCA
                | AlertDescription::CertificateUnknown
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateRevoked
                | AlertDescription::AccessDenied,
            ) => Self::ClientCertificate,
            Tls::AlertReceived(_) | Tls::PeerIncompatible(_) => Self::NoAgreement,
            _ => Self::Handshake,
        }
    }
}

/// Why a proxy made no connection for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tunnel {
    /// It wants to know who we are.
    NoLogin,
    /// It does not, or can't.
    Refused,
}

impl Tunnel {
    /// The cause that a client's error holds, however deep; `None` where a proxy is not at fault.
    pub fn of(error: &(dyn StdError + 'static)) -> Option<Self> {
        // These have no types that anybody could ask for either. What is wrong below them is told apart by `Fault`.
        causes(error).find_map(|cause| match cause.to_string().as_str() {
            "tunnel error: proxy authorization required" => Some(Self::NoLogin),
            "tunnel error: unsuccessful" | "tunnel error: unexpected end of file" => Some(Self::Refused),
            _ => None,
        })
    }
}

/// A foreign error and everything below it, to be known by their types.
pub fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| below(*error))
}

/// An [`io::Error`] hides what it wraps from [`StdError::source`].
fn below<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_known_however_deep() {
        let tls = |error: Tls| Fault::of(&io::Error::other(io::Error::other(error)));
        for (error, fault) in [
            (Tls::InvalidCertificate(CertificateError::UnknownIssuer), Fault::UnknownAuthority),
            (Tls::InvalidCertificate(CertificateError::BadSignature), Fault::UnknownAuthority),
            (Tls::InvalidCertificate(CertificateError::NotValidForName), Fault::OtherName),
            (Tls::InvalidCertificate(CertificateError::Expired), Fault::Expired),
            (Tls::InvalidCertificate(CertificateError::NotValidYet), Fault::NotYetValid),
            (Tls::InvalidCertificate(CertificateError::Revoked), Fault::Revoked),
            (Tls::InvalidCertificate(CertificateError::BadEncoding), Fault::Certificate),
            (Tls::InvalidMessage(rustls::InvalidMessage::InvalidContentType), Fault::NoTls),
            (Tls::AlertReceived(AlertDescription::CertificateRequired), Fault::ClientCertificate),
            (Tls::AlertReceived(AlertDescription::HandshakeFailure), Fault::NoAgreement),
            (Tls::General("canary".into()), Fault::Handshake),
        ] {
            assert_eq!(tls(error.clone()), Some(fault), "{error}");
        }
        let of = |kind: io::ErrorKind| Fault::of(&io::Error::other(io::Error::from(kind)));
        assert_eq!(of(io::ErrorKind::ConnectionRefused), Some(Fault::Refused));
        assert_eq!(of(io::ErrorKind::NetworkUnreachable), Some(Fault::NoRoute));
        assert_eq!(of(io::ErrorKind::TimedOut), Some(Fault::Timeout));
        assert_eq!(of(io::ErrorKind::ConnectionReset), None);
        assert_eq!(Fault::of(&io::Error::other("dns error")), Some(Fault::NoName));
        let tunnel = |text: &'static str| Tunnel::of(&io::Error::other(text));
        assert_eq!(tunnel("tunnel error: proxy authorization required"), Some(Tunnel::NoLogin));
        assert_eq!((tunnel("tunnel error: unsuccessful"), tunnel("another")), (Some(Tunnel::Refused), None));
    }
}
