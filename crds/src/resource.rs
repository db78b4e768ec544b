//! What the root objects share: `apiVersion` and `kind` on the wire, and kube's [`Resource`](kube_core::Resource).
//!
//! Written by hand, not derived: two kinds share one spec, which the derive can't express, and our schema is not
//! derived either.

/// Defines one kind of [`crate::names::GROUP`], of [`crate::names::VERSION`] where no other is given.
macro_rules! kind {
    ($(#[$meta:meta])* $kind:ident, $plural:literal, $scope:ty, $spec:ty, $status:ty) => {
        crate::resource::kind! { $(#[$meta])* $kind, $plural, $scope, $spec, $status, crate::names::VERSION }
    };
    ($(#[$meta:meta])* $kind:ident, $plural:literal, $scope:ty, $spec:ty, $status:ty, $version:expr) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
        pub struct $kind {
            /// Name, namespace, labels and all else that Kubernetes keeps about an object.
            #[serde(default, deserialize_with = "crate::lenient::null")]
            pub metadata: kube_core::ObjectMeta,
            /// What the user wants.
            #[serde(default, deserialize_with = "crate::lenient::null")]
            pub spec: $spec,
            /// What we last saw and did.
            #[serde(default)]
            pub status: Option<$status>,
        }

        impl $kind {
            /// An object to be created: a name and a spec.
            pub fn new(name: &str, spec: $spec) -> Self {
                let metadata = kube_core::ObjectMeta { name: Some(name.to_owned()), ..Default::default() };
                Self { metadata, spec, status: None }
            }

            /// The Ready condition as last written.
            pub fn ready(&self) -> Option<&crate::condition::Condition> {
                crate::condition::find(&self.status.as_ref()?.conditions, crate::names::CONDITION_READY)
            }
        }

        impl serde::Serialize for $kind {
            fn serialize<S: serde::Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeStruct;
                let mut object = output.serialize_struct(stringify!($kind), 4 + usize::from(self.status.is_some()))?;
                object.serialize_field("apiVersion", &<Self as kube_core::Resource>::api_version(&()))?;
                object.serialize_field("kind", stringify!($kind))?;
                object.serialize_field("metadata", &self.metadata)?;
                object.serialize_field("spec", &self.spec)?;
                match &self.status {
                    Some(status) => object.serialize_field("status", status)?,
                    None => object.skip_field("status")?,
                }
                object.end()
            }
        }

        impl kube_core::Resource for $kind {
            type DynamicType = ();
            type Scope = $scope;

            fn kind((): &()) -> std::borrow::Cow<'_, str> {
                stringify!($kind).into()
            }
            fn group((): &()) -> std::borrow::Cow<'_, str> {
                crate::names::GROUP.into()
            }
            fn version((): &()) -> std::borrow::Cow<'_, str> {
                $version.into()
            }
            fn plural((): &()) -> std::borrow::Cow<'_, str> {
                $plural.into()
            }
            fn meta(&self) -> &kube_core::ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut kube_core::ObjectMeta {
                &mut self.metadata
            }
        }
    };
}
pub(crate) use kind;
