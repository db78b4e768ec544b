//! Which providers and generators are compiled in. No other file of this crate names one of their crates.

use std::sync::LazyLock;

use keyferry_provider_core::{GeneratorRegistration, Registration};

/// Every provider of this build.
pub const PROVIDERS: &[Registration] = &[
    #[cfg(feature = "aws")]
    keyferry_provider_aws::REGISTRATION,
    #[cfg(feature = "azurekv")]
    keyferry_provider_azurekv::REGISTRATION,
    #[cfg(feature = "fake")]
    keyferry_provider_fake::REGISTRATION,
    #[cfg(feature = "gcpsm")]
    keyferry_provider_gcpsm::REGISTRATION,
    #[cfg(feature = "kubernetes")]
    keyferry_provider_kubernetes::REGISTRATION,
    #[cfg(feature = "kubernetes")]
    keyferry_provider_kubernetes::CRD,
    #[cfg(feature = "rest")]
    keyferry_provider_rest::AKEYLESS,
    #[cfg(feature = "rest")]
    keyferry_provider_rest::DELINEA,
    #[cfg(feature = "rest")]
    keyferry_provider_rest::DOPPLER,
    #[cfg(feature = "rest")]
    keyferry_provider_rest::GITLAB,
    #[cfg(feature = "rest")]
    keyferry_provider_rest::INFISICAL,
    #[cfg(feature = "rest")]
    keyferry_provider_rest::SCALEWAY,
    #[cfg(feature = "vault")]
    keyferry_provider_vault::REGISTRATION,
    #[cfg(feature = "vault")]
    keyferry_provider_vault::OPEN_BAO,
];

/// Every generator of this build.
pub const GENERATORS: &[GeneratorRegistration] = &[
    #[cfg(feature = "local")]
    keyferry_provider_local::FAKE,
    #[cfg(feature = "local")]
    keyferry_provider_local::PASSWORD,
    #[cfg(feature = "local")]
    keyferry_provider_local::UUID,
];

/// Their kinds.
pub static GENERATOR_KINDS: LazyLock<Vec<&str>> =
    LazyLock::new(|| GENERATORS.iter().map(|generator| generator.kind).collect());

/// Finds the generator of this kind.
pub fn generator(kind: &str) -> Option<&'static GeneratorRegistration> {
    GENERATORS.iter().find(|generator| generator.kind == kind)
}

/// Finds the provider under this key of `spec.provider`; the error lists what there is.
pub fn find(name: &str) -> Result<&'static Registration, String> {
    PROVIDERS.iter().find(|provider| provider.name == name).ok_or_else(|| {
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
