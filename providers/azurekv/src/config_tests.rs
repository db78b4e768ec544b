use keyferry_provider_core::{Blame, ErrorKind};
use serde_json::{Value, json};

use super::*;

const URL: &str = "https://my-vault.vault.azure.net";

fn spec(more: Value) -> Value {
    let mut spec = json!({
        "vaultUrl": URL,
        "tenantId": "t",
        "authSecretRef": {"clientId": {"name": "azure", "key": "id"}, "clientSecret": {"name": "azure", "key": "secret"}},
    });
    for (name, value) in more.as_object().unwrap() {
        spec[name] = value.clone();
    }
    spec
}

fn read(more: Value) -> Config {
    Config::new(&spec(more)).unwrap()
}

#[test]
fn a_wrong_spec_is_named_without_its_values() {
    for (spec, words) in [
        (json!("canary"), "not of the form"),
        (spec(json!({"tenantId": ["canary"]})), "not of the form"),
        (spec(json!({"vaultUrl": null})), "vaultUrl is missing"),
        (spec(json!({"vaultUrl": "canary"})), "vaultUrl must be a URL such as https://my-vault.vault.azure.net"),
        (spec(json!({"vaultUrl": "http://canary.vault.azure.net"})), "vaultUrl must begin with https://"),
        (spec(json!({"authType": "canary"})), "authType must be ServicePrincipal"),
        (spec(json!({"environmentType": "canary"})), "environmentType must be PublicCloud"),
        (spec(json!({"environmentType": "GermanCloud"})), "closed in 2021"),
        (spec(json!({"environmentType": "AzureStackCloud"})), "customCloudConfig is missing"),
        (spec(json!({"customCloudConfig": {}})), "activeDirectoryEndpoint is missing"),
        (spec(json!({"customCloudConfig": {"activeDirectoryEndpoint": "http://canary"}})), "must begin with https://"),
        (spec(json!({"tenantId": ""})), "tenantId is missing"),
        (spec(json!({"authSecretRef": null})), "clientSecret or clientCertificate is missing"),
        (spec(json!({"authSecretRef": {"clientSecret": {"name": "azure"}}})), "authSecretRef.clientId is missing"),
        (
            spec(json!({"authSecretRef": {"clientId": {}, "clientSecret": {}, "clientCertificate": {}}})),
            "are both set: keep one",
        ),
    ] {
        let error = Config::new(&spec).unwrap_err();
        assert_eq!((error.kind(), error.blame()), (ErrorKind::Invalid, Blame::Spec));
        assert!(error.message().contains(words) && !error.message().contains("canary"), "{words}: {error}");
    }
}

#[test]
fn each_way_to_log_in() {
    let tenant = |identity: &Identity| match identity {
        Identity::Application { tenant: Id::Given(given), .. } => given.field,
        Identity::Application { tenant: Id::Kept(kept), .. } => kept.field,
        _ => "",
    };
    assert_eq!(tenant(&read(json!({})).identity), TENANT);
    assert_eq!(tenant(&read(json!({"authType": null})).identity), TENANT);
    let kept = json!({"clientId": {}, "tenantId": {"name": "t"}, "clientCertificate": {}});
    assert_eq!(tenant(&read(json!({"tenantId": null, "authSecretRef": kept})).identity), TENANT_REF);
    let managed = json!({"authType": "ManagedIdentity", "identityId": "i"});
    assert!(matches!(read(managed).identity, Identity::Machine { client: Some(id) } if id == "i"));
    let managed = json!({"authType": "ManagedIdentity", "identityId": ""});
    assert!(matches!(read(managed).identity, Identity::Machine { client: None }));
    let workload = json!({"authType": "WorkloadIdentity", "authSecretRef": null, "tenantId": null});
    assert!(matches!(read(workload.clone()).identity, Identity::Pod));
    let mut account = workload;
    account["serviceAccountRef"] = json!({"name": "app"});
    let Identity::Federated(federation) = read(account.clone()).identity else { panic!("a ServiceAccount") };
    assert_eq!((federation.audience.as_str(), federation.account.value.name.as_str()), (Federation::AUDIENCE, "app"));
    assert!(federation.client.is_none() && federation.tenant.is_none());
    account["customCloudConfig"] = json!({"activeDirectoryEndpoint": "https://login.local", "audience": "own"});
    assert!(matches!(read(account).identity, Identity::Federated(federation) if federation.audience == "own"));
}

