//! What a file of SOPS says of itself.

use std::collections::BTreeMap;

use keyferry_limits::DOCUMENT_KEYS;
use keyferry_provider_core::{Blame, Error, SecretBytes};

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
    /// What it is called there: for age the recipient, for AWS the ARN, for Vault `engine/key`.
    pub name: String,
    /// What it holds, as that service takes it: a file of age, base64 for AWS, `vault:v1:...` for Vault.
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
    /// Another, by what SOPS calls it.
    Other(&'static str),
}

/// The lists of keys, in the order in which SOPS tries them; age before all others asks nobody.
const LISTS: [(&str, Service, &[&str]); 7] = [
    ("age", Service::Age, &["recipient"]),
    ("kms", Service::Aws, &["arn"]),
    ("hc_vault", Service::Vault, &["engine_path", "key_name"]),
    ("gcp_kms", Service::Other("Google Cloud KMS"), &["resource_id"]),
    ("azure_kv", Service::Other("Azure Key Vault"), &["vault_url", "name"]),
    ("hckms", Service::Other("Huawei Cloud KMS"), &["key_id"]),
    ("pgp", Service::Other("PGP"), &["fp"]),
];

/// Takes a document apart: what is encrypted, and what it says of itself.
pub fn split(tree: Node, format: Format) -> Result<(Node, Metadata), Error> {
    let Node::Map(all) = tree else { return Err(malformed("it is not a file of SOPS: it is no map")) };
    let none = || malformed("it is not encrypted by SOPS: it has no metadata of it");
    let (metadata, rest) = match format {
        Format::Dotenv => {
            let (of_sops, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|(key, _)| key.starts_with("sops_"));
            let named = of_sops.into_iter().map(|(key, one)| (key["sops_".len()..].to_owned(), one)).collect();
            (unflatten(named), rest)
        }
        Format::Yaml | Format::Json | Format::Ini | Format::Binary => {
            let (of_sops, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|(key, _)| key == "sops");
            let metadata = of_sops.into_iter().next().ok_or_else(none)?.1;
            match metadata {
                Node::Map(all) if format == Format::Ini => (unflatten(all), rest),
                metadata => (metadata, rest),
            }
        }
    };
    if metadata.get("mac").is_none() && metadata.get("lastmodified").is_none() {
        return Err(none());
    }
    Ok((Node::Map(rest), read(&metadata)?))
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
    if groups.iter().map(Vec::len).sum::<usize>() > DOCUMENT_KEYS.size() {
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
            let context = match entry.get("context") {
                Some(Node::Map(all)) => {
                    all.iter().filter_map(|(key, one)| Some((key.clone(), one.text()?.to_owned()))).collect()
                }
                _ => BTreeMap::new(),
            };
            all.push(Key { service, name: name.join("/"), wrapped: text(entry, "enc").ok_or_else(whole)?, context });
        }
    }
    Ok(all)
}

/// Puts metadata together that dotenv and INI hold line by line: `age__list_0__map_enc` is `enc` of the first of `age`.
fn unflatten(all: Vec<(String, Node)>) -> Node {
    let mut root = Node::Map(Vec::new());
    for (path, value) in all {
        let value = match value {
            Node::Text(text) => Node::Text(text.expose_str().unwrap_or_default().replace("\\n", "\n").as_str().into()),
            other => other,
        };
        let mut parts = Vec::new();
        for (n, part) in path.split("__map_").enumerate() {
            for (m, part) in part.split("__list_").enumerate() {
                parts.push(if m > 0 { Step::Element(part) } else { Step::Field(part, n) });
            }
        }
        // The split by `__map_` leaves an empty field before an element that follows at once.
        parts.retain(|part| !matches!(part, Step::Field("", n) if *n > 0));
        place(&mut root, &parts, value);
    }
    root
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Field(&'a str, usize),
    Element(&'a str),
}

fn place(node: &mut Node, path: &[Step<'_>], value: Node) {
    let Some((step, rest)) = path.split_first() else {
        *node = value;
        return;
    };
    match step {
        Step::Field(name, _) => {
            if !matches!(node, Node::Map(_)) {
                *node = Node::Map(Vec::new());
            }
            let Node::Map(all) = node else { return };
            if !all.iter().any(|(key, _)| key == name) {
                all.push(((*name).to_owned(), Node::Null));
            }
            if let Some((_, one)) = all.iter_mut().find(|(key, _)| key == name) {
                place(one, rest, value);
            }
        }
        Step::Element(number) => {
            if !matches!(node, Node::List(_)) {
                *node = Node::List(Vec::new());
            }
            let Node::List(all) = node else { return };
            // Nobody has so many keys; a number alone must not make a list of its size.
            let Some(number) = number.parse::<usize>().ok().filter(|number| *number <= DOCUMENT_KEYS.size()) else {
                return;
            };
            while all.len() <= number {
                all.push(Node::Null);
            }
            place(&mut all[number], rest, value);
        }
    }
}

impl Key {
    /// What it holds, for who takes bytes.
    pub fn bytes(&self) -> SecretBytes {
        self.wrapped.as_str().into()
    }
}
