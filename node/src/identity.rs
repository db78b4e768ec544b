//! The ports for whoever mounts: the API server and the stores as the pod's ServiceAccount may use them. All pods of one
//! ServiceAccount that bring tokens of the same audiences share a login to a store; each reads its ExternalSecret with a token of
//! its own.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;
use keyferry_cluster::leader::Lead;
use keyferry_cluster::objects::ClusterObjects;
use keyferry_cluster::turns::Turns;
use keyferry_crds::ExternalSecret;
use keyferry_provider_core::{SecretBytes, Token};
use keyferry_sync::data::{Data, StringMap};
use keyferry_sync::dependency::{Dependency, Kind, Version};
use keyferry_sync::ports::{Accounts, Objects, Problem, Stores, Turn};
use keyferry_sync::spec::CLUSTER_GENERATOR;
use serde_json::Value;

use crate::refusal::Refusal;
use crate::sharing::Shared;
use crate::tokens::{Tokens, UNSEAL};
use crate::wanted::Pod;

/// How many requests to the API server are under way at once, for all pods of a ServiceAccount.
const REQUESTS: usize = 8;

/// After so long without a mount its logins are let go.
const IDLE: Duration = Duration::from_secs(900);

/// Generators that make another value for each who asks.
const EACH_ANOTHER: [&str; 3] = ["Password", "UUID", "SSHKey"];

/// Refuses a generator of which no two pods would have the same; the error is for a person.
pub fn same_for_all(kind: &str) -> Result<(), String> {
    if EACH_ANOTHER.contains(&kind) {
        Err(format!(
            "generator {kind} would make another value for each pod and each refresh, which no two of them agree on: deliver \
             it by a Secret, or keep it in a store (PushSecret) and mount that"
        ))
    } else {
        Ok(())
    }
}

/// Makes a client of the API server that bears this token; the error is for a person.
pub type Connect = Arc<dyn Fn(&SecretBytes) -> Result<kube::Client, String> + Send + Sync>;

/// Gives the pod's token of an audience, as it was given last; where there is none, the error is where audiences are said.
pub type OwnTokens = Arc<dyn Fn(&str) -> Result<Token, &'static str> + Send + Sync>;

/// Makes the stores for who logs in through these ports; the tokens are for what stores themselves are not given.
pub type MakeStores = Arc<dyn Fn(Arc<dyn Objects>, Arc<dyn Accounts>, OwnTokens) -> Arc<dyn Stores> + Send + Sync>;

/// As whom stores are logged in to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// As whoever mounts.
    ByMount,
    /// As the store says, with the pod's rights; only where an admin allows it.
    AsWritten,
}

/// What is the pod's now.
struct Current {
    tokens: Tokens,
    objects: Arc<ClusterObjects>,
}

/// A ServiceAccount whose pods mount.
pub struct Identity {
    /// The namespace of the ServiceAccount.
    pub namespace: String,
    /// Its name.
    pub account: String,
    current: Arc<RwLock<Current>>,
    by_mount: Arc<dyn Stores>,
    as_written: Arc<dyn Stores>,
    objects: Arc<dyn Objects>,
    shared: [Arc<Shared>; 2],
}

impl Identity {
    /// What its pods have in common that log in this way.
    pub fn shared(&self, login: Login) -> Arc<Shared> {
        let [by_mount, as_written] = &self.shared;
        match login {
            Login::ByMount => by_mount.clone(),
            Login::AsWritten => as_written.clone(),
        }
    }

    /// The stores, for this way to log in.
    pub fn stores(&self, login: Login) -> Arc<dyn Stores> {
        match login {
            Login::ByMount => self.by_mount.clone(),
            Login::AsWritten => self.as_written.clone(),
        }
    }

    /// What is referred to, with the pod's rights.
    pub fn objects(&self) -> Arc<dyn Objects> {
        self.objects.clone()
    }
}

/// As whom pods are the same.
#[derive(PartialEq, Eq, Hash)]
struct Who {
    namespace: String,
    account: String,
    /// A ServiceAccount that was deleted and made anew is another.
    uid: String,
    /// Of its tokens: who brings none that a store wants must not use the login that another's has made.
    audiences: Vec<String>,
}

/// Who there is, and when it was last asked for.
type Known = HashMap<Who, (Arc<Identity>, Instant)>;

