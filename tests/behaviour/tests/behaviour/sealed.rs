//! The operator in place of Sealed Secrets' controller, with `kubeseal` as it is, and values that `keyferry seal --for` sealed.

use std::io::Write as _;
use std::net::{IpAddr, UdpSocket};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Result, anyhow};
use jiff::Timestamp;
use keyferry_behaviour_tests::Rig;
use keyferry_behaviour_tests::cluster::put_crd;
use keyferry_behaviour_tests::operator::get;
use keyferry_sealing::Generated;
use keyferry_testkit::{Operator, install};
use kube::Api;
use serde_json::{Value, json};

tests![
    sealed_secrets_are_unsealed_and_kubeseal_goes_on_working,
    values_are_sealed_for_a_namespace_or_for_a_service_account,
];

const SERVICE: &str = "sealed-secrets-controller";

/// The definition of SealedSecrets, as far as it matters here, and what the operator needs the right to do beside the chart's defaults.
async fn install(rig: &Rig) {
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let schema = json!({"type": "object", "properties": {"spec": open, "status": open}});
    let version = json!({"name": "v1alpha1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}}});
    let names = json!({"kind": "SealedSecret", "plural": "sealedsecrets", "singular": "sealedsecret", "listKind": "SealedSecretList"});
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "sealedsecrets.bitnami.com"},
        "spec": {"group": "bitnami.com", "scope": "Namespaced", "names": names, "versions": [version]},
    });
    put_crd(&Api::all(rig.cluster.client()), &crd).await;
    let rules = json!([
        {"apiGroups": ["bitnami.com"], "resources": ["sealedsecrets"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["bitnami.com"], "resources": ["sealedsecrets/status"], "verbs": ["patch"]},
        {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]},
    ]);
    let metadata = json!({"name": "keyferry-tests-sealing"});
    let subject = json!({"kind": "ServiceAccount", "name": "keyferry", "namespace": "keyferry-system"});
    let role =
        json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "keyferry-tests-sealing"});
    let items = json!([
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": metadata, "rules": rules},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": metadata, "subjects": [subject], "roleRef": role},
    ]);
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
    rig.testbed.kubectl(&["apply", "--server-side", "--filename=-"], &list).expect("kubectl");
}

/// An address of this machine by which the API server reaches it: not loopback, which no Service leads to.
fn own_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    // Nothing is sent.
    socket.connect("192.0.2.1:9").expect("a route");
    socket.local_addr().expect("an address").ip()
}

/// The Service that kubeseal looks for, which leads to the operator. The API server follows one to pods only: here is one that
/// nobody runs, and whose address is ours.
fn serve(rig: &Rig, port: u16) {
    let metadata = json!({"name": SERVICE, "namespace": rig.namespace()});
    let port = json!({"name": "http", "port": port, "protocol": "TCP"});
    let container = json!({"name": "none", "image": "localhost/none"});
    let pod = json!({"containers": [container], "automountServiceAccountToken": false});
    let target = json!({"kind": "Pod", "name": SERVICE, "namespace": rig.namespace()});
    let labels = json!({"kubernetes.io/service-name": SERVICE});
    let slice = json!({"name": SERVICE, "namespace": rig.namespace(), "labels": labels});
    let endpoint = json!({"addresses": [own_address()], "conditions": {"ready": true}, "targetRef": target});
    let subset = json!({"addresses": [{"ip": own_address(), "targetRef": target}], "ports": [port]});
    let items = json!([
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod},
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [port], "clusterIP": "None"}},
        {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": [subset]},
        {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": slice, "addressType": "IPv4", "ports": [port], "endpoints": [endpoint]},
    ]);
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
    rig.testbed.kubectl(&["apply", "--filename=-"], &list).expect("kubectl");
    let address = own_address();
    let status = json!({"status": {"podIP": address, "podIPs": [{"ip": address}], "phase": "Running"}}).to_string();
    let patch = ["patch", "pod", SERVICE, "-n", rig.namespace(), "--subresource=status", "--type=merge", "-p", &status];
    rig.testbed.kubectl(&patch, "").expect("kubectl");
}

