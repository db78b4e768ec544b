//! `keyferry edit`: a sealed document in an editor.
//!
//! What the editor works on lies in memory where the system has a place for that, in a folder that nobody else can enter. It is
//! zeroed and removed when the editor ends, however that came about.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{BufRead, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use clap::Args;
use keyferry_documents::edit::{Opened, sealed_values};
use keyferry_documents::{Identities, Recipients};
use keyferry_provider_core::SecretBytes;
use tokio::process::Command;

use crate::verbs::keyring::{For, With, folder_of, read};

/// Flags of `keyferry edit`.
#[derive(Args, Debug)]
pub struct Edit {
    /// The document; it is made where it is not there. One whose name ends in .age is sealed as a whole, others value by value:
    /// what stands between <age> and </age>
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    #[command(flatten)]
    recipients: For,
    #[command(flatten)]
    identities: With,
    /// The editor, as a shell would start it
    #[arg(long, env = "EDITOR", default_value = "vi", value_name = "COMMAND")]
    pub editor: String,
}

impl Edit {
    /// Opens, waits for the editor, seals and writes. `asked` is whether to try again after a mistake; `end` when to give up.
    pub async fn run(
        &self,
        input: Option<Box<dyn BufRead + Send>>,
        err: &mut (dyn Write + Send),
        end: impl Future<Output = ()> + Send,
    ) -> Result<(), String> {
        let folder = folder_of(&self.file);
        let recipients = self.recipients.recipients(folder)?;
        let (opened, before) = self.open(folder)?;
        let desk = Desk::new(&self.file, &opened.text)?;
        let edited = self.edited(&opened, &recipients, &desk, input, err);
        tokio::select! {
            edited = edited => match edited? {
                Some(sealed) => {
                    replace(&self.file, &sealed, before.as_ref())?;
                    if let Some(values) = opened.values() {
                        let _ = writeln!(err, "{}", told(sealed_values(&sealed), values));
                    }
                    Ok(())
                }
                None => {
                    let _ = writeln!(err, "nothing was changed");
                    Ok(())
                }
            },
            () = end => Err("asked to end: nothing was written".to_owned()),
        }
    }

    /// The document, and what its file holds, where there is one.
    fn open(&self, folder: &Path) -> Result<(Opened, Option<SecretBytes>), String> {
        let name = self.file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        match self.file.symlink_metadata() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok((Opened::new(name), None)),
            _ => {
                let bytes = read(&self.file)?;
                let told = |error: keyferry_provider_core::Error| format!("{}: {error}", self.file.display());
                // What is not sealed yet needs nobody to open it.
                let plain = Opened::read(name, bytes.expose(), &Identities::default());
                let opened = match self.identities.identities(folder) {
                    Ok(identities) => Opened::read(name, bytes.expose(), &identities).map_err(told),
                    Err(problem) => plain.map_err(|_| problem),
                };
                Ok((opened?, Some(bytes)))
            }
        }
    }

    /// What to write, nothing where nothing was changed.
    async fn edited(
        &self,
        opened: &Opened,
        recipients: &Recipients,
        desk: &Desk,
        mut input: Option<Box<dyn BufRead + Send>>,
        err: &mut (dyn Write + Send),
    ) -> Result<Option<Vec<u8>>, String> {
        loop {
            let mut command = Command::new("sh");
            command.args(["-c", &format!("{} \"$1\"", self.editor), "editor"]).arg(&desk.file).kill_on_drop(true);
            let status = command.status().await.map_err(|_| "can't start sh, which starts the editor".to_owned())?;
            if !status.success() {
                return Err(format!("{} failed: nothing was written", self.editor));
            }
            let edited = read(&desk.file)?;
            if edited == opened.text {
                return Ok(None);
            }
            let problem = match opened.seal(&edited, recipients) {
                Ok(sealed) => return Ok(Some(sealed)),
                Err(problem) => format!("{}: {problem}", self.file.display()),
            };
            let Some(mut asked) = input.take() else { return Err(format!("{problem}: nothing was written")) };
            let _ = write!(err, "{problem}\nEnter to edit it again, q to give it up: ");
            let _ = err.flush();
            // Who is asked may take long, and whoever asks for the end is heard meanwhile.
            let answered = tokio::task::spawn_blocking(move || {
                let mut answer = String::new();
                let length = asked.read_line(&mut answer).unwrap_or(0);
                (asked, length > 0 && !answer.trim().eq_ignore_ascii_case("q"))
            });
            match answered.await {
                Ok((asked, true)) => input = Some(asked),
                _ => return Err("given up: nothing was written".to_owned()),
            }
        }
    }
}

