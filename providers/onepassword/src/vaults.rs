//! Which of the vaults that the token may see are the store's, in its order. Ids of vaults hardly ever change, so the
//! list is held for a while; before an item is said not to be there it is read anew.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use keyferry_provider_core::{Error, ErrorKind};
use keyferry_provider_session::{Grant, Life, Source};

use crate::answers::{self, Vault, is_id};
use crate::client::{Call, Client};

/// How long the list is believed.
const BELIEVED: Duration = Duration::from_secs(600);

/// Asks for the list.
pub struct Listing {
    client: Arc<Client>,
    wanted: Vec<String>,
}

impl Listing {
    /// Of the vaults that are wanted, by name or id.
    pub fn new(client: Arc<Client>, wanted: Vec<String>) -> Self {
        Self { client, wanted }
    }

    /// The vaults that are wanted, in their order.
    pub async fn ask(&self) -> Result<Vec<Vault>, Error> {
        let answer = self.client.success(&Call::get("GetVaults", ["vaults"]), &"the list of vaults").await?;
        let all = answers::vaults(&answer.body).ok_or_else(|| self.client.malformed(&answer))?;
        self.wanted.iter().map(|wanted| pick(&all, wanted)).collect()
    }
}

#[async_trait]
impl Source<Vec<Vault>> for Listing {
    async fn get(&self) -> Result<Grant<Vec<Vault>>, Error> {
        Ok(Grant { value: self.ask().await?, life: Life::of(BELIEVED) })
    }
}

/// The vault of this id or name. One that is not shown may be there, and not for this token: that is no vault without
/// items.
fn pick(all: &[Vault], wanted: &str) -> Result<Vault, Error> {
    if let Some(vault) = all.iter().find(|vault| is_id(wanted) && vault.id == wanted) {
        return Ok(vault.clone());
    }
    let mut named = all.iter().filter(|vault| vault.name == wanted);
    match (named.next(), named.next()) {
        (Some(vault), None) => Ok(vault.clone()),
        (Some(_), Some(_)) => Err(Error::invalid(format!(
            "several vaults are called {wanted:?}: name the one that is meant by its id in spec.provider.onepassword.vaults"
        ))),
        (None, _) => Err(Error::new(
            ErrorKind::Denied,
            format!(
                "the token can't see a vault {wanted:?}: give it access, or correct spec.provider.onepassword.vaults"
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vault_is_named_by_its_id_or_by_a_name_that_is_its_own() {
        let vault = |id: &str, name: &str| Vault { id: id.into(), name: name.into() };
        let id = "hfnjvi6aymbsnfc2xeeoheizda";
        let all = [vault(id, "prod"), vault("b", "twice"), vault("c", "twice"), vault("d", "Prod")];
        let of = |wanted| pick(&all, wanted).map(|vault| vault.id).map_err(|error| error.kind());
        assert_eq!((of("prod"), of(id), of("Prod")), (Ok(id.into()), Ok(id.into()), Ok("d".into())));
        assert_eq!((of("twice"), of("none")), (Err(ErrorKind::Invalid), Err(ErrorKind::Denied)));
    }
}
