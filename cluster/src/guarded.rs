//! Objects that need not be of the form of their kind: of a list or watch the others are read all the same.

use std::borrow::Cow;

use kube::Resource;
use kube::api::ObjectMeta;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// An object, or its metadata where the rest is not of its form. What is wrong with it is not kept: that would quote it.
///
/// kube's own guard reads each object into a tree first, of which it reads a copy; this one reads the object's text, and that a
/// second time where it must. So it takes JSON alone, and of an event of a watch only one that tells first what it is: an API server's
/// do.
#[derive(Clone, Debug)]
pub struct Guarded<K>(pub Result<K, Box<ObjectMeta>>);

impl<'de, K: DeserializeOwned> Deserialize<'de> for Guarded<K> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Object {
            #[serde(default)]
            metadata: Box<ObjectMeta>,
        }
        let text = Box::<RawValue>::deserialize(input)?;
        if let Ok(object) = serde_json::from_str(text.get()) {
            return Ok(Self(Ok(object)));
        }
        let object: Result<Object, _> = serde_json::from_str(text.get());
        object
            .map(|object| Self(Err(object.metadata)))
            .map_err(|_| D::Error::custom("an object has no metadata of their form"))
    }
}

impl<K: Resource> Resource for Guarded<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(dt: &K::DynamicType) -> Cow<'_, str> {
        K::kind(dt)
    }

    fn group(dt: &K::DynamicType) -> Cow<'_, str> {
        K::group(dt)
    }

    fn version(dt: &K::DynamicType) -> Cow<'_, str> {
        K::version(dt)
    }

    fn plural(dt: &K::DynamicType) -> Cow<'_, str> {
        K::plural(dt)
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.as_ref().map_or_else(|metadata| &**metadata, K::meta)
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.as_mut().map_or_else(|metadata| &mut **metadata, K::meta_mut)
    }
}

#[cfg(test)]
mod tests {
    use keyferry_crds::ExternalSecret;
    use kube::core::{ObjectList, WatchEvent};
    use serde_json::json;

    use super::*;

    type Read = Guarded<ExternalSecret>;

    fn objects() -> [serde_json::Value; 2] {
        let metadata = |name: &str| json!({"name": name, "namespace": "ns", "resourceVersion": "7"});
        [
            json!({"metadata": metadata("good"), "spec": {"secretStoreRef": {"name": "s"}}}),
            json!({"metadata": metadata("bad"), "spec": {"data": "a secret"}}),
        ]
    }

    fn is_read(good: &Read, bad: &Read) {
        assert_eq!(good.0.as_ref().unwrap().spec.secret_store_ref.as_ref().unwrap().name, "s");
        assert_eq!(good.meta().name.as_deref(), Some("good"));
        let metadata = bad.0.as_ref().unwrap_err();
        assert_eq!((metadata.name.as_deref(), metadata.resource_version.as_deref()), (Some("bad"), Some("7")));
        assert_eq!(bad.meta().namespace.as_deref(), Some("ns"));
    }

    #[test]
    fn of_a_list_all_are_read_that_can_be() {
        let text = json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": objects()}).to_string();
        let list: ObjectList<Read> = serde_json::from_str(&text).unwrap();
        is_read(&list.items[0], &list.items[1]);
    }

    #[test]
    fn so_are_those_of_a_watch() {
        let [good, bad] = objects().map(|object| {
            let text = format!(r#"{{"type":"ADDED","object":{object}}}"#);
            match serde_json::from_str::<WatchEvent<Read>>(&text).unwrap() {
                WatchEvent::Added(object) => object,
                _ => panic!("it was added"),
            }
        });
        is_read(&good, &bad);
    }

    #[test]
    fn what_has_no_metadata_of_their_form_is_an_error_that_quotes_nothing() {
        let error = serde_json::from_str::<Read>(r#"{"metadata":"a secret"}"#).unwrap_err().to_string();
        assert!(!error.contains("a secret"), "{error}");
        assert!(serde_json::from_str::<Read>("7").is_err());
    }
}
