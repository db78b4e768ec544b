//! Which providers and generators are compiled in. No other file of this crate names one of their crates.

use std::sync::LazyLock;

use keyferry_provider_core::{GeneratorRegistration, KeyServiceRegistration, Registration};

/// Every provider of this build.
pub const PROVIDERS: &[Registration] = &[
    #[cfg(feature = "age")]
    keyferry_provider_age::REGISTRATION,
    #[cfg(feature = "age")]
    keyferry_provider_age::SOPS,
    #[cfg(feature = "alibaba")]
    keyferry_provider_alibaba::REGISTRATION,
    #[cfg(feature = "aws")]
    keyferry_provider_aws::REGISTRATION,
    #[cfg(feature = "azurekv")]
    keyferry_provider_azurekv::REGISTRATION,
    #[cfg(feature = "barbican")]
    keyferry_provider_barbican::REGISTRATION,
    #[cfg(feature = "bitwarden")]
    keyferry_provider_bitwarden::REGISTRATION,
    #[cfg(feature = "conjur")]
    keyferry_provider_conjur::REGISTRATION,
    #[cfg(feature = "fake")]
    keyferry_provider_fake::REGISTRATION,
    #[cfg(feature = "gcpsm")]
    keyferry_provider_gcpsm::REGISTRATION,
    #[cfg(feature = "kubernetes")]
    keyferry_provider_kubernetes::REGISTRATION,
    #[cfg(feature = "kubernetes")]
    keyferry_provider_kubernetes::CRD,
    #[cfg(feature = "onepassword")]
    keyferry_provider_onepassword::REGISTRATION,
    #[cfg(feature = "rest")]
    keyferry_provider_rest::AKEYLESS,
    #[cfg(feature = "rest")]
    keyferry_provider_rest::DELINEA,
    #[cfg(feature = "rest")]
    keyferry_provider_rest::DOPPLER,
    #[cfg(feature = "rest")]
    keyferry_provider_rest::FORTANIX,
    #[cfg(feature = "rest")]
    keyferry_provider_rest::GITHUB,
    #[cfg(feature = "rest")]
    keyferry_provider_rest::GITLAB,
    #[cfg(feature = "rest")]
    keyferry_provider_rest::IBM,
    #[cfg(feature = "rest")]
    keyferry_provider_rest::INFISICAL,
    #[cfg(feature = "rest")]
    keyferry_provider_rest::NGROK,
    #[cfg(feature = "rest")]
    keyferry_provider_rest::ORACLE,
    #[cfg(feature = "rest")]
    keyferry_provider_rest::OVH,
    #[cfg(feature = "rest")]
    keyferry_provider_rest::SCALEWAY,
    #[cfg(feature = "sealed")]
    keyferry_provider_sealed::REGISTRATION,
    #[cfg(feature = "sealed")]
    keyferry_provider_sealed::SEALED_SECRETS,
    #[cfg(feature = "rest")]
    keyferry_provider_rest::SECRET_SERVER,
    #[cfg(feature = "vault")]
    keyferry_provider_vault::REGISTRATION,
    #[cfg(feature = "vault")]
    keyferry_provider_vault::OPEN_BAO,
    #[cfg(feature = "webhook")]
    keyferry_provider_webhook::REGISTRATION,
];

/// Every generator of this build.
pub const GENERATORS: &[GeneratorRegistration] = &[
    #[cfg(feature = "azurekv")]
    keyferry_provider_azurekv::ACR,
    #[cfg(feature = "rest")]
    keyferry_provider_rest::generate::CLOUDSMITH,
    #[cfg(feature = "aws")]
    keyferry_provider_aws::ECR,
    #[cfg(feature = "local")]
    keyferry_provider_local::FAKE,
    #[cfg(feature = "gcpsm")]
    keyferry_provider_gcpsm::GCR,
    #[cfg(feature = "rest")]
    keyferry_provider_rest::generate::GITHUB,
    #[cfg(feature = "rest")]
    keyferry_provider_rest::generate::GITLAB,
    #[cfg(feature = "rest")]
    keyferry_provider_rest::generate::GRAFANA,
    #[cfg(feature = "local")]
    keyferry_provider_local::MFA,
    #[cfg(feature = "local")]
    keyferry_provider_local::PASSWORD,
    #[cfg(feature = "rest")]
    keyferry_provider_rest::generate::QUAY,
    #[cfg(feature = "local")]
    keyferry_provider_local::SSH_KEY,
    #[cfg(feature = "aws")]
    keyferry_provider_aws::STS,
    #[cfg(feature = "local")]
    keyferry_provider_local::UUID,
    #[cfg(feature = "vault")]
    keyferry_provider_vault::DYNAMIC,
    #[cfg(feature = "webhook")]
    keyferry_provider_webhook::GENERATOR,
];

/// Their kinds.
pub static GENERATOR_KINDS: LazyLock<Vec<&str>> =
    LazyLock::new(|| GENERATORS.iter().map(|generator| generator.kind).collect());

/// Finds the generator of this kind.
pub fn generator(kind: &str) -> Option<&'static GeneratorRegistration> {
    GENERATORS.iter().find(|generator| generator.kind == kind)
}

