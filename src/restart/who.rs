//! Who restarts for a Secret that changed: by what its ExternalSecret asks for and what the workload says. Pure.

use std::collections::BTreeSet;

use jiff::Timestamp;
use keyferry_cluster::workloads::Kind;
use keyferry_crds::names;
use keyferry_limits::RESTART_LIST;
use keyferry_sync::data::StringMap;

/// The annotations by which workloads and Secrets speak to Stakater's Reloader.
mod reloader {
    /// Whether a workload restarts for whatever it uses.
    pub const AUTO: &str = "reloader.stakater.com/auto";
    /// Whether it does for Secrets that it uses.
    pub const AUTO_SECRETS: &str = "secret.reloader.stakater.com/auto";
    /// For which Secrets it does, used or not.
    pub const NAMED: &str = "secret.reloader.stakater.com/reload";
    /// For which it does not.
    pub const EXCLUDED: &str = "secrets.exclude.reloader.stakater.com/reload";
    /// Whether it does for those that it uses and that say so themselves, ...
    pub const SEARCH: &str = "reloader.stakater.com/search";
    /// ... by this annotation.
    pub const MATCH: &str = "reloader.stakater.com/match";
    /// Whether a Secret restarts nobody.
    pub const IGNORE: &str = "reloader.stakater.com/ignore";
}

/// A Secret that changed.
#[derive(Clone, Debug)]
pub struct Changed {
    /// Its name.
    pub secret: String,
    /// When.
    pub at: Timestamp,
    /// What it says itself.
    pub says: Says,
    /// What those who write it ask for.
    pub asked: Vec<Asked>,
}

/// What a Secret says itself, in Reloader's words: no more of its annotations is kept, which may be large.
#[derive(Clone, Copy, Debug, Default)]
pub struct Says {
    is_ignored: bool,
    is_matched: bool,
}

impl Says {
    /// What is in its annotations.
    pub fn of(annotations: &StringMap) -> Self {
        Self {
            is_ignored: is(annotations, reloader::IGNORE, "true"),
            is_matched: is(annotations, reloader::MATCH, "true"),
        }
    }
}

/// What an ExternalSecret asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Nothing: it is for workloads to say.
    Nothing,
    /// That nobody restarts.
    Nobody,
    /// That those restart who use it.
    Users,
    /// That these restart, by kind and name.
    These(BTreeSet<(Kind, String)>),
}

impl Asked {
    /// By its annotation. The error says what can't be understood.
    pub fn read(annotation: Option<&str>) -> Result<Self, String> {
        if annotation.is_some_and(|text| text.len() > RESTART_LIST.size()) {
            return Err(RESTART_LIST.to_string());
        }
        match annotation.map(str::trim) {
            None | Some("") => Ok(Self::Nothing),
            Some("none") => Ok(Self::Nobody),
            Some("users") => Ok(Self::Users),
            Some(list) => items(list).map(workload).collect::<Result<_, _>>().map(Self::These),
        }
    }
}

fn workload(text: &str) -> Result<(Kind, String), String> {
    let named = text.split_once('/').and_then(|(kind, name)| Some((Kind::named(kind)?, name.to_owned())));
    named.filter(|(_, name)| !name.is_empty()).ok_or_else(|| {
        format!(
            "annotation {} of the ExternalSecret: {text:?} is not understood: it is users, none, or a list such as \
             Deployment/web,StatefulSet/db,DaemonSet/agent",
            names::ANNOTATION_RESTART
        )
    })
}

/// Whether a workload restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It does not.
    No,
    /// Where its pods use the Secret.
    IfUsed,
    /// It does.
    Yes,
}

