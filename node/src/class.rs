//! What a SecretProviderClass of ours asks for, as the Secrets Store CSI Driver hands it on: its parameters, and what the kubelet
//! says of the pod. Pure.

use std::collections::HashMap;

use keyferry_crds::{ExternalSecret, pruned};
use keyferry_files::access::Access;
use keyferry_provider_core::names::is_name;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use zeroize::{Zeroize as _, Zeroizing};

use crate::look::Asked;
use crate::refusal::Refusal;
use crate::rpc::provider::MountRequest;
use crate::tokens::{Asker, Tokens};
use crate::wanted::{ITEM, ITEMS_TEXT, Item, Pod, Wanted, attribute, checked, pod, too_long};

/// How attributes are called that stand in the class.
const PARAMETERS: &str = "parameters";

/// The name of the class, which the driver has from the pod's volume.
const CLASS: &str = "secretProviderClass";

/// The name of the provider, which older volumes of the driver say beside that.
const NAME_OF_PROVIDER: &str = "providerName";

/// What an ExternalSecret is called that stands in a class whose name is not told.
const UNNAMED: &str = "secret-provider-class";

/// So much of the names of fields that there are not is told.
const TOLD: usize = 3;

/// For which pod, where that can be told, and what is asked for. Nothing of the tokens, nor of the Secret that the volume may name,
/// is left in the request.
pub(crate) fn asked(request: &mut MountRequest) -> (Option<Pod>, Result<Asked, Refusal>) {
    let attributes = Zeroizing::new(std::mem::take(&mut request.attributes));
    let secrets = Zeroizing::new(std::mem::take(&mut request.secrets));
    let attributes: Result<HashMap<String, String>, _> = serde_json::from_str(&attributes);
    let Ok(attributes) = attributes else {
        return (None, Err(Refusal::invalid("the driver's attributes are no JSON of texts".to_owned())));
    };
    (pod(&attributes, Asker::SecretsStore).ok(), of(attributes, &secrets, &request.permission))
}

fn of(mut attributes: HashMap<String, String>, secrets: &str, permission: &str) -> Result<Asked, Refusal> {
    let secrets: Option<HashMap<String, String>> = match secrets {
        "" => None,
        text => serde_json::from_str(text)
            .map_err(|_| Refusal::invalid("the driver's secrets are no JSON of texts".to_owned()))?,
    };
    let mut secrets = secrets.unwrap_or_default();
    let tokens = Tokens::take(Asker::SecretsStore, &mut secrets, &mut attributes);
    let has_login = !secrets.is_empty();
    secrets.values_mut().for_each(|value| value.zeroize());
    let tokens = tokens?;
    if has_login {
        return Err(Refusal::invalid(
            "nodePublishSecretRef gives a login out of a Secret, which no store of keyferry takes: stores are logged in to as the \
             pod (spec.loginBy: Mount), or as they say themselves; take it out of the pod's volume"
                .to_owned(),
        ));
    }
    let (wanted, inline) = wanted(&attributes, permission)?;
    Ok(Asked { tokens, wanted, inline })
}

/// What the parameters say, without tokens; and the ExternalSecret, where it stands among them.
fn wanted(attributes: &HashMap<String, String>, permission: &str) -> Result<(Wanted, Option<ExternalSecret>), Refusal> {
    let pod = pod(attributes, Asker::SecretsStore)?;
    // What has a slash is the kubelet's, or another's.
    let own = attributes
        .iter()
        .filter(|(name, _)| !name.contains('/') && ![CLASS, NAME_OF_PROVIDER].contains(&name.as_str()));
    let mut own: HashMap<&str, &str> = own.map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let items = own.remove("items").map(items).transpose()?;
    let mode = match own.remove("mode") {
        Some(text) => keyferry_files::access::parse_mode(text).map_err(Refusal::invalid)?,
        None => by_default(permission)?,
    };
    let (name, inline) = match (own.remove("externalSecret"), own.remove("spec")) {
        (Some(name), None) if is_name(name) => (name.to_owned(), None),
        (None, Some(text)) => {
            let name = attributes.get(CLASS).filter(|name| is_name(name)).map_or(UNNAMED, String::as_str);
            (name.to_owned(), Some(inline(text, &pod.namespace, name)?))
        }
        _ => {
            return Err(Refusal::invalid(
                "parameters: either externalSecret names the ExternalSecret, of the pod's namespace, that is mounted, or spec holds \
                 what its spec would be, as YAML"
                    .to_owned(),
            ));
        }
    };
    if let Some(name) = own.keys().min() {
        return Err(Refusal::invalid(format!(
            "parameters: {name:?} is none that there is: externalSecret or spec, items, mode"
        )));
    }
    let access = Access { mode, uid: None, gid: None };
    Ok((Wanted { pod, external_secret: name, items, access }, inline))
}

