//! A secret as the server has it, and as External Secrets Operator shows it. Pure.

use std::collections::BTreeMap;

use keyferry_go as go;
use keyferry_provider_core::{SecretBuf, SecretBytes, json};
use serde_json::value::RawValue;

/// A secret: an ordered list of fields, and what is said of it.
pub struct Secret {
    /// Its number.
    pub id: u64,
    /// Its fields.
    pub items: Vec<Item>,
    said: Said,
}

/// A field of a secret.
pub struct Item {
    /// What it is called in paths.
    pub slug: String,
    /// What people call it.
    pub name: String,
    /// What it holds. Of a file it is not the file, until that was fetched.
    pub value: SecretBytes,
    /// Whether it is a file.
    pub is_file: bool,
    /// Whether that file is there.
    pub has_file: bool,
    said: Said,
}

/// Numbers, texts and truths by their names in small letters: the server writes them in another case than Go's library.
type Said = BTreeMap<String, String>;

/// What is shown of a secret before its items, in this order, and of each item.
const OF_SECRET: [(&str, Form); 21] = [
    ("Name", Form::Text),
    ("FolderID", Form::Number),
    ("ID", Form::Number),
    ("SiteID", Form::Number),
    ("SecretTemplateID", Form::Number),
    ("SecretPolicyID", Form::NumberOrNothing),
    ("PasswordTypeWebScriptID", Form::NumberOrNothing),
    ("LauncherConnectAsSecretID", Form::Number),
    ("CheckOutIntervalMinutes", Form::Number),
    ("Active", Form::Truth),
    ("CheckedOut", Form::Truth),
    ("CheckOutEnabled", Form::Truth),
    ("AutoChangeEnabled", Form::Truth),
    ("CheckOutChangePasswordEnabled", Form::Truth),
    ("DelayIndexing", Form::Truth),
    ("EnableInheritPermissions", Form::Truth),
    ("EnableInheritSecretPolicy", Form::Truth),
    ("ProxyEnabled", Form::Truth),
    ("RequiresComment", Form::Truth),
    ("SessionRecordingEnabled", Form::Truth),
    ("WebLauncherRequiresIncognitoMode", Form::Truth),
];
const OF_ITEM: [(&str, Form); 11] = [
    ("ItemID", Form::Number),
    ("FieldID", Form::Number),
    ("FileAttachmentID", Form::Number),
    ("FieldName", Form::Text),
    ("Slug", Form::Text),
    ("FieldDescription", Form::Text),
    ("Filename", Form::Text),
    ("ItemValue", Form::Value),
    ("IsFile", Form::Truth),
    ("IsNotes", Form::Truth),
    ("IsPassword", Form::Truth),
];

#[derive(Clone, Copy)]
enum Form {
    Text,
    Number,
    /// One that is not shown where it is 0.
    NumberOrNothing,
    Truth,
    /// What the item holds.
    Value,
}

impl Secret {
    /// Reads what the server answers.
    pub fn read(body: &SecretBytes) -> Option<Self> {
        let fields = json::object(body.expose())?;
        let id = by_name(&fields, "id")?.get().parse().ok().filter(|id| *id > 0)?;
        let items = by_name(&fields, "items").filter(|items| items.get() != "null");
        let items = match items {
            Some(items) => json::array(items.get().as_bytes())?.into_iter().map(Item::read).collect::<Option<_>>()?,
            None => Vec::new(),
        };
        Some(Self { id, items, said: said(&fields, &OF_SECRET) })
    }

    /// The field that a push is for: the one that it names, or the first.
    pub fn named(&self, property: Option<&str>) -> Option<&Item> {
        property.map_or_else(|| self.items.first(), |name| self.item(name))
    }

    /// The field of this name or slug.
    pub fn item(&self, name: &str) -> Option<&Item> {
        self.items.iter().find(|item| item.slug == name || item.name == name)
    }

    /// The whole as Go writes it.
    pub fn whole(&self) -> SecretBytes {
        let mut out =
            SecretBuf::with_capacity(512 + self.items.iter().map(|item| 256 + 2 * item.value.len()).sum::<usize>());
        out.push(b'{');
        write(&self.said, &OF_SECRET, None, &mut out);
        out.extend(b",\"Items\":[");
        for (n, item) in self.items.iter().enumerate() {
            out.extend(if n == 0 { b"{" } else { b",{" });
            write(&item.said, &OF_ITEM, Some(&item.value), &mut out);
            out.push(b'}');
        }
        out.extend(b"]}");
        out.into()
    }
}

impl Item {
    /// Whether there is anything in it.
    pub fn holds(&self) -> bool {
        self.has_file || (!self.is_file && !self.value.is_empty())
    }

    fn read(raw: &RawValue) -> Option<Self> {
        let fields = json::object(raw.get().as_bytes())?;
        let said = said(&fields, &OF_ITEM);
        let value = by_name(&fields, "itemvalue").filter(|value| value.get() != "null");
        let (text, is_true) = (|name| text(&said, name), |name: &str| said.get(name).is_some_and(|it| it == "true"));
        let is_file = is_true("isfile");
        let attached = said.get("fileattachmentid").is_some_and(|id| id != "0");
        Some(Self {
            slug: text("slug"),
            name: text("fieldname"),
            value: value.map(json::to_bytes).unwrap_or_default(),
            is_file,
            has_file: is_file && attached && !text("filename").is_empty(),
            said,
        })
    }
}

