//! The error table of the way to a server. Only known causes are worded, by their type: the text of foreign errors goes
//! nowhere.

use keyferry_provider_core::{Blame, Error, ErrorKind};
use keyferry_way::{Fault, causes};

use crate::Fields;
use crate::way::{CONNECT_TIMEOUT, Way};

/// The error for a body of which only a part came.
pub(crate) fn of_body(error: &reqwest::Error, way: &Way) -> Error {
    if error.is_timeout() {
        let message = format!("the answer of {} did not end within {:?}", way.host(), way.timeout);
        let hint =
            "see whether it is slow, or has more to send than is needed; while much is read at once, it waits for that";
        return Error::new(ErrorKind::Timeout, message).with_hint(hint);
    }
    of_request(error, way)
}

pub(crate) fn of_request(error: &reqwest::Error, way: &Way) -> Error {
    let (host, fields) = (way.host(), &way.fields);
    if let Some(own) = causes(error).find_map(|cause| cause.downcast_ref::<Error>()) {
        return own.clone(); // our resolver's or the provider's redirect policy's
    }
    let fault = Fault::of(error);
    if let Some(message) = fault.and_then(|fault| of_tls(fault, &host, fields)) {
        return Error::new(ErrorKind::Tls, message);
    }
    if error.is_timeout() {
        let (message, hint) = if error.is_connect() {
            (format!("no connection to {host} within {CONNECT_TIMEOUT:?}"), no_way(fields))
        } else {
            (format!("no answer from {host} within {:?}", way.timeout), "see what keeps it busy".to_owned())
        };
        return Error::new(ErrorKind::Timeout, message).with_hint(hint);
    }
    let down = |message| Error::new(ErrorKind::Unavailable, message).with_blame(Blame::Way);
    match fault {
        Some(Fault::Refused) => down(format!("{host} refuses connections: nothing listens there"))
            .with_hint(format!("start it, or check {}", fields.server)),
        Some(Fault::NoRoute) => {
            down(format!("{host} can't be reached: there is no way to its network")).with_hint(no_way(fields))
        }
        Some(Fault::Timeout) => {
            Error::new(ErrorKind::Timeout, format!("no connection to {host}")).with_hint(no_way(fields))
        }
        _ if error.is_connect() => down(format!("no connection to {host} could be made")).with_hint(no_way(fields)),
        // Reset, closed in the middle of an answer, or not HTTP at all. A plain-http request to a port that speaks TLS
        // may end so too.
        _ => down(format!("{host} closed the connection or does not speak HTTP: check {}", fields.server)),
    }
}

/// What to do where nothing comes through.
fn no_way(fields: &Fields) -> String {
    format!("check {}, and whether a firewall or a NetworkPolicy is in between", fields.server)
}

/// The error for a connection that could not be made.
pub(crate) fn of_connecting(error: &std::io::Error, host: &str) -> Error {
    let message = match Fault::of(error) {
        Some(Fault::Refused) => format!("{host} refuses connections: nothing listens there"),
        Some(Fault::NoRoute) => format!("{host} can't be reached: there is no way to its network"),
        Some(Fault::Timeout) => return Error::new(ErrorKind::Timeout, format!("no connection to {host}")),
        _ => format!("no connection to {host} could be made"),
    };
    Error::new(ErrorKind::Unavailable, message).with_blame(Blame::Way)
}

/// What is said of TLS; `None` where it is not at fault.
fn of_tls(fault: Fault, host: &str, fields: &Fields) -> Option<String> {
    let Fields { server, ca, identity } = fields;
    Some(match fault {
        Fault::UnknownAuthority => {
            format!("the certificate of {host} is signed by an unknown authority: set or renew {ca}")
        }
        Fault::OtherName => format!("the certificate of {host} is for another name: check {server}"),
        Fault::Expired => format!("the certificate of {host} has expired: renew it there"),
        Fault::NotYetValid => format!("the certificate of {host} is not valid yet: check both clocks"),
        Fault::Revoked => format!("the certificate of {host} is revoked: it needs another there"),
        Fault::Certificate => format!("the certificate of {host} can't be accepted: it needs another there"),
        Fault::NoTls => format!("{host} does not speak TLS: {server} may need http://"),
        Fault::ClientCertificate => format!("{host} wants another client certificate: check {identity}"),
        Fault::NoAgreement => {
            format!("{host} and we agree on no TLS version or cipher, or it wants a client certificate: see {identity}")
        }
        Fault::Handshake => format!("the TLS handshake with {host} failed"),
        Fault::NoName | Fault::Refused | Fault::NoRoute | Fault::Timeout => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::FIELDS;

    #[test]
    fn problems_of_tls_name_the_field_to_look_at() {
        for (fault, words) in [
            (Fault::UnknownAuthority, "set or renew the.ca"),
            (Fault::OtherName, "is for another name: check the.server"),
            (Fault::Expired, "has expired"),
            (Fault::NotYetValid, "is not valid yet"),
            (Fault::Revoked, "is revoked"),
            (Fault::Certificate, "can't be accepted"),
            (Fault::NoTls, "the.server may need http://"),
            (Fault::ClientCertificate, "check the.identity"),
            (Fault::NoAgreement, "see the.identity"),
            (Fault::Handshake, "the TLS handshake with host:1 failed"),
        ] {
            let message = of_tls(fault, "host:1", &FIELDS).unwrap();
            assert!(message.contains("host:1") && message.contains(words), "{fault:?}: {message}");
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
