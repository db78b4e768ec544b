//! Objects that need not be of the form of their kind: of a list or watch the others are read all the same.

use std::borrow::Cow;
use std::fmt;

use kube::Resource;
use kube::api::ObjectMeta;
use serde::de::{DeserializeOwned, Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, forward_to_deserialize_any};
use serde_json::Value;
use serde_json::value::RawValue;

/// An object, or its metadata where the rest is not of its form. What is wrong with it is not kept: that would quote it.
///
/// kube's own guard reads each object into a tree first, of which it reads a copy; this one reads the object's text, and that a
/// second time where it must. So it takes JSON alone.
#[derive(Clone, Debug)]
pub struct Guarded<K>(pub Result<K, Box<ObjectMeta>>);

impl<'de, K: DeserializeOwned> Deserialize<'de> for Guarded<K> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Object {
            #[serde(default)]
            metadata: Box<ObjectMeta>,
        }
        let text = Box::<RawValue>::deserialize(Text(input))?;
        if let Ok(object) = serde_json::from_str(text.get()) {
            return Ok(Self(Ok(object)));
        }
        let object: Result<Object, _> = serde_json::from_str(text.get());
        object
            .map(|object| Self(Err(object.metadata)))
            .map_err(|_| D::Error::custom("an object has no metadata of their form"))
    }
}

/// Gives the text of what is read, and makes it anew where that has been read already: serde does so with the object of an event
/// that is told before what became of it. API servers tell that first, but nothing says that whoever passes their words on does.
struct Text<D>(D);

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Text<D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_any(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_newtype_struct(name, TextVisitor { name, visitor })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct seq tuple
        tuple_struct map struct enum identifier ignored_any
    }
}

/// Passes on the text that serde_json gives to whoever asks by this name, or one that is made anew.
struct TextVisitor<V> {
    name: &'static str,
    visitor: V,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for TextVisitor<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, text: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_map(text)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, read: D) -> Result<V::Value, D::Error> {
        let text = Value::deserialize(read)?.to_string();
        let mut anew = serde_json::Deserializer::from_reader(text.as_bytes());
        let taken = anew.deserialize_newtype_struct(self.name, self.visitor);
        taken.map_err(|_| D::Error::custom("an object can't be read anew"))
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

    fn objects() -> [Value; 2] {
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
    fn so_are_those_of_a_watch_whatever_of_an_event_comes_first() {
        let [first, last] = [
            |object| format!(r#"{{"type":"ADDED","object":{object}}}"#),
            |object| format!(r#"{{"object":{object},"type":"ADDED"}}"#),
        ] as [fn(Value) -> String; 2];
        for event in [first, last] {
            let [good, bad] = objects().map(|object| match serde_json::from_str::<WatchEvent<Read>>(&event(object)) {
                Ok(WatchEvent::Added(object)) => object,
                other => panic!("it was added: {:?}", other.err()),
            });
            is_read(&good, &bad);
        }
    }

    #[test]
    fn what_has_no_metadata_of_their_form_is_an_error_that_quotes_nothing() {
        let error = serde_json::from_str::<Read>(r#"{"metadata":"a secret"}"#).unwrap_err().to_string();
        assert!(!error.contains("a secret"), "{error}");
        assert!(serde_json::from_str::<Read>("7").is_err());
    }
}
