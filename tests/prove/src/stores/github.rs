//! The double of GitHub Actions secrets, which shows nobody what it holds.

use anyhow::Result;
use async_trait::async_trait;
use keyferry_doubles::actions::{Double, PLACE};
use keyferry_doubles::github::{APP, INSTALLATION};
use keyferry_doubles::{Call, Server};
use serde_json::{Value, json};

use crate::Counterpart;

const NAME: &str = "PROOF";

pub struct GitHub(Double);

impl GitHub {
    pub fn new() -> Self {
        Self(Double::start())
    }
}

#[async_trait]
impl Counterpart for GitHub {
    fn name(&self) -> &'static str {
        "github"
    }

    fn is_write_only(&self) -> bool {
        true
    }

    fn server(&self) -> Option<&Server> {
        Some(self.0.server())
    }

    /// Whether a secret is there already is asked before it is written.
    fn is_wanted(&self, call: &Call) -> bool {
        call.status == 404 && call.path.ends_with(NAME)
    }

    fn provider(&self, secret: &str) -> Value {
        let number = |text: &str| text.parse::<u64>().unwrap_or_default();
        json!({"github": {
            "url": self.0.server().url(), "appID": number(APP), "installationID": number(INSTALLATION),
            "organization": PLACE.0, "repository": PLACE.1,
            "auth": {"privateKey": {"name": secret, "key": "key"}},
        }})
    }

    fn remote(&self) -> Value {
        json!({ "remoteKey": NAME })
    }

    fn held(&self) -> Option<String> {
        let (value, ..) = self.0.held(&format!("repos/{}/{}/actions", PLACE.0, PLACE.1), NAME)?;
        String::from_utf8(value).ok()
    }

    async fn credential(&self) -> Result<Value> {
        self.0.add_key();
        Ok(json!({"key": self.0.key()}))
    }

    async fn retire(&self) -> Result<()> {
        self.0.retire();
        Ok(())
    }
}
