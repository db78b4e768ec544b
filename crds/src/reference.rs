//! The fields of the API for people, out of the schemas: a page of Markdown for each kind, and one for all generators.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;

use crate::names::GENERATORS_GROUP;

const HEAD: &str = "<!-- Made by `cargo run -p keyferry-crds` of the schemas in crds/: change those. -->\n";

/// The pages, each with the name of its file.
pub fn reference() -> Vec<(String, String)> {
    let mut kinds: Vec<Kind> = crate::crds().iter().map(Kind::of).collect();
    // Those for a cluster hold what the others have, which is then said once.
    kinds.sort_by_key(|kind| kind.name.starts_with("Cluster"));
    let mut pages: Vec<(String, String)> = Vec::new();
    for (at, kind) in kinds.iter().enumerate() {
        let text = kind.text(&kinds[..at]);
        let (file, title) = if kind.is_generator {
            ("generators.md".to_owned(), "Fields of generators".to_owned())
        } else {
            (format!("{}.md", kind.name.to_lowercase()), format!("Fields of {}", kind.name))
        };
        match pages.iter_mut().find(|(name, _)| *name == file) {
            Some((_, page)) => page.push_str(&text),
            None => pages.push((file, format!("{HEAD}# {title}\n{text}"))),
        }
    }
    pages
}

/// A kind, and its schema as it is stored.
struct Kind {
    name: String,
    version: String,
    is_generator: bool,
    schema: Value,
}

impl Kind {
    fn of(crd: &CustomResourceDefinition) -> Self {
        let stored = crd.spec.versions.iter().find(|version| version.storage).expect("a version is stored");
        let schema = stored.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
        Self {
            name: crd.spec.names.kind.clone(),
            version: format!("{}/{}", crd.spec.group, stored.name),
            is_generator: crd.spec.group == GENERATORS_GROUP,
            schema: serde_json::to_value(schema).expect("a schema is plain data"),
        }
    }

    fn spec(&self) -> &Value {
        &self.schema["properties"]["spec"]
    }

    /// Its section. What has the fields of one of `before` is not told again.
    fn text(&self, before: &[Self]) -> String {
        let mut rows = Rows { before, text: String::new(), sections: Vec::new() };
        let fields = &self.schema["properties"];
        for name in ["spec", "status"].into_iter().filter(|name| !fields[name].is_null()) {
            rows.field(name, &fields[name], false);
        }
        let heading = if self.is_generator { format!("## {}", self.name) } else { "## All of them".to_owned() };
        let Rows { text, sections, .. } = rows;
        let about = prose(&self.schema);
        let mut text = format!("\n{heading}\n\n`{}`. {about}\n\n{}{text}", self.version, Rows::HEAD);
        for (provider, rows) in sections {
            text.push_str(&format!("\n## {provider}\n\n{}{rows}", Rows::HEAD));
        }
        text
    }
}

/// The rows of a kind's fields, and apart those of each store.
struct Rows<'a> {
    before: &'a [Kind],
    text: String,
    sections: Vec<(String, String)>,
}

impl Rows<'_> {
    const HEAD: &'static str = "| Field | Type | |\n|---|---|---|\n";

    fn field(&mut self, path: &str, node: &Value, is_required: bool) {
        let known = self.before.iter().find(|kind| same(kind.spec(), node));
        let mut about = prose(node);
        if let Some(kind) = known {
            let name = kind.name.to_lowercase();
            let place = if kind.is_generator { format!("generators.md#{name}") } else { format!("{name}.md") };
            about.push_str(&format!(" The fields are those of `spec` of [{}]({place}).", kind.name));
        }
        let required = if is_required { "**required.** " } else { "" };
        let row = format!("| `{path}` | {} | {required}{about} |\n", kind_of_value(node));
        match path.strip_prefix("spec.provider.") {
            None => self.text.push_str(&row),
            Some(rest) => {
                let provider = rest.split(['.', '[']).next().unwrap_or(rest);
                match self.sections.iter_mut().find(|(name, _)| name == provider) {
                    Some((_, rows)) => rows.push_str(&row),
                    None => self.sections.push((provider.to_owned(), row)),
                }
            }
        }
        if known.is_none() {
            self.below(path, node);
        }
    }

    fn below(&mut self, path: &str, node: &Value) {
        let required: Vec<&str> = node["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for (name, field) in node["properties"].as_object().into_iter().flatten() {
            self.field(&format!("{path}.{name}"), field, required.contains(&name.as_str()));
        }
        // What a list or a map holds was said with it, unless it has fields of its own.
        for (at, inner) in [("[]", &node["items"]), (".*", &node["additionalProperties"])] {
            if inner.is_object() {
                self.below(&format!("{path}{at}"), inner);
            }
        }
    }
}

