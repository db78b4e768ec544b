//! Where a search is: below which folders it looks, how, and how far it has come.

use keyferry_provider_aws_common::found::starts;
use keyferry_provider_core::Query;

/// Where a search is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// How the folders are looked through.
    pub how: How,
    /// Where to go on in the first folder.
    pub token: Option<String>,
    /// The folders that are left.
    pub folders: Vec<String>,
}

/// The two calls that tell what is in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// GetParametersByPath, which knows no tags.
    ByPath,
    /// DescribeParameters.
    Describing,
}

impl How {
    fn word(self) -> &'static str {
        match self {
            Self::ByPath => "path",
            Self::Describing => "describe",
        }
    }
}

impl Place {
    /// Where a search begins, in a store with this prefix: a path is a folder with all that is in it.
    pub fn first(prefix: &str, query: &Query) -> Self {
        let how = if query.tags.is_empty() { How::ByPath } else { How::Describing };
        let folder = |start: String| match query.path() {
            Some(_) => tidy(&start),
            // The prefix need not end where a folder does.
            None => tidy(start.rsplit_once('/').map_or("", |(folder, _)| folder)),
        };
        let mut folders: Vec<String> =
            starts(prefix, query.path().unwrap_or_default()).into_iter().map(folder).collect();
        folders.dedup();
        Self { how, token: None, folders }
    }

    /// Where it goes on after a page of the first folder; `None` where that was all.
    pub fn after(mut self, token: Option<String>) -> Option<Self> {
        self.token = token.filter(|token| !token.is_empty());
        if self.token.is_none() {
            self.folders.remove(0);
        }
        (!self.folders.is_empty()).then_some(self)
    }

    /// As words that lead here again.
    pub fn into_words(self) -> Vec<String> {
        let mut words = vec![self.how.word().to_owned(), self.token.unwrap_or_default()];
        words.extend(self.folders);
        words
    }

    /// The place that words lead to.
    pub fn of_words(words: &[String]) -> Option<Self> {
        let [how, token, folders @ ..] = words else { return None };
        let how = [How::ByPath, How::Describing].into_iter().find(|each| each.word() == how)?;
        let token = Some(token.clone()).filter(|token| !token.is_empty());
        (!folders.is_empty()).then(|| Self { how, token, folders: folders.to_vec() })
    }
}

/// A folder as AWS takes it: from the root, without a slash at its end or two in a row.
fn tidy(folder: &str) -> String {
    let parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_to_look_in() {
        for (prefix, path, expected) in [
            ("", None, vec!["/"]),
            ("", Some("/"), vec!["/"]),
            ("", Some("/team"), vec!["/team"]),
            ("", Some("/team/"), vec!["/team"]),
            ("", Some("team"), vec!["/team"]),
            ("/team/", None, vec!["/team"]),
            ("/team/app-", None, vec!["/team"]),
            ("team-", None, vec!["/"]),
            ("/team/", Some("app"), vec!["/team/app"]),
            ("/team/", Some("/app"), vec!["/team/app"]),
            ("/team/", Some("/team/app"), vec!["/team/app", "/team/team/app"]),
            ("/team/", Some("/team"), vec!["/team"]), // which holds what is below /team/team, too
            ("/team", Some("/app"), vec!["/team/app"]),
            ("/a/b/", Some("/"), vec!["/a/b"]),
        ] {
            let query = Query { path: path.map(str::to_owned), ..Query::default() };
            assert_eq!(Place::first(prefix, &query).folders, expected, "{prefix} {path:?}");
        }
    }

    #[test]
    fn words_lead_back() {
        let first = Place { how: How::ByPath, token: None, folders: vec!["/a".into(), "/b".into()] };
        let second = first.clone().after(Some("token".into())).unwrap();
        let third = second.clone().after(Some(String::new())).unwrap();
        assert_eq!((second.folders.len(), third.folders.len(), third.clone().after(None)), (2, 1, None));
        for place in [first, second, third] {
            assert_eq!(Place::of_words(&place.clone().into_words()), Some(place));
        }
        assert_eq!(Place::of_words(&[]), None);
    }
}
