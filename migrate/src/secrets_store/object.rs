//! What each provider makes of a class: files, and the stores that they come from.

use clap::Args;
use serde_json::{Value, json};

use super::class::{Class, Entry, mode, others};
use crate::carry::{Said, Weight};

/// What the providers' own settings said, and classes do not.
#[derive(Args, Clone, Debug, Default)]
pub struct Place {
    /// Vault's URL, for classes that name none (VAULT_ADDR of the provider)
    #[arg(long, value_name = "URL")]
    pub vault_server: Option<String>,
    /// AWS: the region of classes that name none, which the provider took from the node
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
    /// The audience of tokens for Vault, of classes that name none; Vault's roles must take it
    #[arg(long, default_value = "vault", value_name = "AUDIENCE")]
    pub vault_audience: String,
    /// The ServiceAccount, in the namespace of each store, as which stores log in that Secrets are written from
    #[arg(long, value_name = "NAME")]
    pub service_account: Option<String>,
}

/// What stands where something is to be filled in. Nobody has a host of this name, so that nothing is sent anywhere.
pub const FILL_IN: &str = "fill-me-in.invalid";

/// The ServiceAccount of a store that whoever mounts logs in to: the schema asks for a name.
pub const WHOEVER: &str = "whoever-mounts";

/// A store.
#[derive(Clone, Debug, PartialEq)]
pub struct Store {
    /// What it is called.
    pub name: String,
    /// `spec.provider`.
    pub provider: Value,
    /// Where in that the ServiceAccount is, as a pointer.
    pub account: &'static str,
    /// What is to be done about it.
    pub to_do: Vec<String>,
    /// What is to be known of it.
    pub notes: Vec<String>,
}

impl Store {
    /// One that is called by these parts.
    pub fn new<'a>(parts: impl IntoIterator<Item = &'a str>, provider: Value, account: &'static str) -> Self {
        let joined =
            parts.into_iter().filter(|part| !part.is_empty() && *part != FILL_IN).collect::<Vec<_>>().join("-");
        let plain: String =
            joined.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let name = plain.trim_matches('-').chars().take(200).collect();
        Self { name, provider, account, to_do: Vec::new(), notes: Vec::new() }
    }

    /// The same for whoever writes Secrets, who logs in as this ServiceAccount.
    pub fn of_operator(&self, account: Option<&str>) -> Self {
        let name = format!("{}-secrets", self.name);
        let mut store = Self { name, to_do: Vec::new(), notes: Vec::new(), ..self.clone() };
        if let Some(name) = store.provider.pointer_mut(self.account).and_then(|of| of.get_mut("name")) {
            *name = json!(account.unwrap_or("fill-me-in"));
        }
        if account.is_none() {
            let field = self.account.replace('/', ".");
            store.to_do.push(format!(
                "spec.provider{field}.name: name the ServiceAccount that Secrets are fetched as, or give --service-account"
            ));
        }
        store
    }
}

/// A file of a volume.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Its path, by which `secretObjects` know it.
    pub path: String,
    /// Its mode, where the class says one.
    pub mode: Option<String>,
    /// What it holds, as an ExternalSecret says that.
    pub remote: Value,
    /// Where that is.
    pub store: Store,
}

/// Takes the mode of an entry's file.
pub fn mode_of(entry: &Entry, name: &str, said: &mut Said<'_>) -> Option<String> {
    match mode(entry, name)? {
        Ok(mode) => Some(mode),
        Err(why) => {
            said.say(Weight::Lost, why);
            None
        }
    }
}

/// Says which fields of an entry mean nothing here.
pub fn left(entry: &Entry, known: &[&str], said: &mut Said<'_>) {
    for field in others(entry, known) {
        said.say(Weight::Lost, format!("{field} has no counterpart"));
    }
}

/// Says which parameters of a class mean nothing here.
pub fn left_of(class: &Class, known: &[&str], said: &mut Said<'_>) {
    for name in class.others(known) {
        said.place = class.place(&format!("{name}:"));
        said.say(Weight::Lost, format!("parameters.{name} has no counterpart"));
    }
}