/// Whether the workload of this kind and name, with these annotations, restarts for this Secret. Where it says nothing itself
/// what the ExternalSecret asks for counts only `without_opt_in`.
pub fn verdict(kind: Kind, name: &str, says: &StringMap, changed: &Changed, without_opt_in: bool) -> Verdict {
    if changed.says.is_ignored || changed.asked.contains(&Asked::Nobody) {
        return Verdict::No;
    }
    let (own, consents) = match says.get(names::ANNOTATION_RESTART).map(|value| value.trim()) {
        Some("false") => return Verdict::No,
        Some("true") => (Verdict::IfUsed, true),
        // It says for which.
        Some(list) if items(list).any(|secret| secret == changed.secret) => return Verdict::Yes,
        Some(_) => return Verdict::No,
        None => match by_reloader(says, changed) {
            Some(Verdict::No) => return Verdict::No,
            Some(verdict) => (verdict, true),
            None => (Verdict::No, without_opt_in),
        },
    };
    let asked = changed.asked.iter().filter(|_| consents).map(|asked| match asked {
        Asked::Users => Verdict::IfUsed,
        Asked::These(all) if all.contains(&(kind, name.to_owned())) => Verdict::Yes,
        Asked::These(_) | Asked::Nothing | Asked::Nobody => Verdict::No,
    });
    asked.fold(own, Verdict::max)
}

/// What the workload says in Reloader's words; `None` where it says nothing.
fn by_reloader(says: &StringMap, changed: &Changed) -> Option<Verdict> {
    let lists = |name: &str| says.get(name).is_some_and(|list| items(list).any(|secret| secret == changed.secret));
    if lists(reloader::EXCLUDED) {
        return Some(Verdict::No);
    }
    if lists(reloader::NAMED) {
        return Some(Verdict::Yes);
    }
    if [reloader::AUTO, reloader::AUTO_SECRETS].iter().any(|name| is(says, name, "true")) {
        return Some(Verdict::IfUsed);
    }
    if is(says, reloader::SEARCH, "true") {
        return Some(if changed.says.is_matched { Verdict::IfUsed } else { Verdict::No });
    }
    let refuses = [reloader::AUTO, reloader::AUTO_SECRETS].iter().any(|name| is(says, name, "false"));
    (refuses || says.contains_key(reloader::NAMED)).then_some(Verdict::No)
}

fn is(annotations: &StringMap, name: &str, value: &str) -> bool {
    annotations.get(name).is_some_and(|found| found == value)
}