fn output(mut command: Command, input: &str) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    // Who fails at once reads nothing.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    child.wait_with_output().expect("it ends")
}

fn text(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn kubeseal(rig: &Rig, args: &[&str], input: &str) -> Output {
    let mut command = Command::new(install::kubeseal().expect("kubeseal builds"));
    command.arg("--kubeconfig").arg(rig.testbed.kubeconfig());
    command.args(["--controller-namespace", rig.namespace(), "--controller-name", SERVICE]).args(args);
    output(command, input)
}

fn keyferry(folder: &Path, args: &[&str], input: &str) -> Output {
    let mut command = Command::new(Operator::program().expect("the program"));
    command.args(args).current_dir(folder);
    output(command, input)
}

async fn until_certificate(rig: &Rig, url: &str) -> String {
    rig.until("there is a certificate".into(), async |_: &Rig| match get(&format!("{url}/v1/cert.pem")).await? {
        (200, text) => Ok(text),
        (status, text) => Err(anyhow!("{status}: {text}")),
    })
    .await
}

/// A key that is later than the operator's own.
async fn another_key(rig: &Rig) {
    // Certificates tell the second since which they are good.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    #[expect(clippy::disallowed_methods, reason = "the clock of the test is that of the operator")]
    let now = Timestamp::now();
    let newer = Generated::new(now, 2048).expect("a key");
    let private = newer.private.expose_str().expect("PEM");
    rig.canaries.add("the private key", private.lines().nth(3).expect("a line"));
    let label = json!({"sealedsecrets.bitnami.com/sealed-secrets-key": "active"});
    let pair = json!({"tls.crt": newer.certificate, "tls.key": private});
    let rest = json!({"metadata": {"labels": label}, "type": "kubernetes.io/tls", "stringData": pair});
    rig.apply("Secret", "another-key", rest).await;
}

/// Waits until a SealedSecret is told to be synced, or not, for a reason that holds this.
async fn until_told(rig: &Rig, name: &str, status: &str, says: &str) {
    rig.until(format!("{name} is synced: {status}"), async |rig: &Rig| {
        let list = rig.testbed.kubectl(&["get", "sealedsecret", name, "-o", "json", "-n", rig.namespace()], "")?;
        let object: Value = serde_json::from_str(&list)?;
        let (told, generation) = (&object["status"]["conditions"][0], &object["metadata"]["generation"]);
        let message = told["message"].as_str().unwrap_or_default();
        let is_current = object["status"]["observedGeneration"] == *generation;
        if told["type"] == "Synced" && told["status"] == status && message.contains(says) && is_current {
            Ok(())
        } else {
            Err(anyhow!("{}", object["status"]))
        }
    })
    .await;
}

async fn until<T>(rig: &Rig, what: &str, ask: impl AsyncFn(&Rig) -> Result<T>) -> T {
    rig.until(what.to_owned(), ask).await
}

/// Where the API server can't be asked, kubeseal takes the certificate from its URL.
fn by_its_url(rig: &Rig, url: &str, secret: &str) {
    let sealed = text(kubeseal(rig, &["--cert", &format!("{url}/v1/cert.pem"), "--format", "json"], secret));
    assert!(kubeseal(rig, &["--validate"], &sealed).status.success());
}

async fn sealed_secrets_are_unsealed_and_kubeseal_goes_on_working() {
    let mut rig = Rig::idle("sealed").await;
    install(&rig).await;
    let port = Operator::free_port().expect("a port");
    let (keys, listen) = (format!("--sealing-keys={}", rig.namespace()), format!("--seal-listen=0.0.0.0:{port}"));
    let flags = [keys.as_str(), &listen, "--enable-sealed-secrets"];
    rig.start(&flags).await;
    let url = format!("http://127.0.0.1:{port}");
    let first = until_certificate(&rig, &url).await;
    serve(&rig, port);
    let value = rig.canaries.value("sealed");
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "example.com/own", "stringData": {"password": value},
        "metadata": {"name": "app", "namespace": rig.namespace(), "labels": {"team": "a"}},
    });
    // By the certificate that it asks the API server for.
    let sealed = until(&rig, "kubeseal reaches the Service", async |rig: &Rig| {
        let sealed = kubeseal(rig, &["--format", "json"], &secret.to_string());
        if sealed.status.success() {
            Ok(text(sealed))
        } else {
            Err(anyhow!("{}", String::from_utf8_lossy(&sealed.stderr)))
        }
    })
    .await;
    assert!(kubeseal(&rig, &["--validate"], &sealed).status.success());
    by_its_url(&rig, &url, &secret.to_string());
    // As kubeseal, by the Service's named port.
    let (kubeconfig, namespace) = (rig.testbed.kubeconfig(), rig.namespace());
    let mut through = Command::new(Operator::program().expect("the program"));
    through.args(["seal", "--for", namespace, "--controller-namespace", namespace, "--kubeconfig"]).arg(kubeconfig);
    assert!(text(output(through, &value)).starts_with("sealed:"));
    let mut template: Value = serde_json::from_str(&sealed).expect("JSON");
    template["spec"]["template"]["data"] = json!({"url": "https://{{ .password | trunc 2 }}"});
    rig.testbed.kubectl(&["apply", "--filename=-"], &template.to_string()).expect("kubectl");
    let whole = json!({"password": value, "url": format!("https://{}", &value[..2])});
    rig.until_texts("app", whole.clone()).await;
    until_told(&rig, "app", "True", "").await;
    let made = rig.cluster.get("Secret", "app").await.expect("it is there");
    assert_eq!((&made["type"], &made["metadata"]["labels"]["team"]), (&json!("example.com/own"), &json!("a")));
    assert_eq!(made["metadata"]["ownerReferences"][0]["kind"], "SealedSecret");
    rig.cluster.patch("Secret", "app", &json!({"stringData": {"password": "edited"}})).await;
    rig.until_texts("app", whole.clone()).await;
    // Another key: what was sealed with the one before still opens, and kubeseal seals anew what lies in git.
    another_key(&rig).await;
    rig.stop().await;
    rig.start(&flags).await;
    assert_ne!(until_certificate(&rig, &url).await, first);
    let anew = text(kubeseal(&rig, &["--re-encrypt", "--format", "json"], &sealed));
    let old_value = &template["spec"]["encryptedData"]["password"];
    let read: Value = serde_json::from_str(&anew).expect("JSON");
    assert!(
        read["spec"]["encryptedData"]["password"].is_string()
            && read["spec"]["encryptedData"]["password"] != *old_value
    );
    for sealed in [&sealed, &anew] {
        assert!(kubeseal(&rig, &["--validate"], sealed).status.success());
        rig.testbed.kubectl(&["apply", "--filename=-"], sealed).expect("kubectl");
        rig.until_texts("app", json!({"password": value})).await;
    }
    what_does_not_open_writes_nothing(&rig, &anew, &value).await;
    rig.finish().await;
}

