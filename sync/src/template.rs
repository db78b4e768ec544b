//! `spec.target.template`: makes a target's content of what was fetched. Pure, but for the cache of parsed templates.
//!
//! Order and precedence are External Secrets Operator's: fetched data where it stays, `templateFrom` in order,
//! `template.data` over all, then the values of labels and annotations.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use jiff::Timestamp;
use keyferry_crds::{
    DecodingStrategy, ExternalSecret, Manifest, MergePolicy, Template, TemplateFrom, TemplateItem, TemplateScope,
};
use keyferry_provider_core::SecretBytes;
use keyferry_template as gotmpl;
use serde_json::Value;

use crate::content::{Content, Edit};
use crate::data::{Data, SecretJson, Sources};
use crate::decode::{check_key, decode};
use crate::dependency::{Dependency, Kind};
use crate::outcome::{Failure, Headline, Retry};
use crate::path::Path;

/// Parses and renders, keeping parsed templates by their text.
pub struct Engine {
    options: gotmpl::Options,
    is_strict: bool,
    parsed: Mutex<HashMap<String, Arc<gotmpl::Template>>>,
}

/// How many parsed templates are kept. Beyond that all are let go: they are cheap to parse.
const MOST_PARSED: usize = 2000;

/// Whether a template's text may be kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    /// It stands in the ExternalSecret or in a ConfigMap.
    Parsed,
    /// It is the value of a Secret, of which nothing outlives the refresh.
    Nothing,
}

impl Engine {
    /// An engine with these delimiters.
    pub fn new(left: &str, right: &str) -> Self {
        let mut options = gotmpl::Options::new(Arc::new(gotmpl::Functions::standard()));
        options.left_delim = left.to_owned();
        options.right_delim = right.to_owned();
        options.missing_key = gotmpl::MissingKey::Error;
        Self { options, is_strict: false, parsed: Mutex::default() }
    }

    /// The same engine, to which it is an error that a function fails whose complaint Go takes for its result.
    pub fn strict(self, is_strict: bool) -> Self {
        Self { is_strict, ..self }
    }

    /// Renders `text` over `data`. The error names line, column and part, and holds no data. Answers with the result which
    /// functions failed and left a complaint in it.
    fn render(
        &self,
        name: &str,
        text: &str,
        keep: Keep,
        data: &Data,
        now: Timestamp,
    ) -> Result<(SecretBytes, Vec<&'static str>), String> {
        let template = match keep {
            Keep::Nothing => Arc::new(self.parse(name, text)?),
            Keep::Parsed => {
                // Apart from the match: the lock must be let go before the template is put in.
                let known = self.lock().get(text).cloned();
                match known {
                    Some(template) => template,
                    None => self.keep(text, Arc::new(self.parse(name, text)?)),
                }
            }
        };
        let strings = data.iter().map(|(key, value)| (key.as_str(), value.expose()));
        let (rendered, complained) = with_env(now, |env| {
            let rendered = template.render_strings(strings, env);
            (rendered, std::mem::take(&mut env.complained))
        });
        let mut rendered = rendered.map_err(|error| format!("{name}: {error}"))?;
        Ok((SecretBytes::new(std::mem::take(&mut *rendered)), complained))
    }

    /// Renders a new name for `key`, which the template calls `.value`; here the usual delimiters hold, and a missing
    /// key is no error.
    pub fn rename(&self, text: &str, key: &str, now: Timestamp) -> Result<String, String> {
        let options = gotmpl::Options::new(self.options.functions.clone());
        let template = gotmpl::Template::parse("template", text, &options).map_err(|error| error.to_string())?;
        let renamed =
            with_env(now, |env| template.render_strings([("value", key)], env)).map_err(|error| error.to_string())?;
        String::from_utf8(renamed.to_vec()).map_err(|_| format!("the new name of {key:?} is not text"))
    }

    fn parse(&self, name: &str, text: &str) -> Result<gotmpl::Template, String> {
        gotmpl::Template::parse("template", text, &self.options).map_err(|error| format!("{name}: {error}"))
    }

