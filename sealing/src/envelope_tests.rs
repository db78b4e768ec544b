use jiff::Timestamp;

use super::*;
use crate::keys::{Generated, SealingKey};

const CANARY: &str = "canary-5b1d";

/// A pair, as it is read from PEM.
pub(crate) fn pair(since: i64) -> SealingKey {
    let made = Generated::new(Timestamp::from_second(1_700_000_000).unwrap(), 2048).unwrap();
    SealingKey::of_pem(made.certificate.as_bytes(), made.private.expose(), Some(since)).unwrap()
}

#[test]
fn what_is_sealed_opens_for_whom_it_is_and_nobody_else() {
    let keys = SealingKeys::new(vec![pair(1), pair(2)]).unwrap();
    assert_eq!(keys.latest().unwrap().since(), 2);
    let scope = Scope::Namespace("a".into());
    for n in [0, 1] {
        let sealed = seal(keys.all()[n].public(), &scope, CANARY.as_bytes()).unwrap();
        let opened = open(&keys, &scope, &sealed, &mut Tries::default()).unwrap();
        assert!(opened.expose() == CANARY.as_bytes());
        for other in [Scope::Namespace("b".into()), Scope::Secrets("a".into()), Scope::AnySecret] {
            let error = open(&keys, &other, &sealed, &mut Tries::default()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Denied);
            assert!(error.to_string().contains("none of the 2 sealing keys"), "{error}");
        }
        for length in [0, 1, 2, 3, 257, 258, 259, 273, sealed.len() - 1] {
            let error = open(&keys, &scope, &sealed[..length], &mut Tries::default()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Malformed, "cut off at {length}");
        }
        let mut changed = sealed.clone();
        *changed.last_mut().unwrap() ^= 1;
        let error = open(&keys, &scope, &changed, &mut Tries::default()).unwrap_err();
        assert!(error.kind() == ErrorKind::Malformed && error.to_string().contains("changed"), "{error}");
    }
    let empty = seal(keys.latest().unwrap().public(), &scope, b"").unwrap();
    assert!(open(&keys, &scope, &empty, &mut Tries::default()).unwrap().is_empty());
}

#[test]
fn tries_of_keys_are_counted_and_the_one_that_fitted_is_the_first_of_the_next() {
    let keys = SealingKeys::new(vec![pair(1), pair(2)]).unwrap();
    let scope = Scope::AnySecret;
    let sealed = seal(keys.all()[1].public(), &scope, b"x").unwrap();
    let mut tries = Tries::default();
    for made in [2, 3, 4] {
        open(&keys, &scope, &sealed, &mut tries).unwrap();
        assert_eq!(tries.made, made);
    }
    tries.made = PRIVATE_KEY_TRIES.size();
    let error = open(&keys, &scope, &sealed, &mut tries).unwrap_err();
    assert!(error.to_string().contains("limit private-key-tries"), "{error}");
}

#[test]
fn a_key_that_is_not_that_of_its_certificate_is_refused() {
    let now = Timestamp::from_second(1_709_164_800).unwrap(); // a leap day
    let (one, other) = (Generated::new(now, 2048).unwrap(), Generated::new(now, 2048).unwrap());
    let pair = SealingKey::of_pem(one.certificate.as_bytes(), other.private.expose(), None);
    assert!(pair.err().unwrap().to_string().contains("not that of the certificate"));
    assert!(SealingKey::of_pem(b"x", one.private.expose(), None).is_err());
    assert!(SealingKey::of_pem(one.certificate.as_bytes(), b"x", None).is_err());
}