async fn what_does_not_open_writes_nothing(rig: &Rig, anew: &str, value: &str) {
    let read: Value = serde_json::from_str(anew).expect("JSON");
    // What does not open writes nothing, and says why.
    let broken = anew.replace("\"name\": \"app\"", "\"name\": \"other\"");
    assert!(!kubeseal(rig, &["--validate"], &broken).status.success(), "another name");
    let mut cut = read;
    let old = cut["spec"]["encryptedData"]["password"].as_str().expect("text").to_owned();
    cut["spec"]["encryptedData"]["password"] = json!(old[..old.len() - 8]);
    rig.testbed.kubectl(&["apply", "--filename=-"], &cut.to_string()).expect("kubectl");
    until_told(rig, "app", "False", "spec.encryptedData \"password\": what is sealed was changed or cut off").await;
    rig.until_texts("app", json!({"password": value})).await;
    cut["spec"]["encryptedData"] = json!(1);
    rig.testbed.kubectl(&["apply", "--filename=-"], &cut.to_string()).expect("kubectl");
    until_told(rig, "app", "False", "not of the form of a SealedSecret").await;
    rig.testbed.kubectl(&["delete", "sealedsecret", "app", "-n", rig.namespace()], "").expect("kubectl");
    rig.until_gone("Secret", "app").await;
    // Somebody's own Secret stays until its owner says otherwise.
    rig.apply("Secret", "app", json!({"type": "example.com/own", "stringData": {"own": "x"}})).await;
    rig.testbed.kubectl(&["apply", "--filename=-"], anew).expect("kubectl");
    until_told(rig, "app", "False", "is not this SealedSecret's").await;
    rig.until_texts("app", json!({"own": "x"})).await;
    rig.cluster
        .patch("Secret", "app", &json!({"metadata": {"annotations": {"sealedsecrets.bitnami.com/managed": "true"}}}))
        .await;
    rig.until_texts("app", json!({"password": value})).await;
}

