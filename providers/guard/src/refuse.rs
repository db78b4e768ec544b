//! What a store is not asked for, so that the answer is the same for all that can't do it. Pure.

use keyferry_provider_core::{Blame, Capabilities, Error, ErrorKind, Key, Metadata, Query};

/// Why the store is not asked for `key`, where it is not.
pub fn key(can: &Capabilities, key: &Key) -> Option<Error> {
    if can.max_batch == 0 {
        Some(Error::cannot("read").with_blame(Blame::Spec))
    } else if key.metadata && can.metadata == Metadata::Refused {
        Some(Error::new(ErrorKind::Unsupported, "this store keeps no metadata: remove metadataPolicy"))
    } else {
        None
    }
}

/// What a search asks the store for. As in External Secrets Operator it passes over a path, and beside a name tags, that
/// the store can't search by; but the store is never asked for all that it has by mistake.
pub fn query(can: &Capabilities, query: &Query) -> Result<Query, Error> {
    let (by_name, by_tags) = (query.name.is_some(), !query.tags.is_empty());
    for (refused, how) in [(by_name && !can.find_by_name, "name"), (by_tags && !by_name && !can.find_by_tags, "tags")] {
        if refused {
            return Err(Error::cannot(&format!("searched by {how}")));
        }
    }
    if !by_name && !by_tags && !can.find_all {
        let ways = [(can.find_by_name, "find.name.regexp"), (can.find_by_tags, "find.tags")];
        let ways: Vec<&str> = ways.into_iter().filter(|(can, _)| *can).map(|(_, way)| way).collect();
        return if ways.is_empty() {
            Err(Error::cannot("searched"))
        } else {
            let message = format!("the search does not say what to find: set {}", ways.join(" or "));
            Err(Error::new(ErrorKind::Unsupported, message))
        };
    }
    let mut asked = query.clone();
    if !can.find_by_path {
        asked.path = None;
    }
    if !can.find_by_tags {
        asked.tags.clear();
    }
    Ok(asked)
}

/// That the store can be written to, or why not.
pub fn push(can: &Capabilities) -> Result<(), Error> {
    if can.push { Ok(()) } else { Err(Error::cannot("pushed to")) }
}

/// That the store can be deleted from, or why not.
pub fn delete(can: &Capabilities) -> Result<(), Error> {
    if can.delete { Ok(()) } else { Err(Error::cannot("deleted from")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says by what a store would be searched, or why it is not.
    fn asked(can: Capabilities, name: bool, path: bool, tags: bool) -> Result<String, String> {
        let whole = Query {
            name: name.then(|| keyferry_go::regexp::compile("n").unwrap()),
            path: path.then(|| "p".to_owned()),
            tags: tags.then(|| ("t".to_owned(), "v".to_owned())).into_iter().collect(),
        };
        let query = query(&can, &whole).map_err(|error| error.message().to_owned())?;
        let parts = [(query.name.is_some(), "name"), (query.path.is_some(), "path"), (!query.tags.is_empty(), "tags")];
        Ok(parts.into_iter().filter(|(there, _)| *there).map(|(_, part)| part).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_search_by_nothing_finds_nothing() {
        let aws =
            Capabilities { find_by_name: true, find_by_path: true, find_by_tags: true, ..Capabilities::default() };
        let kubernetes = Capabilities { find_by_path: false, ..aws };
        let fake = Capabilities { find_by_name: true, ..Capabilities::default() };
        let vault = Capabilities { find_all: true, ..aws };
        let unsaid = |ways: &str| Err(format!("the search does not say what to find: set {ways}"));
        assert_eq!(asked(aws, false, false, false), unsaid("find.name.regexp or find.tags"));
        assert_eq!(asked(aws, false, true, false), unsaid("find.name.regexp or find.tags"));
        assert_eq!(asked(kubernetes, false, false, false), unsaid("find.name.regexp or find.tags"));
        assert_eq!(asked(fake, false, false, false), unsaid("find.name.regexp"));
        assert_eq!(asked(vault, false, false, false).unwrap(), "");
        assert_eq!(asked(vault, false, true, false).unwrap(), "path");
        assert_eq!(asked(aws, false, true, true).unwrap(), "path tags");
        assert_eq!(asked(aws, true, true, true).unwrap(), "name path tags");
        assert!(asked(Capabilities::default(), false, false, false).unwrap_err().contains("can't be searched"));
    }

    #[test]
    fn what_a_store_can_not_search_by_is_passed_over_beside_a_name() {
        let kubernetes = Capabilities { find_by_name: true, find_by_tags: true, ..Capabilities::default() };
        assert_eq!(asked(kubernetes, true, true, false).unwrap(), "name");
        assert_eq!(asked(kubernetes, false, true, true).unwrap(), "tags");
        assert!(asked(kubernetes, false, true, false).unwrap_err().contains("does not say what to find"));
        let fake = Capabilities { find_by_name: true, ..Capabilities::default() };
        assert_eq!(asked(fake, true, true, true).unwrap(), "name");
        assert_eq!(asked(fake, false, true, true).unwrap_err(), "this store can't be searched by tags");
        assert_eq!(
            asked(Capabilities::default(), true, false, false).unwrap_err(),
            "this store can't be searched by name"
        );
    }
}
