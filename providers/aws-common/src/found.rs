//! Searching below the prefix of a store. A name and a path may be written as they are in the account or as they are below
//! the prefix: External Secrets Operator takes the former in Parameter Store, and people write either.

use keyferry_provider_core::Query;

/// A name that a search found below the prefix of the store.
pub struct Found<'a> {
    prefix: &'a str,
    whole: &'a str,
    key: &'a str,
}

impl<'a> Found<'a> {
    /// The secret that the account calls `whole`; `None` where it is not below the prefix.
    pub fn of(prefix: &'a str, whole: &'a str) -> Option<Self> {
        whole.strip_prefix(prefix).map(|key| Self { prefix, whole, key })
    }

    /// What the secret is asked for as.
    pub fn key(&self) -> &'a str {
        self.key
    }

    /// Whether it is what a search by name means.
    pub fn matches(&self, query: &Query) -> bool {
        query.matches(self.key) || query.matches(self.whole)
    }

    /// Whether it begins with this text.
    pub fn begins_with(&self, path: &str) -> bool {
        self.key.starts_with(path) || (is_whole(self.prefix, path) && self.whole.starts_with(path))
    }
}

/// With what the whole names begin of all that may be below `path`, in a store with this prefix.
pub fn starts(prefix: &str, path: &str) -> Vec<String> {
    let below = format!("{prefix}{path}");
    // Further up than the prefix is all of the store.
    let whole = if path.starts_with(prefix) { path } else { prefix };
    let mut starts: Vec<String> = is_whole(prefix, path).then(|| whole.to_owned()).into_iter().chain([below]).collect();
    // What begins with the longer begins with the shorter.
    if starts.len() == 2 && starts[1].starts_with(&starts[0]) {
        starts.pop();
    }
    starts
}

/// Whether a path may be meant as it is in the account: it leads further down than the prefix, or less far and up to the end
/// of one of its folders.
fn is_whole(prefix: &str, path: &str) -> bool {
    let is_folder = |rest: &str| path.is_empty() || path.ends_with('/') || rest.starts_with('/');
    path.starts_with(prefix) || prefix.strip_prefix(path).is_some_and(is_folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_as_it_is_in_the_account_or_below_the_prefix() {
        for (prefix, path, expected) in [
            ("", "", vec![""]),
            ("", "team/", vec!["team/"]),
            ("team/", "", vec!["team/"]),
            ("team/", "app", vec!["team/app"]),
            ("team/", "team/app", vec!["team/app", "team/team/app"]),
            ("/team/", "/", vec!["/team/"]),
            ("/a/b/", "/a", vec!["/a/b/"]),
            // Not the start of the prefix, but of a name below it.
            ("team/", "te", vec!["team/te"]),
            ("team/", "other/", vec!["team/other/"]),
        ] {
            assert_eq!(starts(prefix, path), expected, "{prefix} {path}");
        }
        let begins = |whole: &str, path: &str| Found::of("team/", whole).is_some_and(|found| found.begins_with(path));
        assert!(begins("team/app/a", "app/") && begins("team/app/a", "team/app/"));
        assert!(!begins("team/app/a", "te") && begins("team/te", "te") && begins("team/te", "team"));
        assert!(!begins("team/app/a", "other") && !begins("other/app/a", "app/"));
    }

    #[test]
    fn a_name_as_it_is_in_the_account_or_below_the_prefix() {
        let matches = |pattern: &str| {
            let query = Query { name: Some(pattern.parse().unwrap()), ..Query::default() };
            Found::of("/team/", "/team/app").unwrap().matches(&query)
        };
        assert!(matches("^app$") && matches("^/team/app$") && matches("pp"));
        assert!(!matches("^team") && !matches("other"));
        assert_eq!(Found::of("/team/", "/team/app").unwrap().key(), "app");
    }
}
