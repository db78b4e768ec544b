//! What the Secrets Store CSI Driver is answered, which writes files itself: all files of a volume, and a version for each.
//!
//! A version is drawn, and stays while its file holds the same bytes: what is mounted is compared with what is to be there. So it
//! changes when the value does and not else, tells whoever may read it nothing of the value, not even by guessing, needs no key
//! that somebody could find, and outlives this process. What a store calls a version would not do: templates, keys that are chosen
//! and the ExternalSecret itself change files, too, and leave that as it is.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use keyferry_files::problem::Problem;
use keyferry_files::volume::{File, Files, Most, Shown, Volume};
use keyferry_provider_core::SecretBytes;
use prost::bytes::Bytes;

use crate::rpc::provider::{self, MountResponse, ObjectVersion};

/// The file, without a byte, of a volume that shows nothing: the driver takes an answer without files for one that changes nothing.
pub const NOTHING: &str = ".keyferry-nothing";

/// Versions by path.
type Versions = BTreeMap<String, String>;

/// What one call is answered.
pub struct Answer {
    /// What the driver was answered last.
    held: Versions,
    /// Whether we gave what is there, and no provider before us.
    is_ours: bool,
    given: Mutex<Option<(Files, Versions)>>,
}

/// Bytes that are zeroed when they are sent.
struct Owned(SecretBytes);

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        self.0.expose()
    }
}

fn draw() -> String {
    format!("{:032x}", rand::random::<u128>())
}

impl Answer {
    /// To a driver that was answered this last, by us or by somebody else.
    pub fn new(held: &[ObjectVersion], is_ours: bool) -> Self {
        let held = held.iter().map(|object| (object.id.clone(), object.version.clone())).collect();
        Self { held, is_ours, given: Mutex::default() }
    }

    /// Whether files may go that are there: those of another provider stay until there are some of ours.
    pub fn may_take_away(&self) -> bool {
        self.is_ours && self.is_held()
    }

    /// Whether the driver has files.
    pub fn is_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether files are there, as the driver says, or, where it lost what it was answered, as is seen: a pod still uses them.
    pub fn stands(&self, place: &Path) -> bool {
        let shows = || Volume::open(place).is_ok_and(|volume| volume.shows_files_of_another().unwrap_or(true));
        self.is_held() || self.is_ours && shows()
    }

    /// What the driver shows at this place. Where it says that it has nothing, nothing counts.
    pub fn shown(&self, place: &Path, most: Most) -> Result<Shown, Problem> {
        if !self.is_held() {
            return Ok(Shown::Nothing);
        }
        Ok(match Volume::open(place)?.read_of_another(most)? {
            Shown::Files(files) if files.keys().eq([NOTHING]) => Shown::Nothing,
            shown => shown,
        })
    }

    /// Answers these files, in place of those that are shown.
    pub fn give(&self, files: Files, shown: &Shown) {
        if files.is_empty() {
            return self.take_away();
        }
        let is_same = |path: &String, file: &File| {
            let Shown::Files(shown) = shown else { return false };
            shown.get(path).is_some_and(|shown| shown.value.expose() == file.value.expose())
        };
        let version = |(path, file): (&String, &File)| {
            let held = self.held.get(path).filter(|_| is_same(path, file));
            (path.clone(), held.cloned().unwrap_or_else(draw))
        };
        let versions = files.iter().map(version).collect();
        self.set(files, versions);
    }

    /// Answers that nothing is to be there, unless that is another's.
    pub fn take_away(&self) {
        if self.is_held() && !self.is_ours {
            return;
        }
        let file = File { value: SecretBytes::new(Vec::new()), mode: 0o444 };
        let version = self.held.get(NOTHING).cloned().unwrap_or_else(draw);
        self.set([(NOTHING.to_owned(), file)].into(), [(NOTHING.to_owned(), version)].into());
    }

    /// Whether it is answered that nothing is to be there.
    pub fn takes_away(&self) -> bool {
        let given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        given.as_ref().is_some_and(|(files, _)| files.contains_key(NOTHING))
    }

    fn set(&self, files: Files, versions: Versions) {
        *self.given.lock().unwrap_or_else(PoisonError::into_inner) = Some((files, versions));
    }

