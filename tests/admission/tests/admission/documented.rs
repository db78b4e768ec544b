//! Manifests as External Secrets Operator's documentation has them, in their least form: what its own CRDs refuse of them is
//! refused here too, with their places filled in it is taken. All others of its documentation are taken by both.
//!
//! Some ExternalSecrets there show no more than a part, and name nothing to fetch. Its CRDs take those, and its webhook refuses
//! them; here it is the CRDs that do (`rules`).

use serde_json::{Value, json};

use crate::cluster::{client, object, try_create};

/// Provider, what the documentation has under it, what is wrong with it, and the same in order.
fn stores() -> Vec<(&'static str, Value, &'static str, Value)> {
    let place = json!({"secretRef": {"name": "<NAME_OF_KUBE_SECRET>", "key": "<KEY_IN_KUBE_SECRET>"}});
    let given = json!({"secretRef": {"name": "login", "key": "token"}});
    let key = json!({"name": "login", "key": "k"});
    let environment =
        |token: &Value| json!({"organization": "o", "project": "p", "environment": "e", "accessToken": token});
    let app = |id: Value| json!({"appID": id, "installationID": 2, "organization": "o", "auth": {"privateKey": key}});
    let server = |password: &Value| json!({"serverURL": "https://t.secretservercloud.com", "username": {"value": "u"}, "password": password});
    let api_key = json!({"secretApiKeySecretRef": key});
    let vault = |more: Value| {
        let mut spec = json!({"vault": "ocid1.vault", "region": "us-ashburn-1"});
        spec.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        spec
    };
    let user = json!({"user": "u", "tenancy": "t", "secretRef": {"privatekey": key, "fingerprint": key}});
    vec![
        ("fortanix", json!({"apiKey": place}), "fortanix.apiKey.secretRef.key", json!({"apiKey": given})),
        ("github", app(json!("<app id>")), "github.appID: Invalid value: \"string\"", app(json!(1))),
        (
            "ibm",
            json!({"auth": {"containerAuth": {"profile": "p"}, "secretRef": api_key}}),
            "ibm.auth: Too many: 2",
            json!({"auth": {"secretRef": api_key}}),
        ),
        (
            "onboardbase",
            json!({"auth": {"apiKey": key, "passcode": key}}),
            "onboardbase.auth.apiKeyRef: Required value",
            json!({"auth": {"apiKeyRef": key, "passcodeRef": key}}),
        ),
        (
            "oracle",
            json!({"principalType": "InstancePrincipal"}),
            "oracle.region: Required value",
            vault(json!({"principalType": "InstancePrincipal"})),
        ),
        (
            "oracle",
            vault(json!({"principalType": "<Principal Type>"})),
            "oracle.principalType: Unsupported value",
            vault(json!({"principalType": ""})),
        ),
        (
            "oracle",
            vault(json!({"auth": {"secretRef": user["secretRef"]}})),
            "oracle.auth.tenancy: Required value",
            vault(json!({"auth": user})),
        ),
        (
            "oracle",
            vault(json!({"principalType": "Workload", "serviceAccountRef": {}})),
            "oracle.serviceAccountRef.name: Required value",
            vault(json!({"principalType": "Workload", "serviceAccountRef": {"name": "a"}})),
        ),
        ("pulumi", environment(&place), "pulumi.accessToken.secretRef.key", environment(&given)),
        ("secretserver", server(&place), "secretserver.password.secretRef.key", server(&given)),
    ]
}

#[tokio::test]
async fn what_is_not_filled_in_is_refused_as_the_documentation_s_own_crds_do() {
    let client = client().await;
    for (provider, documented, wrong, filled) in stores() {
        for kind in ["SecretStore", "ClusterSecretStore"] {
            let of = |spec: &Value| object(kind, "documented", &json!({"provider": {provider: spec}}));
            match try_create(&client, &of(&documented)).await {
                Ok(_) => panic!("taken, and should not be: {provider}: {documented}"),
                Err(refusal) => {
                    assert!(refusal.contains(wrong), "{documented}\nrefused with: {refusal}\nand not: {wrong}")
                }
            }
            let taken = try_create(&client, &of(&filled)).await;
            assert!(taken.is_ok(), "{provider}: {filled}\nrefused with: {}", taken.unwrap_err());
        }
    }
}

/// What a newer version of their API has, we don't know yet: it is kept.
#[tokio::test]
async fn what_we_only_check_keeps_what_it_does_not_name() {
    let client = client().await;
    for (provider, _, _, mut spec) in stores() {
        if ["fortanix", "github", "ibm", "oracle", "secretserver"].contains(&provider) {
            continue;
        }
        spec["newer"] = json!({"deep": ["x"]});
        let taken = try_create(&client, &object("SecretStore", "newer", &json!({"provider": {provider: spec}}))).await;
        let stored = taken.unwrap_or_else(|refusal| panic!("{provider}: {refusal}"));
        assert_eq!(stored.data["spec"]["provider"][provider]["newer"], json!({"deep": ["x"]}), "{provider}");
    }
}
