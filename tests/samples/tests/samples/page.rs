//! What a page says.

use std::path::Path;

use serde_json::Value;

/// A page about a store.
pub struct Page {
    /// The store, as `spec.provider` calls it.
    pub store: String,
    text: String,
}

impl Page {
    /// Every page that there is.
    pub fn all() -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/stores");
        let files = std::fs::read_dir(&folder).expect("the pages").map(|file| file.expect("a page").path());
        let name = |file: &Path| file.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
        let pages = files.filter(|file| name(file) != "README");
        let mut pages: Vec<Self> = pages
            .map(|file| Self { store: name(&file), text: std::fs::read_to_string(&file).expect("a page is text") })
            .collect();
        pages.sort_by(|a, b| a.store.cmp(&b.store));
        assert!(pages.len() >= 19, "the test found its subjects");
        pages
    }

    /// Where it stands.
    pub fn file(&self) -> String {
        format!("docs/stores/{}.md", self.store)
    }

    /// The objects of its sample, with each text of `here` in place of another: all must be there.
    pub fn objects(&self, here: &[(&str, String)]) -> Vec<Value> {
        let mut yaml = self.yaml();
        for (there, here) in here {
            assert!(yaml.contains(there), "{}: the sample has no {there:?}", self.file());
            yaml = yaml.replace(there, here);
        }
        // Kubernetes reads `y` as text.
        let options = serde_saphyr::options! { strict_booleans: true };
        let objects: Vec<Value> = serde_saphyr::from_multiple_with_options(&yaml, options)
            .unwrap_or_else(|error| panic!("{}: no YAML: {error}", self.file()));
        assert!(!objects.is_empty(), "{}: there is no sample", self.file());
        objects
    }

    /// All its blocks of YAML.
    fn yaml(&self) -> String {
        let blocks = self.text.split("\n```yaml\n").skip(1);
        let blocks: Vec<&str> = blocks.map(|rest| rest.split("\n```").next().unwrap_or_default()).collect();
        blocks.join("\n---\n")
    }
}
