//! By whom is opened: by the operator, who holds the cluster's keys, or by keys of the store's own.

use std::collections::HashSet;
use std::sync::Arc;

use keyferry_provider_core::{Blame, BuildContext, Error, Scope, SecretBytes, SecretRef, Unseal};
use keyferry_provider_session::turns::Turns;
use keyferry_sealing::keys::{CERTIFICATE, PRIVATE};
use keyferry_sealing::{SealingKey, SealingKeys, Tries, open_within};

use crate::config::Kind;

/// How many tries of keys are made in one turn: others wait so long. Some tens of milliseconds.
const AT_ONCE: usize = 10;

/// Who opens.
pub enum Opener {
    /// The store's own keys.
    Own(Arc<SealingKeys>),
    /// The operator.
    Operator(Arc<dyn Unseal>),
}

impl Opener {
    /// By the keys that the store names, or else by the operator.
    pub async fn new(
        kind: Kind,
        named: &[(String, SecretRef)],
        ctx: &BuildContext,
        turns: &Turns,
    ) -> Result<Self, Error> {
        if named.is_empty() {
            let nobody = || {
                let keys = if kind == Kind::SealedSecrets {
                    format!(", or name the sealing keys in {kind}.keys")
                } else {
                    String::new()
                };
                Error::invalid(format!(
                    "{kind}: nobody here holds the keys that open it: run the operator with --sealing-keys, or \
                     `keyferry sync` in a pod, or `keyferry node`, with --unseal-from{keys}"
                ))
            };
            return ctx.unseal.clone().map(Self::Operator).ok_or_else(nobody);
        }
        let (mut all, mut certificates) = (Vec::new(), HashSet::new());
        for (field, reference) in named {
            let part = async |key: &str| {
                let reference = SecretRef { key: Some(key.to_owned()), ..reference.clone() };
                ctx.credentials.secret(&reference, None).await.map_err(|error| error.context(field))
            };
            let (certificate, private) = (part(CERTIFICATE).await?, part(PRIVATE).await?);
            // Named twice it would be tried twice.
            if !certificates.insert(certificate.expose().to_vec()) {
                continue;
            }
            let key = turns.compute(move || SealingKey::of_pem(certificate.expose(), private.expose(), None)).await;
            all.push(key.map_err(|error| error.context(field).with_blame(Blame::Credentials))?);
        }
        Ok(Self::Own(Arc::new(SealingKeys::new(all)?)))
    }

    /// Opens what was sealed for `scope`; answers each, in their order.
    pub async fn open(
        &self,
        turns: &Turns,
        namespace: &str,
        scope: &Scope,
        sealed: Vec<Vec<u8>>,
    ) -> Result<Vec<Result<SecretBytes, Error>>, Error> {
        let keys = match self {
            Self::Operator(unseal) => return unseal.unseal(namespace, scope, sealed).await,
            Self::Own(keys) => keys,
        };
        let (sealed, scope) = (Arc::new(sealed), scope.clone());
        let (mut all, mut tries) = (Vec::with_capacity(sealed.len()), Tries::default());
        while all.len() < sealed.len() {
            let (keys, sealed, scope, from) = (keys.clone(), sealed.clone(), scope.clone(), all.len());
            let opened;
            (opened, tries) = turns
                .compute(move || {
                    let (mut opened, mut left) = (Vec::new(), AT_ONCE);
                    for one in &sealed[from..] {
                        let Some(done) = open_within(&keys, &scope, one, &mut tries, &mut left) else { break };
                        opened.push(done);
                    }
                    Ok((opened, tries))
                })
                .await?;
            all.extend(opened);
        }
        Ok(all)
    }
}
