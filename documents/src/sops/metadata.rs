//! What a file of SOPS says of itself.

use std::collections::BTreeMap;

use keyferry_limits::DOCUMENT_KEYS;
use keyferry_provider_core::{Blame, Error, ErrorKind, SecretBytes, Wrapped};

use crate::format::{Format, malformed};
use crate::sops::rules::Rules;
use crate::tree::Node;

/// What stands under `sops`.
#[derive(Debug)]
pub struct Metadata {
    /// Which values are encrypted.
    pub rules: Rules,
    /// Whether the code counts encrypted values only.
    pub mac_only_encrypted: bool,
    /// The message authentication code, encrypted.
    pub mac: String,
    /// The time that is encrypted along with it.
    pub last_modified: String,
    /// The keys.
    pub groups: Vec<Vec<Key>>,
    /// How many groups must be opened.
    pub threshold: usize,
}

/// A key that holds the data key, or a group's part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Where the key is kept.
    pub service: Service,
    /// What it is called there: for age the recipient, for AWS the ARN, for Vault `engine/key`, for Google the name of the
    /// resource, for Azure the URL with the version, for PGP the fingerprint.
    pub name: String,
    /// What it holds, as that service takes it: a file of age, base64 for AWS and Google, base64 of URLs for Azure,
    /// `vault:v1:...` for Vault, an armored message for PGP.
    pub wrapped: String,
    /// What AWS wants to be told along.
    pub context: BTreeMap<String, String>,
}

/// Where a key is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// With us: age.
    Age,
    /// AWS KMS.
    Aws,
    /// The transit engine of Vault or OpenBao.
    Vault,
    /// Cloud KMS of Google.
    Google,
    /// Azure Key Vault.
    Azure,
    /// With us: PGP.
    Pgp,
    /// Another, by what SOPS calls it.
    Other(&'static str),
}

impl Service {
    /// What a service that must be asked is called in the spec of a store; nothing for keys that are with us, or of others.
    pub fn asked(self) -> Option<&'static str> {
        match self {
            Self::Aws => Some("aws"),
            Self::Vault => Some("vault"),
            Self::Google => Some("gcpsm"),
            Self::Azure => Some("azurekv"),
            Self::Age | Self::Pgp | Self::Other(_) => None,
        }
    }
}

/// The lists of keys, in the order in which SOPS tries them; age before all others asks nobody.
const LISTS: [(&str, Service, &[&str]); 7] = [
    ("age", Service::Age, &["recipient"]),
    ("kms", Service::Aws, &["arn"]),
    ("hc_vault", Service::Vault, &["engine_path", "key_name"]),
    ("gcp_kms", Service::Google, &["resource_id"]),
    ("azure_kv", Service::Azure, &["vault_url", "name"]),
    ("hckms", Service::Other("Huawei Cloud KMS"), &["key_id"]),
    ("pgp", Service::Pgp, &["fp"]),
];

/// Takes a document apart: what is encrypted, and what it says of itself.
pub fn split(tree: Node, format: Format) -> Result<(Node, Metadata), Error> {
    let Node::Map(all) = tree else { return Err(malformed("it is not a file of SOPS: it is no map")) };
    let none = || malformed("it is not encrypted by SOPS: it has no metadata of it");
    let (metadata, rest) = match format {
        Format::Dotenv => {
            let (of_sops, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|(key, _)| key.starts_with("sops_"));
            let named = of_sops.into_iter().map(|(key, one)| (key["sops_".len()..].to_owned(), one)).collect();
            (unflatten(named)?, rest)
        }
        Format::Yaml | Format::Json | Format::Ini | Format::Binary => {
            let (of_sops, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|(key, _)| key == "sops");
            let metadata = of_sops.into_iter().next().ok_or_else(none)?.1;
            match metadata {
                Node::Map(all) if format == Format::Ini => (unflatten(all)?, rest),
                metadata => (metadata, rest),
            }
        }
    };
    if metadata.get("mac").is_none() && metadata.get("lastmodified").is_none() {
        return Err(none());
    }
    Ok((Node::Map(rest), read(&metadata)?))
}

