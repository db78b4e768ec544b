//! Who may refer to what: the boundary between tenants, as a table.

use std::collections::BTreeMap;

use jiff::Timestamp;
use keyferry_crds::ExternalSecret;
use keyferry_sync::ports::Turn;
use keyferry_sync::store::StoreId;
use serde_json::Value;

use super::*;

/// Objects of any namespace, each with one key `k` that holds where it is; remembers what was asked for. The operator's own
/// token is one that can't be read, or this.
#[derive(Default)]
struct Everywhere(Mutex<Vec<String>>, Mutex<Option<SecretBytes>>);

impl Everywhere {
    fn asked(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }
}

#[async_trait]
impl Objects for Everywhere {
    async fn turn(&self, _: &str) -> Turn {
        Box::new(())
    }

    async fn source(&self, source: &Dependency) -> Result<Option<(Option<Version>, Data)>, Problem> {
        let Dependency { kind, namespace, name } = source;
        self.asked(format!("{kind} {namespace}/{name}"));
        if name == "absent" {
            return Ok(None);
        }
        let version = Some(Version { uid: name.as_str().into(), revision: "1".into() });
        let value = SecretBytes::from(format!("{kind} {namespace}/{name}").as_str());
        Ok(Some((version, [("k".to_owned(), value)].into())))
    }

    async fn labels(&self, object: &Dependency) -> Result<Option<BTreeMap<String, String>>, Problem> {
        self.asked(format!("labels of {} {}/{}", object.kind, object.namespace, object.name));
        let label = ("external-secrets.io/type".to_owned(), "webhook".to_owned());
        Ok((object.name != "absent")
            .then(|| [label].into())
            .map(|labels| if object.name == "plain" { BTreeMap::new() } else { labels }))
    }

    async fn generator(&self, _: Option<&str>, _: &str, _: &str, _: &str) -> Result<Option<Value>, Problem> {
        Ok(None)
    }

    async fn changed_at(&self, _: &ExternalSecret) -> Result<Option<Timestamp>, Problem> {
        Ok(None)
    }
}

#[async_trait]
impl Accounts for Everywhere {
    async fn token(&self, namespace: &str, name: &str, audiences: Vec<String>) -> Result<Option<Token>, Problem> {
        self.asked(format!("token of {namespace}/{name} for {}", audiences.join(" ")));
        let secret = SecretBytes::from("a token");
        Ok(Some(Token { secret, expires: std::time::SystemTime::UNIX_EPOCH }).filter(|_| name != "absent"))
    }

    async fn annotations(&self, namespace: &str, name: &str) -> Result<Option<BTreeMap<String, String>>, Problem> {
        self.asked(format!("annotations of {namespace}/{name}"));
        Ok(Some(BTreeMap::new()))
    }

    async fn own_token(&self) -> Option<SecretBytes> {
        self.asked("our own token".to_owned());
        Some(self.1.lock().unwrap().clone().unwrap_or_else(|| "our own token".into()))
    }
}

