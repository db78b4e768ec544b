//! Several keys at once: which travel together, and what is answered for each.

use keyferry_provider_core::{Answer, Error, ErrorKind, Key};

/// Asks for `keys` in as few calls as there can be, and puts the answers into their order. A call takes `most` keys that
/// may all go `together`. Where there is one call only its error is that of all; of several each stands for its keys.
pub async fn in_batches<'a, F: Future<Output = Result<Vec<Answer>, Error>>>(
    keys: &'a [Key],
    most: usize,
    together: impl Fn(&Key, &Key) -> bool,
    ask: impl Fn(Vec<&'a Key>) -> F,
) -> Result<Vec<Answer>, Error> {
    let calls = calls(keys, most, together);
    let mut answers: Vec<Option<Answer>> = keys.iter().map(|_| None).collect();
    for call in &calls {
        let results = match ask(call.iter().map(|n| &keys[*n]).collect()).await {
            Err(error) if calls.len() == 1 => return Err(error),
            Err(error) => vec![Err(error); call.len()],
            Ok(results) => results,
        };
        for (n, result) in call.iter().zip(results) {
            answers[*n] = Some(result);
        }
    }
    Ok(answers.into_iter().flatten().collect())
}

/// The keys that go in one call each, as places in `keys`: one call for all that the fetcher gathers.
fn calls(keys: &[Key], most: usize, together: impl Fn(&Key, &Key) -> bool) -> Vec<Vec<usize>> {
    let mut calls: Vec<Vec<usize>> = Vec::new();
    for (n, key) in keys.iter().enumerate() {
        let joins = |call: &&mut Vec<usize>| call.len() < most && call.iter().all(|other| together(&keys[*other], key));
        match calls.iter_mut().find(joins) {
            Some(call) => call.push(n),
            None => calls.push(vec![n]),
        }
    }
    calls
}

/// The answer of a call about one key: an error about the key itself is its answer, the outer error is about the store
/// as a whole.
pub fn of_one(error: Error) -> Result<Answer, Error> {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NoVersion | ErrorKind::Denied | ErrorKind::Invalid => Ok(Err(error)),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use keyferry_provider_core::SecretBytes;

    use super::*;

    fn keys(names: &[&str]) -> Vec<Key> {
        names.iter().map(|name| Key { name: (*name).to_owned(), version: None, metadata: false }).collect()
    }

    #[test]
    fn keys_go_where_there_is_room_and_nothing_like_them() {
        let different = |a: &Key, b: &Key| a.name != b.name;
        assert_eq!(calls(&keys(&["a", "b", "a", "c", "d"]), 3, different), [vec![0, 1, 3], vec![2, 4]]);
        assert!(calls(&[], 3, different).is_empty());
    }

    #[tokio::test]
    async fn answers_come_in_the_order_of_their_keys() {
        let asked = keys(&["a", "b", "a", "c"]);
        let answers = in_batches(
            &asked,
            2,
            |a, b| a.name != b.name,
            async |call: Vec<&Key>| match call[0].name.as_str() {
                "a" if call.len() == 1 => Err(Error::new(ErrorKind::Timeout, "late")),
                _ => Ok(call.iter().map(|key| Ok(SecretBytes::from(key.name.as_str()).into())).collect()),
            },
        );
        let answers: Vec<_> = answers
            .await
            .unwrap()
            .iter()
            .map(|answer| answer.as_ref().ok().map(|fetched| fetched.value.clone()))
            .collect();
        let text = |text: &str| Some(SecretBytes::from(text));
        assert!(answers == [text("a"), text("b"), text("a"), text("c")]);
    }

    #[tokio::test]
    async fn the_error_of_the_only_call_is_that_of_all() {
        let fail = async |_: Vec<&Key>| Err(Error::new(ErrorKind::Timeout, "late"));
        let kinds = async |names: &[&str]| {
            let answers = in_batches(&keys(names), 2, |a, b| a.name != b.name, fail).await;
            answers.map(|answers| answers.iter().filter(|answer| answer.is_err()).count()).map_err(|error| error.kind())
        };
        assert_eq!(kinds(&["a", "b"]).await, Err(ErrorKind::Timeout));
        assert_eq!(kinds(&["a", "a"]).await, Ok(2));
    }
}
