//! ExternalSecrets at rest. There may be tens of thousands, of which few are looked at: in between each is text, which takes
//! a third of what its fields do. Pure.

use std::sync::Arc;

use keyferry_crds::ExternalSecret;
use kube::api::ObjectMeta;

/// A longer one stays in its fields: to read it takes milliseconds, in which whoever keeps it does nothing else.
const LONGEST: usize = 16 << 10;

/// An ExternalSecret as it is kept.
pub struct Packed {
    form: Form,
    /// Its resourceVersion, which tells without reading whether it is known already.
    version: Option<Box<str>>,
}

enum Form {
    Text(Box<[u8]>),
    Fields(Arc<ExternalSecret>),
}

impl Packed {
    /// This one.
    pub fn of(mut es: ExternalSecret) -> Self {
        let version = es.metadata.resource_version.take();
        // What came to fields can be written as JSON: there are no maps but those of texts.
        let text = serde_json::to_vec(&(&es.metadata, &es.spec, &es.status)).expect("it can be written as JSON");
        let kept = version.as_deref().map(Box::from);
        let form = if text.len() <= LONGEST {
            Form::Text(text.into_boxed_slice())
        } else {
            es.metadata.resource_version = version;
            Form::Fields(Arc::new(es))
        };
        Self { form, version: kept }
    }

    /// Whether it is the state that bears this resourceVersion; not where there is none.
    pub fn is_at(&self, version: Option<&str>) -> bool {
        version.is_some() && self.version.as_deref() == version
    }

    /// Its fields.
    pub fn unpack(&self) -> Arc<ExternalSecret> {
        match &self.form {
            Form::Fields(es) => es.clone(),
            Form::Text(text) => {
                let (mut metadata, spec, status): (ObjectMeta, _, _) =
                    serde_json::from_slice(text).expect("it was written from such fields");
                metadata.resource_version = self.version.as_deref().map(str::to_owned);
                Arc::new(ExternalSecret { metadata, spec, status })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_of_it_gets_lost() {
        let whole: ExternalSecret = serde_json::from_value(json!({
            "metadata": {
                "name": "e", "namespace": "ns", "uid": "u", "resourceVersion": "7", "generation": 3,
                "creationTimestamp": "2026-11-30T04:22:19Z", "deletionTimestamp": "2026-11-30T05:22:19Z",
                "labels": {"team": "a"}, "annotations": {}, "finalizers": ["f"],
                "ownerReferences": [{"apiVersion": "v1", "kind": "K", "name": "o", "uid": "p", "controller": true}],
            },
            "spec": {
                "refreshPolicy": "OfTomorrow", "refreshInterval": "15m",
                "secretStoreRef": {"name": "s", "kind": "ClusterSecretStore"},
                "target": {
                    "name": "t", "creationPolicy": "Merge", "deletionPolicy": "Delete", "immutable": true,
                    "manifest": {"apiVersion": "v1", "kind": "ConfigMap"},
                    "template": {
                        "type": "Opaque", "mergePolicy": "Merge", "metadata": {"labels": {"a": "{{ .b }}"}},
                        "data": {"k": "\"{{ .v }}\"\n\u{0}ü"},
                        "templateFrom": [{"configMap": {"name": "c", "items": [{"key": "k"}]}, "target": "Labels"}],
                    },
                },
                "syncWindows": {"kind": "deny", "windows": [{"schedule": "0 0 * * *", "duration": "1h"}]},
                "data": [{
                    "secretKey": "k", "sourceRef": {"storeRef": {"name": "other"}},
                    "remoteRef": {"key": "r", "property": "", "version": "2", "decodingStrategy": "Auto"},
                }],
                "dataFrom": [
                    {"extract": {"key": "x"}, "rewrite": [{"regexp": {"source": "a", "target": "$1"}}]},
                    {"find": {"path": "p", "name": {"regexp": ".*"}, "tags": {"a": "b"}}},
                    {"sourceRef": {"generatorRef": {"kind": "Password", "name": "g"}}},
                ],
            },
            "status": {
                "refreshTime": "2026-11-30T04:22:20Z", "syncedResourceVersion": "1-a", "binding": {"name": "t"},
                "refreshBy": "2026-11-30T06:22:20Z",
                "conditions": [{
                    "type": "Ready", "status": "True", "reason": "SecretSynced", "message": "secret synced",
                    "lastTransitionTime": "2026-11-30T04:22:20Z",
                }],
            },
        }))
        .unwrap();
        assert!(whole.spec.data_from.len() == 3 && whole.status.is_some(), "it was read");
        for es in [whole, ExternalSecret::default()] {
            let packed = Packed::of(es.clone());
            assert!(matches!(packed.form, Form::Text(_)));
            assert_eq!(packed.is_at(Some("7")), es.metadata.resource_version.is_some());
            assert!(!packed.is_at(None) && !packed.is_at(Some("8")));
            assert_eq!(*packed.unpack(), es);
        }
    }

    #[test]
    fn a_long_one_is_not_read_again_and_again() {
        let data = json!({"target": {"template": {"data": {"k": "x".repeat(LONGEST)}}}});
        let mut long = ExternalSecret::new("e", serde_json::from_value(data).unwrap());
        long.metadata.resource_version = Some("7".to_owned());
        let packed = Packed::of(long.clone());
        assert!(Arc::ptr_eq(&packed.unpack(), &packed.unpack()));
        assert_eq!(*packed.unpack(), long);
        assert!(packed.is_at(Some("7")));
    }
}
