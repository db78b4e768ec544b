//! What stands for the user's store.

use std::any::Any;

use keyferry_testkit::Testbed;
use serde_json::{Value, json};

use crate::{doubles, servers};

/// The store that a sample is about.
pub struct Counterpart {
    /// Texts of the sample that are others here: the server, and what the user chooses or is given.
    pub here: Vec<(&'static str, String)>,
    /// Where the environment has to lead there.
    pub env: Vec<(&'static str, String)>,
    /// Objects that the page says are there already.
    pub there: Vec<Value>,
    /// The Secret that comes of it: its name, and its texts.
    pub secret: (&'static str, Value),
    /// What must come to be so at the store, where the sample pushes into it; else nothing.
    pub pushed: Option<fn(&(dyn Any + Send + Sync)) -> bool>,
    /// Whether an operator must do it, since tokens of ServiceAccounts are for nobody else.
    pub operator: bool,
    /// What runs as long as it is asked.
    pub running: Box<dyn Any + Send + Sync>,
}

impl Counterpart {
    /// One of which `password` comes in the Secret `app`.
    pub fn new(running: impl Any + Send + Sync, here: Vec<(&'static str, String)>) -> Self {
        Self {
            here,
            env: Vec::new(),
            there: Vec::new(),
            secret: ("app", json!({"password": VALUE})),
            pushed: None,
            operator: false,
            running: Box::new(running),
        }
    }
}

/// What the store holds.
pub const VALUE: &str = "the value that is there";

/// The same as a field of JSON.
pub fn field() -> String {
    json!({"user": "app", "password": VALUE}).to_string()
}

/// The counterpart of a page.
pub async fn of(store: &str, testbed: &Testbed) -> Counterpart {
    match store {
        "age" | "sealedsecrets" | "sops" => Counterpart::new((), Vec::new()),
        "akeyless" => doubles::akeyless(),
        "alibaba" => doubles::alibaba(),
        "aws" => servers::aws(testbed).await,
        "azurekv" => doubles::azurekv(),
        "barbican" => servers::barbican().await,
        "bitwardensecretsmanager" => doubles::bitwarden(),
        "conjur" => doubles::conjur(),
        "crd" => servers::crd(testbed),
        "delinea" => doubles::delinea(),
        "doppler" => doubles::doppler(),
        "fake" => servers::fake(),
        "fortanix" => doubles::fortanix(),
        "gcpsm" => doubles::gcpsm(),
        "github" => doubles::github(),
        "gitlab" => doubles::gitlab(),
        "ibm" => doubles::ibm(),
        "infisical" => doubles::infisical(),
        "kubernetes" => servers::kubernetes(testbed),
        "ngrok" => doubles::ngrok(),
        "onepassword" => doubles::onepassword(),
        "oracle" => doubles::oracle(),
        "ovh" => doubles::ovh(),
        "scaleway" => doubles::scaleway(),
        "secretserver" => doubles::secretserver(),
        "vault" => servers::vault(testbed).await,
        "webhook" => doubles::webhook(),
        other => panic!("docs/stores/{other}.md has no counterpart: nobody knows whether its sample works"),
    }
}
