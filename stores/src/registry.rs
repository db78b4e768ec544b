//! Which providers are compiled in. No other file of `src/` names a provider crate.

use keyferry_provider_core::Registration;

/// Every provider of this build.
pub const PROVIDERS: &[Registration] = &[
    #[cfg(feature = "aws")]
    keyferry_provider_aws::REGISTRATION,
    #[cfg(feature = "fake")]
    keyferry_provider_fake::REGISTRATION,
    #[cfg(feature = "kubernetes")]
    keyferry_provider_kubernetes::REGISTRATION,
    #[cfg(feature = "vault")]
    keyferry_provider_vault::REGISTRATION,
];

/// Finds the provider under this key of `spec.provider`; the error lists what there is.
pub fn find(name: &str) -> Result<&'static Registration, String> {
    PROVIDERS.iter().find(|provider| provider.name == name).ok_or_else(|| {
        let known: Vec<&str> = PROVIDERS.iter().map(|provider| provider.name).collect();
        format!("provider {name:?} is not part of this build of keyferry; it has: {}", known.join(", "))
    })
}