/// The mode of files where the class says none: the driver's.
fn by_default(permission: &str) -> Result<u32, Refusal> {
    let mode = permission.parse::<u32>().ok().filter(|mode| mode & !0o777 == 0 && mode & 0o400 != 0);
    mode.ok_or_else(|| Refusal::invalid("the driver's mode of files is none that lets their owner read".to_owned()))
}

fn items(text: &str) -> Result<Vec<Item>, Refusal> {
    let written = from_yaml("items", text, &format!("list of {ITEM}"))?;
    checked(PARAMETERS, written)
}

/// An ExternalSecret that stands in a class. What an API server would refuse of it is refused.
fn inline(text: &str, namespace: &str, name: &str) -> Result<ExternalSecret, Refusal> {
    let wrong = |why: &str| attribute(PARAMETERS, "spec", why);
    let spec: Value = from_yaml("spec", text, "map of what an ExternalSecret's spec has")?;
    let mut object =
        json!({"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": {}, "spec": spec});
    let unknown = pruned(&object);
    if !unknown.is_empty() {
        let some: Vec<String> = unknown.iter().take(TOLD).map(|field| format!("{field:?}")).collect();
        return Err(wrong(&format!("has fields that no ExternalSecret has: {}", some.join(", "))));
    }
    // What is known of the last refresh goes with the version of what it was made of.
    object["metadata"] = json!({"name": name, "namespace": namespace, "annotations": {"keyferry.io/spec": text}});
    serde_json::from_value(object)
        .map_err(|_| wrong("is not of the form that `kubectl explain externalsecret.spec` tells"))
}

