//! Webhook, the generator: one request, whose answer is an object of values. All else is as for the store.

use std::sync::Arc;

use async_trait::async_trait;
use keyferry_provider_core::{BuildContext, Built, Error, Generator, GeneratorRegistration, Keep, Made, State, Term};

use crate::config::Config;
use crate::store::Webhook;

/// How the registry knows it.
pub const GENERATOR: GeneratorRegistration =
    GeneratorRegistration { kind: "Webhook", field: "webhookSpec", has_state: false, build };

struct Asking {
    spec: serde_json::Value,
    ctx: BuildContext,
}

fn build(spec: &serde_json::Value, ctx: BuildContext) -> Built {
    Ok(Arc::new(Asking { spec: spec.clone(), ctx }))
}

#[async_trait]
impl Generator for Asking {
    async fn make(&self, _: &dyn Keep) -> Result<Made, Error> {
        let made = async { Webhook::new(Config::new(&self.spec)?, self.ctx.clone()).await?.fields().await };
        made.await.map(Made::from).map_err(|error| error.at("spec.provider.webhook", "spec"))
    }

    async fn revoke(&self, _: &State) -> Result<(), Error> {
        Ok(())
    }

    async fn renew(&self, _: &State) -> Result<Option<(State, Term)>, Error> {
        Ok(None)
    }
}