/// A certificate for an address of this machine, and its key, in a folder; the authority beside it.
fn certificate(folder: &Path) {
    let mut authority = rcgen::CertificateParams::default();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let (key, own) = (rcgen::KeyPair::generate().expect("a key"), rcgen::KeyPair::generate().expect("a key"));
    let root = authority.self_signed(&key).expect("a certificate");
    let issuer = rcgen::Issuer::new(authority, key);
    let leaf = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("a name").signed_by(&own, &issuer);
    std::fs::write(folder.join("ca.pem"), root.pem()).expect("a file");
    std::fs::write(folder.join("tls.crt"), leaf.expect("a certificate").pem()).expect("a file");
    std::fs::write(folder.join("tls.key"), own.serialize_pem()).expect("a file");
}

async fn an_operator_opens_what_is_for_its_namespace(rig: &Rig, values: &Value, value: &str) {
    rig.apply("SecretStore", "s", json!({"spec": {"provider": {"sealed": {"values": values}}}})).await;
    let entry = |key: &str| json!({"data": [{"secretKey": "k", "remoteRef": {"key": key}}]});
    for key in ["ours", "theirs", "account"] {
        rig.external_secret(key, entry(key)).await;
    }
    rig.until_texts("ours", json!({"k": value})).await;
    rig.until_failed("theirs", &["it is sealed for namespace \"elsewhere\""]).await;
    rig.until_failed("account", &["not for an operator to make a Secret of"]).await;
}

/// Tokens of pods, and manifests, as files.
async fn lay_down(rig: &Rig, folder: &Path, values: &Value) {
    let namespace = rig.namespace();
    // A pod that runs as the account has what is for it, and no other has.
    for name in ["app", "other"] {
        rig.apply("ServiceAccount", name, json!({})).await;
        let token = rig.testbed.kubectl(&["create", "token", name, "--audience=keyferry", "-n", namespace], "");
        std::fs::write(folder.join(name), token.expect("a token").trim()).expect("a file");
    }
    let api = rig.testbed.kubectl(&["create", "token", "app", "-n", namespace], "").expect("a token");
    std::fs::write(folder.join("api"), api.trim()).expect("a file");
    let store = json!({"apiVersion": "external-secrets.io/v1", "kind": "SecretStore", "metadata": {"name": "s"}, "spec": {"provider": {"sealed": {"values": values}}}});
    let asks = json!({"secretStoreRef": {"name": "s"}, "data": [{"secretKey": "account", "remoteRef": {"key": "account"}}, {"secretKey": "ours", "remoteRef": {"key": "ours"}}]});
    let es = json!({"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": {"name": "e"}, "spec": asks});
    std::fs::write(folder.join("m.yaml"), format!("{store}\n---\n{es}\n")).expect("a file");
}