    /// The answer; without files where nothing was to do.
    pub fn into_response(self) -> MountResponse {
        let given = self.given.into_inner().unwrap_or_else(PoisonError::into_inner);
        let (files, versions) = given.unwrap_or_else(|| (Files::new(), self.held));
        let file = |(path, File { value, mode }): (String, File)| provider::File {
            path,
            mode: i32::try_from(mode).unwrap_or_default(),
            contents: Bytes::from_owner(Owned(value)),
        };
        MountResponse {
            object_version: versions.into_iter().map(|(id, version)| ObjectVersion { id, version }).collect(),
            error: None,
            files: files.into_iter().map(file).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(all: &[(&str, &str)]) -> Files {
        let file = |value: &str| File { value: SecretBytes::from(value), mode: 0o640 };
        all.iter().map(|(path, value)| ((*path).to_owned(), file(value))).collect()
    }

    /// What is answered to who holds these versions and shows these files.
    fn answered(held: &[ObjectVersion], shown: &[(&str, &str)], now: &[(&str, &str)]) -> MountResponse {
        let answer = Answer::new(held, true);
        answer.give(files(now), &Shown::Files(files(shown)));
        answer.into_response()
    }

    fn version(response: &MountResponse, id: &str) -> String {
        response.object_version.iter().find(|object| object.id == id).unwrap().version.clone()
    }

    #[test]
    fn a_version_changes_with_the_value_and_not_else() {
        let first = answered(&[], &[], &[("a", "1"), ("b/c", "1")]);
        assert_ne!(version(&first, "a"), version(&first, "b/c"), "the same value is not told to be the same");
        assert_eq!((first.files[0].mode, first.files[0].contents.as_ref()), (0o640, b"1".as_slice()));
        let held = &first.object_version;
        let second = answered(held, &[("a", "1"), ("b/c", "1")], &[("a", "1"), ("b/c", "2")]);
        assert_eq!(version(&second, "a"), version(&first, "a"));
        assert_ne!(version(&second, "b/c"), version(&first, "b/c"));
        // Back again is no version from before.
        let third = answered(&second.object_version, &[("a", "1"), ("b/c", "2")], &[("a", "1"), ("b/c", "1")]);
        assert_ne!(version(&third, "b/c"), version(&first, "b/c"));
        // What is not there as it was answered counts as changed.
        assert_ne!(version(&answered(held, &[], &[("a", "1")]), "a"), version(&first, "a"));
    }

    #[test]
    fn what_a_pod_uses_stands_also_where_the_driver_lost_what_it_was_answered() {
        let place = tempfile::tempdir().unwrap();
        let stands = |is_ours| Answer::new(&[], is_ours).stands(place.path());
        assert!(!stands(true), "the driver could not write it");
        std::fs::create_dir(place.path().join("..2026_11_29")).unwrap();
        std::os::unix::fs::symlink("..2026_11_29", place.path().join("..data")).unwrap();
        assert!(stands(true) && !stands(false));
        let held = answered(&[], &[], &[("a", "1")]).object_version;
        assert!(Answer::new(&held, false).stands(Path::new("/nowhere")));
    }

    #[test]
    fn the_same_value_has_another_version_in_another_volume() {
        let one = |response: MountResponse| version(&response, "a");
        assert_ne!(one(answered(&[], &[], &[("a", "1")])), one(answered(&[], &[], &[("a", "1")])));
    }

    #[test]
    fn what_is_taken_away_is_a_file_without_a_byte() {
        let held = answered(&[], &[], &[("a", "1")]).object_version;
        let gone = answered(&held, &[("a", "1")], &[]);
        assert_eq!((gone.files.len(), gone.files[0].path.as_str(), gone.files[0].contents.len()), (1, NOTHING, 0));
        let again = answered(&gone.object_version, &[], &[]);
        assert_eq!(version(&again, NOTHING), version(&gone, NOTHING));
        let of_another = Answer::new(&held, false);
        of_another.take_away();
        assert!(!of_another.takes_away() && of_another.into_response().object_version == held);
        let nothing_due = Answer::new(&held, true).into_response();
        assert!(nothing_due.files.is_empty() && nothing_due.object_version == held);
    }
}
