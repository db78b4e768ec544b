//! The schema of ExternalSecret.
//!
//! Defaults are those of External Secrets Operator 2.9 and no others: a default more is a difference that Argo CD
//! shows for ever. In particular nothing under `remoteRef`, `extract` and `find` has one, and `secretStoreRef.kind`
//! has none.
//!
//! Bounds are those of `limits`, far beyond what fits into a Secret; by the same the operator judges objects from before
//! them. What CEL can't see, or can't afford, the operator checks and reports in a condition:
//! - duplicate `data[].secretKey` under deletionPolicy Retain (quadratic in the number of entries);
//! - durations, cron schedules, regular expressions and templates that don't parse;
//! - a Secret type that is forbidden only once it has been rendered.

use keyferry_limits as limits;
use serde_json::json;

use super::generators;
use super::node::*;
use super::shared::conditions;
use crate::external_secret::*;

pub(super) fn spec() -> Node {
    object("What to fetch, how often, and what to make of it.")
        .field(
            "refreshPolicy",
            word(
                "When to refresh: Periodic (if not set), CreatedOnce, or OnChange of this object.",
                RefreshPolicy::NAMES,
            ),
        )
        .field(
            "refreshInterval",
            string("Time between two refreshes, like 1h, 15m or 90s; 0 fetches once.")
                .within(&limits::WORD_LENGTH)
                .default(json!(DEFAULT_REFRESH_INTERVAL)),
        )
        .field("secretStoreRef", store_ref("The store of every entry that doesn't name one."))
        .field("target", target())
        .field("syncWindows", sync_windows())
        .field("data", list("Single values, each under a key of its own.", data_entry()).at_most(&limits::DATA_ENTRIES))
        .field(
            "dataFrom",
            list(
                "Whole secrets, searches and generators; a later entry wins over an earlier one, data wins over all.",
                data_from_entry(),
            )
            .at_most(&limits::DATA_FROM_ENTRIES),
        )
        .rule(
            "(has(it.data) && size(it.data) > 0) || (has(it.dataFrom) && size(it.dataFrom) > 0)",
            "nothing to fetch: add an entry to data or dataFrom",
        )
}

fn store_ref(description: &str) -> Node {
    object(description)
        .field("name", object_name("Name of the store."))
        .field("kind", word("Kind of the store; SecretStore if not set.", StoreKind::NAMES))
}

// Optional fields are read with `.?`, also where they have a default: an object that was stored in v1beta1 has none,
// and a field that isn't there is an error, from which not even an old object is exempt.

/// Is the target a Secret? A manifest may name that kind too.
const IS_SECRET: &str =
    "it.?manifest.?apiVersion.orValue('v1') == 'v1' && it.?manifest.?kind.orValue('Secret') == 'Secret'";

const TYPE: &str = "it.?template.?type.orValue('')";
const HAS_TEMPLATE_FROM: &str = "has(it.template) && has(it.template.templateFrom)";

fn target() -> Node {
    rules_of_templates(rules_of_policies(fields_of_target()))
}

fn fields_of_target() -> Node {
    let manifest = object("Kind of the object to write, where that is not a Secret (the operator must allow it).")
        .required("apiVersion", api_version("Its group and version, like v1 or apps/v1.").set("minLength", json!(1)))
        .required("kind", kind_name("Its kind, like ConfigMap."));
    object("The object to write.")
        .field("name", object_name("Its name; that of the ExternalSecret if not set."))
        .field(
            "creationPolicy",
            word(
                "Owner: made and owned; Orphan: made, stays; Merge: keys added to what is there; CreateOrMerge: both; \
                 None: nothing is written.",
                CreationPolicy::NAMES,
            )
            .default(json!("Owner")),
        )
        .field(
            "deletionPolicy",
            word(
                "When the store has lost a value: Retain is an error, Delete drops the key and at last the Secret, \
                 Merge only the keys.",
                DeletionPolicy::NAMES,
            )
            .default(json!("Retain")),
        )
        .field("immutable", boolean("Make the Secret immutable."))
        .field("manifest", manifest)
        .field("template", template())
        .default(json!({"creationPolicy": "Owner", "deletionPolicy": "Retain"}))
}

fn rules_of_policies(target: Node) -> Node {
    target
        .rule_at(
            ".deletionPolicy",
            "!(it.?deletionPolicy.orValue('') == 'Delete' \
             && it.?creationPolicy.orValue('') in ['Merge', 'CreateOrMerge'])",
            "deletionPolicy Delete would delete an object that this creationPolicy does not own: \
             use creationPolicy Owner, or deletionPolicy Merge or Retain",
        )
        .rule_at(
            ".deletionPolicy",
            "!(it.?deletionPolicy.orValue('') == 'Merge' && it.?creationPolicy.orValue('') == 'None')",
            "deletionPolicy Merge removes keys, but creationPolicy None never writes any: \
             use deletionPolicy Retain or another creationPolicy",
        )
}