    fn keep(&self, text: &str, template: Arc<gotmpl::Template>) -> Arc<gotmpl::Template> {
        let mut parsed = self.lock();
        if parsed.len() >= MOST_PARSED {
            parsed.clear();
        }
        parsed.insert(text.to_owned(), template.clone());
        template
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<gotmpl::Template>>> {
        self.parsed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn with_env<T>(now: Timestamp, work: impl FnOnce(&mut gotmpl::Env<'_>) -> T) -> T {
    let clock = Fixed(now);
    let random = Box::new(gotmpl::SystemRandom);
    work(&mut gotmpl::Env { random, clock: &clock, limits: gotmpl::Limits::default(), complained: Vec::new() })
}

/// The time of the refresh, for all templates of it.
struct Fixed(Timestamp);

impl gotmpl::Clock for Fixed {
    fn now(&self) -> SystemTime {
        SystemTime::from(self.0)
    }
}

/// The content of the target.
pub fn content(
    es: &ExternalSecret,
    fetched: Data,
    sources: &Sources,
    engine: &Engine,
    now: Timestamp,
) -> Result<Content, Failure> {
    let manifest = es.target_manifest();
    let failed = |cause| match manifest {
        Some(_) => Failure::new(Headline::Manifest, cause, Retry::Late),
        None => Failure::new(Headline::Update, cause, Retry::Late),
    };
    let Some(template) = &es.spec.target.template else {
        return match manifest {
            None => check_keys(Content::plain(es, fetched)),
            Some(manifest) => {
                let edits = vec![all_of(&fetched, manifest).map_err(failed)?];
                Ok(Content { edits, ..Content::plain(es, Data::new()) })
            }
        };
    };
    let work = Templating { es, sources, engine, now, fetched: &fetched, manifest, complaints: RefCell::default() };
    let content = work.content(template).map_err(failed)?;
    let content = Content { complaints: work.complaints.into_inner(), ..content };
    if manifest.is_none() {
        check_type(&content)?;
    }
    check_keys(content)
}

/// What goes into a Secret as it was fetched has the names that it had in the store.
fn check_keys(content: Content) -> Result<Content, Failure> {
    match content.data.keys().find_map(|key| Some((key, check_key(key).err()?))) {
        None => Ok(content),
        Some((key, problem)) => {
            let cause = format!("field {key:?} can't be a key of a Secret: it {problem}");
            Err(Failure::new(Headline::Update, cause, Retry::Late))
        }
    }
}

/// Everything fetched, where it goes in a target of this kind without a template.
fn all_of(fetched: &Data, manifest: &Manifest) -> Result<Edit, String> {
    let mut all = SecretJson::new(Value::Object(serde_json::Map::new()));
    for (key, value) in fetched {
        let text = value.expose_str().ok_or_else(|| format!("the value for {key:?} is not text"))?;
        all.get_mut()[key] = Value::from(text);
    }
    let path = if manifest.kind == "ConfigMap" { Path::keys(&["data"]) } else { Path::keys(&["spec", "data"]) };
    Ok(Edit { path, value: all, merges: true })
}

/// Types that would make the API server fill in, or trust, credentials of the cluster.
fn check_type(content: &Content) -> Result<(), Failure> {
    let cause = match content.type_.as_deref() {
        Some("kubernetes.io/service-account-token")
            if content.annotations.contains_key("kubernetes.io/service-account.name") =>
        {
            "a template may not make a Secret that Kubernetes fills with a ServiceAccount's token"
        }
        Some("bootstrap.kubernetes.io/token") => "a template may not make a token that lets nodes join the cluster",
        Some("helm.sh/release.v1") => "a template may not make a release of Helm, which Helm would act on",
        _ => return Ok(()),
    };
    Err(Failure::new(Headline::Update, cause, Retry::OnChange))
}

struct Templating<'a> {
    es: &'a ExternalSecret,
    sources: &'a Sources,
    engine: &'a Engine,
    now: Timestamp,
    fetched: &'a Data,
    manifest: Option<&'a Manifest>,
    complaints: RefCell<Vec<String>>,
}

/// Where rendered values go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Data of a Secret.
    Data,
    /// Labels.
    Labels,
    /// Annotations.
    Annotations,
    /// Keys of `data` or `spec` of another object.
    Field(&'static str),
    /// A place in another object.
    At(Path),
}

impl Destination {
    /// Reads `templateFrom[].target`, which says more of targets that are not Secrets. The error says what is wrong.
    pub fn parse(target: Option<&str>, manifest: Option<&Manifest>) -> Result<Self, String> {
        let target = target.unwrap_or_default();
        match (target.to_ascii_lowercase().as_str(), manifest) {
            ("labels", _) => Ok(Self::Labels),
            ("annotations", _) => Ok(Self::Annotations),
            ("" | "data", None) => Ok(Self::Data),
            (_, None) => Err(format!("is {target:?}: use Data, Labels or Annotations")),
            ("" | "data", Some(_)) => Ok(Self::Field("data")),
            ("spec", Some(_)) => Ok(Self::Field("spec")),
            (_, Some(_)) => {
                let path = Path::parse(target).map_err(|problem| format!("{target:?} {problem}"))?;
                match path.first() {
                    "apiVersion" | "kind" | "metadata" => Err(format!(
                        "{target:?} would change what the object is: use Labels or Annotations, or a path like spec.x"
                    )),
                    _ => Ok(Self::At(path)),
                }
            }
        }
    }
}

impl Templating<'_> {
    fn content(&self, template: &Template) -> Result<Content, String> {
        let mut content = Content {
            type_: template.type_.clone().filter(|type_| !type_.is_empty()),
            finalizers: template.metadata.finalizers.clone(),
            ..Content::default()
        };
        let makes_nothing = template.data.is_empty() && template.template_from.is_empty();
        // Other objects hold what was fetched where there is no template at all: External Secrets Operator's rule.
        if self.manifest.is_none() && (template.merge_policy == MergePolicy::Merge || makes_nothing) {
            content.data = self.fetched.clone();
        }
        for (n, from) in template.template_from.iter().enumerate() {
            self.from(from, &format!("spec.target.template.templateFrom[{n}]"), &mut content)?;
        }
        let data = if self.manifest.is_some() { Destination::Field("data") } else { Destination::Data };
        let mut values = vec![(data, &template.data, "data")];
        match self.manifest {
            None => {
                values.push((Destination::Labels, &template.metadata.labels, "metadata.labels"));
                values.push((Destination::Annotations, &template.metadata.annotations, "metadata.annotations"));
            }
            // Of other objects they are taken as they stand: External Secrets Operator's rule.
            Some(_) => {
                content.labels.extend(template.metadata.labels.clone());
                content.annotations.extend(template.metadata.annotations.clone());
            }
        }
        for (into, values, at) in values {
            for (key, text) in values {
                let name = format!("spec.target.template.{at}[{key:?}]");
                let value = self.render(&name, text, Keep::Parsed)?;
                self.put(&mut content, &into, key, value, &name)?;
            }
        }
        Ok(content)
    }

    fn from(&self, from: &TemplateFrom, at: &str, content: &mut Content) -> Result<(), String> {
        let into = &Destination::parse(from.target.as_deref(), self.manifest)
            .map_err(|problem| format!("{at}.target {problem}"))?;
        let strategy = &from.values_decoding_strategy;
        for (kind, reference) in [(Kind::ConfigMap, &from.config_map), (Kind::Secret, &from.secret)] {
            let Some(reference) = reference else { continue };
            for item in &reference.items {
                let text = self.text(&kind, &reference.name, item)?;
                let keep = if kind == Kind::Secret { Keep::Nothing } else { Keep::Parsed };
                let name = format!("{at}: {kind} {:?} key {:?}", reference.name, item.key);
                self.item(text, keep, item, (into, strategy), &name, content)?;
            }
        }
        if let Some(literal) = &from.literal {
            let rendered = self.render(&format!("{at}.literal"), literal, Keep::Parsed)?;
            self.pairs(&rendered, (into, strategy), &format!("{at}.literal"), content)?;
        }
        Ok(())
    }

    /// What the template `text` makes of what was fetched. Where a function failed whose complaint Go takes for its result,
    /// that is noted, or an error, as the flags have it.
    fn render(&self, name: &str, text: &str, keep: Keep) -> Result<SecretBytes, String> {
        let (rendered, complained) = self.engine.render(name, text, keep, self.fetched, self.now)?;
        match complained.first() {
            Some(function) if self.engine.is_strict => {
                Err(format!("{name}: {function} can't work on what it is given"))
            }
            _ => {
                let noted = complained.iter().map(|function| format!("{name}: {function}"));
                self.complaints.borrow_mut().extend(noted);
                Ok(rendered)
            }
        }
    }

    fn text(&self, kind: &Kind, name: &str, item: &TemplateItem) -> Result<&str, String> {
        let namespace = self.es.metadata.namespace.clone().unwrap_or_default();
        let source = self.sources.get(&Dependency { kind: kind.clone(), namespace, name: name.to_owned() });
        let value = source
            .and_then(|data| data.get(&item.key))
            .ok_or_else(|| format!("{kind} {name:?} has no key {:?}", item.key))?;
        value.expose_str().ok_or_else(|| format!("{kind} {name:?} key {:?} is not text", item.key))
    }

    fn item(
        &self,
        text: &str,
        keep: Keep,
        item: &TemplateItem,
        (into, strategy): (&Destination, &DecodingStrategy),
        name: &str,
        content: &mut Content,
    ) -> Result<(), String> {
        let rendered = self.render(name, text, keep)?;
        match &item.template_as {
            TemplateScope::Values => self.put(content, into, &item.key, decoded(rendered, strategy, name)?, name),
            TemplateScope::KeysAndValues => self.pairs(&rendered, (into, strategy), name, content),
            TemplateScope::Unknown(word) => Err(format!("{name}: templateAs is {word:?}: use Values or KeysAndValues")),
        }
    }

    /// Rendered text that is a YAML map of keys and values; for a place in an object, any YAML.
    fn pairs(
        &self,
        rendered: &SecretBytes,
        (into, strategy): (&Destination, &DecodingStrategy),
        name: &str,
        content: &mut Content,
    ) -> Result<(), String> {
        let path = match into {
            Destination::At(path) => Some(path.clone()),
            Destination::Field("spec") => Some(Path::keys(&["spec"])),
            Destination::Data | Destination::Labels | Destination::Annotations | Destination::Field(_) => None,
        };
        if let Some(path) = path {
            if *strategy != DecodingStrategy::None {
                return Err(format!("{name}: valuesDecodingStrategy works on text, not on what goes to a path"));
            }
            let value =
                self.yaml(rendered).map_err(|problem| format!("{name}: what it renders is not YAML: {problem}"))?;
            let merges = !path.is_one_key();
            content.edits.push(Edit { path, value, merges });
            return Ok(());
        }
        let pairs = with_env(self.now, |env| gotmpl::eso::string_map(rendered.expose(), env)).map_err(|problem| {
            format!("{name}: what it renders is not a YAML map of keys and values: {}", problem.message())
        })?;
        for (key, value) in pairs {
            let key = std::str::from_utf8(&key).map_err(|_| format!("{name}: a key is not text"))?;
            let value = SecretBytes::new(value.to_vec());
            self.put(content, into, key, decoded(value, strategy, name)?, name)?;
        }
        Ok(())
    }

    fn put(
        &self,
        content: &mut Content,
        into: &Destination,
        key: &str,
        value: SecretBytes,
        name: &str,
    ) -> Result<(), String> {
        let text = || {
            value.expose_str().map(str::to_owned).ok_or_else(|| format!("{name}: the value for {key:?} is not text"))
        };
        match into {
            Destination::Data => {
                check_key(key)
                    .map_err(|problem| format!("{name}: {key:?} can't be a key of a Secret: it {problem}"))?;
                content.data.insert(key.to_owned(), value);
            }
            Destination::Labels => _ = content.labels.insert(key.to_owned(), text()?),
            Destination::Annotations => _ = content.annotations.insert(key.to_owned(), text()?),
            Destination::Field(field) => {
                let (path, value) = (Path::keys(&[field, key]), SecretJson::new(Value::from(text()?)));
                content.edits.push(Edit { path, value, merges: false });
            }
            Destination::At(path) => {
                // What is not YAML is taken as text.
                let value = match self.yaml(&value) {
                    Ok(value) => value,
                    Err(_) => SecretJson::new(Value::from(text()?)),
                };
                content.edits.push(Edit { path: path.clone(), value, merges: false });
            }
        }
        Ok(())
    }

    fn yaml(&self, text: &SecretBytes) -> Result<SecretJson, String> {
        let value = with_env(self.now, |env| gotmpl::eso::yaml_value(text.expose(), env));
        let value = value.map_err(|problem| problem.message().to_owned())?;
        json(&value).map(SecretJson::new).ok_or_else(|| "it holds what JSON can't".to_owned())
    }
}

/// What YAML says as JSON.
fn json(value: &gotmpl::Value) -> Option<Value> {
    let text = |text: &gotmpl::Str| std::str::from_utf8(text).map(str::to_owned).ok();
    Some(match value {
        gotmpl::Value::Nil | gotmpl::Value::NoValue => Value::Null,
        gotmpl::Value::Bool(yes) => Value::from(*yes),
        gotmpl::Value::Int(_, number) => Value::from(*number),
        gotmpl::Value::Uint(_, number) => Value::from(*number),
        gotmpl::Value::Float(number) => Value::Number(serde_json::Number::from_f64(*number)?),
        gotmpl::Value::Str(string) => Value::from(text(string)?),
        gotmpl::Value::List(items) => Value::Array(items.iter().map(json).collect::<Option<_>>()?),
        gotmpl::Value::Map(map) => {
            let entries = map.entries();
            let entries = entries.iter().map(|(key, value)| Some((text(key)?, json(value)?)));
            Value::Object(entries.collect::<Option<_>>()?)
        }
        gotmpl::Value::Complex(..) | gotmpl::Value::Object(_) => return None,
    })
}

fn decoded(value: SecretBytes, strategy: &DecodingStrategy, name: &str) -> Result<SecretBytes, String> {
    decode(&value, strategy)
        .ok_or_else(|| format!("{name}: a value is not {strategy}, which valuesDecodingStrategy asks for"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn es(template: Value) -> ExternalSecret {
        let mut es = keyferry_builders::es(json!({"target": {"template": template}}));
        es.metadata.labels = Some([("team".to_owned(), "x".to_owned())].into());
        es
    }

    fn data(entries: &[(&str, &str)]) -> Data {
        entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect()
    }

    fn made(template: Value) -> Result<Content, String> {
        let source = |kind, key: &str, text: &str| {
            let object = Dependency { kind, namespace: "ns".into(), name: "t".into() };
            (object, [(key.to_owned(), SecretBytes::from(text))].into())
        };
        let sources =
            [source(Kind::ConfigMap, "cfg", "user: {{ .a }}"), source(Kind::Secret, "cfg", "{{ .a }}: 1\nflag: true")];
        let engine = Engine::new("{{", "}}");
        let fetched = data(&[("a", "alpha"), ("b", "beta")]);
        content(&es(template), fetched, &sources.into(), &engine, Timestamp::UNIX_EPOCH)
            .map_err(|failure| failure.to_string())
    }

    fn text(content: &Content) -> Vec<(&str, &str)> {
        content.data.iter().map(|(key, value)| (key.as_str(), value.expose_str().unwrap())).collect()
    }

    #[test]
    fn fetched_data_stays_where_the_template_makes_none_or_merges() {
        assert_eq!(text(&made(json!({})).unwrap()), [("a", "alpha"), ("b", "beta")]);
        let replaced = made(json!({"data": {"out": "{{ .a | upper }}"}})).unwrap();
        assert_eq!(text(&replaced), [("out", "ALPHA")]);
        assert!(replaced.labels.is_empty(), "with a template none of the ExternalSecret's own");
        let merged = made(json!({"mergePolicy": "Merge", "data": {"a": "new"}})).unwrap();
        assert_eq!(text(&merged), [("a", "new"), ("b", "beta")]);
    }

    #[test]
    fn what_was_fetched_goes_into_a_secret_under_keys_that_it_may_have() {
        let fetched = || data(&[("é", "1")]);
        let engine = Engine::new("{{", "}}");
        let made = |es: &ExternalSecret| content(es, fetched(), &Sources::new(), &engine, Timestamp::UNIX_EPOCH);
        let templated = made(&es(json!({"data": {"e": "{{ index . \"é\" }}"}}))).unwrap();
        assert_eq!(text(&templated), [("e", "1")]);
        for template in [json!(null), json!({}), json!({"mergePolicy": "Merge", "data": {"e": "2"}})] {
            let failure = made(&es(template)).unwrap_err().to_string();
            assert!(failure.starts_with("could not update secret: field \"é\" can't be a key"), "{failure}");
        }
    }

    #[test]
    fn template_from_in_order_and_data_over_all() {
        let values = |target: &str| json!({"configMap": {"name": "t", "items": [{"key": "cfg"}]}, "target": target});
        let pairs = json!({"secret": {"name": "t", "items": [{"key": "cfg", "templateAs": "KeysAndValues"}]}});
        let literal = json!({"literal": "cfg: late\nz: \"{{ .b }}\"\nnothing:"});
        let content = made(json!({"templateFrom": [values("Data"), pairs, literal], "data": {"z": "last"}})).unwrap();
        assert_eq!(text(&content), [("alpha", "1"), ("cfg", "late"), ("flag", "true"), ("nothing", ""), ("z", "last")]);
        let content =
            made(json!({"templateFrom": [values("labels")], "metadata": {"annotations": {"n": "v-{{ .b }}"}}}))
                .unwrap();
        assert_eq!(content.labels["cfg"], "user: alpha");
        assert_eq!(content.annotations["n"], "v-beta");
    }

    #[test]
    fn a_function_that_leaves_a_complaint_is_noted_or_an_error() {
        let template =
            || json!({"data": {"x": "{{ .a | b64dec }}"}, "templateFrom": [{"literal": "z: {{ hexdec .b }}"}]});
        let content = |engine: Engine| {
            let fetched = data(&[("a", "?"), ("b", "62")]);
            content(&es(template()), fetched, &Sources::new(), &engine, Timestamp::UNIX_EPOCH)
        };
        let lenient = content(Engine::new("{{", "}}")).unwrap();
        assert_eq!(text(&lenient), [("x", "illegal base64 data at input byte 0"), ("z", "b")], "as Go has it");
        assert_eq!(lenient.complaints, ["spec.target.template.data[\"x\"]: b64dec"]);
        let failure = content(Engine::new("{{", "}}").strict(true)).unwrap_err().to_string();
        assert!(failure.ends_with("template.data[\"x\"]: b64dec can't work on what it is given"), "{failure}");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place_and_without_data() {
        for (template, says) in [
            (json!({"data": {"x": "{{ .nope }}"}}), "spec.target.template.data[\"x\"]"),
            (json!({"data": {"x": "{{ if }}"}}), "spec.target.template.data[\"x\"]"),
            (json!({"data": {"x": "{{ fail .a }}"}}), "spec.target.template.data[\"x\"]"),
            (json!({"data": {"x/y": "1"}}), "can't be a key of a Secret"),
            (
                json!({"templateFrom": [{"configMap": {"name": "t", "items": [{"key": "gone"}]}}]}),
                "ConfigMap \"t\" has no key \"gone\"",
            ),
            (json!({"templateFrom": [{"literal": "- a"}]}), "is not a YAML map"),
            (json!({"templateFrom": [{"literal": "a: [{{ .b }}]"}]}), "is not a YAML map"),
            (json!({"templateFrom": [{"literal": "a: b", "target": "Spec"}]}), "use Data, Labels or Annotations"),
            (json!({"type": "bootstrap.kubernetes.io/token"}), "lets nodes join"),
            (json!({"type": "helm.sh/release.v1"}), "a release of Helm"),
            (
                json!({"type": "kubernetes.io/service-account-token", "metadata": {"annotations": {"kubernetes.io/service-account.name": "x"}}}),
                "fills with a ServiceAccount's token",
            ),
        ] {
            let error = made(template.clone()).unwrap_err();
            assert!(error.starts_with("could not update secret: ") && error.contains(says), "{template}: {error}");
            assert!(!error.contains("alpha") && !error.contains("beta"), "{error}");
        }
    }
}
