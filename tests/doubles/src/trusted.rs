//! Credentials that are let in: several, while a new one takes the place of another.

/// Those that are good, the newest last.
pub(crate) struct Trusted(Vec<String>);

impl Trusted {
    /// This one alone.
    pub fn one(credential: &str) -> Self {
        Self(vec![credential.to_owned()])
    }

    /// This one too.
    pub fn add(&mut self, credential: &str) {
        self.0.push(credential.to_owned());
    }

    /// None but the newest.
    pub fn retire(&mut self) {
        self.0.drain(..self.0.len().saturating_sub(1));
    }

    /// Whether what is shown is one of them.
    pub fn holds(&self, shown: &str) -> bool {
        self.0.iter().any(|credential| credential == shown)
    }
}
