//! Logins of users, of the cluster's ServiceAccounts, and by certificates.

use k8s_openapi::api::core::v1::ServiceAccount;
use keyferry_doubles::Authority;
use keyferry_provider_core::ServiceAccountRef;
use keyferry_provider_tests::Kubernetes;
use keyferry_provider_vault::OPEN_BAO;
use kube::api::PostParams;

use super::*;

#[tokio::test]
async fn kubernetes_login() {
    let testbed = Testbed::shared();
    let (vault, namespace) = (testbed.vault(), testbed.namespace("vault-login").await);
    let name = readable(&vault).await;
    let mount = format!("kubernetes-{}", random());
    vault.enable_kubernetes_auth(&mount, &testbed.kubernetes()).await.unwrap();
    let role = json!({
        "bound_service_account_names": ["app"], "bound_service_account_namespaces": [namespace.name()],
        "token_policies": [name], "audience": "vault",
    });
    request(&vault, "POST", &format!("auth/{mount}/role/app"), role).await;
    for account in ["app", "other"] {
        let mut object = ServiceAccount::default();
        object.metadata.name = Some(account.to_owned());
        namespace.api::<ServiceAccount>().create(&PostParams::default(), &object).await.unwrap();
    }
    let url = testbed.vault_url();
    let spec = |kubernetes: Value| json!({"server": url, "path": "secret", "auth": {"kubernetes": kubernetes}});
    let credentials = async || Kubernetes {
        client: testbed.kube_client().await,
        namespace: namespace.name().to_owned(),
        map: MapCredentials::new(),
    };
    let account = |name: &str, audience: &str| {
        let account = json!({"name": name, "audiences": [audience]});
        json!({"mountPath": mount, "role": "app", "serviceAccountRef": account})
    };

    let provider = build(spec(account("app", "vault")), credentials().await).await.unwrap();
    assert!(fetch(&*provider, &key(&name)).await.unwrap().contains(CANARY));
    provider.validate().await.unwrap();

    // The same token from a secret, and as the operator's own.
    let reference = ServiceAccountRef { name: "app".into(), ..ServiceAccountRef::default() };
    let token = credentials().await.service_account_token(&reference, &["vault"]).await.unwrap().secret;
    for (more, path) in [(json!({"secretRef": {"name": "sa"}}), "sa/token"), (json!({}), "controller/token")] {
        let mut kubernetes = json!({"mountPath": mount, "role": "app"});
        kubernetes.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let credentials = credentials().await;
        credentials.map.set(path, token.expose());
        let provider = build(spec(kubernetes), credentials).await.unwrap();
        assert!(fetch(&*provider, &key(&name)).await.unwrap().contains(CANARY));
    }

    let wrong_role = json!({"mountPath": mount, "role": "nobody", "serviceAccountRef": {"name": "app"}});
    for (kubernetes, words) in [
        (account("other", "vault"), "is bound to the ServiceAccount \"other\""),
        (account("app", "elsewhere"), "accepts its token's audience"),
        (wrong_role, "the role \"nobody\" exists"),
    ] {
        let error = build(spec(kubernetes), credentials().await).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
        assert!(error.message().contains(words), "{error}");
    }
    let error = build(spec(account("missing", "vault")), credentials().await).await.err().unwrap();
    assert!(error.message().starts_with("spec.provider.vault.auth.kubernetes.serviceAccountRef: "), "{error}");
}

#[tokio::test]
async fn user_and_password() {
    let testbed = Testbed::shared();
    let vault = testbed.vault();
    let name = readable(&vault).await;
    let mount = format!("userpass-{}", random());
    vault.enable_auth(&mount, "userpass").await.unwrap();
    let user = json!({"password": CANARY, "token_policies": [name]});
    request(&vault, "POST", &format!("auth/{mount}/users/app"), user).await;
    let spec = |user: &str| {
        let login = json!({"path": mount, "username": user, "secretRef": {"name": "p", "key": "k"}});
        json!({"server": testbed.vault_url(), "path": "secret", "auth": {"userPass": login}})
    };
    let provider = build(spec("app"), MapCredentials::new().with("p/k", format!("{CANARY}\n"))).await.unwrap();
    assert!(fetch(&*provider, &key(&name)).await.unwrap().contains(CANARY));
    provider.validate().await.unwrap();
    for (user, password) in [("app", format!("{CANARY}-wrong")), ("nobody", CANARY.to_owned())] {
        let error = build(spec(user), MapCredentials::new().with("p/k", password)).await.err().unwrap();
        let words = format!("refused the login at auth/{mount}/login/{user}: check the user {user:?} and its password");
        assert!(error.kind() == ErrorKind::Unauthenticated && error.message().contains(&words), "{error}");
    }
    // The same under the key of OpenBao.
    let mut spec = spec("app");
    keyferry_testkit::install_crypto_provider();
    let credentials = MapCredentials::new().with("p/k", CANARY);
    let provider = (OPEN_BAO.build)(&spec, context(credentials, Arc::new(()))).await.unwrap();
    assert!(fetch(&*provider, &key(&name)).await.unwrap().contains(CANARY));
    spec["path"] = Value::Null;
    let credentials = MapCredentials::new().with("p/k", CANARY);
    let provider = (OPEN_BAO.build)(&spec, context(credentials, Arc::new(()))).await.unwrap();
    expect(fetch(&*provider, &key(&name)).await, ErrorKind::Denied, &format!("kv/data/{name}"));
    provider.validate().await.unwrap();
}

