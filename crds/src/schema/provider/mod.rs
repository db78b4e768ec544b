//! `spec.provider`: one key, and under it the configuration of that provider.
//!
//! Every key that External Secrets Operator knows is here, and one that it dropped. Typed are the providers that we
//! serve or will serve next; the others are open, so that nothing is lost while we don't look into them, and some of
//! those are checked for what their own API refuses. A key that is
//! not here is accepted too, whole: the operator says in a condition what it can't serve.

mod age;
mod akeyless;
mod alibaba;
mod aws;
mod azurekv;
mod barbican;
mod bitwarden;
mod conjur;
mod crd;
mod delinea;
mod doppler;
mod fake;
mod fortanix;
mod gcpsm;
mod github;
mod gitlab;
mod ibm;
mod infisical;
mod kubernetes;
mod ngrok;
mod onepassword;
mod oracle;
mod ovh;
mod scaleway;
mod sealed;
mod secretserver;
mod unserved;
mod vault;
mod webhook;

pub(super) use aws::auth as aws_auth;
pub(super) use gcpsm::auth as gcp_auth;
use keyferry_limits::PROVIDER_ENTRIES;
use serde_json::json;
pub(super) use vault::schema as vault_store;

use super::node::{Node, anything, object};

/// Providers without a schema of their own: key, and what the key configures.
const OPEN: &[(&str, &str)] = &[
    ("beyondtrust", "BeyondTrust Password Safe."),
    ("beyondtrustworkloadcredentials", "BeyondTrust Workload Credentials."),
    ("chef", "Chef Infra Server data bags."),
    ("cloudrusm", "Cloud.ru Secret Manager."),
    ("dvls", "Devolutions Server."),
    ("keepersecurity", "Keeper Security."),
    ("nebiusmysterybox", "Nebius MysteryBox."),
    ("passbolt", "Passbolt."),
    ("passworddepot", "Password Depot Enterprise Server."),
    ("previder", "Previder Vault."),
    ("senhasegura", "senhasegura DevOps Secret Manager."),
    ("volcengine", "Volcengine KMS."),
    ("yandexcertificatemanager", "Yandex Certificate Manager."),
    ("yandexlockbox", "Yandex Lockbox."),
];

type Schema = fn() -> Node;

/// Providers that are open too, but for what their own API refuses.
const CHECKED: &[(&str, Schema)] = &[("onboardbase", unserved::onboardbase), ("pulumi", unserved::pulumi)];

/// Providers with a schema of their own.
const TYPED: &[(&str, Schema)] = &[
    ("age", age::schema),
    ("akeyless", akeyless::schema),
    ("alibaba", alibaba::schema),
    ("aws", aws::schema),
    ("azurekv", azurekv::schema),
    ("barbican", barbican::schema),
    ("bitwardensecretsmanager", bitwarden::schema),
    ("conjur", conjur::schema),
    ("crd", crd::schema),
    ("delinea", delinea::schema),
    ("doppler", doppler::schema),
    ("fake", fake::schema),
    ("fortanix", fortanix::schema),
    ("gcpsm", gcpsm::schema),
    ("github", github::schema),
    ("gitlab", gitlab::schema),
    ("ibm", ibm::schema),
    ("infisical", infisical::schema),
    ("kubernetes", kubernetes::schema),
    ("ngrok", ngrok::schema),
    ("onepassword", onepassword::schema),
    ("onepasswordSDK", onepassword::sdk),
    ("openBao", vault::open_bao),
    ("oracle", oracle::schema),
    ("ovh", ovh::schema),
    ("scaleway", scaleway::schema),
    ("sealed", sealed::schema),
    ("sealedsecrets", sealed::sealed_secrets),
    ("secretserver", secretserver::schema),
    ("sops", age::sops),
    ("vault", vault::schema),
    ("webhook", webhook::schema),
];

/// The provider keys that the API knows, whether this operator serves them or not, in alphabetical order.
pub fn provider_keys() -> Vec<&'static str> {
    let with_schema = TYPED.iter().chain(CHECKED).map(|(key, _)| *key);
    let mut keys: Vec<_> = with_schema.chain(OPEN.iter().map(|(key, _)| *key)).collect();
    keys.sort_unstable();
    keys
}

/// The node of `spec.provider`.
pub(super) fn schema() -> Node {
    let keys = provider_keys();
    let each = |word: &dyn Fn(&str) -> String, between: &str| {
        keys.iter().map(|key| word(key)).collect::<Vec<_>>().join(between)
    };
    let set = each(&|key| format!("has(it.{key})"), ", ");
    // Not by `join`: it would cost more than CEL may, since CEL can't tell beforehand how long the list is.
    let names = each(&|key| format!("(has(self.{key}) ? ' {key}' : '')"), " + ");
    let node = object("The provider: exactly one key.").open().set("minProperties", json!(1)).rule_that_says(
        &format!("[{set}].filter(is_set, is_set).size() <= 1"),
        "keep exactly one provider",
        &format!("'keep exactly one of these providers:' + {names}"),
    );
    // The values of a store in its own spec are as many as there are.
    let bounded = |key, schema: Schema| if key == "fake" { schema() } else { schema().bounded(&PROVIDER_ENTRIES) };
    let node = TYPED.iter().chain(CHECKED).fold(node, |node, (key, schema)| node.field(key, bounded(*key, *schema)));
    OPEN.iter().fold(node, |node, (key, description)| node.field(key, anything(description)))
}