/// All of them, whose tokens one asker gives.
pub struct Identities {
    connect: Connect,
    make: MakeStores,
    allows_api_audience: bool,
    now: fn() -> Timestamp,
    /// How much is kept of what pods share.
    shared: Arc<AtomicUsize>,
    all: Mutex<Known>,
}

impl Identities {
    /// None yet. Stores are given tokens that the API server itself takes only where that is allowed.
    pub fn new(connect: Connect, make: MakeStores, allows_api_audience: bool, now: fn() -> Timestamp) -> Self {
        let (shared, all) = Default::default();
        Self { connect, make, allows_api_audience, now, shared, all }
    }

    /// None yet, of another asker: what is kept of what pods share counts with these.
    pub fn beside(others: &Self) -> Self {
        Self {
            connect: others.connect.clone(),
            make: others.make.clone(),
            shared: others.shared.clone(),
            all: Mutex::default(),
            ..*others
        }
    }

    /// That of a pod, which has these tokens now; and a client that bears the pod's own. Those that nobody has used for long are
    /// let go.
    pub fn of(&self, pod: &Pod, tokens: Tokens) -> Result<(Arc<Identity>, kube::Client), Refusal> {
        let client = (self.connect)(tokens.for_api_server()?).map_err(Refusal::of_node)?;
        let turns = Turns::new(REQUESTS, Lead::always());
        let objects = Arc::new(ClusterObjects::new(client.clone(), turns, PathBuf::new()));
        // Who is not known for certain shares nothing with other pods.
        let uid = tokens.account_uid().unwrap_or_else(|| format!("pod {}", pod.uid));
        let who = Who {
            namespace: pod.namespace.clone(),
            account: pod.service_account.clone(),
            uid,
            audiences: tokens.audiences(),
        };
        let current = Current { tokens, objects };
        let now = Instant::now();
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, (_, used)| now.saturating_duration_since(*used) < IDLE);
        if let Some((identity, used)) = all.get_mut(&who) {
            *used = now;
            *identity.current.write().unwrap_or_else(PoisonError::into_inner) = current;
            return Ok((identity.clone(), client));
        }
        let identity = Arc::new(self.make(pod, current));
        all.insert(who, (identity.clone(), now));
        Ok((identity, client))
    }

    /// That of a ServiceAccount whose pods mounted of late, with the tokens that the last of them had: of those that brought tokens
    /// of the most audiences.
    pub fn known(&self, namespace: &str, account: &str) -> Option<Arc<Identity>> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let of = all.iter().filter(|(who, _)| who.namespace == namespace && who.account == account);
        of.max_by_key(|(who, (_, used))| (who.audiences.len(), *used)).map(|(_, (identity, _))| identity.clone())
    }

    fn make(&self, pod: &Pod, current: Current) -> Identity {
        let current = Arc::new(RwLock::new(current));
        let port = |login| {
            Arc::new(AsPod {
                current: current.clone(),
                namespace: pod.namespace.clone(),
                account: pod.service_account.clone(),
                login,
                allows_api_audience: self.allows_api_audience,
            })
        };
        let (by_mount, as_written) = (port(Login::ByMount), port(Login::AsWritten));
        let known = current.clone();
        let own: OwnTokens = Arc::new(move |audience| {
            let current = known.read().unwrap_or_else(PoisonError::into_inner);
            let token = current.tokens.of(&[audience.to_owned()]).cloned();
            token.ok_or_else(|| current.tokens.asker().audiences())
        });
        Identity {
            namespace: pod.namespace.clone(),
            account: pod.service_account.clone(),
            by_mount: (self.make)(by_mount.clone(), by_mount, own.clone()),
            as_written: (self.make)(as_written.clone(), as_written.clone(), own),
            objects: as_written,
            shared: std::array::from_fn(|_| Shared::new(self.shared.clone(), self.now)),
            current,
        }
    }
}

/// The ports, as the pod's ServiceAccount.
struct AsPod {
    current: Arc<RwLock<Current>>,
    namespace: String,
    account: String,
    login: Login,
    allows_api_audience: bool,
}

fn refused(message: String) -> Problem {
    Problem { message, is_temporary: false, is_not_found: false }
}