#[test]
fn tokens_are_for_the_service_that_the_vault_belongs_to() {
    let public = "https://login.microsoftonline.com/";
    for (cloud, url, authority, resource) in [
        ("PublicCloud", URL, public, "https://vault.azure.net"),
        ("PublicCloud", "https://a.managedhsm.azure.net/", public, "https://managedhsm.azure.net"),
        ("PublicCloud", "https://vault.example.com", public, "https://vault.azure.net"),
        ("PublicCloud", "https://xvault.azure.net", public, "https://vault.azure.net"),
        (
            "USGovernmentCloud",
            "https://a.vault.usgovcloudapi.net",
            "https://login.microsoftonline.us/",
            "https://vault.usgovcloudapi.net",
        ),
        ("ChinaCloud", "https://a.vault.azure.cn", "https://login.chinacloudapi.cn/", "https://vault.azure.cn"),
    ] {
        let audience = read(json!({"environmentType": cloud, "vaultUrl": url})).audience;
        assert_eq!((audience.authority.server.as_str(), audience.resource.as_str()), (authority, resource), "{url}");
    }
}

#[test]
fn a_cloud_of_ones_own_says_what_tokens_are_for_or_the_vaults_name_does() {
    for (cloud, url, more, resource) in [
        ("AzureStackCloud", "https://a.vault.here.local", json!({}), "https://vault.here.local"),
        ("AzureStackCloud", "https://a.vault.x", json!({"keyVaultDNSSuffix": ".vault.there"}), "https://vault.there"),
        ("AzureStackCloud", "https://a", json!({"keyVaultEndpoint": "https://vault.there/"}), "https://vault.there"),
        ("PublicCloud", URL, json!({}), "https://vault.azure.net"),
    ] {
        let mut custom = json!({"activeDirectoryEndpoint": "https://login.local/"});
        custom.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let spec = json!({"environmentType": cloud, "vaultUrl": url, "customCloudConfig": custom});
        let audience = read(spec).audience;
        assert_eq!(
            (audience.authority.server.as_str(), audience.resource.as_str()),
            ("https://login.local/", resource)
        );
    }
    let nowhere = json!({"environmentType": "AzureStackCloud", "vaultUrl": "https://a", "customCloudConfig": {"activeDirectoryEndpoint": "https://x"}});
    assert!(Config::new(&spec(nowhere)).unwrap_err().message().contains("keyVaultEndpoint is missing"));
}

#[test]
fn the_operators_own_identity_goes_to_no_vault_of_anybodys() {
    let own = json!({"authType": "ManagedIdentity"});
    let of = |kind| Caller { store_kind: kind, ..Caller::default() };
    let check = |more: Value, kind| read(more).check_identity(&of(kind));
    let with = |more: Value| {
        let mut spec = own.clone();
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec
    };
    assert!(check(own.clone(), "SecretStore").is_ok());
    for elsewhere in [
        json!({"vaultUrl": "https://evil.example.com"}),
        json!({"vaultUrl": "https://vault.azure.net.example.com"}),
        json!({"vaultUrl": "https://evilvault.azure.net"}),
        json!({"customCloudConfig": {"activeDirectoryEndpoint": "https://evil.example.com"}}),
        json!({"customCloudConfig": {"activeDirectoryEndpoint": "https://x", "keyVaultEndpoint": "https://management.azure.com"}}),
    ] {
        assert!(check(with(elsewhere.clone()), "ClusterSecretStore").is_ok(), "{elsewhere}");
        let error = check(with(elsewhere.clone()), "SecretStore").unwrap_err();
        assert!(error.message().contains("use a ClusterSecretStore"), "{elsewhere}: {error}");
        let mut workload = with(elsewhere.clone());
        workload["authType"] = json!("WorkloadIdentity");
        assert!(check(workload.clone(), "SecretStore").is_err(), "{elsewhere}");
        workload["serviceAccountRef"] = json!({"name": "app"});
        assert!(check(workload, "SecretStore").is_ok(), "{elsewhere}");
        assert!(check(elsewhere, "SecretStore").is_ok(), "credentials of the store's own");
    }
}