fn by_name<'a>(fields: &BTreeMap<String, &'a RawValue>, name: &str) -> Option<&'a RawValue> {
    fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, raw)| *raw)
}

/// What is said, as it stands in the JSON; values are kept elsewhere.
fn said(fields: &BTreeMap<String, &RawValue>, which: &[(&str, Form)]) -> Said {
    let plain = which.iter().filter(|(_, form)| !matches!(form, Form::Value));
    let found = plain.filter_map(|(name, form)| {
        let raw = by_name(fields, name)?.get();
        let fits = match form {
            Form::Text => raw.starts_with('"'),
            Form::Number | Form::NumberOrNothing => raw.parse::<i64>().is_ok(),
            Form::Truth | Form::Value => raw == "true" || raw == "false",
        };
        fits.then(|| (name.to_ascii_lowercase(), raw.to_owned()))
    });
    found.collect()
}

fn text(said: &Said, name: &str) -> String {
    let raw = said.get(name).and_then(|raw| serde_json::from_str(raw).ok());
    raw.unwrap_or_default()
}

fn write(said: &Said, which: &[(&str, Form)], value: Option<&SecretBytes>, out: &mut SecretBuf) {
    let mut is_first = true;
    for (name, form) in which {
        let key = name.to_ascii_lowercase();
        let there = said.get(&key).map(String::as_str);
        if matches!(form, Form::NumberOrNothing) && there.is_none_or(|number| number == "0") {
            continue;
        }
        out.extend(if is_first { b"\"" } else { b",\"" });
        is_first = false;
        out.extend(name.as_bytes());
        out.extend(b"\":");
        match form {
            Form::Text => go::json::string(text(said, &key).as_bytes(), true, |part| out.extend(part)),
            Form::Number | Form::NumberOrNothing => out.extend(there.unwrap_or("0").as_bytes()),
            Form::Truth => out.extend(there.unwrap_or("false").as_bytes()),
            Form::Value => {
                let value = value.map(SecretBytes::expose).unwrap_or_default();
                go::json::string(value, true, |part| out.extend(part));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_shown_as_go_shows_it() {
        let body = r#"{"id":7,"name":"a<b","folderId":3,"siteId":1,"secretTemplateId":60,"secretPolicyId":0,"active":true,"new":{},
            "items":[{"itemId":1,"fieldId":2,"fieldName":"Data","slug":"data","itemValue":"{\"k\":1}","isPassword":true,"filename":null}]}"#;
        let secret = Secret::read(&body.into()).unwrap();
        let shown = r#"{"Name":"a\u003cb","FolderID":3,"ID":7,"SiteID":1,"SecretTemplateID":60,"LauncherConnectAsSecretID":0,"CheckOutIntervalMinutes":0,"Active":true,"CheckedOut":false,"CheckOutEnabled":false,"AutoChangeEnabled":false,"CheckOutChangePasswordEnabled":false,"DelayIndexing":false,"EnableInheritPermissions":false,"EnableInheritSecretPolicy":false,"ProxyEnabled":false,"RequiresComment":false,"SessionRecordingEnabled":false,"WebLauncherRequiresIncognitoMode":false,"Items":[{"ItemID":1,"FieldID":2,"FileAttachmentID":0,"FieldName":"Data","Slug":"data","FieldDescription":"","Filename":"","ItemValue":"{\"k\":1}","IsFile":false,"IsNotes":false,"IsPassword":true}]}"#;
        assert_eq!(secret.whole().expose_str(), Some(shown));
        assert_eq!(secret.item("Data").map(|item| item.slug.as_str()), Some("data"));
        assert!(secret.item("nothing").is_none());
    }

    #[test]
    fn a_file_is_told_from_a_field() {
        let item = |more: &str| {
            let body = format!(r#"{{"id":1,"items":[{{"slug":"f","isFile":true,{more}}}]}}"#);
            Secret::read(&body.as_str().into()).unwrap().items.remove(0)
        };
        assert!(item(r#""fileAttachmentId":5,"filename":"a.txt""#).has_file);
        assert!(!item(r#""fileAttachmentId":0,"filename":"a.txt""#).has_file);
        assert!(!item(r#""fileAttachmentId":5,"filename":null"#).has_file);
    }

    #[test]
    fn what_is_no_secret_is_none() {
        for body in
            ["", "[]", "{}", r#"{"id":0}"#, r#"{"id":"x"}"#, r#"{"id":1,"items":{}}"#, r#"{"id":1,"items":[1]}"#]
        {
            assert!(Secret::read(&body.into()).is_none(), "{body}");
        }
        let empty = Secret::read(&r#"{"id":1,"items":null}"#.into()).unwrap();
        assert!(empty.items.is_empty() && empty.whole().expose().ends_with(b"\"Items\":[]}"));
    }
}