fn rules_of_templates(target: Node) -> Node {
    target
        .rule_at(
            ".template.type",
            &format!("!({IS_SECRET} && {TYPE} == 'bootstrap.kubernetes.io/token')"),
            "a bootstrap token lets its holder join the cluster, so it can't be written from a store: use another type",
        )
        .rule_at(
            ".template.type",
            &format!(
                "!({IS_SECRET} && {TYPE} == 'kubernetes.io/service-account-token' \
                 && (it.?template.?metadata.?annotations[?'kubernetes.io/service-account.name'].hasValue() \
                 || ({HAS_TEMPLATE_FROM} && it.template.templateFrom.exists(from, \
                 has(from.target) && from.target.lowerAscii() == 'annotations'))))"
            ),
            "Kubernetes would fill this Secret with a token of the annotated ServiceAccount: use another type, or drop \
             the annotation kubernetes.io/service-account.name and every templateFrom whose target is Annotations",
        )
        .rule_at(
            ".template.templateFrom",
            &format!(
                "!({IS_SECRET} && {HAS_TEMPLATE_FROM}) || it.template.templateFrom.all(from, \
                 !has(from.target) || from.target.lowerAscii() in ['', 'data', 'annotations', 'labels'])"
            ),
            "a Secret has only Data, Annotations and Labels: correct the target of this templateFrom, \
             or set target.manifest for another kind of object",
        )
}

pub(super) fn template() -> Node {
    let metadata = object(
        "What to add to the target's metadata; once a template is there, nothing is copied from the ExternalSecret.",
    )
    .field("annotations", map_of_strings("Annotations; values may be templates.").at_most_keys(&limits::TEMPLATE_KEYS))
    .field("labels", map_of_strings("Labels; values may be templates.").at_most_keys(&limits::TEMPLATE_KEYS))
    .field(
        "finalizers",
        strings("Finalizers; they are added, and never removed.").at_most(&limits::TEMPLATE_FINALIZERS),
    );
    object("How to shape the target.")
        .field("type", string("Type of the Secret.").within(&limits::WORD_LENGTH))
        .field("engineVersion", word("The template language.", EngineVersion::NAMES).default(json!("v2")))
        .field(
            "mergePolicy",
            word("Replace: rendered keys are all there is; Merge: fetched keys stay beside them.", MergePolicy::NAMES)
                .default(json!("Replace")),
        )
        .field("metadata", metadata)
        .field(
            "data",
            map_of_strings("Templates, by the key that their result goes to.").at_most_keys(&limits::TEMPLATE_KEYS),
        )
        .field(
            "templateFrom",
            list("Templates kept elsewhere, in order; data wins over them.", template_from())
                .at_most(&limits::TEMPLATE_SOURCES),
        )
}

fn template_from() -> Node {
    object("Templates from one place.")
        .field("configMap", template_ref("A ConfigMap that holds templates."))
        .field("secret", template_ref("A Secret that holds templates."))
        .field("literal", string("A template that renders to a YAML map of keys and values."))
        .field(
            "target",
            string("Where the results go: Data, Annotations or Labels; other kinds of object take Spec and paths too.")
                .within(&limits::WORD_LENGTH)
                .default(json!("Data")),
        )
        .field(
            "valuesDecodingStrategy",
            word("How rendered values are decoded; as they are if not set.", DecodingStrategy::NAMES),
        )
}

fn template_ref(description: &str) -> Node {
    let item = object("One key that holds a template.").required("key", data_key("The key.")).field(
        "templateAs",
        word("Values: the result is the value of this key; KeysAndValues: it is a YAML map.", TemplateScope::NAMES)
            .default(json!("Values")),
    );
    object(description)
        .required("name", object_name("Its name."))
        .required("items", list("Which of its keys to use.", item).at_most(&limits::TEMPLATE_SOURCES))
}

fn sync_windows() -> Node {
    let window = object("One window.")
        .required(
            "schedule",
            string("When it opens, in UTC: five cron fields, a name like @daily, or @every and a duration.")
                .set("minLength", json!(1))
                .within(&limits::WORD_LENGTH)
                .pattern(r"^(@(yearly|annually|monthly|weekly|daily|midnight|hourly)|@every \S.*|\S+( \S+){4})$"),
        )
        .required("duration", string("How long it stays open, like 8h.").within(&limits::WORD_LENGTH));
    object("When periodic refreshes may run; changes of this object are not held back.")
        .required(
            "kind",
            word("allow: refreshes run only inside of the windows; deny: only outside.", SyncWindowKind::NAMES),
        )
        .required("windows", list("The windows.", window).set("minItems", json!(1)).at_most(&limits::SYNC_WINDOWS))
}

fn data_entry() -> Node {
    object("One value.")
        .required("secretKey", data_key("Key in the target."))
        .required("remoteRef", remote_ref("Where the value is."))
        .field("sourceRef", source_ref("Another store for this entry (generators work in dataFrom only)."))
}

fn remote_ref(description: &str) -> Node {
    fetched(object(description).required("key", reference("Name of the secret in the store.")))
        .field("property", reference("Field inside of the secret, like user or a.b.0."))
        .field("version", reference("Version of the secret; the current one if not set."))
        .field(
            "metadataPolicy",
            word("Fetch: get the tags or labels of the secret, not its value; None if not set.", MetadataPolicy::NAMES),
        )
}

