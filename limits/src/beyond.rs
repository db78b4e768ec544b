//! Limits of what is written beyond one Secret: into stores, by generators, and as copies in many namespaces.

use crate::{Limit, Unit};

/// What is looked after is kept in memory, whole, until it goes.
pub const NAMESPACE_OBJECTS: Limit = Limit {
    name: "namespace-objects",
    most: 32 << 20,
    unit: Unit::Bytes,
    of: "objects of more than 4 KiB that one namespace has (ExternalSecrets, PushSecrets, stores)",
    raise: "put templates and certificates into ConfigMaps, or spread them over namespaces, and apply it again",
};

/// What a namespace has of large objects whatever the others do: nobody else's can take its room.
pub const LARGE_OBJECTS_SHARE: Limit = Limit {
    name: "large-objects-share",
    most: 2 << 20,
    unit: Unit::Bytes,
    of: "objects of more than 32 KiB that one namespace has without regard to other namespaces",
    raise: "nothing: what is more has its part of large-objects",
};

/// What all namespaces have of them beyond their shares: nobody has thousands of these.
pub const LARGE_OBJECTS: Limit = Limit {
    name: "large-objects",
    most: 64 << 20,
    unit: Unit::Bytes,
    of: "objects of more than 32 KiB that all namespaces have beyond their shares (ExternalSecrets, PushSecrets, stores)",
    raise: "put templates and certificates into ConfigMaps, and apply it again",
};

/// Each is a call of a store.
pub const PUSH_ENTRIES: Limit = Limit {
    name: "push-entries",
    most: 1_000,
    unit: Unit::Items,
    of: "spec.data of a PushSecret",
    raise: "split it into several PushSecrets",
};

/// Each goes through all keys of each source.
pub const PUSH_DATA_TO: Limit = Limit {
    name: "push-data-to",
    most: 100,
    unit: Unit::Items,
    of: "spec.dataTo of a PushSecret",
    raise: "split it into several PushSecrets",
};

/// All is written into each.
pub const PUSH_STORES: Limit = Limit {
    name: "push-stores",
    most: 100,
    unit: Unit::Items,
    of: "the stores of one PushSecret, named or selected",
    raise: "split it into several PushSecrets",
};

/// Each is compared with every store that comes, goes or changes.
pub const PUSH_SELECTORS: Limit = Limit {
    name: "push-selectors",
    most: 10,
    unit: Unit::Items,
    of: "entries with labelSelector in spec.secretStoreRefs of a PushSecret",
    raise: "select by a label that all of them have, or split it into several PushSecrets",
};

/// Each is compared with every selector.
pub const PUSH_CANDIDATES: Limit = Limit {
    name: "push-candidates",
    most: 200,
    unit: Unit::Items,
    of: "SecretStores of the namespace, where a PushSecret selects stores by labels",
    raise: "name the stores in spec.secretStoreRefs",
};

/// Each is read in full.
pub const PUSH_SOURCES: Limit = Limit {
    name: "push-sources",
    most: 1_000,
    unit: Unit::Items,
    of: "the Secrets that one PushSecret selects",
    raise: "narrow spec.selector.secret.selector, or split it into several PushSecrets",
};

/// All that was written is in the status, which the API server keeps in one piece.
pub const PUSH_RECORD: Limit = Limit {
    name: "push-record",
    most: 512 << 10,
    unit: Unit::Bytes,
    of: "what one PushSecret records of what it wrote",
    raise: "split it into several PushSecrets, or say less in metadata",
};

/// It is in the operator's own memory.
pub const FAKE_PUSHED: Limit = Limit {
    name: "fake-pushed",
    most: 1 << 20,
    unit: Unit::Bytes,
    of: "what is pushed into stores of the kind `fake` of one namespace",
    raise: "push into a store that keeps it",
};