/// Every service of this build that keeps keys.
pub const KEY_SERVICES: &[KeyServiceRegistration] = &[
    #[cfg(feature = "aws")]
    keyferry_provider_aws::KMS,
    #[cfg(feature = "azurekv")]
    keyferry_provider_azurekv::KEYS,
    #[cfg(feature = "gcpsm")]
    keyferry_provider_gcpsm::KMS,
    #[cfg(feature = "vault")]
    keyferry_provider_vault::TRANSIT,
];

/// The variables of the environment that programs log in with, by provider.
pub const CREDENTIAL_VARIABLES: &[&[&str]] = &[
    #[cfg(feature = "age")]
    keyferry_provider_age::CREDENTIAL_VARIABLES,
    #[cfg(feature = "aws")]
    keyferry_provider_aws::CREDENTIAL_VARIABLES,
    #[cfg(feature = "azurekv")]
    keyferry_provider_azurekv::CREDENTIAL_VARIABLES,
    #[cfg(feature = "gcpsm")]
    keyferry_provider_gcpsm::CREDENTIAL_VARIABLES,
    #[cfg(feature = "vault")]
    keyferry_provider_vault::CREDENTIAL_VARIABLES,
];

/// Finds the service of this name.
pub fn key_service(name: &str) -> Option<&'static KeyServiceRegistration> {
    KEY_SERVICES.iter().find(|service| service.name == name)
}

/// Providers that speak only with their vendor's own library, which encrypts all that it sends, and the way that works.
const CLOSED: [(&str, &str); 3] = [
    ("onepasswordSDK", "use provider onepassword with a 1Password Connect server, which serves the same vaults"),
    (
        "keepersecurity",
        "use provider webhook with a service that speaks Keeper, such as Keeper Commander's service mode",
    ),
    ("passbolt", "use provider webhook with a service that speaks Passbolt, such as a Passbolt CLI behind HTTP"),
];

/// Providers of External Secrets Operator that are not built, and whose they are.
const UNBUILT: [(&str, &str); 14] = [
    ("beyondtrust", "BeyondTrust Password Safe"),
    ("beyondtrustworkloadcredentials", "BeyondTrust Workload Credentials"),
    ("chef", "Chef Infra Server"),
    ("cloudrusm", "Cloud.ru Secret Manager"),
    ("dvls", "Devolutions Server"),
    ("nebiusmysterybox", "Nebius MysteryBox"),
    ("onboardbase", "Onboardbase"),
    ("passworddepot", "Password Depot"),
    ("previder", "Previder Vault"),
    ("pulumi", "Pulumi ESC"),
    ("senhasegura", "senhasegura DSM"),
    ("volcengine", "Volcengine KMS"),
    ("yandexcertificatemanager", "Yandex Certificate Manager"),
    ("yandexlockbox", "Yandex Lockbox"),
];

/// Finds the provider under this key of `spec.provider`; the error says which way works instead, or lists what there is.
pub fn find(name: &str) -> Result<&'static Registration, String> {
    PROVIDERS.iter().find(|provider| provider.name == name).ok_or_else(|| {
        if let Some((_, way)) = CLOSED.iter().find(|(closed, _)| *closed == name) {
            return format!(
                "provider {name:?} can't be served: only its vendor's own library can decrypt what its server sends; {way}"
            );
        }
        if let Some((_, vendor)) = UNBUILT.iter().find(|(unbuilt, _)| *unbuilt == name) {
            return format!(
                "provider {name:?} is not built: use provider webhook, which asks any service over HTTP, with {vendor} itself \
                 where a token that lasts opens it, and else with a service of yours in between that logs in there"
            );
        }
        let known: Vec<&str> = PROVIDERS.iter().map(|provider| provider.name).collect();
        format!("provider {name:?} is not part of this build of keyferry; it has: {}", known.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_registrations_answer_to_one_name() {
        let providers: BTreeSet<&str> = PROVIDERS.iter().map(|provider| provider.name).collect();
        let kinds: BTreeSet<&str> = GENERATOR_KINDS.iter().copied().collect();
        let fields: BTreeSet<&str> = GENERATORS.iter().map(|generator| generator.field).collect();
        assert_eq!((providers.len(), kinds.len(), fields.len()), (PROVIDERS.len(), GENERATORS.len(), GENERATORS.len()));
        for name in providers {
            assert!(find(name).is_ok_and(|found| found.name == name) && generator(name).is_none());
        }
    }

    #[test]
    fn who_can_not_be_spoken_to_is_told_the_way_that_works() {
        for (name, way) in [("onepasswordSDK", "onepassword"), ("keepersecurity", "webhook"), ("passbolt", "webhook")] {
            let told = find(name).err().unwrap_or_default();
            assert!(told.contains(&format!("use provider {way} ")), "{told}");
        }
        for (name, vendor) in UNBUILT {
            let told = find(name).err().unwrap_or_default();
            assert!(told.contains("use provider webhook") && told.contains(vendor), "{told}");
        }
        assert!(find("no such").is_err_and(|told| told.contains("it has: ")));
    }

    #[test]
    fn what_a_store_can_do_is_known_before_anybody_has_logged_in_and_of_any_spec() {
        for provider in PROVIDERS {
            for spec in
                [serde_json::json!({}), serde_json::json!(null), serde_json::json!({"version": 1, "service": []})]
            {
                let can = (provider.capabilities)(&spec);
                assert!(can.max_batch > 0 || can.push, "{} can do nothing", provider.name);
            }
        }
    }
}