/// A name in a store.
pub(super) fn reference(description: &str) -> Node {
    string(description).within(&limits::REFERENCE_LENGTH)
}

/// A regular expression.
pub(super) fn pattern(description: &str) -> Node {
    string(description).within(&limits::PATTERN_LENGTH)
}

/// What can be said about every fetched value.
fn fetched(node: Node) -> Node {
    node.field(
        "conversionStrategy",
        word(
            "How names become keys of a Secret: Default (if not set) puts _ for what a key can't hold, \
             Unicode its code point.",
            ConversionStrategy::NAMES,
        ),
    )
    .field(
        "decodingStrategy",
        word(
            "How values are decoded; None if not set, Auto takes base64 where it looks like it.",
            DecodingStrategy::NAMES,
        ),
    )
    .field(
        "nullBytePolicy",
        word("Fail: a zero byte in a value is an error; Ignore if not set.", NullBytePolicy::NAMES),
    )
}

fn data_from_entry() -> Node {
    object("Several values.")
        .field("extract", remote_ref("Every field of one secret."))
        .field("find", find())
        .field("rewrite", list("Changes to the keys, in order.", rewrite()).at_most(&limits::REWRITES))
        .field("sourceRef", source_ref("Another store for this entry, or a generator."))
        .plain_rule(
            "!(has(self.extract) && has(self.find))",
            "extract and find are two sources: make two entries of them",
        )
        .plain_rule(
            "!((has(self.extract) || has(self.find)) && has(self.sourceRef) && has(self.sourceRef.generatorRef))",
            "a generator has nothing to extract or find: make two entries, or name a storeRef",
        )
        .plain_rule(
            "has(self.extract) || has(self.find) || has(self.sourceRef)",
            "this entry has no source: add extract, find or sourceRef",
        )
}

fn find() -> Node {
    let name = object("Names to find.")
        .field("regexp", pattern("Regular expression (RE2) that the name must match somewhere."));
    fetched(object("Every secret that matches."))
        .field("path", reference("Where to begin."))
        .field("name", name)
        .field("tags", map_of_strings("Tags that the secret must have.").at_most_keys(&limits::FIND_TAGS))
}

fn rewrite() -> Node {
    let merge = object("Make one of all values, which must be JSON objects.")
        .field("into", reference("Key of the result, with strategy JSON.").default(json!("")))
        .field("priority", strings("Keys whose fields win, the last one most.").at_most(&limits::PRIORITIES))
        .field(
            "priorityPolicy",
            word(
                "Strict: every key of priority must be there; IgnoreNotFound: it need not.",
                MergePriorityPolicy::NAMES,
            )
            .default(json!("Strict")),
        )
        .field(
            "conflictPolicy",
            word(
                "Error: a field may come from one value only; Ignore: the later one wins.",
                MergeConflictPolicy::NAMES,
            )
            .default(json!("Error")),
        )
        .field(
            "strategy",
            word("Extract: a key for each field; JSON: one key that holds all.", MergeStrategy::NAMES)
                .default(json!("Extract")),
        );
    renaming().field("merge", merge).exactly_one_field()
}

/// One change to keys, by search or by template.
pub(super) fn renaming() -> Node {
    let regexp = object("Search and replace.")
        .required("source", pattern("Regular expression (RE2) to search for."))
        .required("target", string("Replacement, with $1 for the first group.").within(&limits::RENAME_LENGTH));
    let template = string("Template of the new key; .value is the old one.").within(&limits::RENAME_LENGTH);
    let transform = object("Render each key.").required("template", template);
    object("One change.").field("regexp", regexp).field("transform", transform)
}

pub(super) fn generator_ref() -> Node {
    object("A generator.")
        .field("apiVersion", api_version("Its group and version.").default(json!(crate::names::GENERATORS_API_VERSION)))
        .required("kind", word("Its kind.", &generators::kinds()))
        .required("name", object_name("Its name."))
}

fn source_ref(description: &str) -> Node {
    object(description)
        .field("storeRef", store_ref("A store."))
        .field("generatorRef", generator_ref())
        .plain_rule("has(self.storeRef) || has(self.generatorRef)", "name a storeRef or a generatorRef")
        .plain_rule("!(has(self.storeRef) && has(self.generatorRef))", "keep one of storeRef and generatorRef")
}

pub(super) fn status() -> Node {
    let binding = object("The Secret, for applications that follow the service binding specification.")
        .field("name", string("Its name."))
        .set("x-kubernetes-map-type", json!("atomic"));
    object("What the operator last saw and did.")
        .field("refreshTime", time("When the values were last fetched."))
        .field(
            "syncedResourceVersion",
            string("Which generation, labels and annotations of this object they were fetched for."),
        )
        .field("refreshBy", time("By when what generators made is to be replaced, where that ends by itself."))
        .field("conditions", conditions(word("What the statement is about.", &["Ready", "Deleted"])))
        .field("binding", binding)
}
