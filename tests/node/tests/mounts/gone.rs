//! When files go from a pod that runs, and when they do not.

use std::time::Duration;

use keyferry_node_driver_tests::rig::{APP, Base, LONG};
use keyferry_testkit::{Pod, Testbed, eventually};
use reqwest::Method;
use serde_json::{Value, json};

use crate::pods::{alone, apply_driver, driver, spec, until_mounted, until_registered};

/// Between the API server's first refusal, and the second that takes the files: what of it must have gone by. The driver knows of a
/// refusal some seconds after we wrote what leads to it.
const REFUSED: Duration = Duration::from_secs(60);

/// For how long files that must stay are looked at: the kubelet asks the driver each five seconds.
const STAY: Duration = Duration::from_secs(20);

/// A pod that mounts an ExternalSecret of its own.
struct Mounted<'b> {
    base: &'b Base,
    name: &'static str,
    pod: Pod<'b>,
}

impl<'b> Mounted<'b> {
    /// With this in the ExternalSecret's target.
    async fn new(base: &'b Base, name: &'static str, target: Value) -> Self {
        base.put(name, json!({"password": "first"})).await;
        base.declare(name, target);
        base.grant(name, APP).await;
        let mut spec = spec(base, APP);
        spec["volumes"][0]["csi"]["volumeAttributes"]["externalSecret"] = json!(name);
        Self { base, name, pod: base.namespace.run_pod(name, spec).await }
    }

    /// What the container has of the file; `None` where it is not there.
    fn shown(&self) -> Result<Option<String>, String> {
        let told = tokio::task::block_in_place(|| {
            let script = "if [ -e /secrets/password ]; then echo \"+$(cat /secrets/password)\"; else echo gone; fi";
            self.pod.exec(&["sh", "-c", script])
        });
        let told = told.map_err(|error| format!("{error:#}"))?;
        Ok(told.trim().strip_prefix('+').map(str::to_owned))
    }

    async fn until(&self, value: Option<&str>) {
        eventually(LONG, || async {
            let shown = self.shown()?;
            if shown.as_deref() == value { Ok(()) } else { Err(format!("{}: {shown:?}", self.name)) }
        })
        .await;
    }

    async fn keeps(&self, value: &str, time: Duration) {
        let end = tokio::time::Instant::now() + time;
        while tokio::time::Instant::now() < end {
            assert_eq!(self.shown(), Ok(Some(value.to_owned())), "{}", self.name);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Waits for an event of the pod that says this.
    async fn told(&self, says: &str) {
        eventually(LONG, || async {
            let events = self.pod.events().await;
            let is_told = events.iter().any(|event| event.starts_with("MountNotRefreshed") && event.contains(says));
            if is_told { Ok(()) } else { Err(format!("{}: {events:?}", self.name)) }
        })
        .await;
    }

    async fn delete_in_store(&self) {
        let path = format!("secret/metadata/{}/{}", self.base.namespace.name(), self.name);
        self.base.vault.request(Method::DELETE, &path, None).await.expect("it is deleted");
    }
}

/// Its ExternalSecret is deleted, and made again.
async fn with_the_external_secret(base: &Base) {
    let mounted = Mounted::new(base, "deleted", json!({})).await;
    mounted.until(Some("first")).await;
    base.kubectl(&["delete", "externalsecret", "deleted"], "");
    mounted.until(None).await;
    mounted.told("the files were taken away: ExternalSecret \"deleted\"").await;
    base.declare("deleted", json!({}));
    mounted.until(Some("first")).await;
    mounted.pod.delete().await;
}

/// Its ServiceAccount may not read it any more, nor anything else of its namespace: one refusal is none.
async fn with_the_right_to_read_it(base: &Base) {
    let mounted = Mounted::new(base, "refused", json!({})).await;
    mounted.until(Some("first")).await;
    base.kubectl(&["delete", "rolebinding", "--all"], "");
    let begun = tokio::time::Instant::now();
    mounted.keeps("first", REFUSED - Duration::from_secs(5)).await;
    mounted.until(None).await;
    assert!(begun.elapsed() >= REFUSED, "{:?}", begun.elapsed());
    mounted.told("the files were taken away").await;
    base.grant("refused", APP).await;
    mounted.until(Some("first")).await;
    mounted.pod.delete().await;
}

/// The store says that the secret is not there, which its policy counts.
async fn with_the_secret_where_that_is_asked_for(base: &Base) {
    let mounted = Mounted::new(base, "missing", json!({"deletionPolicy": "Delete"})).await;
    mounted.until(Some("first")).await;
    mounted.delete_in_store().await;
    mounted.until(None).await;
    mounted.told("deletionPolicy: Delete").await;
    base.put("missing", json!({"password": "again"})).await;
    mounted.until(Some("again")).await;
    mounted.pod.delete().await;
}

/// The same where nobody asked for that; it is told, and the next good answer is taken.
async fn not_with_the_secret_where_it_is_not(base: &Base) {
    let mounted = Mounted::new(base, "kept", json!({})).await;
    mounted.until(Some("first")).await;
    mounted.delete_in_store().await;
    mounted.told("").await;
    mounted.keeps("first", STAY).await;
    base.put("kept", json!({"password": "again"})).await;
    mounted.until(Some("again")).await;
    mounted.pod.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_as_their_owners_say_and_stay_otherwise() {
    let testbed = tokio::task::spawn_blocking(Testbed::with_node).await.expect("a testbed");
    let _alone = alone().await;
    let url = testbed.node().url(&testbed.vault_url()).expect("a way to the store");
    let base = Base::new(testbed, "gone", url.clone()).await;
    let refused = Base::new(testbed, "refused", url.clone()).await;
    let denied = Base::new(testbed, "denied", url).await;
    apply_driver(testbed);
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("driver.log");
    let _process = driver(&base, &log);
    until_registered(&base).await;
    tokio::join!(
        with_the_external_secret(&base),
        with_the_right_to_read_it(&refused),
        with_the_secret_where_that_is_asked_for(&base),
        not_with_the_secret_where_it_is_not(&base),
        with_the_store_s_leave_where_that_is_asked_for(&denied),
    );
    until_mounted(&base, &[]).await;
    base.kubectl(&["delete", "csidriver", "csi.keyferry.io"], "");
}

/// The store denies it, which takes files only where their owner says so. What the store lets these pods do is of a namespace.
async fn with_the_store_s_leave_where_that_is_asked_for(base: &Base) {
    let mounted = Mounted::new(base, "denied", json!({})).await;
    mounted.until(Some("first")).await;
    let nothing = "path \"x\" { capabilities = [\"deny\"] }";
    base.vault.write_policy(base.namespace.name(), nothing).await.expect("a policy");
    mounted.told("").await;
    mounted.keeps("first", STAY).await;
    base.kubectl(&["annotate", "externalsecret", "denied", "keyferry.io/on-denied=remove"], "");
    mounted.until(None).await;
    mounted.pod.delete().await;
}
