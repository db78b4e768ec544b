//! Records of Helm: what a release would take with it when it is uninstalled.
//!
//! A record holds the values of its release, which may be secrets. What is unpacked here is zeroed when it is dropped,
//! and nothing of it leaves but names, versions and a revision.

use std::collections::BTreeSet;
use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use zeroize::{Zeroize as _, Zeroizing};

use crate::facts::{Release, is_ours};
use crate::held;
use crate::images::is_eso;

/// The most that a record may unpack to. The API server keeps at most about 1 MiB of it packed.
const LARGEST: usize = 64 * 1024 * 1024;

/// What Helm looks for: releases without this annotation on an object delete the object.
pub(crate) const POLICY: &str = "helm.sh/resource-policy";

/// Why a record can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// It has no payload.
    Empty,
    /// It is not base64.
    Base64,
    /// It can't be unpacked.
    Gzip,
    /// It unpacks to more than we read.
    TooLarge,
    /// It is not a release in JSON.
    Json,
}

impl Broken {
    /// Whether Helm may make something of it: it reads larger ones, and JSON in other ways than we do.
    pub fn may_be_read_by_helm(self) -> bool {
        matches!(self, Self::TooLarge | Self::Json)
    }

    /// In words that quote nothing of the record.
    pub fn why(self) -> &'static str {
        match self {
            Self::Empty => "it holds no release",
            Self::Base64 => "it is not base64",
            Self::Gzip => "it can't be unpacked: it is cut short or damaged",
            Self::TooLarge => "it unpacks to more than 64 MiB",
            Self::Json => "it is not a release in JSON",
        }
    }
}

/// Reads a record as Helm's drivers keep it, after the encoding of the Secret itself is taken off. `None` where the
/// release has nothing of ours, or is uninstalled and kept for its history only.
pub fn read(payload: &[u8]) -> Result<Option<Release>, Broken> {
    let text = payload.trim_ascii();
    if text.is_empty() {
        return Err(Broken::Empty);
    }
    // Go passes over ends of lines.
    let text: Zeroizing<Vec<u8>> =
        Zeroizing::new(text.iter().copied().filter(|byte| !b"\r\n".contains(byte)).collect());
    let packed = Zeroizing::new(STANDARD.decode(&*text).map_err(|_| Broken::Base64)?);
    let json = unpack(packed)?;
    // Most releases of a cluster are not of interest.
    if memchr::memmem::find(&json, b"external-secrets.io").is_none() {
        return Ok(None);
    }
    // A list would do for the parser.
    if !json.trim_ascii_start().starts_with(b"{") {
        return Err(Broken::Json);
    }
    // Go replaces what is not UTF-8, and reads on.
    let record: Record = match std::str::from_utf8(&json) {
        Ok(text) => serde_json::from_str(text),
        Err(_) => {
            let mut text = String::from_utf8_lossy(&json).into_owned();
            let read = serde_json::from_str(&text);
            text.zeroize();
            read
        }
    }
    .map_err(|_| Broken::Json)?;
    Ok(record.judged().map(|release| Release { images: images(&json), ..release }))
}

/// The images that the values of a release name. Read apart: values may have any form, and nothing else hangs on them.
fn images(json: &[u8]) -> Vec<(String, String)> {
    let Ok(WithValues { config: Some(values) }) = serde_json::from_slice(json) else { return Vec::new() };
    let part = values.part.iter().flat_map(|part| part.named("external-secrets."));
    values.named("").chain(part).collect()
}

#[derive(Deserialize)]
struct WithValues {
    config: Option<Values>,
}

#[derive(Deserialize)]
struct Values {
    image: Option<Image>,
    webhook: Option<Part>,
    #[serde(rename = "certController")]
    cert_controller: Option<Part>,
    global: Option<Image>,
    #[serde(rename = "external-secrets")]
    part: Option<Box<Values>>,
}

#[derive(Deserialize)]
struct Part {
    image: Option<Image>,
}

#[derive(Deserialize)]
struct Image {
    repository: Option<String>,
}

impl Values {
    /// Paths, below this one, and what stands there.
    fn named(&self, below: &str) -> impl Iterator<Item = (String, String)> {
        let of = |part: &Option<Part>| part.as_ref().and_then(|part| part.image.as_ref()?.repository.clone());
        let all = [
            ("image.repository", self.image.as_ref().and_then(|image| image.repository.clone())),
            ("webhook.image.repository", of(&self.webhook)),
            ("certController.image.repository", of(&self.cert_controller)),
            ("global.repository", self.global.as_ref().and_then(|global| global.repository.clone())),
        ];
        let named = all.map(|(path, image)| Some((format!("{below}{path}"), image.filter(|image| !image.is_empty())?)));
        named.into_iter().flatten()
    }
}

fn unpack(packed: Zeroizing<Vec<u8>>) -> Result<Zeroizing<Vec<u8>>, Broken> {
    if !packed.starts_with(&[0x1f, 0x8b, 0x08]) {
        return Ok(packed); // from before Helm packed records
    }
    // Room for most: a buffer that grows leaves copies behind.
    let mut json = Zeroizing::new(Vec::with_capacity((packed.len() * 8).min(LARGEST)));
    let mut unpacked = flate2::read::MultiGzDecoder::new(packed.as_slice()).take(LARGEST as u64 + 1);
    unpacked.read_to_end(&mut json).map_err(|_| Broken::Gzip)?;
    if json.len() > LARGEST { Err(Broken::TooLarge) } else { Ok(json) }
}