/// Whose login it is: a SecretStore of `team`, or a ClusterSecretStore that this namespace asks, or nobody.
#[derive(Clone, Copy, Debug)]
enum For {
    Store,
    Cluster(Option<&'static str>),
}
use For::{Cluster, Store};

fn requester(world: Arc<Everywhere>, whose: For, controller_token: ControllerToken) -> Requester {
    let (own, namespace) = match whose {
        Store => (Some("team".to_owned()), None),
        Cluster(namespace) => (None, namespace.map(str::to_owned)),
    };
    let store = StoreId { namespace: own, name: "s".into() };
    let world = LoginPorts { objects: world.clone(), accounts: world, controller_token, refuse_api_audiences: false };
    Requester::new(Arc::new(world), Arc::new(()), LoginId { store, namespace })
}

/// Asks for one thing; gives the kind of the refusal, and what was asked of the cluster.
async fn asked(whose: For, what: &str, namespace: Option<&str>) -> (Option<ErrorKind>, Vec<String>) {
    let world = Arc::new(Everywhere::default());
    let port = requester(world.clone(), whose, ControllerToken::Cluster);
    let namespace = namespace.map(str::to_owned);
    let key = Some("k".to_owned());
    let answer = match what {
        "secret" => {
            let reference = SecretRef { name: Some("o".into()), key, namespace };
            port.secret(&reference, None).await.map(|_| ())
        }
        "token" => {
            let reference = ServiceAccountRef { name: "o".into(), namespace, audiences: Some(vec!["own".into()]) };
            port.service_account_token(&reference, &["method", "own"]).await.map(|_| ())
        }
        "annotations" => {
            let reference = ServiceAccountRef { name: "o".into(), namespace, audiences: None };
            port.service_account_annotations(&reference).await.map(|_| ())
        }
        source => {
            let source = if source == "ca secret" { CaSource::Secret } else { CaSource::ConfigMap };
            port.ca_bundle(&CaRef { source, name: "o".into(), key, namespace }).await.map(|_| ())
        }
    };
    let asked = world.0.lock().unwrap().clone();
    (answer.err().map(|error| error.kind()), asked)
}

#[tokio::test]
async fn a_store_reads_its_own_namespace_and_no_other() {
    let calls = |namespace: &str| {
        [
            ("secret", format!("Secret {namespace}/o")),
            ("token", format!("token of {namespace}/o for method own")),
            ("annotations", format!("annotations of {namespace}/o")),
            ("ca secret", format!("Secret {namespace}/o")),
            ("ca config map", format!("ConfigMap {namespace}/o")),
        ]
    };
    let (invalid, referent) = (Some(ErrorKind::Invalid), Some(ErrorKind::Referent));
    for (whose, named, leads_to) in [
        (Store, None, Ok("team")),
        (Store, Some(""), Ok("team")),
        (Store, Some("team"), Ok("team")),
        (Store, Some("other"), Err(invalid)),
        (Store, Some("team "), Err(invalid)),
        (Cluster(None), Some("named"), Ok("named")),
        (Cluster(Some("asks")), Some("named"), Ok("named")),
        (Cluster(Some("asks")), None, Ok("asks")),
        (Cluster(Some("asks")), Some(""), Ok("asks")),
        (Cluster(None), None, Err(referent)),
    ] {
        for (what, call) in calls(leads_to.unwrap_or_default()) {
            let mut expected = match leads_to {
                Ok(_) => (None, vec![call]),
                Err(kind) => (kind, Vec::new()),
            };
            // A CA bundle is not taken from whoever asks: the ClusterSecretStore itself says whom it trusts.
            if what.starts_with("ca ") && matches!(whose, Cluster(_)) && named.unwrap_or_default().is_empty() {
                expected = (invalid, Vec::new());
            }
            assert_eq!(asked(whose, what, named).await, expected, "{whose:?} {what} {named:?}");
        }
    }
}

#[tokio::test]
async fn a_secret_is_had_whole_only_where_its_label_says_so_and_by_the_same_rules() {
    let read = async |whose: For, name: &str, namespace: Option<&str>| {
        let world = Arc::new(Everywhere::default());
        let reference = SecretRef { name: Some(name.into()), key: None, namespace: namespace.map(str::to_owned) };
        let port = requester(world.clone(), whose, ControllerToken::Cluster);
        let answer = port.labelled_secret(&reference, "external-secrets.io/type", "webhook").await;
        let asked = world.0.lock().unwrap().clone();
        (answer.map(|values| values.into_keys().collect::<Vec<_>>()).map_err(|error| error.kind()), asked)
    };
    let both = |namespace: &str| vec![format!("labels of Secret {namespace}/o"), format!("Secret {namespace}/o")];
    let whole = || Ok(vec!["k".to_owned()]);
    assert_eq!(read(Store, "o", None).await, (whole(), both("team")));
    assert_eq!(read(Cluster(None), "o", Some("named")).await, (whole(), both("named")));
    assert_eq!(read(Cluster(Some("asks")), "o", None).await, (whole(), both("asks")));
    assert_eq!(read(Store, "o", Some("other")).await, (Err(ErrorKind::Invalid), Vec::new()));
    assert_eq!(read(Cluster(None), "o", None).await, (Err(ErrorKind::Referent), Vec::new()));
    let (answer, asked) = read(Store, "plain", None).await;
    assert_eq!((answer, asked), (Err(ErrorKind::Invalid), vec!["labels of Secret team/plain".to_owned()]));
    assert_eq!(read(Store, "absent", None).await.0, Err(ErrorKind::Invalid));
}

#[tokio::test]
async fn our_own_token_is_for_cluster_stores_and_for_those_that_may() {
    for (whose, flag, gets_it) in [
        (Store, ControllerToken::Cluster, false),
        (Store, ControllerToken::Never, false),
        (Cluster(None), ControllerToken::Never, false),
        (Cluster(Some("asks")), ControllerToken::Never, false),
        (Cluster(None), ControllerToken::Cluster, true),
        (Cluster(Some("asks")), ControllerToken::Cluster, true),
    ] {
        let world = Arc::new(Everywhere::default());
        let answer = requester(world.clone(), whose, flag).controller_token().await;
        assert_eq!(
            (answer.is_ok(), world.0.lock().unwrap().len()),
            (gets_it, usize::from(gets_it)),
            "{whose:?} {flag:?}"
        );
    }
}

#[tokio::test]
async fn what_is_missing_is_named_and_depended_on() {
    let world = Arc::new(Everywhere::default());
    let port = requester(world, Store, ControllerToken::Cluster);
    let reference =
        |name: &str, key: &str| SecretRef { name: Some(name.into()), key: Some(key.into()), namespace: None };
    let message = |answer: Result<SecretBytes, Error>| answer.unwrap_err().message().to_owned();
    let absent = message(port.secret(&reference("absent", "k"), None).await);
    assert_eq!(absent, "Secret \"absent\" does not exist in namespace \"team\"");
    let no_key = message(port.secret(&reference("o", "x"), None).await);
    assert_eq!(no_key, "Secret \"o\" in namespace \"team\" has no key \"x\"");
    let keyless = SecretRef { name: Some("o".into()), key: None, namespace: None };
    assert!(message(port.secret(&keyless, None).await).ends_with("has no key"));
    assert!(port.secret(&keyless, Some("k")).await.is_ok(), "a login method may have a key of its own");
    assert!(message(port.secret(&SecretRef::default(), Some("k")).await).contains("has no name"));
    let named = |name: &str| Dependency { kind: Kind::Secret, namespace: "team".into(), name: name.into() };
    let reads = port.dependencies();
    assert_eq!(reads[&named("absent")], None, "its coming is waited for");
    assert_eq!(reads[&named("o")].as_ref().map(|version| &*version.revision), Some("1"));
}

#[tokio::test]
async fn names_that_would_lead_elsewhere_in_the_api_are_refused() {
    for (name, namespace) in [
        ("../../kube-system/secrets/o", "team"),
        ("o/token", "team"),
        ("o?x=y", "team"),
        ("o#x", "team"),
        ("", "team"),
        ("o", "team/../kube-system"),
        ("o", "a.b"),
    ] {
        let world = Arc::new(Everywhere::default());
        let port = requester(world.clone(), Cluster(None), ControllerToken::Cluster);
        let namespace = Some(namespace.to_owned());
        let account = ServiceAccountRef {
            name: name.to_owned(),
            namespace: namespace.clone(),
            audiences: Some(vec!["a".into()]),
        };
        let secret = SecretRef { name: Some(name.to_owned()), key: Some("k".into()), namespace: namespace.clone() };
        let ca = CaRef {
            source: CaSource::ConfigMap,
            name: name.to_owned(),
            key: Some("k".into()),
            namespace: namespace.clone(),
        };
        let kinds = [
            port.service_account_token(&account, &[]).await.map(|_| ()),
            port.service_account_annotations(&account).await.map(|_| ()),
            port.secret(&secret, None).await.map(|_| ()),
            port.ca_bundle(&ca).await.map(|_| ()),
        ]
        .map(|answer| answer.err().map(|error| error.kind()));
        assert_eq!(kinds, [Some(ErrorKind::Invalid); 4], "{name:?} {namespace:?}");
        assert!(world.0.lock().unwrap().is_empty(), "{name:?} {namespace:?}");
    }
}

/// Gives tokens of its own for these audiences.
fn token_for(audiences: &str) -> SecretBytes {
    let claims = URL_SAFE_NO_PAD.encode(format!(r#"{{"aud":{audiences},"sub":"x"}}"#));
    SecretBytes::from(format!("e30.{claims}.c2ln").as_str())
}

#[test]
fn what_a_token_is_for() {
    assert_eq!(audiences_of(&token_for(r#"["one","two"]"#)), ["one", "two"]);
    assert_eq!(audiences_of(&token_for(r#""one""#)), ["one"]);
    for other in [token_for("7"), token_for("{}"), "".into(), "a.b.c".into(), "no token".into()] {
        assert!(audiences_of(&other).is_empty());
    }
}

#[tokio::test]
async fn what_a_generator_refers_to_is_where_it_is_asked_whatever_namespace_is_named() {
    let world = Arc::new(Everywhere::default());
    let ports = LoginPorts {
        objects: world.clone(),
        accounts: world.clone(),
        controller_token: ControllerToken::Cluster,
        refuse_api_audiences: false,
    };
    let port = Requester::for_once(Arc::new(ports), "team");
    for named in [None, Some("team"), Some("other"), Some("")] {
        let (name, key) = (Some("o".to_owned()), Some("k".to_owned()));
        let reference = SecretRef { name, key, namespace: named.map(str::to_owned) };
        let read = port.secret(&reference, None).await.expect("it is there");
        assert_eq!(read.expose_str(), Some("Secret team/o"), "{named:?}");
    }
    assert_eq!(*world.0.lock().unwrap(), ["Secret team/o"; 4]);
}

#[tokio::test]
async fn a_generator_is_never_given_the_operators_own_token() {
    let world = Arc::new(Everywhere::default());
    *world.1.lock().unwrap() = Some("own".into());
    let ports = Arc::new(LoginPorts {
        objects: world.clone(),
        accounts: world.clone(),
        controller_token: ControllerToken::Cluster,
        refuse_api_audiences: false,
    });
    let store = |namespace: Option<&str>| {
        let store = StoreId { namespace: namespace.map(str::to_owned), name: "s".into() };
        Requester::new(ports.clone(), Arc::new(()), LoginId { store, namespace: None })
    };
    assert!(store(None).controller_token().await.is_ok());
    for (port, said) in [
        (store(Some("team")), "is never sent for a SecretStore"),
        (
            Requester::for_once(ports.clone(), "team"),
            "is never sent for a generator, nor for one in a ClusterGenerator",
        ),
    ] {
        let refused = port.controller_token().await.expect_err("it is the operator's own");
        assert!(refused.message().contains(said), "{refused}");
    }
}

#[tokio::test]
async fn tokens_that_the_api_server_accepts_are_kept_where_that_is_asked_for() {
    let world = Arc::new(Everywhere::default());
    *world.1.lock().unwrap() = Some(token_for(r#"["https://issuer.example"]"#));
    let asked = async |refuse_api_audiences, method: &[&str], audiences: Option<&[&str]>| {
        let ports = LoginPorts {
            objects: world.clone(),
            accounts: world.clone(),
            controller_token: ControllerToken::Cluster,
            refuse_api_audiences,
        };
        let port = Requester::for_once(Arc::new(ports), "team");
        let audiences = audiences.map(|all| all.iter().map(|one| (*one).to_owned()).collect());
        let reference = ServiceAccountRef { name: "o".into(), namespace: None, audiences };
        port.service_account_token(&reference, method).await.map(|_| ())
    };
    for (method, audiences, refused) in [
        (&[][..], None, true),
        (&[], Some(&[][..]), true),
        (&[], Some(&["https://issuer.example"]), true),
        (&[], Some(&["vault", "https://issuer.example"]), true),
        (&[], Some(&["https://kubernetes.default.svc"]), true),
        (&[], Some(&["vault"]), false),
        (&["sts.amazonaws.com"], None, false),
    ] {
        let answer = asked(true, method, audiences).await;
        assert_eq!(answer.is_err(), refused, "{method:?} {audiences:?}");
        if let Err(error) = answer {
            assert!(error.message().contains("--refuse-api-audiences"), "{error}");
        }
        assert!(asked(false, method, audiences).await.is_ok(), "{method:?} {audiences:?}");
    }
}
