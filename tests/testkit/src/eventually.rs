//! Waiting for what happens elsewhere.

use std::fmt::Display;
use std::time::{Duration, Instant};

const ASK_EVERY: Duration = Duration::from_millis(50);

/// Asks until the answer is `Ok`, and gives what it holds. Panics with the last error
/// when `timeout` is over, also when a single question takes longer than that.
#[track_caller]
pub fn eventually<T, E: Display, F: Future<Output = Result<T, E>>>(
    timeout: Duration,
    mut ask: impl FnMut() -> F,
) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        let start = Instant::now();
        let mut last = "the first attempt did not end".to_owned();
        loop {
            let left = timeout.saturating_sub(start.elapsed());
            match tokio::time::timeout(left, ask()).await {
                Ok(Ok(value)) => return value,
                Ok(Err(error)) => last = format!("{error:#}"),
                // Whatever took too long, the last answer tells more than that.
                Err(_) => {}
            }
            if start.elapsed() >= timeout {
                panic!("{caller}: not within {timeout:?}: {last}");
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn gives_the_first_success() {
        let mut asked = 0;
        let value = eventually(Duration::from_secs(5), || {
            asked += 1;
            let answer = if asked < 3 { Err("not yet") } else { Ok(asked) };
            async move { answer }
        });
        assert_eq!(value.await, 3);
    }

    #[tokio::test]
    #[should_panic(expected = "not within 120ms: still red")]
    async fn panics_with_the_last_error() {
        let ask = || async { Err::<(), _>("still red") };
        eventually(Duration::from_millis(120), ask).await;
    }

    #[tokio::test]
    #[should_panic(expected = "the first attempt did not end")]
    async fn a_question_that_hangs_ends_too() {
        let ask = || async {
            std::future::pending::<()>().await;
            Ok::<_, String>(())
        };
        eventually(Duration::from_millis(50), ask).await;
    }
}
