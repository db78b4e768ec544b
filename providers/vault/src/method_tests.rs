//! What `auth` comes to.

use keyferry_provider_core::ErrorKind;
use serde_json::{Value, json};

use super::*;

const CANARY: &str = "canary-51d3";

fn read(product: Product, auth: Value) -> Result<Method, Error> {
    of(product, serde_json::from_value(auth).unwrap())
}

fn method(auth: Value) -> Method {
    read(Product::Vault, auth).unwrap()
}

#[track_caller]
fn refused(product: Product, auth: Value, words: &str) {
    let error = read(product, auth).unwrap_err();
    assert_eq!((error.kind(), error.blame()), (ErrorKind::Invalid, Blame::Spec), "{error}");
    assert!(error.message().contains(words) && !error.message().contains(CANARY), "{words}: {error}");
}

/// Each method with the least that it needs.
fn all() -> [(&'static str, Value); 9] {
    let secret = json!({"name": "s", "key": "k"});
    [
        ("tokenSecretRef", secret.clone()),
        ("appRole", json!({"roleId": "r", "secretRef": secret})),
        ("kubernetes", json!({"role": "r"})),
        ("ldap", json!({"username": "u", "secretRef": secret})),
        ("userPass", json!({"username": "u", "secretRef": secret})),
        ("jwt", json!({"secretRef": secret})),
        ("cert", json!({"clientCert": secret, "secretRef": secret})),
        ("iam", json!({"vaultRole": "r"})),
        ("gcp", json!({"role": "r"})),
    ]
}

#[test]
fn exactly_one_login_method() {
    assert!(matches!(read(Product::Vault, json!(null)), Ok(Method::None)));
    refused(
        Product::Vault,
        json!({}),
        "spec.provider.vault.auth sets no login method: set one of tokenSecretRef, appRole",
    );
    refused(Product::OpenBao, json!({"jwt": null}), "set one of tokenSecretRef, appRole, kubernetes and userPass");
    for (name, spec) in all() {
        method(json!({name: spec, "namespace": "n"}));
        for (other, spec) in all().into_iter().filter(|(other, _)| *other != name) {
            let both = json!({name: all().into_iter().find(|(found, _)| *found == name).unwrap().1, other: spec});
            refused(Product::Vault, both, "more than one login method: keep one of ");
        }
    }
    let three = json!({"tokenSecretRef": {}, "kubernetes": {"role": "r"}, "ldap": {}});
    refused(Product::Vault, three, "keep one of tokenSecretRef, kubernetes, ldap");
}

#[test]
fn mounts_and_their_defaults() {
    let mount = |method: Method| match method {
        Method::AppRole { mount, .. }
        | Method::Kubernetes { mount, .. }
        | Method::Password { mount, .. }
        | Method::Jwt { mount, .. }
        | Method::Cert { mount, .. } => mount,
        Method::Iam(iam) => iam.mount,
        Method::Gcp(gcp) => gcp.mount,
        Method::None | Method::Token(_) => panic!("it has no mount"),
    };
    let defaults = ["", "approle", "kubernetes", "ldap", "userpass", "jwt", "cert", "aws", "gcp"];
    for ((name, mut spec), default) in all().into_iter().zip(defaults).skip(1) {
        assert_eq!(mount(method(json!({name: spec}))), default, "{name}");
        let field = if name == "kubernetes" { "mountPath" } else { "path" };
        spec[field] = json!("/team//login/");
        assert_eq!(mount(method(json!({name: spec}))), "team/login", "{name}");
        for climbs in ["../x", "/"] {
            spec[field] = json!(climbs);
            refused(Product::Vault, json!({name: spec}), &format!("spec.provider.vault.auth.{name}: {field}"));
        }
    }
}

#[test]
fn under_open_bao_the_mount_of_kubernetes_is_called_path_and_nobody_is_the_operator() {
    let spec = json!({"kubernetes": {"role": "r", "path": "k8s", "serviceAccountRef": {"name": "a"}}});
    let Ok(Method::Kubernetes { mount, .. }) = read(Product::OpenBao, spec) else { panic!() };
    assert_eq!(mount, "k8s");
    refused(
        Product::OpenBao,
        json!({"kubernetes": {"role": "r"}}),
        "openBao.auth.kubernetes: it needs serviceAccountRef or",
    );
    assert!(matches!(method(json!({"kubernetes": {"role": "r"}})), Method::Kubernetes { jwt: Jwt::Controller, .. }));
}

#[test]
fn what_is_missing_is_named() {
    for (auth, words) in [
        (json!({"appRole": {"secretRef": {"name": "s"}}}), "auth.appRole: it needs roleId or roleRef"),
        (json!({"appRole": {"roleId": "", "secretRef": {"name": "s"}}}), "roleId or roleRef"),
        (json!({"appRole": {"roleId": "r"}}), "auth.appRole: it needs secretRef"),
        (json!({"kubernetes": {}}), "auth.kubernetes: it needs role"),
        (json!({"ldap": {"secretRef": {}}}), "auth.ldap: it needs username"),
        (json!({"userPass": {"username": "u"}}), "auth.userPass: it needs secretRef"),
        (json!({"userPass": {"username": " ", "secretRef": {}}}), "it needs username"),
        (json!({"jwt": {"role": "r"}}), "it needs secretRef or kubernetesServiceAccountToken"),
        (json!({"jwt": {"kubernetesServiceAccountToken": {}}}), "kubernetesServiceAccountToken.serviceAccountRef"),
        (json!({"cert": {"secretRef": {}}}), "it needs clientCert"),
        (json!({"cert": {"clientCert": {}}}), "it needs secretRef"),
        (json!({"iam": {}}), "it needs vaultRole"),
        (json!({"iam": {"vaultRole": "r", "jwt": {}}}), "it needs jwt.serviceAccountRef"),
        (json!({"iam": {"vaultRole": "r", "secretRef": {"accessKeyIDSecretRef": {}}}}), "secretAccessKeySecretRef"),
        (json!({"iam": {"vaultRole": "r", "region": "evil.example/"}}), "region is not the name of a region"),
        (json!({"gcp": {}}), "it needs role"),
        (json!({"gcp": {"role": "r", "secretRef": {}}}), "secretRef.secretAccessKeySecretRef"),
        (json!({"gcp": {"role": "r", "workloadIdentity": {}}}), "workloadIdentity.serviceAccountRef"),
    ] {
        refused(Product::Vault, auth, words);
    }
}

#[test]
fn a_user_is_one_segment_of_a_path() {
    for user in ["u", "corp\\u", "u@example.com", "a b", "ü"] {
        let auth = json!({"ldap": {"username": format!(" {user} "), "secretRef": {}}});
        let Method::Password { user: found, .. } = method(auth) else { panic!() };
        assert_eq!(found, user);
    }
    for user in ["a/b", "..", ".", "a\nb", "/"] {
        refused(Product::Vault, json!({"userPass": {"username": user, "secretRef": {}}}), "username holds");
    }
}

#[test]
fn whose_jwt() {
    let jwt = |spec: Value| match method(json!({"jwt": spec})) {
        Method::Jwt { jwt: Jwt::ServiceAccount { account, audiences }, role, .. } => {
            (account.name, audiences.join(" "), role.unwrap_or_default())
        }
        Method::Jwt { jwt: Jwt::Secret(secret), role, .. } => {
            (secret.name.unwrap_or_default(), "of a secret".to_owned(), role.unwrap_or_default())
        }
        other => panic!("{other:?}"),
    };
    let of = |name: &str, audiences: &str, role: &str| (name.to_owned(), audiences.to_owned(), role.to_owned());
    let token = |audiences: Value| json!({"serviceAccountRef": {"name": "a"}, "audiences": audiences});
    assert_eq!(jwt(json!({"kubernetesServiceAccountToken": token(json!(null))})), of("a", "vault", ""));
    assert_eq!(jwt(json!({"kubernetesServiceAccountToken": token(json!([]))})), of("a", "", ""));
    let both = json!({"role": " r ", "kubernetesServiceAccountToken": token(json!(["x", "y"]))});
    assert_eq!(jwt(both), of("a", "x y", "r"));
    let both = json!({"secretRef": {"name": "s"}, "kubernetesServiceAccountToken": token(json!(null))});
    assert_eq!(jwt(both), of("s", "of a secret", ""));
}

#[test]
fn clouds() {
    let keys = json!({"accessKeyIDSecretRef": {"name": "id"}, "secretAccessKeySecretRef": {"name": "key"}});
    let account = json!({"serviceAccountRef": {"name": "a"}});
    let Method::Iam(iam) = method(json!({"iam": {"vaultRole": "r", "secretRef": keys, "jwt": account}})) else {
        panic!()
    };
    assert!(matches!(iam.aws.identity, AwsIdentity::ServiceAccount(_)), "where both are set this one counts");
    let Aws { region, role, external_id, .. } = iam.aws;
    assert_eq!((region.as_str(), role, external_id, iam.server_id), ("us-east-1", None, None, None));
    let more = json!({"vaultRole": "r", "secretRef": keys, "region": "eu-west-1", "role": "arn", "externalID": "e",
        "vaultAwsIamServerID": "s"});
    let Method::Iam(iam) = method(json!({ "iam": more })) else { panic!() };
    assert!(matches!(iam.aws.identity, AwsIdentity::Keys { token: None, .. }));
    let Aws { region, role, external_id, .. } = iam.aws;
    let texts = (region.as_str(), role.as_deref(), external_id.as_deref());
    assert_eq!(texts, ("eu-west-1", Some("arn"), Some("e")));
    assert_eq!(iam.server_id.as_deref(), Some("s"));

    let workload = |more: Value| {
        let mut gcp = json!({"role": "r", "projectID": "p", "workloadIdentity": account});
        gcp["workloadIdentity"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let Method::Gcp(Gcp { identity: GoogleIdentity::Workload { cluster, .. }, .. }) = method(json!({ "gcp": gcp }))
        else {
            panic!()
        };
        cluster.map(Option::unwrap_or_default)
    };
    assert_eq!(workload(json!({})), ["p", "", ""]);
    let all = json!({"clusterProjectID": "q", "clusterLocation": "l", "clusterName": "n"});
    assert_eq!(workload(all), ["q", "l", "n"]);
    let gcp = json!({"gcp": {"role": "r", "serviceAccountRef": {"name": "a"}}});
    assert!(matches!(method(gcp), Method::Gcp(Gcp { identity: GoogleIdentity::Operator, .. })));
}