fn items(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> StringMap {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn changed(annotations: &[(&str, &str)], asked: &[&str]) -> Changed {
        let asked = asked.iter().map(|annotation| Asked::read(Some(annotation)).unwrap()).collect();
        Changed { secret: "app".to_owned(), at: Timestamp::UNIX_EPOCH, says: Says::of(&map(annotations)), asked }
    }

    fn judge(says: &[(&str, &str)], changed: &Changed) -> Verdict {
        verdict(Kind::Deployment, "web", &map(says), changed, false)
    }

    const OWN: &str = names::ANNOTATION_RESTART;

    #[test]
    fn a_workload_says_for_itself() {
        let plain = changed(&[], &[""]);
        for (says, wanted) in [
            (None, Verdict::No),
            (Some("true"), Verdict::IfUsed),
            (Some("false"), Verdict::No),
            (Some("db, app"), Verdict::Yes),
            (Some("db"), Verdict::No),
            (Some(""), Verdict::No),
        ] {
            let says: Vec<(&str, &str)> = says.map(|value| (OWN, value)).into_iter().collect();
            assert_eq!(judge(&says, &plain), wanted, "{says:?}");
        }
    }

    #[test]
    fn an_external_secret_asks_and_the_workload_consents() {
        let (users, named) = (changed(&[], &["users"]), changed(&[], &["StatefulSet/db, Deployment/web"]));
        for asked in [&users, &named] {
            assert_eq!(judge(&[], asked), Verdict::No, "nobody consents");
            assert_eq!(judge(&[(OWN, "false")], asked), Verdict::No);
            assert_eq!(judge(&[("reloader.stakater.com/auto", "false")], asked), Verdict::No);
        }
        assert_eq!(judge(&[(OWN, "true")], &users), Verdict::IfUsed);
        assert_eq!(judge(&[(OWN, "true")], &named), Verdict::Yes, "whether it uses it or not");
        let freely = |kind, asked, says: &[(&str, &str)]| verdict(kind, "web", &map(says), asked, true);
        assert_eq!(freely(Kind::Deployment, &users, &[]), Verdict::IfUsed);
        assert_eq!(freely(Kind::Deployment, &named, &[]), Verdict::Yes);
        assert_eq!(freely(Kind::DaemonSet, &named, &[]), Verdict::No, "another kind");
        assert_eq!(freely(Kind::Deployment, &named, &[(OWN, "false")]), Verdict::No, "whoever says no is left alone");
        assert_eq!(freely(Kind::Deployment, &changed(&[], &[""]), &[]), Verdict::No, "nobody asked");
        let none = changed(&[], &["none"]);
        assert_eq!(judge(&[(OWN, "true")], &none), Verdict::No);
        let several = changed(&[], &["users", "Deployment/web"]);
        assert_eq!(judge(&[(OWN, "true")], &several), Verdict::Yes);
    }

    #[test]
    fn what_is_not_understood_is_told() {
        for wrong in ["yes", "deployment/web", "Deployment/", "Pod/p", "users,Deployment/web"] {
            assert!(Asked::read(Some(wrong)).is_err_and(|why| why.contains("is not understood")), "{wrong}");
        }
        assert_eq!(Asked::read(None), Ok(Asked::Nothing));
        let long = "Deployment/web,".repeat(RESTART_LIST.size() / 10);
        assert!(Asked::read(Some(&long)).is_err_and(|why| why.contains("(limit restart-list)")));
    }

    #[test]
    fn reloaders_annotations_are_understood() {
        let auto = "reloader.stakater.com/auto";
        let (typed, named) = ("secret.reloader.stakater.com/auto", "secret.reloader.stakater.com/reload");
        let (search, exclude) = ("reloader.stakater.com/search", "secrets.exclude.reloader.stakater.com/reload");
        let plain = changed(&[], &[""]);
        let marked = changed(&[("reloader.stakater.com/match", "true")], &[""]);
        let ignored = changed(&[("reloader.stakater.com/ignore", "true")], &[""]);
        for (says, of, wanted) in [
            (&[(auto, "true")][..], &plain, Verdict::IfUsed),
            (&[(typed, "true")], &plain, Verdict::IfUsed),
            (&[(typed, "true"), (auto, "false")], &plain, Verdict::IfUsed),
            (&[("configmap.reloader.stakater.com/auto", "true")], &plain, Verdict::No),
            (&[(auto, "yes")], &plain, Verdict::No),
            (&[(named, "db, app")], &plain, Verdict::Yes),
            (&[(named, "db"), (auto, "true")], &plain, Verdict::IfUsed),
            (&[(named, "app"), (auto, "false")], &plain, Verdict::Yes),
            (&[(named, "db")], &plain, Verdict::No),
            (&[(search, "true")], &plain, Verdict::No),
            (&[(search, "true")], &marked, Verdict::IfUsed),
            (&[(search, "true"), (auto, "true")], &plain, Verdict::IfUsed),
            (&[], &marked, Verdict::No),
            (&[(auto, "true"), (exclude, "db,app")], &plain, Verdict::No),
            (&[(named, "app"), (exclude, "app")], &plain, Verdict::No),
            (&[(auto, "true"), (exclude, "db")], &plain, Verdict::IfUsed),
            (&[(named, "app"), (auto, "true")], &ignored, Verdict::No),
            (&[(OWN, "false"), (auto, "true")], &plain, Verdict::No),
        ] {
            assert_eq!(judge(says, of), wanted, "{says:?} {:?}", of.says);
        }
    }
}
