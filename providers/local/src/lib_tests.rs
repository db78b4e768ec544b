use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::json;

use super::*;

/// What a kind makes, by its registration, with a seed instead of chance.
async fn made(kind: &str, spec: Value) -> Result<BTreeMap<String, String>, String> {
    let draw: Draw = match kind {
        "Fake" => fake,
        "Password" => password::passwords,
        _ => uuid,
    };
    let local = Local { draw, spec, random: || Box::new(StdRng::seed_from_u64(7)) };
    let made = local.make(&()).await.map_err(|error| error.message().to_owned())?;
    assert_eq!((made.state, made.term), (None, None));
    Ok(made.values.iter().map(|(key, value)| (key.clone(), value.expose_str().unwrap().to_owned())).collect())
}

#[tokio::test]
async fn fake_gives_what_it_is_told() {
    let data = json!({"a": "1", "b": ""});
    assert_eq!(
        made("Fake", json!({"data": data})).await.unwrap(),
        [("a", "1"), ("b", "")].map(|(a, b)| (a.into(), b.into())).into()
    );
    assert!(made("Fake", Value::Null).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_uuid_says_that_it_is_random() {
    let uuid = made("UUID", Value::Null).await.unwrap().remove("uuid").unwrap();
    let parts: Vec<&str> = uuid.split('-').collect();
    assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
    assert!(parts[2].starts_with('4') && parts[3].starts_with(['8', '9', 'a', 'b']), "{uuid}");
}

fn counts(password: &str) -> (usize, usize, usize) {
    let count = |is: fn(char) -> bool| password.chars().filter(|c| is(*c)).count();
    let letters = count(|c| c.is_ascii_alphabetic());
    let digits = count(|c| c.is_ascii_digit());
    (letters, digits, password.chars().count() - letters - digits)
}

#[tokio::test]
async fn passwords_are_as_asked_for() {
    for (spec, expected) in [
        (json!({}), (12, 6, 6)),
        (json!({"length": 10}), (6, 2, 2)),
        (json!({"length": 8, "digits": 0, "symbols": 0}), (8, 0, 0)),
        (json!({"length": 4, "digits": 4, "symbols": 0}), (0, 4, 0)),
        (json!({"length": 200, "allowRepeat": true}), (100, 50, 50)),
        (json!({"length": 3, "digits": 0, "symbols": 3, "symbolCharacters": "-_é"}), (0, 0, 3)),
    ] {
        let password = made("Password", spec.clone()).await.unwrap().remove("password").unwrap();
        assert_eq!(counts(&password), expected, "{spec}: {password}");
        if spec["allowRepeat"].is_null() {
            let mut characters: Vec<char> = password.chars().collect();
            characters.sort_unstable();
            assert!(characters.windows(2).all(|pair| pair[0] != pair[1]), "{spec}: {password}");
        }
    }
    let spec = json!({"length": 26, "digits": 0, "symbols": 0, "noUpper": true});
    let password = made("Password", spec).await.unwrap();
    assert!(password["password"].chars().all(|c| c.is_ascii_lowercase()));
}

#[tokio::test]
async fn each_key_has_its_own() {
    let several = made("Password", json!({"secretKeys": ["a", "b"]})).await.unwrap();
    assert_eq!(several.len(), 2);
    assert_ne!(several["a"], several["b"]);
    let keys: Vec<String> = (0..20_000).map(|n| format!("k{n}")).collect();
    let symbols: String = ('\u{4e00}'..'\u{8e00}').collect();
    let many = json!({"secretKeys": keys, "symbolCharacters": symbols});
    assert_eq!(made("Password", many).await.unwrap().len(), 20_000, "soon");
    let hex = made("Password", json!({"encoding": "hex"})).await.unwrap();
    assert!(hex["password"].len() == 48 && hex["password"].chars().all(|c| c.is_ascii_hexdigit()));
    let spec = json!({"encoding": "hex", "prefix": "<é", "suffix": ">", "length": 10, "secretKeys": ["a", "b"]});
    for password in made("Password", spec).await.unwrap().values() {
        let inner = password.strip_prefix("<é").and_then(|rest| rest.strip_suffix('>')).unwrap();
        assert!(inner.len() == 20 && inner.chars().all(|c| c.is_ascii_hexdigit()), "{password}");
    }
}

#[tokio::test]
async fn what_can_not_be_made_says_why() {
    let many: Vec<String> = (0..20_000).map(|n| format!("k{n}")).collect();
    for (spec, why) in [
        (json!({"length": 4, "digits": 3, "symbols": 2}), "do not fit"),
        (json!({"length": 20, "digits": 11, "symbols": 0}), "allowRepeat"),
        (json!({"length": 10_000_000}), "limit password-length"),
        (json!({"length": 60_000, "allowRepeat": true, "secretKeys": many}), "limit password-bytes"),
        (json!({"prefix": "p".repeat(1 << 20)}), "limit password-bytes"),
        (json!({"digits": -1}), "do not fit"),
        (json!({"encoding": "rot13"}), "base64url"),
        (json!({"secretKeys": ["a", "a"]}), "twice"),
        (json!({"secretKeys": ["a", ""]}), "an empty key"),
    ] {
        let error = made("Password", spec.clone()).await.unwrap_err();
        assert!(error.contains(why), "{spec}: {error}");
    }
}

#[tokio::test]
async fn every_registration_makes_anew_and_revokes_what_is_not_there() {
    let nobody = Arc::new(keyferry_provider_testkit::MapCredentials::new());
    let ctx = keyferry_provider_core::BuildContext::new(nobody, Arc::new(()));
    for (registration, keys) in [(FAKE, vec!["k"]), (PASSWORD, vec!["password"]), (UUID, vec!["uuid"])] {
        let generator = (registration.build)(&json!({"data": {"k": "v"}}), ctx.clone()).unwrap();
        let (one, other) = (generator.make(&()).await.unwrap(), generator.make(&()).await.unwrap());
        assert_eq!(one.values.keys().collect::<Vec<_>>(), keys);
        assert_eq!(one.values == other.values, registration.kind == "Fake", "{}", registration.kind);
        generator.revoke(&json!({})).await.unwrap();
    }
}