#[derive(Deserialize)]
struct Record {
    #[serde(default)]
    name: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    version: u64,
    #[serde(default)]
    info: Info,
    #[serde(default)]
    chart: Chart,
    #[serde(default)]
    manifest: String,
}

impl Drop for Record {
    fn drop(&mut self) {
        self.manifest.zeroize();
    }
}

#[derive(Default, Deserialize)]
struct Info {
    #[serde(default)]
    status: String,
}

#[derive(Default, Deserialize)]
struct Chart {
    #[serde(default)]
    metadata: ChartMetadata,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ChartMetadata {
    name: String,
    version: String,
    dependencies: Option<Vec<Dependency>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Dependency {
    name: String,
    alias: String,
}

/// The name of External Secrets Operator's chart.
const CHART: &str = "external-secrets";

/// Whether a manifest runs External Secrets Operator, whatever its chart is called.
fn runs_eso(manifest: &str) -> bool {
    let images = manifest.lines().filter_map(|line| line.trim_start().trim_start_matches("- ").strip_prefix("image:"));
    images.map(|image| image.trim().trim_matches(['"', '\''])).any(is_eso)
}

impl Record {
    fn judged(&self) -> Option<Release> {
        if self.info.status == "uninstalled" {
            return None;
        }
        let found = manifest(&self.manifest);
        let parts = self.chart.metadata.dependencies.iter().flatten();
        let part = parts.into_iter().find(|part| part.name == CHART);
        let subchart = part.map(|part| if part.alias.is_empty() { &part.name } else { &part.alias }.clone());
        let is_eso = self.chart.metadata.name == CHART || subchart.is_some() || runs_eso(&self.manifest);
        if found.deletes.is_empty() && found.keeps.is_empty() && found.unclear == 0 && !is_eso {
            return None;
        }
        // Of a larger chart only that part is taken out.
        let is_part = |template: &str| match &subchart {
            Some(key) => template.contains(&format!("/charts/{key}/")),
            None => true,
        };
        let objects =
            if is_eso { held::objects(&documents(&self.manifest), &self.namespace, is_part) } else { Vec::new() };
        Some(Release {
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            revision: self.version,
            chart: self.chart.metadata.name.clone(),
            version: self.chart.metadata.version.clone(),
            subchart,
            is_eso,
            objects,
            images: Vec::new(),
            deletes: found.deletes,
            keeps: found.keeps,
            unclear: found.unclear,
        })
    }
}

/// The CRDs of the groups in a manifest.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// Those that go with the release.
    pub deletes: BTreeSet<String>,
    /// Those that stay.
    pub keeps: BTreeSet<String>,
    /// How many documents may be about such CRDs, and can't be understood.
    pub unclear: usize,
}

/// Looks through the manifest of a release.
pub fn manifest(text: &str) -> Manifest {
    let mut found = Manifest::default();
    for document in documents(text) {
        // Reading YAML takes long; most documents are of other things.
        if !document.contains("CustomResourceDefinition") || !document.contains("external-secrets.io") {
            continue;
        }
        match serde_saphyr::from_str::<Document>(document) {
            Ok(read) => {
                // Helm reads the annotation of the document, also where that is a list of objects.
                let policy = read.metadata.annotations.as_ref().and_then(|all| all.get(POLICY));
                let keeps =
                    policy.is_some_and(|policy| policy.text().is_some_and(|p| p.trim().eq_ignore_ascii_case("keep")));
                let crds = std::iter::once((&read.kind, &read.spec, &read.metadata))
                    .chain(read.items.iter().flatten().map(|item| (&item.kind, &item.spec, &item.metadata)))
                    .filter(|(kind, spec, metadata)| {
                        let group = match &spec.group.is_empty() {
                            true => metadata.name.split_once('.').map(|(_, group)| group).unwrap_or_default(),
                            false => spec.group.as_str(),
                        };
                        *kind == "CustomResourceDefinition" && is_ours(group)
                    })
                    .map(|(_, _, metadata)| metadata.name.clone());
                if keeps { &mut found.keeps } else { &mut found.deletes }.extend(crds);
            }
            // Something else may merely mention both words; a CRD says its kind on a line of its own.
            Err(_) if document.lines().any(is_kind) => found.unclear += 1,
            Err(_) => {}
        }
    }
    found
}

fn is_kind(line: &str) -> bool {
    let word = |text: &str| text.trim().trim_matches(['"', '\'']).to_owned();
    line.split_once(':').is_some_and(|(key, value)| word(key) == "kind" && word(value) == "CustomResourceDefinition")
}

/// The documents of a stream. A broken one must not hide the others, so it is cut by lines, as Helm does; and not
/// copied, since other documents may hold secrets.
pub(crate) fn documents(text: &str) -> Vec<&str> {
    let (mut all, mut start, mut at) = (Vec::new(), 0, 0);
    for line in text.split_inclusive('\n') {
        let end = at + line.len();
        if line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace)) {
            all.push(&text[start..at]);
            start = end;
        }
        at = end;
    }
    all.push(&text[start..]);
    all
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    items: Option<Vec<Item>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Item {
    kind: String,
    metadata: Metadata,
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata {
    name: String,
    annotations: Option<std::collections::BTreeMap<String, Scalar>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec {
    group: String,
}

/// A value that should be a text, and need not be.
#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Text(String),
    Other(IgnoredAny),
}

impl Scalar {
    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Other(_) => None,
        }
    }
}

#[cfg(test)]
#[path = "helm_tests.rs"]
mod tests;
