//! Every name that users, tools and External Secrets Operator itself know us by.
//!
//! They are wire format: a changed letter here orphans Secrets in a cluster that was taken over.

use sha2::{Digest as _, Sha256};

/// API group of all kinds but the generators.
pub const GROUP: &str = "external-secrets.io";
/// The version of [`GROUP`] that is served and stored.
pub const VERSION: &str = "v1";
/// The version of [`GROUP`] that is never stored, and served only where that is asked for.
pub const OLD_VERSION: &str = "v1beta1";
/// The version of PushSecret and ClusterPushSecret.
pub const PUSH_VERSION: &str = "v1alpha1";
/// A kind that writes into stores.
pub const KIND_PUSH_SECRET: &str = "PushSecret";
/// A kind that makes ExternalSecrets.
pub const KIND_CLUSTER_EXTERNAL_SECRET: &str = "ClusterExternalSecret";
/// A kind that makes PushSecrets.
pub const KIND_CLUSTER_PUSH_SECRET: &str = "ClusterPushSecret";
/// API group of the generators and of GeneratorState.
pub const GENERATORS_GROUP: &str = "generators.external-secrets.io";
/// Version of the generators that is served and stored.
pub const GENERATORS_VERSION: &str = "v1alpha1";
/// `apiVersion` of every generator.
pub const GENERATORS_API_VERSION: &str = "generators.external-secrets.io/v1alpha1";
/// The kind that says how to revoke what a generator made.
pub const KIND_GENERATOR_STATE: &str = "GeneratorState";
/// kubectl category that all kinds share.
pub const CATEGORY: &str = "external-secrets";
/// Category in which kubectl lists the generators.
pub const CATEGORY_GENERATORS: &str = "external-secrets-generators";

/// Label on every target that we manage; its value is [`MANAGED`].
pub const LABEL_MANAGED: &str = "reconcile.external-secrets.io/managed";
/// Value of [`LABEL_MANAGED`].
pub const MANAGED: &str = "true";
/// Label on Owner targets: ObjectHash of `namespace/name` of the ExternalSecret.
pub const LABEL_CREATED_BY: &str = "reconcile.external-secrets.io/created-by";
/// Label of Secrets and ConfigMaps that a webhook store may read; its value is [`TYPE_WEBHOOK`].
pub const LABEL_TYPE: &str = "external-secrets.io/type";
/// Value of [`LABEL_TYPE`].
pub const TYPE_WEBHOOK: &str = "webhook";
/// Label on the CRDs; its value is [`COMPONENT_CONTROLLER`].
pub const LABEL_COMPONENT: &str = "external-secrets.io/component";
/// Value of [`LABEL_COMPONENT`].
pub const COMPONENT_CONTROLLER: &str = "controller";
/// Label of a GeneratorState: which entry of which object owns it.
pub const LABEL_GENERATOR_OWNER: &str = "generators.external-secrets.io/owner-key";

/// Annotation on a target: ObjectHash of its data as we wrote it.
pub const ANNOTATION_DATA_HASH: &str = "reconcile.external-secrets.io/data-hash";
/// Annotation that a user changes, to any value, to have an object refreshed now.
pub const ANNOTATION_FORCE_SYNC: &str = "external-secrets.io/force-sync";
/// Annotation by which whoever has an object gives it to the ExternalSecret that it names, where `--adopt` would not.
pub const ANNOTATION_ADOPTED_BY: &str = "keyferry.io/adopted-by";
/// Annotation on a GeneratorState: by when what was made is to be replaced, since it ends soon after.
pub const ANNOTATION_REFRESH_BY: &str = "keyferry.io/refresh-by";
/// Annotation on a PushSecret: when the generated value was made that its stores hold, and for what.
pub const ANNOTATION_GENERATED: &str = "keyferry.io/generated";
/// Annotation on a GeneratorState: when what was made is to be prolonged.
pub const ANNOTATION_RENEW_AT: &str = "keyferry.io/renew-at";
/// Annotation by which an ExternalSecret says who is restarted when its data change, and a workload when it is.
pub const ANNOTATION_RESTART: &str = "keyferry.io/restart";
/// Annotation on a target: when its data last changed from what we had written to something else, or [`NEVER_ROTATED`].
pub const ANNOTATION_ROTATED_AT: &str = "keyferry.io/rotated-at";
/// Value of [`ANNOTATION_ROTATED_AT`] while the data are those that were written first.
pub const NEVER_ROTATED: &str = "never";
/// Annotation on a pod template: for which changes of which Secrets the workload was restarted.
pub const ANNOTATION_RESTARTED_FOR: &str = "keyferry.io/restarted-for";
/// Annotation on a store that silences the warnings about unmaintained and deprecated providers.
pub const ANNOTATION_IGNORE_MAINTENANCE: &str = "external-secrets.io/ignore-maintenance-checks";

