//! Counterparts that are doubles of ours. What a double insists on stands in the sample's place; where it takes what it
//! is told, the sample's own words do.

use std::any::Any;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use keyferry_doubles::{
    Server, actions, akeyless, alibaba, azurekv, bitwarden, conjur, delinea, doppler, fortanix, gcpsm, gitlab, ibm,
    infisical, ngrok, onepassword, oracle, ovh, scaleway, secretserver,
};
use serde_json::json;

use crate::counterpart::{Counterpart, VALUE, field};

pub fn akeyless() -> Counterpart {
    let double = akeyless::Double::start();
    double.put("/app/db", &field(), &[]);
    double.trust("xxxx");
    let here = vec![("https://api.akeyless.io", double.server().url()), ("p-xxxx", akeyless::ACCESS.0.to_owned())];
    Counterpart::new(double, here)
}

pub fn alibaba() -> Counterpart {
    let double = alibaba::Double::start("LTAI5tExample", "30CharactersOfASecretKey", "a token");
    double.put("app/database", &field());
    let env = vec![("ALIBABA_CLOUD_KMS_ENDPOINT", double.server().url())];
    Counterpart { env, ..Counterpart::new(double, Vec::new()) }
}

pub fn azurekv() -> Counterpart {
    let double = azurekv::Double::start_plain();
    double.put("db-password", VALUE);
    double.put("web", "a certificate and its key");
    double.trust_secret("the value of the secret, not its id");
    let url = double.server().url();
    // The double is a cloud of its own.
    let cloud = format!(
        "vaultUrl: {url}
      environmentType: AzureStackCloud
      customCloudConfig: {{ activeDirectoryEndpoint: \"{url}\", keyVaultEndpoint: \"{}\" }}",
        azurekv::RESOURCE
    );
    let here = vec![
        ("vaultUrl: https://my-vault.vault.azure.net", cloud),
        ("00000000-0000-0000-0000-000000000000", azurekv::CLIENT.to_owned()),
        ("11111111-1111-1111-1111-111111111111", azurekv::TENANT.to_owned()),
    ];
    let secret = ("app", json!({"password": VALUE, "tls.pem": "a certificate and its key"}));
    Counterpart { secret, ..Counterpart::new(double, here) }
}

pub fn bitwarden() -> Counterpart {
    let double =
        bitwarden::Double::start("the-access-token-of-a-machine-account", "3b7d1a52-8c0e-4f0a-9a51-b1920146a622");
    double.add("9f2c64f4-5d2f-4b7e-8f0d-b1920146a623", "database-password", VALUE, "");
    let ca = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bitwarden-tls-certs", "namespace": "demo"},
        "stringData": {"ca.crt": double.server().authority().pem()},
    });
    let here = vec![("https://bitwarden-sdk-server.bitwarden:9998", double.server().url())];
    let secret = ("database", json!({"password": VALUE}));
    Counterpart { secret, there: vec![ca], ..Counterpart::new(double, here) }
}

pub fn conjur() -> Counterpart {
    let double = conjur::Double::start_tls("1a2b3c4d5e6f", "a token");
    double.put("apps/database/password", VALUE.as_bytes());
    let here = vec![
        ("https://conjur.example.com", double.server().url()),
        ("host/apps/operator", conjur::HOST.to_owned()),
        ("(the certificate of Conjur's CA, as PEM)", double.server().authority().pem().replace('\n', "\n    ")),
    ];
    Counterpart::new(double, here)
}

pub fn delinea() -> Counterpart {
    let double = delinea::Double::start();
    double.put("app/db", json!({"password": VALUE}));
    let here = vec![
        ("tenant: example", format!("tenant: tenant\n      urlTemplate: \"{}/%s/%s/v1/%s%s\"", double.server().url())),
        ("11111111-1111-1111-1111-111111111111", delinea::CLIENT.0.to_owned()),
        ("xxxx", delinea::CLIENT.1.to_owned()),
    ];
    Counterpart::new(double, here)
}

