//! Images as the OCI has them: an archive that every engine and containerd take, or a folder for a Dockerfile.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Map, Value, json};

use crate::tar::{Archive, Kind};

/// Folders that engines mount something over, and /tmp.
const FOLDERS: [(&str, u32); 6] =
    [("dev", 0o755), ("etc", 0o755), ("proc", 0o755), ("run", 0o755), ("sys", 0o755), ("tmp", 0o1777)];

/// What an image holds and how it is started. All is root's, and of no time.
#[derive(Debug, Clone)]
pub struct Image {
    name: String,
    entries: BTreeMap<String, Entry>,
    config: Map<String, Value>,
}

#[derive(Debug, Clone)]
enum Entry {
    Folder(u32),
    File(Vec<u8>, u32),
    Link(String),
}

impl Image {
    /// An empty one. `name` is a repository and a tag, `localhost/app:1`.
    pub fn new(name: &str) -> Self {
        let entries = FOLDERS.iter().map(|(path, mode)| ((*path).to_owned(), Entry::Folder(*mode))).collect();
        let path = json!(["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]);
        Self { name: name.to_owned(), entries, config: Map::from_iter([("Env".to_owned(), path)]) }
    }

    /// Repository and tag.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds a file with these bytes at an absolute path.
    pub fn bytes(mut self, path: &str, mode: u32, bytes: impl Into<Vec<u8>>) -> Self {
        self.insert(path, Entry::File(bytes.into(), mode));
        self
    }

    /// Adds a copy of a file.
    pub fn file(self, path: &str, mode: u32, from: &Path) -> Result<Self> {
        let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        Ok(self.bytes(path, mode, bytes))
    }

    /// Adds a symbolic link.
    pub fn link(mut self, path: &str, target: &str) -> Self {
        self.insert(path, Entry::Link(target.to_owned()));
        self
    }

    /// What is started, with its first arguments.
    pub fn entrypoint(mut self, command: &[&str]) -> Self {
        self.config.insert("Entrypoint".into(), json!(command));
        self
    }

    /// Who it is started as: numbers, so that Kubernetes knows that it is not root.
    pub fn user(mut self, user: &str) -> Self {
        self.config.insert("User".into(), json!(user));
        self
    }

    /// Adds a label.
    pub fn label(mut self, name: &str, value: &str) -> Self {
        let labels = self.config.entry("Labels").or_insert_with(|| json!({}));
        labels[name] = json!(value);
        self
    }

    /// The folders above a file come with it.
    fn insert(&mut self, path: &str, entry: Entry) {
        let path = path.trim_start_matches('/');
        for (at, _) in path.match_indices('/') {
            self.entries.entry(path[..at].to_owned()).or_insert(Entry::Folder(0o755));
        }
        self.entries.insert(path.to_owned(), entry);
    }

    /// The image as an OCI archive.
    pub fn archive(&self) -> Result<Vec<u8>> {
        let layer = self.layer()?;
        let layer = Blob::new("layer.v1.tar", layer);
        let config = json!({
            "architecture": architecture()?,
            "os": "linux",
            "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
            "history": [{"created_by": "keyferry-image"}],
        });
        let config = Blob::new("config.v1+json", config.to_string().into_bytes());
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type("manifest.v1+json"),
            "config": config.descriptor(),
            "layers": [layer.descriptor()],
        });
        let manifest = Blob::new("manifest.v1+json", manifest.to_string().into_bytes());
        let mut described = manifest.descriptor();
        let tag = self.name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
        described["annotations"] =
            json!({"io.containerd.image.name": self.name, "org.opencontainers.image.ref.name": tag});
        let index = json!({
            "schemaVersion": 2,
            "mediaType": media_type("index.v1+json"),
            "manifests": [described],
        });
        // The same for engines that know no OCI archives.
        let docker = json!([{"Config": config.path(), "RepoTags": [self.name], "Layers": [layer.path()]}]);
        let mut archive = Archive::default();
        archive.add("oci-layout", 0o644, Kind::File(br#"{"imageLayoutVersion":"1.0.0"}"#))?;
        archive.add("index.json", 0o644, Kind::File(index.to_string().as_bytes()))?;
        archive.add("manifest.json", 0o644, Kind::File(docker.to_string().as_bytes()))?;
        for blob in [manifest, config, layer] {
            archive.add(&blob.path(), 0o644, Kind::File(&blob.bytes))?;
        }
        Ok(archive.finish())
    }

    /// Writes it as an OCI archive, which `docker load`, `podman load` and `ctr images import` take.
    pub fn write_archive(&self, file: &Path) -> Result<()> {
        fs::write(file, self.archive()?).with_context(|| format!("cannot write {}", file.display()))
    }

    /// Lays its files into a folder that is not there yet, for `COPY` in a Dockerfile.
    pub fn write_folder(&self, folder: &Path) -> Result<()> {
        fs::create_dir(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        for (path, entry) in &self.entries {
            let to = folder.join(path);
            let done = match entry {
                Entry::Folder(mode) => fs::create_dir(&to).and_then(|()| set_mode(&to, *mode)),
                Entry::File(bytes, mode) => fs::write(&to, bytes).and_then(|()| set_mode(&to, *mode)),
                Entry::Link(target) => symlink(target, &to),
            };
            done.with_context(|| format!("cannot write {}", to.display()))?;
        }
        Ok(())
    }

    fn layer(&self) -> Result<Vec<u8>> {
        let mut archive = Archive::default();
        for (path, entry) in &self.entries {
            match entry {
                Entry::Folder(mode) => archive.add(path, *mode, Kind::Folder)?,
                Entry::File(bytes, mode) => archive.add(path, *mode, Kind::File(bytes))?,
                Entry::Link(target) => archive.add(path, 0o777, Kind::Link(target))?,
            }
        }
        Ok(archive.finish())
    }
}

fn set_mode(path: &Path, mode: u32) -> std::io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// As Go calls it.
fn architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => Err(anyhow!("images are made for amd64 and arm64, not for {other}")),
    }
}

fn media_type(kind: &str) -> String {
    format!("application/vnd.oci.image.{kind}")
}

struct Blob {
    media_type: String,
    digest: String,
    bytes: Vec<u8>,
}

impl Blob {
    fn new(kind: &str, bytes: Vec<u8>) -> Self {
        let hex: String = digest(&SHA256, &bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Self { media_type: media_type(kind), digest: format!("sha256:{hex}"), bytes }
    }

    /// Where it is in an archive.
    fn path(&self) -> String {
        format!("blobs/{}", self.digest.replace(':', "/"))
    }

    fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest, "size": self.bytes.len()})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Image {
        let image = Image::new("localhost/sample:1").bytes("/usr/bin/app", 0o755, "program").link("/bin", "usr/bin");
        image.entrypoint(&["/usr/bin/app"]).user("65532:65532").label("title", "sample")
    }

    #[test]
    fn the_same_files_make_the_same_image() {
        assert_eq!(sample().archive().unwrap(), sample().archive().unwrap());
        assert_ne!(sample().archive().unwrap(), sample().user("0:0").archive().unwrap());
    }

    #[test]
    fn a_folder_holds_what_the_archive_does() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("image");
        sample().write_folder(&folder).unwrap();
        assert_eq!(fs::read(folder.join("usr/bin/app")).unwrap(), b"program");
        assert_eq!(fs::read(folder.join("bin/app")).unwrap(), b"program", "through the link");
        let mode = |path: &str| fs::metadata(folder.join(path)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("usr/bin/app"), mode("tmp"), mode("usr")), (0o755, 0o1777, 0o755));
        sample().write_folder(&folder).expect_err("what is there is not mixed with it");
    }
}