/// What generators made and nobody has revoked: some servers refuse that for ever.
pub const GENERATOR_STATES: Limit = Limit {
    name: "generator-states",
    most: 256,
    unit: Unit::Items,
    of: "GeneratorStates of one ExternalSecret or PushSecret",
    raise: "refresh less often, and see why they are not revoked",
};

/// Each is tried for each namespace that changes its labels.
pub const COPY_SELECTORS: Limit = Limit {
    name: "copy-selectors",
    most: 100,
    unit: Unit::Items,
    of: "selectors of namespaces in one ClusterExternalSecret or ClusterPushSecret",
    raise: "select by a label that all of them have",
};

/// Whoever names more should give them a label.
pub const COPY_NAMESPACES: Limit = Limit {
    name: "copy-namespaces",
    most: 5000,
    unit: Unit::Items,
    of: "names in spec.namespaces of one ClusterExternalSecret",
    raise: "give them a label, and select by that",
};

/// What is asked for meanwhile is seen in between, and others have their turns.
pub const COPIES_AT_ONCE: Limit = Limit {
    name: "copies-at-once",
    most: 100,
    unit: Unit::Items,
    of: "copies that one look at a ClusterExternalSecret or ClusterPushSecret makes, changes and deletes",
    raise: "nothing: the next look follows at once",
};

/// The status of an object must fit into it.
pub const FAILED_NAMESPACES: Limit = Limit {
    name: "failed-namespaces",
    most: 1000,
    unit: Unit::Items,
    of: "namespaces that one status names as failed",
    raise: "nothing: the message says how many failed",
};

/// Each is asked for what the others do not have. GitLab nests groups twenty deep.
pub const PROJECT_GROUPS: Limit = Limit {
    name: "project-groups",
    most: 100,
    unit: Unit::Items,
    of: "groups that a `gitlab` store inherits from",
    raise: "name those that are needed in groupIDs",
};

/// All are written again with each value.
pub const SELECTED_REPOSITORIES: Limit = Limit {
    name: "selected-repositories",
    most: 10_000,
    unit: Unit::Items,
    of: "repositories that see one secret of an organization at GitHub",
    raise: "let all private ones see it",
};

/// What a ConfigMap or Secret can hold, so that a document can lie in either.
pub const DOCUMENT_SIZE: Limit = Limit {
    name: "document-size",
    most: 1 << 20,
    unit: Unit::Bytes,
    of: "one encrypted document",
    raise: "split it into several",
};

/// Each costs a call, or the time of a computation.
pub const DOCUMENT_KEYS: Limit = Limit {
    name: "document-keys",
    most: 100,
    unit: Unit::Items,
    of: "the keys that one document is encrypted for, or that are held against it",
    raise: "encrypt it for fewer, or name fewer identities",
};

/// Each is a node in memory, and aliases repeat what stands there once.
pub const DOCUMENT_VALUES: Limit = Limit {
    name: "document-values",
    most: 100_000,
    unit: Unit::Items,
    of: "values of one YAML document, with what its aliases repeat",
    raise: "split it into several",
};

/// Whoever wrote it may have named as many keys as they like.
pub const DOCUMENT_CALLS: Limit = Limit {
    name: "document-calls",
    most: 10,
    unit: Unit::Items,
    of: "calls of key services for one document",
    raise: "encrypt it for fewer of their keys",
};

/// Each takes some fifty microseconds of a processor.
pub const UNSEAL_TRIES: Limit = Limit {
    name: "unseal-tries",
    most: 5000,
    unit: Unit::Items,
    of: "tries of an identity at what one document has encrypted",
    raise: "encrypt the document as a whole, or split it, or name fewer identities",
};

/// Each takes a processor two milliseconds.
pub const PRIVATE_KEY_TRIES: Limit = Limit {
    name: "private-key-tries",
    most: 2000,
    unit: Unit::Items,
    of: "tries of sealing keys at what one SealedSecret or store holds",
    raise: "seal its values anew with the latest certificate, or split it into several",
};