impl AsPod {
    fn objects(&self) -> Arc<ClusterObjects> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).objects.clone()
    }
}

#[async_trait]
impl Objects for AsPod {
    async fn turn(&self, namespace: &str) -> Turn {
        self.objects().turn(namespace).await
    }

    async fn source(&self, source: &Dependency) -> Result<Option<(Option<Version>, Data)>, Problem> {
        if self.login == Login::ByMount && source.kind == Kind::Secret {
            return Err(refused(
                "spec.loginBy: Mount has whoever mounts log in as itself, and nothing out of a Secret: take the reference out \
                 of the store"
                    .to_owned(),
            ));
        }
        self.objects().source(source).await
    }

    async fn labels(&self, object: &Dependency) -> Result<Option<StringMap>, Problem> {
        self.objects().labels(object).await
    }

    async fn generator(
        &self,
        namespace: Option<&str>,
        version: &str,
        kind: &str,
        name: &str,
    ) -> Result<Option<Value>, Problem> {
        let spec = self.objects().generator(namespace, version, kind, name).await?;
        // What it holds is known only now.
        let held = spec.as_ref().filter(|_| kind == CLUSTER_GENERATOR).and_then(|spec| spec.get("kind")?.as_str());
        held.map_or(Ok(()), same_for_all).map_err(refused)?;
        Ok(spec)
    }

    async fn changed_at(&self, es: &ExternalSecret) -> Result<Option<Timestamp>, Problem> {
        self.objects().changed_at(es).await
    }
}

#[async_trait]
impl Accounts for AsPod {
    /// Of the pod's own account, whatever name the store has for it where it says that the login is by mount.
    async fn token(&self, _: &str, name: &str, audiences: Vec<String>) -> Result<Option<Token>, Problem> {
        if self.login == Login::AsWritten && name != self.account {
            return Err(refused(format!(
                "the store logs in as ServiceAccount {name:?}, and the pod that mounts runs as {:?}: set spec.loginBy: Mount in \
                 the store, or run the pod as that",
                self.account
            )));
        }
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        let place = current.tokens.asker().audiences();
        // Whoever writes the store chooses the server, which could act as the pod with it.
        if !self.allows_api_audience && (audiences.is_empty() || audiences.iter().any(String::is_empty)) {
            return Err(refused(format!(
                "the store wants a token of the pod that the API server itself takes, with which the store's server could act as \
                 the pod's ServiceAccount: set audiences in the store's serviceAccountRef to what that server expects, and add \
                 them to {place}, or allow it with --allow-api-audience (Helm: node.allowApiAudience)"
            )));
        }
        // It opens all that is sealed for the account.
        if audiences.iter().any(|audience| audience == UNSEAL) {
            return Err(refused(format!(
                "the store wants a token of the audience {UNSEAL:?}, with which the store's server could have the operator open all \
                 that is sealed for the pod's ServiceAccount: set audiences in the store's serviceAccountRef to what that server \
                 expects, and add them to {place}"
            )));
        }
        if let Some(token) = current.tokens.of(&audiences) {
            return Ok(Some(token.clone()));
        }
        Err(refused(format!(
            "the store wants a token of the audience {}, and the kubelet is asked for none: add it to {place}",
            audiences.iter().map(|audience| format!("{audience:?}")).collect::<Vec<_>>().join(" or ")
        )))
    }

    /// Of the pod's own account, too: one of the same name elsewhere is somebody else's.
    async fn annotations(&self, _: &str, _: &str) -> Result<Option<StringMap>, Problem> {
        self.objects().annotations(&self.namespace, &self.account).await
    }

