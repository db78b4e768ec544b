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

/// Why the store is not searched so, where it is not: what it can't search by would be passed over, and secrets that nobody
/// asked for would be found. Nor is it ever asked for all that it has by mistake.
pub fn query(can: &Capabilities, query: &Query) -> Result<(), Error> {
    let (by_name, by_path, by_tags) = (query.name.is_some(), query.path().is_some(), !query.tags.is_empty());
    let asked =
        [(by_name, can.find_by_name, "name"), (by_path, can.find_by_path, "path"), (by_tags, can.find_by_tags, "tags")];
    let ways = || {
        let ways: Vec<&str> = asked.iter().filter(|(_, can, _)| *can).map(|(.., how)| *how).collect();
        ways.join(" and ")
    };
    if !can.find_all && !asked.iter().any(|(_, can, _)| *can) {
        return Err(Error::cannot("searched"));
    }
    if let Some((.., how)) = asked.iter().find(|(asked, can, _)| *asked && !can) {
        let hint = format!("remove find.{how}; it can be searched by {}", ways());
        return Err(Error::cannot(&format!("searched by {how}")).with_hint(hint));
    }
    if by_name || by_tags || can.find_all {
        return Ok(());
    }
    let ways = [(can.find_by_name, "find.name.regexp"), (can.find_by_tags, "find.tags")];
    let ways: Vec<&str> = ways.into_iter().filter(|(can, _)| *can).map(|(_, way)| way).collect();
    let message = format!("the search does not say what to find: set {}", ways.join(" or "));
    Err(Error::new(ErrorKind::Unsupported, message))
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

    /// Why a store is not searched so; nothing where it is.
    fn refused(can: Capabilities, name: bool, path: bool, tags: bool) -> String {
        let whole = Query {
            name: name.then(|| keyferry_go::regexp::compile("n").unwrap()),
            path: path.then(|| "p".to_owned()),
            tags: tags.then(|| ("t".to_owned(), "v".to_owned())).into_iter().collect(),
        };
        query(&can, &whole).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_search_by_nothing_finds_nothing() {
        let aws =
            Capabilities { find_by_name: true, find_by_path: true, find_by_tags: true, ..Capabilities::default() };
        let kubernetes = Capabilities { find_by_path: false, ..aws };
        let fake = Capabilities { find_by_name: true, ..Capabilities::default() };
        let vault = Capabilities { find_all: true, ..aws };
        let unsaid = |ways: &str| format!("the search does not say what to find: set {ways}");
        assert_eq!(refused(aws, false, false, false), unsaid("find.name.regexp or find.tags"));
        assert_eq!(refused(aws, false, true, false), unsaid("find.name.regexp or find.tags"));
        assert_eq!(refused(kubernetes, false, false, false), unsaid("find.name.regexp or find.tags"));
        assert_eq!(refused(fake, false, false, false), unsaid("find.name.regexp"));
        assert_eq!(refused(vault, false, false, false), "");
        assert_eq!(refused(vault, false, true, false), "");
        assert_eq!(refused(aws, false, true, true), "");
        assert_eq!(refused(aws, true, true, true), "");
        assert_eq!(refused(Capabilities::default(), false, false, false), "this store can't be searched");
    }

    #[test]
    fn what_a_store_can_not_search_by_is_refused_and_never_passed_over() {
        let kubernetes = Capabilities { find_by_name: true, find_by_tags: true, ..Capabilities::default() };
        let fake = Capabilities { find_by_name: true, ..Capabilities::default() };
        for (can, name, path, tags, expected) in [
            (kubernetes, true, false, true, ""),
            (kubernetes, true, true, false, "by path: remove find.path; it can be searched by name and tags"),
            (kubernetes, false, true, true, "by path: remove find.path; it can be searched by name and tags"),
            (fake, true, false, false, ""),
            (fake, true, false, true, "by tags: remove find.tags; it can be searched by name"),
            (fake, true, true, true, "by path: remove find.path; it can be searched by name"),
        ] {
            let told = refused(can, name, path, tags);
            let whole =
                if expected.is_empty() { String::new() } else { format!("this store can't be searched {expected}") };
            assert_eq!(told, whole);
        }
        // A path that is empty is none.
        let empty = Query { path: Some(String::new()), name: Some("n".parse().unwrap()), ..Query::default() };
        assert!(query(&fake, &empty).is_ok());
    }
}