/// The parser's own words may quote what it choked on.
fn from_yaml<T: DeserializeOwned>(name: &str, text: &str, what: &str) -> Result<T, Refusal> {
    let wrong = |why: String| attribute(PARAMETERS, name, &why);
    if text.len() > ITEMS_TEXT {
        return Err(wrong(too_long()));
    }
    serde_saphyr::from_str(text).map_err(|error| {
        let line = error.location().map_or(1, |location| location.line());
        wrong(format!("is no YAML {what} (line {line})"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKENS: &str = r#"{"": {"token": "own", "expirationTimestamp": "2030-01-01T00:00:00Z"}}"#;

    fn request(own: &[(&str, &str)], secrets: &str) -> MountRequest {
        let mut attributes = json!({
            CLASS: "app",
            "csi.storage.k8s.io/pod.name": "web-0",
            "csi.storage.k8s.io/pod.namespace": "team",
            "csi.storage.k8s.io/pod.uid": "5d3f",
            "csi.storage.k8s.io/serviceAccount.name": "web",
            "csi.storage.k8s.io/serviceAccount.tokens": TOKENS,
        });
        for (name, value) in own {
            attributes[*name] = json!(value);
        }
        MountRequest {
            attributes: attributes.to_string(),
            secrets: secrets.to_owned(),
            permission: "420".to_owned(),
            ..MountRequest::default()
        }
    }

    fn of(own: &[(&str, &str)], secrets: &str) -> Result<(Wanted, Option<ExternalSecret>), String> {
        let mut request = request(own, secrets);
        let (pod, asked) = asked(&mut request);
        assert_eq!(pod.expect("it is told").name, "web-0");
        assert!(request.attributes.is_empty() && request.secrets.is_empty());
        asked.map(|asked| (asked.wanted, asked.inline)).map_err(|refusal| refusal.message.into_string())
    }

    #[test]
    fn a_class_names_an_external_secret_or_holds_its_spec() {
        let (wanted, inline) = of(&[("externalSecret", "db")], "null").unwrap();
        assert_eq!((wanted.external_secret.as_str(), wanted.access.mode, inline.is_none()), ("db", 0o644, true));
        assert_eq!((wanted.pod.namespace.as_str(), wanted.pod.service_account.as_str()), ("team", "web"));
        assert!(of(&[("externalSecret", "db"), ("providerName", "keyferry")], "null").is_ok(), "the driver's own");
        let items = "- {key: password, path: db/password, mode: '0400'}\n- key: user\n";
        let spec = "secretStoreRef: {name: vault}\ndataFrom:\n- extract: {key: team/db}\n";
        let (wanted, inline) = of(&[("spec", spec), ("items", items), ("mode", "0440")], "").unwrap();
        let inline = inline.unwrap();
        assert_eq!(
            (inline.metadata.name.as_deref(), inline.metadata.namespace.as_deref()),
            (Some("app"), Some("team"))
        );
        let items = wanted.items.unwrap();
        assert_eq!(
            (items[0].path.as_str(), items[0].mode, items[1].path.as_str()),
            ("db/password", Some(0o400), "user")
        );
        assert_eq!(wanted.access.mode, 0o440);
        // Another spec is another version, though no API server counts it.
        let version = keyferry_sync::hash::version_of(&inline);
        let (_, other) = of(&[("spec", &format!("{spec}refreshInterval: 5m\n"))], "null").unwrap();
        assert_ne!(keyferry_sync::hash::version_of(&other.unwrap()), version);
    }

    #[test]
    fn what_is_wrong_is_said_and_not_quoted() {
        let spec = |text: &str| of(&[("spec", text)], "null").unwrap_err();
        for (told, part) in [
            (of(&[], "null").unwrap_err(), "either externalSecret names"),
            (of(&[("externalSecret", "db"), ("spec", "{}")], "null").unwrap_err(), "either externalSecret names"),
            (of(&[("externalSecret", "../db")], "null").unwrap_err(), "either externalSecret names"),
            (
                of(&[("externalSecret", "db"), ("objects", "x")], "null").unwrap_err(),
                "\"objects\" is none that there is",
            ),
            (
                of(&[("externalSecret", "db"), ("items", "- {key: a, path: ../../etc/a}")], "null").unwrap_err(),
                "has the path",
            ),
            (of(&[("externalSecret", "db"), ("items", "[{canary")], "null").unwrap_err(), "is no YAML list"),
            (of(&[("externalSecret", "db"), ("mode", "0777777")], "null").unwrap_err(), "is not a mode"),
            (spec("a: [canary"), "is no YAML map"),
            (spec("secretStoreRef: {name: vault}\ndta: []\n"), "has fields that no ExternalSecret has: \"spec.dta\""),
            (spec("data: canary"), "is not of the form"),
            (spec(&"a".repeat(ITEMS_TEXT + 1)), "is longer than 256 KiB"),
        ] {
            assert!(told.contains(part) && !told.contains("canary"), "{told}");
        }
    }

    #[test]
    fn aliases_that_grow_without_end_are_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..12 {
            let below = format!("*a{}, ", n - 1).repeat(10);
            text += &format!("a{n}: &a{n} [{below}]\n");
        }
        assert!(of(&[("spec", &text)], "null").unwrap_err().contains("is no YAML map"));
    }

    #[test]
    fn a_login_out_of_a_secret_is_refused_and_tokens_may_come_among_what_is_secret() {
        let told = of(&[("externalSecret", "db")], r#"{"password": "canary"}"#).unwrap_err();
        assert!(told.contains("nodePublishSecretRef") && !told.contains("canary"), "{told}");
        let mut request =
            request(&[("externalSecret", "db"), ("csi.storage.k8s.io/serviceAccount.tokens", "")], "null");
        let none = asked(&mut request).1.err().expect("no tokens").message.into_string();
        assert!(none.contains("set tokenRequests, a value of its chart"), "{none}");
        let secrets = json!({"csi.storage.k8s.io/serviceAccount.tokens": TOKENS}).to_string();
        of(&[("externalSecret", "db"), ("csi.storage.k8s.io/serviceAccount.tokens", "")], &secrets).unwrap();
    }

    #[test]
    fn nothing_but_texts_is_taken() {
        for (attributes, secrets, permission) in
            [("[]", "null", "420"), ("{\"a\": 1}", "null", "420"), ("", "null", "420"), ("{}", "7", "420")]
        {
            let mut request = MountRequest {
                attributes: attributes.to_owned(),
                secrets: secrets.to_owned(),
                permission: permission.to_owned(),
                ..MountRequest::default()
            };
            assert!(asked(&mut request).1.is_err(), "{attributes} {secrets}");
        }
        for permission in ["", "x", "-1", "4095", "8"] {
            assert!(by_default(permission).is_err(), "{permission}");
        }
    }
}
