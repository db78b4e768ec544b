//! One writer of a secret at a time, whichever store they write through.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

type Turns = Mutex<HashMap<String, Weak<Turn<()>>>>;

static TURNS: LazyLock<Turns> = LazyLock::new(Mutex::default);

/// Waits until nobody else of this process writes the secret of this name. It is ours while the guard lives.
pub async fn turn(resource: &str) -> OwnedMutexGuard<()> {
    let turn = {
        let mut turns = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = turns.get(resource).and_then(Weak::upgrade).unwrap_or_default();
        turns.insert(resource.to_owned(), Arc::downgrade(&turn));
        turn
    };
    turn.lock_owned().await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_after_the_other_and_others_beside() {
        let first = turn("a").await;
        let soon = Duration::from_secs(1);
        assert!(timeout(soon, turn("a")).await.is_err());
        assert!(timeout(soon, turn("b")).await.is_ok());
        drop(first);
        assert!(timeout(soon, turn("a")).await.is_ok());
        drop(turn("b").await);
        assert_eq!(TURNS.lock().unwrap().get("a").and_then(Weak::upgrade).map(|_| ()), None, "nothing is left behind");
    }
}
