//! What is to do about a target. Pure.

use crate::contents::Contents;

/// A target as it was found.
#[derive(Debug)]
pub struct Found {
    /// What it holds; `None` where that is nothing that we could have written.
    pub contents: Option<Contents>,
    /// Whether we wrote it, as far as its form tells: one file alone does not.
    pub is_ours: bool,
    /// Whether all around it is as we leave it: modes, owners, links, and nothing left over.
    pub is_tidy: bool,
}

/// What is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Nothing,
    /// It holds what it should, and is to be tidied.
    Tidy,
    /// It is to be written.
    Write,
    /// It is somebody else's, and is left as it is.
    Refuse,
}

/// Decides for a target that was `found` and is to hold `wanted`. It `is_known` to be ours where that is written down.
pub fn decide(found: Option<&Found>, wanted: &Contents, is_known: bool) -> Step {
    let Some(found) = found else { return Step::Write };
    // Also where it holds the same: it would be written from then on, and its mode and owner are its owner's to choose.
    if !is_known && !found.is_ours {
        return Step::Refuse;
    }
    let is_equal = found.contents.as_ref() == Some(wanted);
    if is_equal && found.is_tidy {
        Step::Nothing
    } else if is_equal {
        Step::Tidy
    } else {
        Step::Write
    }
}

#[cfg(test)]
mod tests {
    use keyferry_provider_core::SecretBytes;

    use super::*;

    #[test]
    fn what_differs_is_written_where_it_is_ours() {
        let file = |text: &str| Contents::File(SecretBytes::from(text));
        let found = |text, is_ours, is_tidy| Found { contents: Some(file(text)), is_ours, is_tidy };
        let wanted = file("new");
        for (found, is_known, step) in [
            (None, false, Step::Write),
            (Some(found("new", false, true)), true, Step::Nothing),
            (Some(found("new", false, false)), true, Step::Tidy),
            (Some(found("new", true, true)), false, Step::Nothing),
            (Some(found("new", false, true)), false, Step::Refuse),
            (Some(found("new", false, false)), false, Step::Refuse),
            (Some(found("old", false, true)), true, Step::Write),
            (Some(found("old", true, true)), false, Step::Write),
            (Some(found("old", false, true)), false, Step::Refuse),
            (Some(Found { contents: None, is_ours: false, is_tidy: false }), false, Step::Refuse),
            (Some(Found { contents: None, is_ours: true, is_tidy: false }), false, Step::Write),
        ] {
            assert_eq!(decide(found.as_ref(), &wanted, is_known), step, "{found:?} {is_known}");
        }
        let folder = Contents::Folder([("a".to_owned(), SecretBytes::from("new"))].into());
        assert_eq!(decide(Some(&found("new", false, true)), &folder, false), Step::Refuse, "another form");
    }
}
