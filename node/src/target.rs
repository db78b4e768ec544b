//! The port for targets, over one volume: memory that we mount, or what the Secrets Store CSI Driver mounts and is answered.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use keyferry_crds::ExternalSecret;
use keyferry_files::problem::Problem;
use keyferry_files::volume::{File, Files, Most, Shown, Volume};
use keyferry_limits::{MOUNT_BYTES, MOUNT_FILES};
use keyferry_sync::content::Content;
use keyferry_sync::data::Data;
use keyferry_sync::dependency::Version;
use keyferry_sync::hash::data_hash;
use keyferry_sync::outcome::{Failure, Headline, Retry, TargetChange};
use keyferry_sync::ports::{Applied, Observed, Output, Outputs, Presumed};
use keyferry_sync::told;
use keyferry_sync::told::Told;

use crate::answer::Answer;
use crate::mounts::{self, Mounted};
use crate::wanted::Wanted;

/// A volume that is delivered to.
pub struct Target<'a> {
    /// What it asks for.
    pub wanted: &'a Wanted,
    /// Where it is.
    pub place: &'a Path,
    /// Who writes files.
    pub writer: Writer<'a>,
    /// What it held when it was written last, as a hash: in memory and nowhere else.
    pub known: Mutex<Option<String>>,
}

/// Who writes files into a volume.
#[derive(Clone, Copy)]
pub enum Writer<'a> {
    /// We, into memory of ours.
    Us {
        /// Whether that may go to swap.
        may_swap: bool,
    },
    /// Another driver, which is answered.
    Another(&'a Answer),
}

impl Outputs for Target<'_> {
    fn of<'a>(&'a self, _: &'a ExternalSecret) -> Box<dyn Output + 'a> {
        Box::new(VolumeOutput(self))
    }
}

/// More is never written.
const MOST: Most = Most { files: MOUNT_FILES.size(), bytes: MOUNT_BYTES.size() };

struct VolumeOutput<'a>(&'a Target<'a>);

fn unwritable(problem: &Problem) -> Failure {
    let retry = if problem.is_temporary { Retry::Soon } else { Retry::Late };
    Failure::new(Headline::Update, Told::without_values(problem.to_string()), retry)
}

/// A hash of all that files are.
fn digest(files: &Files) -> String {
    let named: Vec<(String, &[u8])> =
        files.iter().map(|(path, file)| (format!("{path} {:o}", file.mode), file.value.expose())).collect();
    data_hash(named.iter().map(|(name, value)| (name.as_str(), *value)))
}

/// What is there. A process that has just begun knows of no other state than this, but what was never written is not as it
/// should be, whatever is known.
fn observed(shown: &Shown, known: Option<&str>) -> Option<Observed> {
    let (found, intact) = match shown {
        Shown::Nothing => return None,
        Shown::Files(files) => {
            let found = digest(files);
            let intact = known.is_none_or(|known| known == found);
            (found, intact)
        }
        Shown::Others => (String::new(), false),
    };
    Some(Observed { version: Some(version(&found)), intact, written_at: None, refresh_by: None })
}

fn change(shown: &Shown, wanted: &str) -> TargetChange {
    match shown {
        Shown::Files(found) if digest(found) == wanted => TargetChange::Nothing,
        Shown::Files(_) | Shown::Others => TargetChange::Updated,
        Shown::Nothing => TargetChange::Created,
    }
}

fn without_modes(files: Files) -> Files {
    files.into_iter().map(|(path, file)| (path, File { mode: 0, ..file })).collect()
}

fn version(digest: &str) -> Version {
    Version { uid: "".into(), revision: digest.into() }
}