pub fn doppler() -> Counterpart {
    let double = doppler::Double::start();
    double.put("DB_PASSWORD", VALUE);
    double.trust("dp.st.dev.xxxx");
    let env = vec![("DOPPLER_BASE_URL", double.server().url())];
    Counterpart { env, ..Counterpart::new(double, Vec::new()) }
}

pub fn fortanix() -> Counterpart {
    let double = fortanix::Double::start();
    double.put("app/db", "SECRET", field().as_bytes());
    let here = vec![("https://eu.smartkey.io", double.server().url()), ("xxxx", fortanix::KEY.to_owned())];
    Counterpart::new(double, here)
}

pub fn gcpsm() -> Counterpart {
    let double = gcpsm::Double::start();
    double.put("app", field().as_bytes());
    let here = vec![
        (
            r#"{"type": "service_account", "client_email": "reader@my-project.iam.gserviceaccount.com", "private_key": "..."}"#,
            double.key(),
        ),
        ("my-project", gcpsm::PROJECT.to_owned()),
        // A key file leads elsewhere than to Google in stores of the cluster only.
        ("kind: SecretStore", "kind: ClusterSecretStore".to_owned()),
        ("key: key.json", "key: key.json\n            namespace: default".to_owned()),
    ];
    let env = vec![("CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER", double.server().url())];
    Counterpart { env, ..Counterpart::new(double, here) }
}

pub fn github() -> Counterpart {
    let double = actions::Double::start();
    let url = double.server().url();
    let here = vec![
        ("appID: 123456", format!("url: {url}\n      appID: {}", keyferry_doubles::github::APP)),
        ("87654321", keyferry_doubles::github::INSTALLATION.to_owned()),
        ("(the private key of the App, as PEM)", double.key().replace('\n', "\n    ")),
    ];
    let pushed = |running: &(dyn Any + Send + Sync)| {
        let double: Option<&actions::Double> = running.downcast_ref();
        let held = double.and_then(|double| double.held("repos/shop/app/actions", "APP_PASSWORD"));
        held.is_some_and(|(value, ..)| value == VALUE.as_bytes())
    };
    let source =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "app"}, "stringData": {"password": VALUE}});
    Counterpart { there: vec![source], pushed: Some(pushed), operator: true, ..Counterpart::new(double, here) }
}

pub fn gitlab() -> Counterpart {
    let double = gitlab::Double::start();
    double.project("42", &[("shop", 7)]);
    double.put("projects/42", "DB_PASSWORD", VALUE, "production");
    double.put("projects/42", "DB_PASSWORD", "another", "review");
    double.trust("glpat-xxxx");
    let here = vec![("https://gitlab.example.com", double.server().url())];
    Counterpart::new(double, here)
}

pub fn ibm() -> Counterpart {
    let double = ibm::Double::start();
    double.put("default", "kv", "db", json!({"data": {"password": VALUE}}));
    let url = double.server().url();
    let here = vec![
        ("https://11111111-1111-1111-1111-111111111111.eu-de.secrets-manager.appdomain.cloud", url.clone()),
        (
            "secretRef:\n          secretApiKeySecretRef:",
            format!("secretRef:\n          iamEndpoint: {url}\n          secretApiKeySecretRef:"),
        ),
        ("xxxx", ibm::KEY.to_owned()),
    ];
    Counterpart::new(double, here)
}

pub fn infisical() -> Counterpart {
    let double = infisical::Double::start();
    double.put("/app", "DB_PASSWORD", VALUE);
    double.trust("xxxx");
    let here = vec![
        ("infisical:\n      auth:", format!("infisical:\n      hostAPI: {}\n      auth:", double.server().url())),
        ("3f2a", infisical::CLIENT.0.to_owned()),
    ];
    Counterpart::new(double, here)
}

/// Nobody reads from it: what the sample pushes is a Secret that is there.
pub fn ngrok() -> Counterpart {
    let double = ngrok::Double::start();
    let here = vec![("https://api.ngrok.com", double.server().url()), ("xxxx", ngrok::KEY.to_owned())];
    let source =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "app"}, "stringData": {"password": VALUE}});
    let is_there = |running: &(dyn Any + Send + Sync)| {
        let double = running.downcast_ref::<ngrok::Double>().expect("it runs");
        double.held("app-password").is_some_and(|(value, ..)| value == VALUE)
    };
    Counterpart { there: vec![source], pushed: Some(is_there), operator: true, ..Counterpart::new(double, here) }
}

