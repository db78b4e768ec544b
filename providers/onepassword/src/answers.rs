//! What answers mean. Pure.

use std::collections::BTreeMap;

use keyferry_provider_core::parts::{Part, Parts};
use keyferry_provider_core::{SecretBytes, json};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The largest file that is read with its item: what is larger fits into no Secret.
const LARGEST_FILE: u64 = 1 << 20;

/// A vault, as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Vault {
    /// Its id.
    pub id: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
}

/// An item, as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Summary {
    /// Its id.
    pub id: String,
    /// Its title.
    #[serde(default)]
    pub title: String,
    /// Its tags.
    #[serde(default)]
    pub tags: Option<Vec<String>>,
}

/// An item.
pub struct Item {
    /// How often it was written.
    pub version: Option<u64>,
    /// Whether it is a document, which is read by its files.
    pub is_document: bool,
    /// Its fields, in their order.
    pub fields: Vec<Field>,
    /// Its files, in their order.
    pub files: Vec<File>,
    /// Its tags.
    pub tags: Vec<String>,
    /// The whole, as it was answered.
    pub body: SecretBytes,
}

/// A field of an item.
pub struct Field {
    /// What people see before it.
    pub label: String,
    /// What it holds.
    pub value: SecretBytes,
}

/// A file of an item.
#[derive(Clone, Debug, Deserialize)]
pub struct File {
    /// Its id.
    pub id: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Its size in bytes, where that is told.
    pub size: Option<u64>,
}

impl File {
    /// Whether it is read with its item.
    pub fn is_read(&self) -> bool {
        self.size.is_none_or(|size| size <= LARGEST_FILE)
    }
}