/// Where the editor works: a folder that nobody else can enter.
struct Desk {
    folder: PathBuf,
    file: PathBuf,
}

/// Where files are in memory.
const MEMORY: &str = "/dev/shm";

impl Desk {
    fn new(file: &Path, text: &SecretBytes) -> Result<Self, String> {
        let wrong = |error: std::io::Error| format!("can't make a private folder to edit in: {}", error.kind());
        let parent = if Path::new(MEMORY).is_dir() { PathBuf::from(MEMORY) } else { std::env::temp_dir() };
        let folder = parent.join(format!("keyferry-edit-{:016x}", rand::random::<u64>()));
        DirBuilder::new().mode(0o700).create(&folder).map_err(wrong)?;
        let desk = Self { file: folder.join(file.file_name().unwrap_or_default()), folder };
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&desk.file);
        opened.and_then(|mut file| file.write_all(text.expose())).map_err(wrong)?;
        Ok(desk)
    }
}

impl Drop for Desk {
    /// An editor may have left copies beside the file.
    fn drop(&mut self) {
        for entry in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            if let Ok(metadata) = entry.metadata()
                && metadata.is_file()
                && let Ok(mut file) = OpenOptions::new().write(true).open(entry.path())
            {
                let zeros = vec![0; usize::try_from(metadata.len()).unwrap_or_default()];
                let _ = file.write_all(&zeros).and_then(|()| file.sync_data());
            }
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// How many values are sealed now, and how many fewer than before.
fn told(now: usize, before: usize) -> String {
    let fewer = match before.saturating_sub(now) {
        0 => String::new(),
        fewer => format!(", {fewer} fewer than before"),
    };
    format!("values that are sealed: {now}{fewer}")
}

/// Puts a file in place of another at once: whoever reads it reads the old one or the new one. What is no longer as it was
/// `before` is left alone.
pub(super) fn replace(file: &Path, bytes: &[u8], before: Option<&SecretBytes>) -> Result<(), String> {
    let wrong = |error: std::io::Error| format!("can't write {}: {}", file.display(), error.kind());
    // A link stays one: what it leads to is replaced.
    let file = &file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let next = folder_of(file).join(format!(".{name}.keyferry-{:08x}", rand::random::<u32>()));
    let mode = std::fs::metadata(file).map_or(0o644, |metadata| metadata.permissions().mode() & 0o777);
    let written = || {
        let mut new = OpenOptions::new().write(true).create_new(true).mode(mode).open(&next)?;
        new.write_all(bytes)?;
        new.sync_all()
    };
    let unchanged = || match (before, file.symlink_metadata()) {
        (None, Err(error)) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        (_, Ok(metadata)) if !metadata.is_file() => Err(format!("{} is no file: nothing was written", file.display())),
        (Some(before), Ok(_)) if read(file)? == *before => Ok(()),
        _ => {
            Err(format!("{} was changed by somebody else meanwhile: nothing was written, edit it anew", file.display()))
        }
    };
    let renamed = || std::fs::rename(&next, file).map_err(wrong);
    written().map_err(wrong).and_then(|()| unchanged()).and_then(|()| renamed()).inspect_err(|_| {
        let _ = std::fs::remove_file(&next);
    })
}

#[cfg(test)]
#[path = "edit_tests.rs"]
mod tests;
