//! The cache folder: one folder for each thing and version, complete or absent.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use sha3::{Digest as _, Sha3_256};

use super::step::Progress;

/// Names another cache folder.
const CACHE: &str = "KEYFERRY_TESTBED_CACHE";

/// The folder of the sources: where this crate was compiled, or, if that is gone,
/// the workspace that the current directory lies in.
pub fn workspace_root() -> Result<PathBuf> {
    let is_root = |folder: &Path| folder.join("tests/testkit/Cargo.toml").is_file();
    let compiled_at = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    match compiled_at.filter(|root| is_root(root)) {
        Some(root) => Ok(root.to_owned()),
        None => {
            let here = std::env::current_dir().context("cannot tell the current directory")?;
            let root = here.ancestors().find(|folder| is_root(folder));
            root.map(Path::to_owned).ok_or_else(|| {
                anyhow!(
                    "{} does not lie in the keyferry workspace; go there, or set {CACHE} to the \
                     folder that keeps the testbed's programs",
                    here.display()
                )
            })
        }
    }
}

/// Where programs are kept: `.cache/testbed` of the workspace unless the environment says otherwise.
pub fn cache_dir() -> Result<PathBuf> {
    match std::env::var_os(CACHE).filter(|folder| !folder.is_empty()) {
        // Programs are started from other directories, so the path must be absolute.
        Some(folder) => {
            std::path::absolute(&folder).with_context(|| format!("{CACHE} is not a usable path: {}", folder.display()))
        }
        None => Ok(workspace_root()?.join(".cache/testbed")),
    }
}

/// One folder of the cache and how to make it.
pub(super) struct Artifact {
    /// What it is and which version, for people: `etcd v3.6.7`.
    pub title: String,
    /// Everything that the result depends on; another text means another folder.
    pub inputs: String,
    /// What must be there when it is complete, relative to the folder.
    pub contains: Vec<String>,
    /// Makes it in the given folder.
    #[expect(clippy::type_complexity, reason = "a name would say no more")]
    pub make: Box<dyn Fn(&Path, &Progress) -> Result<()> + Send + Sync>,
}

impl Artifact {
    /// The folder, made now if it is not there.
    pub fn ensure(&self, cache: &Path) -> Result<PathBuf> {
        let folder = cache.join(self.folder_name());
        if self.is_complete(&folder) {
            return Ok(folder);
        }
        fs::create_dir_all(cache).with_context(|| format!("cannot create the cache folder {}", cache.display()))?;
        let progress = Progress::new(&self.title);
        let _lock = self.lock(cache, &progress)?;
        // Another process may have made it while we waited.
        if self.is_complete(&folder) {
            return Ok(folder);
        }
        let unfinished = cache.join(format!("{}.unfinished", self.folder_name()));
        self.make_in(&unfinished, &progress)?;
        // A folder that lost a file (a new Python, a careless hand) is in the way.
        remove(&folder)?;
        fs::rename(&unfinished, &folder).with_context(|| format!("cannot rename {}", unfinished.display()))?;
        progress.done();
        Ok(folder)
    }

    fn make_in(&self, folder: &Path, progress: &Progress) -> Result<()> {
        remove(folder)?;
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        (self.make)(folder, progress).with_context(|| format!("cannot install {}", self.title))?;
        match self.missing(folder) {
            None => Ok(()),
            Some(path) => Err(anyhow!("installing {} gave no {path}; this is a mistake in the testkit", self.title)),
        }
    }

    fn folder_name(&self) -> String {
        let digest = Sha3_256::digest(format!("{}\n{}", std::env::consts::ARCH, self.inputs));
        let short: String = digest[..4].iter().map(|b| format!("{b:02x}")).collect();
        format!("{}-{short}", self.title.replace(' ', "-"))
    }

    fn is_complete(&self, folder: &Path) -> bool {
        folder.is_dir() && self.missing(folder).is_none()
    }

    fn missing(&self, folder: &Path) -> Option<&String> {
        self.contains.iter().find(|path| !folder.join(path).exists())
    }

    /// Two test runs that begin together must not build twice. The kernel frees the
    /// lock when its holder ends, so there is no stale lock to remove.
    fn lock(&self, cache: &Path, progress: &Progress) -> Result<File> {
        let path = cache.join(format!("{}.lock", self.folder_name()));
        let open = || {
            let file = OpenOptions::new().create(true).append(true).open(&path)?;
            match file.try_lock() {
                Ok(()) => Ok(file),
                Err(TryLockError::WouldBlock) => {
                    progress.say("waiting for another process that is installing it");
                    file.lock().map(|()| file)
                }
                Err(TryLockError::Error(error)) => Err(error),
            }
        };
        open().with_context(|| format!("cannot lock {}", path.display()))
    }
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Barrier};

    fn artifact(made: &Arc<AtomicUsize>, fails: bool) -> Artifact {
        let made = Arc::clone(made);
        Artifact {
            title: "thing v1".into(),
            inputs: "recipe".into(),
            contains: vec!["thing".into()],
            make: Box::new(move |folder, _| {
                made.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(std::time::Duration::from_millis(100));
                if fails { Err(anyhow!("no")) } else { Ok(fs::write(folder.join("thing"), "")?) }
            }),
        }
    }

    #[test]
    fn two_at_once_make_it_once() {
        let cache = tempfile::tempdir().unwrap();
        let made = Arc::new(AtomicUsize::new(0));
        let start = Barrier::new(2);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    start.wait();
                    artifact(&made, false).ensure(cache.path()).unwrap();
                });
            }
        });
        assert_eq!(made.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_failure_leaves_nothing_that_looks_complete() {
        let cache = tempfile::tempdir().unwrap();
        let made = Arc::new(AtomicUsize::new(0));
        artifact(&made, true).ensure(cache.path()).unwrap_err();
        artifact(&made, false).ensure(cache.path()).unwrap();
        assert_eq!(made.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn other_inputs_are_another_folder() {
        let made = Arc::new(AtomicUsize::new(0));
        let one = artifact(&made, false);
        let mut other = artifact(&made, false);
        other.inputs = "another recipe".into();
        assert_ne!(one.folder_name(), other.folder_name());
    }
}