/// Whether two have the same fields, whatever is said of them as a whole.
fn same(one: &Value, other: &Value) -> bool {
    one["properties"].is_object() && one["properties"] == other["properties"] && one["required"] == other["required"]
}

fn kind_of_value(node: &Value) -> String {
    if node["x-kubernetes-int-or-string"] == true {
        return "integer or string".to_owned();
    }
    match node["type"].as_str() {
        Some("array") => format!("list of {}", kind_of_value(&node["items"])),
        Some("object") if node["additionalProperties"].is_object() => {
            format!("map of {}", kind_of_value(&node["additionalProperties"]))
        }
        Some(name) => name.to_owned(),
        None => "any".to_owned(),
    }
}

/// What is said of a field: its description, its values, its default, and what must hold of it.
fn prose(node: &Value) -> String {
    let mut said = vec![node["description"].as_str().unwrap_or_default().to_owned()];
    let words = node["enum"].as_array().or(node["items"]["enum"].as_array());
    if let Some(words) = words {
        let words: Vec<String> = words.iter().map(|word| format!("`{}`", plain(word))).collect();
        said.push(format!("One of {}.", words.join(", ")));
    }
    if !node["default"].is_null() {
        said.push(format!("Default: `{}`.", plain(&node["default"])));
    }
    let rules = node["x-kubernetes-validations"].as_array().into_iter().flatten();
    said.extend(rules.filter_map(|rule| rule["message"].as_str()).map(|message| format!("Rule: {message}.")));
    said.retain(|text| !text.is_empty());
    // Two ways to break one rule have one message.
    said.dedup();
    said.join(" ").replace('|', "\\|").replace('<', "&lt;").replace('\n', " ")
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// What is committed is what the schemas say, and nothing else lies there but the page of flags, which another test holds.
    #[test]
    fn the_committed_reference_is_up_to_date() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference");
        let pages = reference();
        for (file, page) in &pages {
            let committed = std::fs::read_to_string(folder.join(file)).unwrap_or_default();
            assert!(
                committed == *page,
                "docs/reference/{file} is old: run `cargo run -p keyferry-crds`, and commit the result"
            );
        }
        let mut want: Vec<String> = pages.into_iter().map(|(file, _)| file).chain(["flags.md".to_owned()]).collect();
        let entries = std::fs::read_dir(&folder).unwrap();
        let mut found: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        want.sort();
        found.sort();
        assert_eq!(found, want);
    }

    #[test]
    fn it_has_every_store_and_says_what_is_required_and_allowed() {
        let pages = reference();
        let page = |name: &str| &pages.iter().find(|(file, _)| file == name).unwrap().1;
        let stores = page("secretstore.md");
        for provider in crate::provider_keys() {
            assert!(stores.contains(&format!("\n## {provider}\n")), "{provider}");
        }
        assert!(page("externalsecret.md").contains("| `spec.data[].secretKey` | string | **required.**"));
        assert!(page("externalsecret.md").contains("One of `Owner`, "));
        assert!(page("clustersecretstore.md").contains("are those of `spec` of [SecretStore](secretstore.md)"));
    }
}