async fn values_are_sealed_for_a_namespace_or_for_a_service_account() {
    let mut rig = Rig::idle("sealed-for").await;
    install(&rig).await;
    let folder = tempfile::tempdir().expect("a folder");
    certificate(folder.path());
    let (port, tls) = (Operator::free_port().expect("a port"), Operator::free_port().expect("a port"));
    let namespace = rig.namespace().to_owned();
    let flags = [
        format!("--sealing-keys={namespace}"),
        format!("--seal-listen=127.0.0.1:{port}"),
        format!("--unseal-listen=127.0.0.1:{tls}"),
        format!("--unseal-cert-dir={}", folder.path().display()),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    rig.start(&flags).await;
    let url = format!("http://127.0.0.1:{port}");
    until_certificate(&rig, &url).await;
    let (value, account) = (rig.canaries.value("for the namespace"), rig.canaries.value("for the account"));
    let seal = |whom: &str, value: &str| {
        let sealed = text(keyferry(folder.path(), &["seal", "--for", whom, "--cert", &url], value));
        assert_eq!(sealed.lines().count(), 1);
        sealed.trim().to_owned()
    };
    let (ours, theirs) = (seal(&namespace, &value), seal("elsewhere", &value));
    let of_app = seal(&format!("{namespace}/app"), &account);
    let values = json!({"ours": ours, "theirs": theirs, "account": of_app});
    an_operator_opens_what_is_for_its_namespace(&rig, &values, &value).await;
    lay_down(&rig, folder.path(), &values).await;
    let unseal = format!("https://localhost:{tls}");
    let sync = |token: &str, to: &str| {
        let flags = ["--unseal-from", &unseal, "--unseal-authority", "ca.pem", "--unseal-token", token];
        let all: Vec<&str> = ["sync", "-f", "m.yaml", "-n", &namespace, "--to", to].into_iter().chain(flags).collect();
        keyferry(folder.path(), &all, "")
    };
    text(sync("app", "out"));
    for (file, value) in [("account", &account), ("ours", &value)] {
        assert!(std::fs::read_to_string(folder.path().join("out/e").join(file)).expect("a file") == *value, "{file}");
    }
    for (token, says) in [("other", "sealed for somebody else"), ("api", "does not know the token")] {
        let refused = sync(token, "none");
        let told = String::from_utf8_lossy(&refused.stdout).into_owned() + &String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && told.contains(says), "{token}: {told}");
        assert!(!folder.path().join("none/e").exists(), "nothing is written");
    }
    // Another key: what lies in git is sealed anew in place, and opens.
    another_key(&rig).await;
    rig.stop().await;
    rig.start(&flags).await;
    until_certificate(&rig, &url).await;
    let check = keyferry(folder.path(), &["reseal", "-f", "m.yaml", "--check", "--cert", &url], "");
    assert!(check.status.code() == Some(1) && String::from_utf8_lossy(&check.stdout).contains("3 to be sealed anew"));
    let told = text(keyferry(folder.path(), &["reseal", "-f", "m.yaml", "--cert", &url], ""));
    assert!(told.contains("3 sealed anew, 0 with the latest key already"), "{told}");
    let manifests = std::fs::read_to_string(folder.path().join("m.yaml")).expect("a file");
    assert!(!manifests.contains(&ours) && manifests.contains(&format!(":{namespace}/app:")));
    text(keyferry(folder.path(), &["reseal", "-f", "m.yaml", "--check", "--cert", &url], ""));
    text(sync("app", "again"));
    assert!(std::fs::read_to_string(folder.path().join("again/e/account")).expect("a file") == account);
    rig.finish().await;
}
