//! Helm's records of its releases: Secrets, or ConfigMaps where it was told so.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use keyferry_cluster::pages;
use keyferry_cluster::problem::{ApiProblem, timely};
use kube::api::{Api, ListParams};
use kube::core::{ApiResource, DynamicObject};
use zeroize::{Zeroize as _, Zeroizing};

use super::Reader;
use crate::facts::{Area, BrokenRecord};
use crate::helm;

/// Where Helm keeps records.
#[derive(Clone, Copy)]
enum Driver {
    Secrets,
    ConfigMaps,
}

/// Namespace and name of a release.
type Release = (String, String);

impl Reader {
    pub(super) async fn releases(&mut self) {
        for driver in [Driver::Secrets, Driver::ConfigMaps] {
            match self.records(driver).await {
                Ok(records) => {
                    for ((namespace, _), revisions) in records {
                        self.release(driver, &namespace, revisions).await;
                    }
                }
                Err(problem) => self.unread(Area::Helm, driver.what(), &problem),
            }
        }
    }

    /// The names of all records, by release and revision. Their payloads are not read for this.
    async fn records(&self, driver: Driver) -> Result<BTreeMap<Release, BTreeMap<u64, String>>, ApiProblem> {
        let resource = match driver {
            Driver::Secrets => ApiResource::erase::<Secret>(&()),
            Driver::ConfigMaps => ApiResource::erase::<ConfigMap>(&()),
        };
        let mut params = ListParams::default().labels("owner=helm");
        if matches!(driver, Driver::Secrets) {
            params = params.fields("type=helm.sh/release.v1");
        }
        let mut records: BTreeMap<Release, BTreeMap<u64, String>> = BTreeMap::new();
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
        pages::all_metadata(&api, params, |metadata| {
            let (Some(namespace), Some(name)) = (metadata.namespace, metadata.name) else { return };
            let labels = metadata.labels.unwrap_or_default();
            let Some(release) = labels.get("name") else { return };
            let revision = labels.get("version").and_then(|version| version.parse().ok()).unwrap_or(0);
            records.entry((namespace, release.clone())).or_default().insert(revision, name);
        })
        .await?;
        Ok(records)
    }

    /// Judges a release by its last revision that can be read: Helm passes over others, too.
    async fn release(&mut self, driver: Driver, namespace: &str, revisions: BTreeMap<u64, String>) {
        for name in revisions.values().rev() {
            let object = format!("{}/{namespace}/{name}", driver.kind());
            match self.payload(driver, namespace, name).await {
                Ok(None) => {} // gone meanwhile
                Ok(Some(payload)) => match helm::read(&payload) {
                    Ok(release) => return self.cluster.releases.extend(release),
                    Err(broken) => self.cluster.broken.push(BrokenRecord {
                        object,
                        why: broken.why().to_owned(),
                        helm_may_read_it: broken.may_be_read_by_helm(),
                    }),
                },
                Err(problem) => return self.unread(Area::Helm, format!("Helm's record {object}"), &problem),
            }
        }
    }

    async fn payload(
        &self,
        driver: Driver,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, ApiProblem> {
        let taken = match driver {
            Driver::Secrets => {
                let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
                timely(api.get_opt(name)).await?.map(|secret| {
                    let mut data = secret.data.unwrap_or_default();
                    let taken = data.remove("release").map(|bytes| bytes.0);
                    data.values_mut().for_each(|other| other.0.zeroize());
                    taken
                })
            }
            Driver::ConfigMaps => {
                let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
                timely(api.get_opt(name)).await?.map(|map| {
                    let mut data = map.data.unwrap_or_default();
                    let taken = data.remove("release").map(String::into_bytes);
                    data.values_mut().for_each(|other| other.zeroize());
                    taken
                })
            }
        };
        Ok(taken.map(|payload| Zeroizing::new(payload.unwrap_or_default())))
    }
}

impl Driver {
    fn what(self) -> &'static str {
        match self {
            Self::Secrets => "Helm's records (Secrets of type helm.sh/release.v1)",
            Self::ConfigMaps => "Helm's records (ConfigMaps with the label owner=helm)",
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Self::Secrets => "secret",
            Self::ConfigMaps => "configmap",
        }
    }
}
