//! What is written down of each volume, so that the next process goes on: names and times, and nothing of a value.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use keyferry_sync::hash::data_hash;
use keyferry_sync::look::Memory;
use keyferry_sync::plan::LastSync;
use serde::{Deserialize, Serialize};

use crate::mounts::bytes;
use crate::refusal::Refusal;

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mark {
    /// Where it is.
    pub target: PathBuf,
    /// The namespace of its pod.
    pub namespace: String,
    /// The name of that.
    pub pod: String,
    /// The ServiceAccount of that.
    pub service_account: String,
    /// The ExternalSecret.
    pub external_secret: String,
    /// Whether the files were there once: from then on it stands.
    pub is_delivered: bool,
    /// When all was read last, and of which version of the ExternalSecret.
    pub synced: Option<Synced>,
    /// Since when the API server has refused the pod.
    pub refused_since: Option<Timestamp>,
}

/// A reading that succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Synced {
    /// When it began.
    pub at: Timestamp,
    /// Of which version.
    pub version: String,
    /// By when the first of what generators made, and that has no lease, is to be replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<Timestamp>,
}

impl Synced {
    /// The last one that is remembered.
    pub fn of(memory: &Memory) -> Option<Self> {
        let LastSync { at, version } = memory.last.clone()?;
        Some(Self { at, version, ends: memory.made_ends })
    }

    /// Recalls it, where nothing later is remembered.
    pub fn recall(self, memory: &mut Memory) {
        if memory.last.is_none() {
            memory.last = Some(LastSync { at: self.at, version: self.version });
            memory.made_ends = self.ends;
        }
    }
}

/// The folder of all marks.
#[derive(Clone, Debug)]
pub struct Marks(PathBuf);

fn failed(error: &io::Error) -> Refusal {
    Refusal::of_node(format!("can't write down what is mounted (--state-dir): {}", error.kind()))
}

impl Marks {
    /// Opens the folder, which is made where it is not there.
    pub fn open(folder: &Path) -> Result<Self, Refusal> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map(|()| Self(folder.to_owned())).map_err(|error| failed(&error))
    }

    fn file(&self, target: &Path) -> PathBuf {
        self.0.join(format!("{}.json", data_hash([("", bytes(target))])))
    }

    /// That of a volume. What can't be read is as good as none: the volume is read anew.
    pub fn read(&self, target: &Path) -> Option<Mark> {
        let text = fs::read(self.file(target)).ok()?;
        serde_json::from_slice(&text).ok().filter(|mark: &Mark| mark.target == target)
    }

    /// Writes one down, whole or not at all.
    pub fn write(&self, mark: &Mark) -> Result<(), Refusal> {
        let file = self.file(&mark.target);
        let new = file.with_extension("new");
        let write = || {
            let text = serde_json::to_vec(mark)?;
            let mut to = fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
            to.write_all(&text)?;
            fs::rename(&new, &file)
        };
        write().map_err(|error| failed(&error))
    }

    /// Forgets one.
    pub fn remove(&self, target: &Path) -> Result<(), Refusal> {
        match fs::remove_file(self.file(target)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&error)),
            _ => Ok(()),
        }
    }

    /// All of them.
    pub fn all(&self) -> Vec<Mark> {
        let files = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let texts = files.filter(|file| file.path().extension().is_some_and(|end| end == "json"));
        texts.filter_map(|file| serde_json::from_slice(&fs::read(file.path()).ok()?).ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_outlive_the_process_and_hold_names_and_times() {
        let folder = tempfile::tempdir().unwrap();
        let marks = Marks::open(&folder.path().join("volumes")).ok().unwrap();
        let target = Path::new("/var/lib/kubelet/pods/5d/volumes/x/mount");
        assert!(marks.read(target).is_none());
        let text = |text: &str| text.to_owned();
        let mark = Mark {
            target: target.to_owned(),
            namespace: text("team"),
            pod: text("web-0"),
            service_account: text("web"),
            external_secret: text("app"),
            is_delivered: true,
            synced: Some(Synced { at: Timestamp::UNIX_EPOCH, version: text("1-ab"), ends: None }),
            refused_since: None,
        };
        marks.write(&mark).ok().unwrap();
        assert_eq!(Marks::open(&folder.path().join("volumes")).ok().unwrap().read(target), Some(mark.clone()));
        assert_eq!(marks.all(), [mark]);
        // A process that was killed while it wrote.
        fs::write(marks.file(target), "{").unwrap();
        assert!(marks.read(target).is_none());
        marks.remove(target).ok().unwrap();
        marks.remove(target).ok().unwrap();
        assert!(marks.all().is_empty());
    }

    #[test]
    fn the_end_of_what_was_made_outlives_the_process() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let last = Some(LastSync { at: at(1), version: "1-ab".to_owned() });
        let before = Memory { last: last.clone(), made_ends: Some(at(3000)), ..Memory::default() };
        let text = serde_json::to_string(&Synced::of(&before)).unwrap();
        let recalled = |mut memory: Memory, text: &str| {
            serde_json::from_str::<Synced>(text).unwrap().recall(&mut memory);
            (memory.last, memory.made_ends)
        };
        assert_eq!(recalled(Memory::default(), &text), (last, Some(at(3000))));
        // A process from before this was written down.
        let old = r#"{"at":"1970-01-01T00:00:01Z","version":"1-ab"}"#;
        assert_eq!(recalled(Memory::default(), old).1, None);
        let later = LastSync { at: at(9), version: "1-ab".to_owned() };
        let known = Memory { last: Some(later.clone()), ..Memory::default() };
        assert_eq!(recalled(known, &text), (Some(later), None), "what is remembered is later");
    }
}