#[tokio::test]
async fn a_jwt_of_the_cluster() {
    let testbed = Testbed::shared();
    let (vault, namespace) = (testbed.vault(), testbed.namespace("vault-jwt").await);
    let name = readable(&vault).await;
    let mount = format!("jwt-{}", random());
    vault.enable_auth(&mount, "jwt").await.unwrap();
    let public = std::fs::read_to_string(testbed.kubernetes().ca_file.with_file_name("sa.pub")).unwrap();
    let config = json!({"jwt_validation_pubkeys": [public], "bound_issuer": testbed.kubernetes().url});
    request(&vault, "POST", &format!("auth/{mount}/config"), config).await;
    let role = json!({"role_type": "jwt", "user_claim": "sub", "bound_audiences": ["vault"], "token_policies": [name],
        "bound_subject": format!("system:serviceaccount:{}:app", namespace.name())});
    request(&vault, "POST", &format!("auth/{mount}/role/app"), role).await;
    for account in ["app", "other"] {
        let mut object = ServiceAccount::default();
        object.metadata.name = Some(account.to_owned());
        namespace.api::<ServiceAccount>().create(&PostParams::default(), &object).await.unwrap();
    }
    let spec = |jwt: Value| {
        let mut login = json!({"path": mount, "role": "app"});
        login.as_object_mut().unwrap().extend(jwt.as_object().unwrap().clone());
        json!({"server": testbed.vault_url(), "path": "secret", "auth": {"jwt": login}})
    };
    let credentials = async || Kubernetes {
        client: testbed.kube_client().await,
        namespace: namespace.name().to_owned(),
        map: MapCredentials::new(),
    };
    let account = |name: &str, audiences: Value| {
        let token = json!({"serviceAccountRef": {"name": name}, "audiences": audiences, "expirationSeconds": 600});
        json!({"kubernetesServiceAccountToken": token})
    };
    let provider = build(spec(account("app", Value::Null)), credentials().await).await.unwrap();
    assert!(fetch(&*provider, &key(&name)).await.unwrap().contains(CANARY));
    provider.validate().await.unwrap();

    let reference = ServiceAccountRef { name: "app".into(), ..ServiceAccountRef::default() };
    let token = credentials().await.service_account_token(&reference, &["vault"]).await.unwrap().secret;
    let kept = spec(json!({"secretRef": {"name": "t", "key": "k"}}));
    let provider = build(kept, MapCredentials::new().with("t/k", token.expose())).await.unwrap();
    assert!(fetch(&*provider, &key(&name)).await.unwrap().contains(CANARY));

    for wrong in [account("other", Value::Null), account("app", json!(["elsewhere"]))] {
        let error = build(spec(wrong), credentials().await).await.err().unwrap();
        let words = "check that the role \"app\" exists and is bound to the issuer, subject and audience of the JWT";
        assert!(error.kind() == ErrorKind::Unauthenticated && error.message().contains(words), "{error}");
    }
}

#[tokio::test]
async fn a_client_certificate() {
    let options = OpenBaoOptions { tls: true, ..OpenBaoOptions::default() };
    let server = OpenBao::start(&options).await.unwrap();
    let vault = server.client().unwrap();
    let name = readable(&vault).await;
    vault.enable_auth("cert", "cert").await.unwrap();
    let (ours, others) = (Authority::new(), Authority::new());
    let role = json!({"certificate": ours.pem(), "token_policies": [name]});
    request(&vault, "POST", "auth/cert/certs/app", role).await;
    let ca = STANDARD.encode(server.ca_pem().unwrap().unwrap());
    let login = async |authority: &Authority, role: Value| {
        let (cert, key) = authority.client("app");
        let secret = |key: &str| json!({"name": "c", "key": key});
        let login = json!({"vaultRole": role, "clientCert": secret("tls.crt"), "secretRef": secret("tls.key")});
        let spec = json!({"server": server.url(), "path": "secret", "caBundle": ca, "auth": {"cert": login}});
        build(spec, MapCredentials::new().with("c/tls.crt", cert).with("c/tls.key", key)).await
    };
    for role in [json!("app"), Value::Null] {
        let provider = login(&ours, role).await.unwrap();
        assert!(fetch(&*provider, &key(&name)).await.unwrap().contains(CANARY));
        provider.validate().await.unwrap();
    }
    for (authority, role, words) in [
        (&ours, json!("nobody"), "the role \"nobody\" exists and accepts the client certificate"),
        (&others, json!("app"), "the role \"app\" exists and accepts the client certificate"),
        (&others, Value::Null, "a role of the method accepts the client certificate"),
    ] {
        let error = login(authority, role).await.err().unwrap();
        assert!(error.kind() == ErrorKind::Unauthenticated && error.message().contains(words), "{error}");
    }
}