/// Each is a line of a pod.
pub const MOUNT_ITEMS: Limit = Limit {
    name: "mount-items",
    most: 256,
    unit: Unit::Items,
    of: "items of one mounted volume",
    raise: "leave items out to have all keys, or mount a second volume",
};

/// Each is compared with each mount of each container, by the API server, which counts.
pub const INJECTED_SECRETS: Limit = Limit {
    name: "injected-secrets",
    most: 16,
    unit: Unit::Items,
    of: "ExternalSecrets that `keyferry.io/inject` of one pod names",
    raise: "let fewer of them have more keys, or mount the others by volumes of the pod's own",
};

/// Each gets a mount of each.
pub const INJECTED_CONTAINERS: Limit = Limit {
    name: "injected-containers",
    most: 64,
    unit: Unit::Items,
    of: "containers of a pod with `keyferry.io/inject`, those that run first among them",
    raise: "mount by volumes of the pod's own",
};

/// Each is compared with each name.
pub const INJECTED_MOUNTS: Limit = Limit {
    name: "injected-mounts",
    most: 1_000,
    unit: Unit::Items,
    of: "mounts in the containers of a pod with `keyferry.io/inject`",
    raise: "mount by volumes of the pod's own",
};

/// Each takes a page of memory at least, twice while they are swapped.
pub const MOUNT_FILES: Limit = Limit {
    name: "mount-files",
    most: 1000,
    unit: Unit::Items,
    of: "files of one mounted volume",
    raise: "name those that are needed with items, or split the ExternalSecret",
};

/// What a Secret can hold.
pub const MOUNT_BYTES: Limit = Limit {
    name: "mount-bytes",
    most: 1 << 20,
    unit: Unit::Bytes,
    of: "the values of one mounted volume",
    raise: "name those that are needed with items, or split the ExternalSecret",
};

/// Room for both versions while they are swapped, of as many files as there may be.
pub const MOUNT_MEMORY: Limit = Limit {
    name: "mount-memory",
    most: 16 << 20,
    unit: Unit::Bytes,
    of: "the memory of one mounted volume",
    raise: "nothing: what may be mounted finds room in it",
};

/// What is not kept is fetched by each pod.
pub const MOUNT_SHARED: Limit = Limit {
    name: "mount-shared",
    most: 1 << 20,
    unit: Unit::Bytes,
    of: "answers of stores that the pods of one ServiceAccount on one node share",
    raise: "nothing: beyond it each pod fetches for itself",
};

/// Who makes pods come and go, and lets nobody revoke what is made for them, must not fill the node's disk.
pub const MOUNT_LEASES: Limit = Limit {
    name: "mount-leases",
    most: 256,
    unit: Unit::Items,
    of: "leases of one ServiceAccount on one node, those that wait to be revoked among them",
    raise: "let the ServiceAccount revoke them: what is wrong is an event on its pods; or have fewer of them there",
};

/// Whoever has thousands of pods start at once waits for them in turn.
pub const MOUNTS_AT_ONCE: Limit = Limit {
    name: "mounts-at-once",
    most: 32,
    unit: Unit::Items,
    of: "volumes of one node that are asked for at once",
    raise: "nothing: they have turns",
};

/// Thousands of ExternalSecrets may change together, and what each asks for is held until their workloads restart.
pub const RESTART_LIST: Limit = Limit {
    name: "restart-list",
    most: 4 << 10,
    unit: Unit::Bytes,
    of: "the annotation keyferry.io/restart of an ExternalSecret",
    raise: "write users there, or have the workloads name the Secret themselves",
};

/// What is written is faster than what is delivered, but where a disk hangs or the webhook's receiver is away.
pub const AUDIT_QUEUE: Limit = Limit {
    name: "audit-queue",
    most: 16 << 20,
    unit: Unit::Bytes,
    of: "lines that wait to be written to the audit log, or to be taken by its webhook",
    raise: "see to the disk, or to the webhook's receiver: what finds no room is not in it, and is counted",
};
