//! Making what somebody must revoke: whatever happens, it is written down, revoked, or named in the log.

use std::sync::Arc;
use std::time::Duration;

use keyferry_provider_core::body::attempt;
use keyferry_provider_core::{Error, ErrorKind, Keep, Made};
use keyferry_sync::ports::Generator;
use tokio::time::timeout;

/// How long one call of a provider or generator may take, reading, checking and making alike.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Which generator it is, for the log.
pub struct Named {
    namespace: String,
    kind: String,
    name: String,
}

impl Named {
    /// Of this one.
    pub fn of(generator: &Generator<'_>) -> Self {
        let Generator { namespace, kind, name, .. } = *generator;
        Self { namespace: namespace.to_owned(), kind: kind.to_owned(), name: name.to_owned() }
    }
}

/// Waits for a generator as long as anybody may.
pub async fn bounded<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let too_long = || Error::new(ErrorKind::Timeout, "the generator took too long");
    timeout(CALL_TIMEOUT, attempt(work)).await.unwrap_or_else(|_| Err(too_long())).map_err(Error::no_reason_to_delete)
}

/// Makes something, and writes down its state.
pub async fn make(
    generator: Arc<dyn keyferry_provider_core::Generator>,
    named: Named,
    keep: Arc<dyn Keep>,
) -> Result<Made, Error> {
    let made = bounded(generator.make(&*keep)).await?;
    let Some(state) = &made.state else { return Ok(made) };
    let Err(error) = keep.keep(state, made.term).await else { return Ok(made) };
    if let Err(problem) = bounded(generator.revoke(state)).await {
        let Named { namespace, kind, name } = &named;
        tracing::error!(
            namespace, kind, name, %state, %problem,
            "what was generated could neither be written down nor revoked: revoke it yourself"
        );
    }
    Err(error)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use keyferry_provider_core::{State, Term};
    use serde_json::json;

    use super::*;

    /// Makes one thing, and notes what becomes of it.
    #[derive(Default)]
    struct World {
        log: Mutex<Vec<String>>,
        can_write: bool,
    }

    #[async_trait]
    impl keyferry_provider_core::Generator for World {
        async fn make(&self, _: &dyn Keep) -> Result<Made, Error> {
            Ok(Made { state: Some(json!({"id": 7})), ..Made::default() })
        }

        async fn revoke(&self, state: &State) -> Result<(), Error> {
            self.log.lock().unwrap().push(format!("revoke {state}"));
            Ok(())
        }

        async fn renew(&self, _: &State) -> Result<Option<(State, Term)>, Error> {
            Ok(None)
        }
    }

    #[async_trait]
    impl Keep for World {
        async fn keep(&self, state: &State, _: Option<Term>) -> Result<(), Error> {
            self.log.lock().unwrap().push(format!("keep {state}"));
            if self.can_write { Ok(()) } else { Err(Error::new(ErrorKind::Unavailable, "nobody writes")) }
        }
    }

    #[tokio::test]
    async fn what_can_not_be_written_down_is_revoked() {
        for (can_write, log) in [(true, vec!["keep {\"id\":7}"]), (false, vec!["keep {\"id\":7}", "revoke {\"id\":7}"])]
        {
            let world = Arc::new(World { can_write, ..World::default() });
            let named = Named { namespace: "ns".into(), kind: "K".into(), name: "n".into() };
            assert_eq!(make(world.clone(), named, world.clone()).await.is_ok(), can_write);
            assert_eq!(*world.log.lock().unwrap(), log);
        }
    }
}