impl Target<'_> {
    /// The volume, where it is mounted.
    pub fn volume(&self) -> Result<Option<Volume>, Failure> {
        let failed = |refusal: crate::refusal::Refusal| Failure::new(Headline::Update, refusal.message, Retry::Soon);
        match mounts::at(self.place).map_err(failed)? {
            Mounted::Nothing => Ok(None),
            Mounted::Others => {
                Err(Failure::new(Headline::Update, "what is mounted there is not of keyferry", Retry::Late))
            }
            Mounted::Ours => Volume::open(self.place).map(Some).map_err(|problem| unwritable(&problem)),
        }
    }

    /// What it shows; `None` where nothing is mounted. Another driver keeps the modes of files whose bytes stay: they don't count.
    fn shown(&self) -> Result<Option<Shown>, Failure> {
        match self.writer {
            Writer::Us { .. } => {
                let Some(volume) = self.volume()? else { return Ok(None) };
                volume.read(MOST).map(Some).map_err(|problem| unwritable(&problem))
            }
            Writer::Another(answer) => match answer.shown(self.place, MOST).map_err(|problem| unwritable(&problem))? {
                Shown::Files(files) => Ok(Some(Shown::Files(without_modes(files)))),
                shown => Ok(Some(shown)),
            },
        }
    }

    /// The same, mounted where it is not.
    fn mounted(&self, may_swap: bool) -> Result<Volume, Failure> {
        if let Some(volume) = self.volume()? {
            return Ok(volume);
        }
        let mounted = mounts::mount(self.place, may_swap);
        mounted.map_err(|refusal| Failure::new(Headline::Update, refusal.message, Retry::Soon))?;
        Volume::open(self.place).map_err(|problem| unwritable(&problem))
    }

    fn files(&self, content: &Content) -> Result<Files, Failure> {
        let files = self.wanted.files(&content.data);
        let files = files.map_err(|why| Failure::new(Headline::Update, Told::without_values(why), Retry::Late))?;
        let bytes: usize = files.values().map(|file| file.value.len()).sum();
        let refused = |limit| Err(Failure::new(Headline::Update, told!("{}", limit), Retry::OnChange));
        if files.len() > MOUNT_FILES.size() {
            refused(MOUNT_FILES)
        } else if bytes > MOUNT_BYTES.size() {
            refused(MOUNT_BYTES)
        } else {
            Ok(files)
        }
    }

    /// Has memory of ours hold these files; answers what that changed, and their digest.
    fn write(&self, files: &Files, may_swap: bool) -> Result<(TargetChange, String), Failure> {
        let volume = self.mounted(may_swap)?;
        let wanted = digest(files);
        let change = change(&volume.read(MOST).unwrap_or(Shown::Others), &wanted);
        if change != TargetChange::Nothing {
            volume.write(files, self.wanted.folders()).map_err(|problem| unwritable(&problem))?;
        }
        Ok((change, wanted))
    }

    /// Takes all files away; whether there were any.
    pub fn clear(&self) -> Result<bool, Failure> {
        let was_there = match self.writer {
            Writer::Us { .. } => {
                let Some(volume) = self.volume()? else { return Ok(false) };
                let was_there = volume.shows_files().unwrap_or_default();
                volume.clear().map_err(|problem| unwritable(&problem))?;
                was_there
            }
            Writer::Another(answer) => {
                answer.take_away();
                !matches!(self.shown(), Ok(None | Some(Shown::Nothing)))
            }
        };
        self.know(None);
        Ok(was_there)
    }

    fn know(&self, digest: Option<String>) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = digest;
    }
}

#[async_trait]
impl Output for VolumeOutput<'_> {
    async fn observe(&mut self) -> Result<Option<Observed>, Failure> {
        let Some(shown) = self.0.shown()? else { return Ok(None) };
        let known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(observed(&shown, known.as_deref()))
    }

    async fn apply(&mut self, content: &Content, _: Presumed<'_>) -> Result<Applied, Failure> {
        let target = self.0;
        let files = target.files(content)?;
        let (change, wanted) = match target.writer {
            Writer::Us { may_swap } => target.write(&files, may_swap)?,
            Writer::Another(answer) => {
                let shown = target.shown().ok().flatten().unwrap_or(Shown::Others);
                let wanted = digest(&without_modes(files.clone()));
                let change = change(&shown, &wanted);
                answer.give(files, &shown);
                (change, wanted)
            }
        };
        target.know(Some(wanted.clone()));
        Ok(Applied { change, version: Some(version(&wanted)), adopted: None, is_alike: false, rotated: None })
    }

    async fn foresee(&mut self, _: &Content) -> Result<Option<Data>, Failure> {
        // No store logs in with files of a pod.
        Ok(None)
    }

    async fn remove(&mut self) -> Result<bool, Failure> {
        self.0.clear()
    }

    async fn remove_renamed(&mut self) -> Result<Vec<String>, Failure> {
        Ok(Vec::new())
    }

    async fn mark(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use keyferry_provider_core::SecretBytes;

    use super::*;

    #[test]
    fn what_was_never_written_is_written_anew_whatever_is_known() {
        let digest = digest(&Files::new());
        for known in [None, Some(digest.as_str())] {
            assert!(observed(&Shown::Nothing, known).is_none());
            assert!(observed(&Shown::Files(Files::new()), known).unwrap().intact);
            assert!(!observed(&Shown::Others, known).unwrap().intact);
        }
        assert!(!observed(&Shown::Files(Files::new()), Some("another")).unwrap().intact);
    }

    #[test]
    fn more_than_a_volume_takes_is_refused() {
        let wanted = crate::wanted::tests::wanted(&[("externalSecret", "app")], "").unwrap();
        let writer = Writer::Us { may_swap: false };
        let target = Target { wanted: &wanted, place: Path::new("/"), writer, known: Mutex::default() };
        let files = |count: usize, bytes: usize| {
            let keys = (0..count).map(|n| (format!("k{n}"), SecretBytes::new(vec![b'x'; bytes])));
            target.files(&Content { data: keys.collect(), ..Content::default() }).map(|files| files.len())
        };
        assert_eq!(files(MOUNT_FILES.size(), 1).unwrap(), MOUNT_FILES.size());
        assert_eq!(files(1, MOUNT_BYTES.size()).unwrap(), 1);
        for (count, bytes, limit) in
            [(MOUNT_FILES.size() + 1, 1, "mount-files"), (1, MOUNT_BYTES.size() + 1, "mount-bytes")]
        {
            let why = files(count, bytes).unwrap_err().to_string();
            assert!(why.contains(&format!("limit {limit}")), "{why}");
        }
    }
}