/// A further YAML document, which repeats what the first says: that counts for all, as it does for SOPS.
pub fn further(tree: Node) -> Result<Node, Error> {
    let Node::Map(mut all) = tree else { return Err(malformed("one of its YAML documents is no map")) };
    all.retain(|(key, _)| key != "sops");
    Ok(Node::Map(all))
}

fn text(node: &Node, name: &str) -> Option<String> {
    node.get(name).and_then(Node::text).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn is_true(node: &Node, name: &str) -> bool {
    match node.get(name) {
        Some(Node::Bool(is)) => *is,
        Some(Node::Text(text)) => matches!(text.expose(), b"true" | b"1"),
        _ => false,
    }
}

fn number(node: &Node, name: &str) -> Option<usize> {
    match node.get(name)? {
        Node::Number(text) | Node::Text(text) => text.expose_str()?.parse().ok(),
        _ => None,
    }
}

fn read(metadata: &Node) -> Result<Metadata, Error> {
    let needed = |name| {
        text(metadata, name).ok_or_else(|| malformed(format!("its metadata has no {name}: it was cut off or changed")))
    };
    let groups: Vec<Vec<Key>> = match metadata.get("key_groups") {
        Some(Node::List(groups)) if !groups.is_empty() => groups.iter().map(keys).collect::<Result<_, _>>()?,
        _ => vec![keys(metadata)?],
    };
    // A group without keys is one that must be looked at, too.
    if groups.iter().map(|group| group.len().max(1)).sum::<usize>() > DOCUMENT_KEYS.size() {
        return Err(Error::limit(&DOCUMENT_KEYS).with_blame(Blame::Store));
    }
    let threshold = number(metadata, "shamir_threshold").filter(|least| *least > 0).unwrap_or(groups.len());
    Ok(Metadata {
        rules: Rules::new(|name| text(metadata, name))?,
        mac_only_encrypted: is_true(metadata, "mac_only_encrypted"),
        mac: needed("mac")?,
        last_modified: needed("lastmodified")?,
        threshold: if groups.len() == 1 { 1 } else { threshold },
        groups,
    })
}

/// The keys of one group.
fn keys(group: &Node) -> Result<Vec<Key>, Error> {
    let mut all = Vec::new();
    for (list, service, names) in LISTS {
        let Some(Node::List(entries)) = group.get(list) else { continue };
        for entry in entries {
            let whole = || malformed(format!("a key under {list} in its metadata is not whole"));
            let name = names.iter().map(|name| text(entry, name)).collect::<Option<Vec<_>>>().ok_or_else(whole)?;
            let name = if service == Service::Azure { url(&name, entry) } else { name.join("/") };
            let context = match entry.get("context") {
                Some(Node::Map(all)) => {
                    all.iter().filter_map(|(key, one)| Some((key.clone(), one.text()?.to_owned()))).collect()
                }
                _ => BTreeMap::new(),
            };
            all.push(Key { service, name, wrapped: text(entry, "enc").ok_or_else(whole)?, context });
        }
    }
    Ok(all)
}

/// A key of Azure as its vault calls it. Without a version it is the current one.
fn url(vault_and_name: &[String], entry: &Node) -> String {
    let [vault, name] = vault_and_name else { return vault_and_name.join("/") };
    let version = text(entry, "version").unwrap_or_default();
    format!("{}/keys/{name}/{version}", vault.trim_end_matches('/')).trim_end_matches('/').to_owned()
}

/// How deep the names of metadata lead at most: those of SOPS take six steps.
const STEPS: usize = 8;

/// How many parts metadata has at most: as many keys as there may be, each with a context, take fewer.
const PARTS: usize = 4096;

/// Puts metadata together that dotenv and INI hold line by line: `age__list_0__map_enc` is `enc` of the first of `age`.
fn unflatten(all: Vec<(String, Node)>) -> Result<Node, Error> {
    let (mut root, mut left) = (Part::Map(BTreeMap::new()), PARTS);
    for (path, value) in all {
        let value = match value {
            Node::Text(text) => Node::Text(text.expose_str().unwrap_or_default().replace("\\n", "\n").as_str().into()),
            other => other,
        };
        let mut steps = Vec::new();
        for (n, field) in path.split("__map_").enumerate() {
            for (m, part) in field.split("__list_").enumerate() {
                match (n, m, part) {
                    (_, 1.., number) => steps.push(Step::Element(number)),
                    // The split by `__map_` leaves an empty field before an element that follows at once.
                    (1.., 0, "") => {}
                    (_, 0, name) => steps.push(Step::Field(name)),
                }
                if steps.len() > STEPS {
                    return Err(malformed("a name in its metadata leads deeper than any of SOPS: it was changed"));
                }
            }
        }
        let mut part = &mut root;
        for step in steps {
            part = part.at(step, &mut left)?;
        }
        *part = Part::Leaf(value);
    }
    Ok(root.into_node())
}

enum Step<'a> {
    Field(&'a str),
    Element(&'a str),
}

/// Metadata while it is put together.
enum Part {
    Leaf(Node),
    Map(BTreeMap<String, Part>),
    List(Vec<Part>),
}

impl Part {
    /// What is one step further, which is made where it is not there; `left` is how many may still be made.
    fn at(&mut self, step: Step<'_>, left: &mut usize) -> Result<&mut Self, Error> {
        let mut spend = |parts: usize| {
            *left = left.checked_sub(parts).ok_or_else(|| malformed("its metadata has more parts than SOPS writes"))?;
            Ok::<_, Error>(())
        };
        match step {
            Step::Field(name) => {
                if !matches!(self, Self::Map(_)) {
                    *self = Self::Map(BTreeMap::new());
                }
                let Self::Map(all) = self else { return Err(malformed("its metadata is not whole")) };
                if !all.contains_key(name) {
                    spend(1)?;
                }
                Ok(all.entry(name.to_owned()).or_insert(Self::Leaf(Node::Null)))
            }
            Step::Element(number) => {
                let number: usize =
                    number.parse().map_err(|_| malformed("a list in its metadata has an element without a number"))?;
                // Nobody has so many keys; a number alone must not make a list of its size.
                if number > DOCUMENT_KEYS.size() {
                    return Err(Error::limit(&DOCUMENT_KEYS).with_blame(Blame::Store));
                }
                if !matches!(self, Self::List(_)) {
                    *self = Self::List(Vec::new());
                }
                let Self::List(all) = self else { return Err(malformed("its metadata is not whole")) };
                let absent = (number + 1).saturating_sub(all.len());
                spend(absent)?;
                all.extend((0..absent).map(|_| Self::Leaf(Node::Null)));
                Ok(&mut all[number])
            }
        }
    }

    fn into_node(self) -> Node {
        match self {
            Self::Leaf(node) => node,
            Self::Map(all) => Node::Map(all.into_iter().map(|(name, part)| (name, part.into_node())).collect()),
            Self::List(all) => Node::List(all.into_iter().map(Self::into_node).collect()),
        }
    }
}

impl Key {
    /// What it holds, for who takes bytes.
    pub fn bytes(&self) -> SecretBytes {
        self.wrapped.as_str().into()
    }

    /// Why nobody is asked for one of a service that is not known here.
    pub fn refusal(&self) -> Error {
        let service = if let Service::Other(name) = self.service { name } else { "such a service" };
        Error::new(
            ErrorKind::Denied,
            format!(
                "{service} key {:?}: keys of {service} are not built yet; add a recipient of age with `sops updatekeys`",
                self.name
            ),
        )
    }

    /// What it holds, for the service that keeps it.
    pub fn to_unwrap(&self) -> Wrapped {
        Wrapped { key: self.name.clone(), ciphertext: self.bytes(), context: self.context.clone() }
    }
}