    /// Nobody's: neither the pod's for a store that names no login, nor ours for a pod.
    async fn own_token(&self) -> Option<SecretBytes> {
        None
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::extract::Request;
    use axum::http::header;
    use serde_json::json;

    use super::*;
    use crate::tokens::TOKENS;

    /// Of a pod in namespace `team` that runs as `web`. Whatever is asked for holds a generator of the kind that its name says,
    /// and is annotated with the path that was asked for.
    fn port(login: Login, allows_api_audience: bool) -> AsPod {
        let server = Router::new().fallback(async |request: Request| {
            let path = request.uri().path().to_owned();
            let kind = match path.rsplit('/').next() {
                Some("password") => "Password",
                Some("uuid") => "UUID",
                Some("ssh-key") => "SSHKey",
                _ => "Fake",
            };
            let answer = json!({
                "apiVersion": "v1", "kind": "Any", "metadata": {"name": "x", "annotations": {"asked": path}},
                "spec": {"kind": kind},
            });
            ([(header::CONTENT_TYPE, "application/json")], answer.to_string())
        });
        let client = kube::Client::new(server, "team");
        let turns = Turns::new(1, Lead::always());
        let objects = Arc::new(ClusterObjects::new(client, turns, PathBuf::new()));
        let until = "2030-01-01T00:00:00Z";
        let text = json!({
            "": {"token": "own", "expirationTimestamp": until},
            "vault": {"token": "other", "expirationTimestamp": until},
            UNSEAL: {"token": "unseals", "expirationTimestamp": until},
        });
        let tokens = Tokens::take(
            crate::tokens::Asker::Kubelet,
            &mut [(TOKENS.to_owned(), text.to_string())].into(),
            &mut HashMap::new(),
        );
        let current = Current { tokens: tokens.expect("they are of their form"), objects };
        AsPod {
            current: Arc::new(RwLock::new(current)),
            namespace: "team".to_owned(),
            account: "web".to_owned(),
            login,
            allows_api_audience,
        }
    }

    #[tokio::test]
    async fn a_token_that_the_api_server_takes_is_for_no_store_unless_that_is_allowed() {
        for login in [Login::ByMount, Login::AsWritten] {
            let asked = async |allows, audiences: &[&str]| {
                let audiences = audiences.iter().map(|audience| (*audience).to_owned()).collect();
                let token = port(login, allows).token("team", "web", audiences).await;
                token.map(|token| token.map(|token| token.secret.expose().to_vec())).map_err(|problem| problem.message)
            };
            for none in [&[][..], &[""], &["elsewhere", ""], &["", "vault"]] {
                let why = asked(false, none).await.unwrap_err();
                assert!(why.contains("--allow-api-audience") && why.contains("node.allowApiAudience"), "{why}");
            }
            assert_eq!(asked(false, &["vault"]).await, Ok(Some(b"other".to_vec())));
            assert_eq!(asked(true, &[]).await, Ok(Some(b"own".to_vec())));
            assert!(asked(true, &["elsewhere"]).await.unwrap_err().contains("node.audiences"));
        }
    }

    #[tokio::test]
    async fn the_token_that_opens_what_is_sealed_for_the_pod_is_for_no_store() {
        for (login, allows) in [(Login::ByMount, false), (Login::ByMount, true), (Login::AsWritten, true)] {
            for audiences in [&[UNSEAL][..], &["vault", UNSEAL], &[UNSEAL, "elsewhere"]] {
                let audiences = audiences.iter().map(|audience| (*audience).to_owned()).collect();
                let why = port(login, allows).token("team", "web", audiences).await.unwrap_err();
                assert!(
                    !why.is_temporary && why.message.contains("is sealed for the pod's ServiceAccount"),
                    "{}",
                    why.message
                );
            }
        }
    }

    #[tokio::test]
    async fn annotations_are_those_of_the_pods_own_account() {
        let found =
            port(Login::ByMount, false).annotations("other", "admin").await.ok().flatten().expect("it is there");
        assert_eq!(found["asked"], "/api/v1/namespaces/team/serviceaccounts/web");
    }

    #[tokio::test]
    async fn a_cluster_generator_is_what_it_holds() {
        for login in [Login::ByMount, Login::AsWritten] {
            let port = port(login, false);
            for (name, held) in [("password", "Password"), ("uuid", "UUID"), ("ssh-key", "SSHKey")] {
                let problem = port.generator(None, "v1alpha1", CLUSTER_GENERATOR, name).await.unwrap_err();
                assert!(!problem.is_temporary && problem.message.starts_with(&format!("generator {held} would make")));
            }
            let spec = port.generator(None, "v1alpha1", CLUSTER_GENERATOR, "fake").await.ok().flatten();
            assert_eq!(spec.expect("it is there")["kind"], "Fake");
            // What a spec of its own calls its kind is no matter.
            assert!(port.generator(Some("team"), "v1alpha1", "Webhook", "uuid").await.is_ok());
        }
    }
}