/// Finalizer of an ExternalSecret.
pub const FINALIZER_EXTERNAL_SECRET: &str = "externalsecrets.external-secrets.io/externalsecret-cleanup";
/// Finalizer of a ClusterExternalSecret.
pub const FINALIZER_CLUSTER_EXTERNAL_SECRET: &str = "externalsecrets.external-secrets.io/clusterexternalsecret-cleanup";
/// Finalizer that External Secrets Operator puts on namespaces for a ClusterExternalSecret: this, then its name; see
/// [`namespace_finalizers`].
pub const FINALIZER_NAMESPACE_PREFIX: &str = "externalsecrets.external-secrets.io/ces-";
/// Finalizer of a PushSecret with deletionPolicy Delete.
pub const FINALIZER_PUSH_SECRET: &str = "pushsecret.externalsecrets.io/finalizer";
/// Finalizer of a store while a PushSecret with deletionPolicy Delete uses it.
pub const FINALIZER_STORE: &str = "secretstore.externalsecrets.io/finalizer";
/// Finalizer of a GeneratorState.
pub const FINALIZER_GENERATOR_STATE: &str = "generatorstate.externalsecrets.io/finalizer";

/// Field manager of a target: this, then the name of its ExternalSecret (or `sha3/` and its hash where that gets too
/// long).
pub const FIELD_MANAGER_PREFIX: &str = "externalsecrets.external-secrets.io/";
/// Field manager of what makes workloads restart.
pub const FIELD_MANAGER_RESTARTS: &str = "keyferry-restarts";

/// `source.component` of events about ExternalSecrets.
pub const EVENTS_EXTERNAL_SECRET: &str = "external-secrets";
/// `source.component` of events about PushSecrets.
pub const EVENTS_PUSH_SECRET: &str = "pushsecret";
/// `source.component` of events about GeneratorStates.
pub const EVENTS_GENERATOR_STATE: &str = "generator-state";
/// `source.component` of events about ClusterExternalSecrets.
pub const EVENTS_CLUSTER_EXTERNAL_SECRET: &str = "cluster-external-secret";
/// `source.component` of events about ClusterPushSecrets.
pub const EVENTS_CLUSTER_PUSH_SECRET: &str = "cluster-push-secret";
/// `source.component` of events about SecretStores.
pub const EVENTS_SECRET_STORE: &str = "secret-store";
/// `source.component` of events about ClusterSecretStores.
pub const EVENTS_CLUSTER_SECRET_STORE: &str = "cluster-secret-store";

/// The condition that says whether an object works.
pub const CONDITION_READY: &str = "Ready";
/// The condition that exists for metrics of deleted objects only.
pub const CONDITION_DELETED: &str = "Deleted";
/// Label that every namespace has; its value is the namespace's name.
pub const LABEL_NAMESPACE: &str = "kubernetes.io/metadata.name";

/// The finalizers that External Secrets Operator may have put on namespaces for the ClusterExternalSecret of this name:
/// with the whole name; and, since 2.14 and for names that are too long for that, with its beginning and a hash.
pub fn namespace_finalizers(name: &str) -> [String; 2] {
    const BEGINNING: usize = 50;
    let hash = Sha256::digest(name.as_bytes());
    let hash: String = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    // Names of objects are ASCII.
    let beginning = name.get(..BEGINNING).unwrap_or(name);
    [format!("{FINALIZER_NAMESPACE_PREFIX}{name}"), format!("{FINALIZER_NAMESPACE_PREFIX}{beginning}-{hash}")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut_and_told_apart_by_its_hash() {
        let long = "a".repeat(60);
        let [whole, cut] = namespace_finalizers(&long);
        assert_eq!(whole, format!("externalsecrets.external-secrets.io/ces-{long}"));
        // The part behind the slash is what Kubernetes bounds.
        let (_, part) = cut.split_once('/').expect("it has a domain");
        assert_eq!(part, format!("ces-{}-11ee3912", "a".repeat(50)));
        assert_eq!(part.len(), 63);
        assert_ne!(cut, namespace_finalizers(&"a".repeat(61))[1]);
    }
}