pub fn onepassword() -> Counterpart {
    let double = onepassword::Double::start("the-token-that-1Password-showed-once");
    double.vault("production");
    double.vault("shared");
    let fields = [("username", "app"), ("password", VALUE)];
    let item = double.add("production", "LOGIN", "database", &fields, &[]);
    double.attach("production", &item, "ca.crt", b"a certificate", None);
    let here = vec![("http://onepassword-connect.onepassword:8080", double.server().url())];
    let secret = ("database", json!({"password": VALUE, "user": "app", "ca.crt": "a certificate"}));
    Counterpart { secret, ..Counterpart::new(double, here) }
}

pub fn oracle() -> Counterpart {
    let double = oracle::Double::start();
    double.put("db", field().as_bytes(), &[]);
    let env = vec![("OCI_VAULT_ENDPOINT", double.server().url())];
    let here = vec![
        ("20:3b:97:13:55:1c:5b:0d:d3:37:d8:50:4e:c5:3a:34", oracle::FINGERPRINT.to_owned()),
        ("(the private key of the user, as PEM)", double.user().private_key().replace('\n', "\n    ")),
        ("ocid1.vault.oc1.eu-frankfurt-1.xxxx", oracle::PLACE[0].to_owned()),
        ("ocid1.compartment.oc1..xxxx", oracle::PLACE[1].to_owned()),
        ("ocid1.tenancy.oc1..xxxx", oracle::USER.0.to_owned()),
        ("ocid1.user.oc1..xxxx", oracle::USER.1.to_owned()),
    ];
    Counterpart { env, ..Counterpart::new(double, here) }
}

pub fn ovh() -> Counterpart {
    let double = ovh::Double::start();
    double.put("app/db", json!({"password": VALUE}));
    let here = vec![
        ("https://eu-west-rbx.okms.ovh.net", double.server().url()),
        ("11111111-1111-1111-1111-111111111111", ovh::DOMAIN.to_owned()),
        ("xxxx", ovh::TOKEN.to_owned()),
    ];
    Counterpart::new(double, here)
}

pub fn scaleway() -> Counterpart {
    let double = scaleway::Double::start();
    double.put("/app", "db", field().as_bytes(), &[]);
    let here = vec![
        ("region: fr-par", format!("region: fr-par\n      apiUrl: {}", double.server().url())),
        ("11111111-1111-1111-1111-111111111111", scaleway::KEY.to_owned()),
        ("22222222-2222-2222-2222-222222222222", scaleway::PLACE.1.to_owned()),
    ];
    Counterpart::new(double, here)
}

pub fn secretserver() -> Counterpart {
    let double = secretserver::Double::start();
    double.put("db", ["not JSON", VALUE, ""]);
    let here = vec![
        ("https://example.secretservercloud.com", double.server().url()),
        ("xxxx", secretserver::USER.1.to_owned()),
    ];
    Counterpart::new(double, here)
}

/// The command line tool of Bitwarden, as it serves HTTP.
pub fn webhook() -> Counterpart {
    let answer = async |Path(id): Path<String>, headers: HeaderMap| {
        let may = headers.get("authorization").is_some_and(|header| header == "Bearer a-token");
        match (may, id.as_str()) {
            (false, _) => Err(StatusCode::UNAUTHORIZED),
            (true, "5c84f0b5-4c3b-4f5e-9c7e-1c1d6a4e9f00") => {
                Ok(json!({"success": true, "data": {"login": {"username": "app", "password": VALUE}}}).to_string())
            }
            (true, _) => Err(StatusCode::NOT_FOUND),
        }
    };
    let server = Server::start(Router::new().route("/object/item/{id}", get(answer)));
    let here = vec![("http://bitwarden-cli.bitwarden:8087", server.url())];
    let secret = ("database", json!({"password": VALUE}));
    Counterpart { secret, ..Counterpart::new(server, here) }
}
