//! The error table of the way to a server. Only known causes are worded, by their type: the text of foreign errors goes
//! nowhere.

use std::io;

use keyferry_provider_core::{Blame, Error, ErrorKind, causes};
use rustls::{AlertDescription, CertificateError};

use crate::Fields;
use crate::way::{CONNECT_TIMEOUT, REQUEST_TIMEOUT};

pub(crate) fn of_request(error: &reqwest::Error, host: &str, fields: &Fields) -> Error {
    for cause in causes(error) {
        if let Some(own) = cause.downcast_ref::<Error>() {
            return own.clone(); // our resolver's or the provider's redirect policy's
        }
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return of_tls(tls, host, fields);
        }
    }
    if error.is_timeout() {
        let message = if error.is_connect() {
            format!("no connection to {host} within {CONNECT_TIMEOUT:?}")
        } else {
            format!("no answer from {host} within {REQUEST_TIMEOUT:?}")
        };
        return Error::new(ErrorKind::Timeout, message);
    }
    let kind = causes(error).find_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    let message = match kind {
        Some(io::ErrorKind::ConnectionRefused) => format!("{host} refuses connections: nothing listens there"),
        Some(io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => {
            format!("{host} can't be reached: there is no way to its network")
        }
        Some(io::ErrorKind::TimedOut) => return Error::new(ErrorKind::Timeout, format!("no connection to {host}")),
        _ if error.is_connect() => format!("no connection to {host} could be made"),
        // Reset, closed in the middle of an answer, or not HTTP at all. A plain-http request to a port that speaks TLS
        // may end so too.
        _ => format!("{host} closed the connection or does not speak HTTP: check {}", fields.server),
    };
    Error::new(ErrorKind::Unavailable, message).with_blame(Blame::Way)
}

fn of_tls(error: &rustls::Error, host: &str, fields: &Fields) -> Error {
    use rustls::Error as Tls;
    let Fields { server, ca, identity } = fields;
    let message = match error {
        // A bad signature is what a CA looks like that was made anew under its old name.
        Tls::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            format!("the certificate of {host} is signed by an unknown authority: set or renew {ca}")
        }
        Tls::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => format!("the certificate of {host} is for another name: check {server}"),
        Tls::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            format!("the certificate of {host} has expired")
        }
        Tls::InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => {
            format!("the certificate of {host} is not valid yet")
        }
        Tls::InvalidCertificate(CertificateError::Revoked) => format!("the certificate of {host} is revoked"),
        Tls::InvalidCertificate(_) => format!("the certificate of {host} can't be accepted"),
        // The first bytes were no TLS record: most often the server speaks plain http there.
        Tls::InvalidMessage(_) => format!("{host} does not speak TLS: {server} may need http://"),
        Tls::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::AccessDenied,
        ) => format!("{host} wants another client certificate: check {identity}"),
        Tls::AlertReceived(_) | Tls::PeerIncompatible(_) => {
            format!("{host} and we agree on no TLS version or cipher, or it wants a client certificate: see {identity}")
        }
        _ => format!("the TLS handshake with {host} failed"),
    };
    Error::new(ErrorKind::Tls, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FIELDS;

    #[test]
    fn problems_of_tls_name_the_field_to_look_at() {
        use rustls::Error as Tls;
        for (error, words) in [
            (Tls::InvalidCertificate(CertificateError::UnknownIssuer), "set or renew the.ca"),
            (Tls::InvalidCertificate(CertificateError::BadSignature), "set or renew the.ca"),
            (Tls::InvalidCertificate(CertificateError::NotValidForName), "is for another name: check the.server"),
            (Tls::InvalidCertificate(CertificateError::Expired), "has expired"),
            (Tls::InvalidCertificate(CertificateError::NotValidYet), "is not valid yet"),
            (Tls::InvalidCertificate(CertificateError::Revoked), "is revoked"),
            (Tls::InvalidCertificate(CertificateError::BadEncoding), "can't be accepted"),
            (Tls::InvalidMessage(rustls::InvalidMessage::InvalidContentType), "the.server may need http://"),
            (Tls::AlertReceived(AlertDescription::CertificateRequired), "check the.identity"),
            (Tls::AlertReceived(AlertDescription::HandshakeFailure), "see the.identity"),
            (Tls::General("canary".into()), "the TLS handshake with host:1 failed"),
        ] {
            let own = of_tls(&error, "host:1", &FIELDS);
            assert_eq!(own.kind(), ErrorKind::Tls);
            assert!(own.message().contains("host:1") && own.message().contains(words), "{error}: {own}");
        }
    }

    #[test]
    fn causes_are_found_inside_io_errors() {
        let own = Error::invalid("own");
        let wrapped = io::Error::other(io::Error::other(own.clone()));
        let found = causes(&wrapped).find_map(|cause| cause.downcast_ref::<Error>());
        assert_eq!(found, Some(&own));
    }
}
