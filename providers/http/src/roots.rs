//! Whom the system trusts, read once for all clients: it is a hundred certificates and more, and there may be a client for
//! each of ten thousand stores.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls_platform_verifier::Verifier;

/// For how long what was read serves new clients: whoever changes the system's certificates need not restart us.
const FRESH: Duration = Duration::from_secs(600);

/// Sessions that a client keeps: it speaks to one server, or a few.
const SESSIONS: usize = 8;

static LAST: Mutex<Option<(Instant, Arc<Verifier>)>> = Mutex::new(None);

/// TLS for a client that trusts whom the system trusts, speaks these versions of HTTP, and logs in with no certificate;
/// `None` where there are no certificates, or no TLS library.
pub(crate) fn config(versions: &[&str]) -> Option<ClientConfig> {
    let verifier = verifier(&LAST, Instant::now())?;
    let mut config =
        ClientConfig::builder().dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.alpn_protocols = versions.iter().map(|version| version.as_bytes().to_vec()).collect();
    config.resumption = Resumption::in_memory_sessions(SESSIONS);
    Some(config)
}

fn verifier(last: &Mutex<Option<(Instant, Arc<Verifier>)>>, now: Instant) -> Option<Arc<Verifier>> {
    let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, verifier)) = last.as_ref().filter(|(read, _)| now.saturating_duration_since(*read) < FRESH) {
        return Some(verifier.clone());
    }
    let verifier = Arc::new(Verifier::new(CryptoProvider::get_default()?.clone()).ok()?);
    *last = Some((now, verifier.clone()));
    Some(verifier)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_clients_share_what_was_read_until_it_is_read_anew() {
        _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let (last, now) = (Mutex::default(), Instant::now());
        let [first, second, later] = [now, now + FRESH / 2, now + FRESH].map(|now| verifier(&last, now).unwrap());
        assert!(Arc::ptr_eq(&first, &second) && !Arc::ptr_eq(&first, &later));
    }
}