/// Whether this can be a segment of a path: ids are 26 letters and digits.
pub fn is_safe_id(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= 64
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Whether a name has the form of an id.
pub fn is_id(name: &str) -> bool {
    name.len() == 26 && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// Reads a list of vaults.
pub fn vaults(body: &SecretBytes) -> Option<Vec<Vault>> {
    let vaults: Vec<Vault> = serde_json::from_slice(body.expose()).ok()?;
    vaults.iter().all(|vault| is_safe_id(&vault.id)).then_some(vaults)
}

/// Reads a list of items.
pub fn summaries(body: &SecretBytes) -> Option<Vec<Summary>> {
    let items: Vec<Summary> = serde_json::from_slice(body.expose()).ok()?;
    items.iter().all(|item| is_safe_id(&item.id)).then_some(items)
}

/// The filter for items of this title. It is a string of JSON, so that no title ends it.
pub fn of_title(title: &str) -> String {
    let mut quoted = String::with_capacity(title.len() + 2);
    for character in title.chars() {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    format!("title eq \"{quoted}\"")
}

/// Reads an item.
pub fn item(body: &SecretBytes) -> Option<Item> {
    let whole = json::object(body.expose())?;
    if !is_safe_id(&text(whole.get("id")?)?) {
        return None;
    }
    let fields = list(&whole, "fields")?.into_iter().map(field).collect::<Option<_>>()?;
    let files = list(&whole, "files")?.into_iter().map(|raw| serde_json::from_str(raw.get()).ok());
    let files: Vec<File> = files.collect::<Option<_>>()?;
    if !files.iter().all(|file| is_safe_id(&file.id)) {
        return None;
    }
    Some(Item {
        version: version(&whole),
        is_document: whole.get("category").is_some_and(|category| category.get() == "\"DOCUMENT\""),
        fields,
        files,
        tags: list(&whole, "tags")?.into_iter().map(text).collect::<Option<_>>()?,
        body: body.clone(),
    })
}

/// The id and the version of an item that was written.
pub fn written(body: &SecretBytes) -> Option<(String, Option<u64>)> {
    let whole = json::object(body.expose())?;
    let id = text(whole.get("id")?).filter(|id| is_safe_id(id))?;
    Some((id, version(&whole)))
}

fn version(item: &BTreeMap<String, &RawValue>) -> Option<u64> {
    item.get("version")?.get().parse().ok()
}

/// A list under a key; none is an empty one.
pub fn list<'a>(whole: &BTreeMap<String, &'a RawValue>, key: &str) -> Option<Vec<&'a RawValue>> {
    match whole.get(key) {
        Some(raw) if raw.get() != "null" => json::array(raw.get().as_bytes()),
        _ => Some(Vec::new()),
    }
}

/// The label of a field, empty where it has none.
pub fn label(field: &BTreeMap<String, &RawValue>) -> Option<String> {
    field.get("label").map_or(Some(String::new()), |label| text(label))
}

fn field(raw: &RawValue) -> Option<Field> {
    let field = json::object(raw.get().as_bytes())?;
    let value = field.get("value").map_or_else(SecretBytes::default, |value| json::to_bytes(value));
    Some(Field { label: label(&field)?, value })
}

fn text(raw: &RawValue) -> Option<String> {
    json::to_bytes(raw).expose_str().map(str::to_owned)
}

/// An item by its parts; `contents` are those of the files that [are read](File::is_read), in their order.
pub fn parts(item: &Item, contents: Vec<SecretBytes>, rank: usize) -> Parts {
    let mut parts = Parts { rank, files_first: item.is_document, ..Parts::default() };
    for field in &item.fields {
        put(&mut parts.fields, &field.label, Part::Value(field.value.clone()));
    }
    let mut contents = contents.into_iter();
    for file in &item.files {
        let part = if file.is_read() { contents.next().map(Part::Value) } else { None };
        put(&mut parts.files, &file.name, part.unwrap_or(Part::TooLarge));
    }
    parts.first_file = item.files.first().map(|file| file.name.clone());
    parts
}

fn put(parts: &mut BTreeMap<String, Part>, name: &str, part: Part) {
    let part = match parts.remove(name) {
        None => part,
        Some(Part::Several(count)) => Part::Several(count + 1),
        Some(Part::Value(_) | Part::TooLarge) => Part::Several(2),
    };
    parts.insert(name.to_owned(), part);
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaa";

    #[test]
    fn what_is_no_answer_of_the_server_is_none() {
        for body in ["", "<html>", "{}", "[1]", r#"[{"id":"../up","title":"t"}]"#, r#"[{"title":"t"}]"#] {
            assert_eq!((vaults(&body.into()), summaries(&body.into())), (None, None), "{body}");
        }
        let with = |rest: &str| format!(r#"{{"id":"{ID}",{rest}}}"#);
        for body in ["{}".into(), "[]".into(), with(r#""fields":{}"#), with(r#""files":[{"id":"a/b"}]"#)] {
            assert!(item(&body.as_str().into()).is_none(), "{body}");
        }
        assert!(item(&r#"{"id":"a/../b"}"#.into()).is_none());
    }

    #[test]
    fn an_item_is_read_as_it_stands() {
        let body = format!(
            r#"{{"id":"{ID}","version":3,"category":"DOCUMENT","tags":["a"],"fields":[{{"id":"x"}},{{"label":"n","value":"1\n"}}],
               "files":[{{"id":"f","name":"b","size":9999999}},{{"id":"g","name":"a","size":1}}]}}"#
        );
        let item = item(&body.as_str().into()).unwrap();
        assert!((item.version, item.is_document, item.tags.len()) == (Some(3), true, 1));
        let parts = parts(&item, vec!["content".into()], 2);
        assert_eq!(parts.first_file.as_deref(), Some("b"));
        assert!(matches!(parts.files["b"], Part::TooLarge));
        assert!(matches!(&parts.files["a"], Part::Value(value) if value.expose() == b"content"));
        assert!(matches!(&parts.fields["n"], Part::Value(value) if value.expose() == b"1\n"));
        assert_eq!((parts.rank, parts.files_first), (2, true));
    }

    #[test]
    fn what_is_there_twice_is_told() {
        let body = format!(r#"{{"id":"{ID}","fields":[{{"label":"a","value":"1"}},{{"label":"a"}},{{"label":"a"}}]}}"#);
        let parts = parts(&item(&body.as_str().into()).unwrap(), Vec::new(), 0);
        assert!(matches!(parts.fields["a"], Part::Several(3)));
    }

    #[test]
    fn no_title_ends_the_filter() {
        assert_eq!(of_title("plain title"), r#"title eq "plain title""#);
        assert_eq!(of_title(r#"x" or title pr or title eq "\"#), r#"title eq "x\" or title pr or title eq \"\\""#);
    }

    #[test]
    fn ids_are_known_by_their_form() {
        assert!(is_id(ID) && is_id("hfnjvi6aymbsnfc2xeeoheizda"));
        assert!(!is_id("hfnjvi6aymbsnfc2xeeoheizdA") && !is_id("short") && !is_id(&"a".repeat(27)));
    }
}
