//! What was parsed or compiled, kept by its text and bounded by bytes: a count would let the largest of all in.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Keeps what is cheap to clone and costs time to make.
pub struct Cache<T> {
    most: usize,
    kept: Mutex<Kept<T>>,
}

struct Kept<T> {
    by_text: HashMap<String, T>,
    bytes: usize,
}

impl<T: Clone> Cache<T> {
    /// One that holds no more than so many bytes.
    pub fn new(most: usize) -> Self {
        Self { most, kept: Mutex::new(Kept { by_text: HashMap::new(), bytes: 0 }) }
    }

    /// What `text` stands for: as it is kept, or else as `make` makes it, with about how many bytes it takes. Failures are
    /// not kept.
    pub fn get_or<E>(&self, text: &str, make: impl FnOnce() -> Result<(T, usize), E>) -> Result<T, E> {
        // Apart from what follows: the lock must be let go before anything is made.
        let known = self.lock().by_text.get(text).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let (made, size) = make()?;
        let size = size.saturating_add(text.len());
        if size <= self.most {
            let mut kept = self.lock();
            // Others may be making the same.
            if !kept.by_text.contains_key(text) {
                // All are let go at once: what is in use comes back, and there is no order to keep.
                if kept.bytes.saturating_add(size) > self.most {
                    *kept = Kept { by_text: HashMap::new(), bytes: 0 };
                }
                kept.bytes += size;
                kept.by_text.insert(text.to_owned(), made.clone());
            }
        }
        Ok(made)
    }

    fn lock(&self) -> MutexGuard<'_, Kept<T>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_by_bytes() {
        let cache = Cache::new(100);
        let made = |text: &str, size| {
            let mut made = false;
            let answer: Result<u8, ()> = cache.get_or(text, || {
                made = true;
                Ok((1, size))
            });
            assert_eq!(answer, Ok(1));
            made
        };
        assert!(made("a", 50) && !made("a", 50), "kept");
        assert!(made("b", 40) && !made("a", 50) && !made("b", 40), "both fit");
        assert!(made("c", 40), "too much: all are let go");
        assert!(made("a", 50) && !made("c", 40));
        assert!(made("large", 100) && made("large", 100), "what does not fit is not kept");
        assert!(!made("a", 50), "nor is anything let go for it");
        assert_eq!(cache.get_or("wrong", || Err("why")), Err("why"));
    }
}
