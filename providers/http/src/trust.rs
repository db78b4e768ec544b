//! Whom a spec has us believe: certificates in `caBundle`, or in an object that `caProvider` names.

use keyferry_provider_core::{CaRef, Credentials, Error, filled};
use reqwest::Certificate;

use crate::pem::{bundle, certificates};

/// Where the CA certificates are that a spec has us believe.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Ca {
    /// Nowhere: the system's count.
    #[default]
    System,
    /// In the spec.
    Pem {
        /// They themselves.
        pem: Vec<u8>,
        /// What messages call the field.
        field: String,
    },
    /// In an object.
    Ref {
        /// Which one.
        reference: CaRef,
        /// What messages call the field.
        field: String,
    },
}

impl Ca {
    /// Reads `caBundle` and `caProvider`, which the spec has below `at`. Where both are set the bundle counts.
    ///
    /// # Errors
    /// `Invalid` where the bundle holds no PEM, however encoded.
    pub fn new(bundle_of_spec: Option<String>, provider: Option<CaRef>, at: &str) -> Result<Self, Error> {
        let field = |name: &str| format!("{at}.{name}");
        match (filled(bundle_of_spec), provider) {
            (Some(text), _) => match bundle(text.into_bytes()) {
                Some(pem) => Ok(Self::Pem { pem, field: field("caBundle") }),
                None => {
                    Err(Error::invalid(format!("{at}.caBundle must hold PEM certificates, as they are or in base64")))
                }
            },
            (None, Some(reference)) => Ok(Self::Ref { reference, field: field("caProvider") }),
            (None, None) => Ok(Self::System),
        }
    }

    /// The certificates; `None` where the system's count.
    ///
    /// # Errors
    /// `Invalid` where there are none that can be read, and those of the port.
    pub async fn certificates(&self, credentials: &dyn Credentials) -> Result<Option<Vec<Certificate>>, Error> {
        match self {
            Self::System => Ok(None),
            Self::Pem { pem, field } => certificates(pem, field).map(Some),
            Self::Ref { reference, field } => {
                let pem = credentials.ca_bundle(reference).await.map_err(|error| error.context(field))?;
                certificates(&pem, field).map(Some)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use keyferry_provider_core::{CaSource, ErrorKind};

    use super::*;

    fn of_bundle(bundle: &str) -> Result<Ca, Error> {
        Ca::new(Some(bundle.to_owned()), None, "the.spec")
    }

    #[test]
    fn a_bundle_however_often_encoded() {
        let text = "# a comment\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let once = STANDARD.encode(text);
        let twice = STANDARD.encode(&once);
        let wrapped = format!("{}\n{}\n", &once[..40], &once[40..]);
        for bundle in [text, &once, &twice, &wrapped] {
            let read = Ca::Pem { pem: text.as_bytes().to_vec(), field: "the.spec.caBundle".to_owned() };
            assert_eq!(of_bundle(bundle), Ok(read));
        }
        for wrong in ["canary!", "Y2FuYXJ5", &STANDARD.encode(&twice)] {
            let error = of_bundle(wrong).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert_eq!(error.message(), "the.spec.caBundle must hold PEM certificates, as they are or in base64");
        }
    }

    #[test]
    fn the_bundle_counts_and_then_the_object_and_then_the_system() {
        let reference = CaRef { source: CaSource::Secret, name: "ca".to_owned(), key: None, namespace: None };
        let of = |bundle: Option<&str>, reference: Option<&CaRef>| {
            Ca::new(bundle.map(str::to_owned), reference.cloned(), "the.spec").unwrap()
        };
        assert_eq!((of(None, None), of(Some(""), None)), (Ca::System, Ca::System));
        let kept = Ca::Ref { reference: reference.clone(), field: "the.spec.caProvider".to_owned() };
        assert_eq!(of(Some(""), Some(&reference)), kept);
        assert!(matches!(of(Some("-----BEGIN CERTIFICATE-----"), Some(&reference)), Ca::Pem { .. }));
    }
}
