//! `spec.target.template`: makes a target's content of what was fetched. Pure, but for what the engine keeps.
//!
//! Order and precedence are External Secrets Operator's: fetched data where it stays, `templateFrom` in order,
//! `template.data` over all, then the values of labels and annotations.

use std::cell::RefCell;

use keyferry_crds::{
    DecodingStrategy, ExternalSecret, Manifest, MergePolicy, Template, TemplateFrom, TemplateItem, TemplateScope,
};
use keyferry_limits::{Budget, Exceeded};
use keyferry_provider_core::SecretBytes;
use keyferry_template as gotmpl;
use serde_json::Value;

use crate::content::{Content, Edit};
use crate::data::{Data, SecretJson, Sources};
use crate::decode::{check_key, decode};
use crate::dependency::{Dependency, Kind};
use crate::engine::{ENTRY, Means, Text};
use crate::outcome::{Failure, Headline, Retry};
use crate::path::Path;
use crate::told;
use crate::told::{Name, Spec, Told};

/// The content of the target.
pub fn content(es: &ExternalSecret, fetched: Data, sources: &Sources, means: &Means<'_>) -> Result<Content, Failure> {
    let manifest = es.target_manifest();
    let failed = |cause: Told| match manifest {
        Some(_) => Failure::new(Headline::Manifest, cause, Retry::Late),
        None => Failure::new(Headline::Update, cause, Retry::Late),
    };
    let Some(template) = &es.spec.target.template else {
        return match manifest {
            None => check_keys(Content::plain(es, fetched)),
            Some(manifest) => {
                let edits = vec![all_of(&fetched, manifest, means).map_err(failed)?];
                Ok(Content { edits, ..Content::plain(es, Data::new()) })
            }
        };
    };
    let namespace = es.metadata.namespace.as_deref().unwrap_or_default();
    let at = "spec.target.template";
    let work = Templating { at, namespace, sources, means, fetched: &fetched, manifest, sees_rendered: false };
    let content = work.run(template).map_err(failed)?;
    if manifest.is_none() {
        check_type(&content)?;
    }
    check_keys(content)
}

/// What the template of a PushSecret in `namespace` makes of what its source holds: that stays beside what is rendered. What is
/// rendered later sees what was before, as in External Secrets Operator.
pub fn of_push(
    template: &Template,
    namespace: &str,
    source: &Data,
    sources: &Sources,
    means: &Means<'_>,
) -> Result<Content, Told> {
    let at = "spec.template";
    let work = Templating { at, namespace, sources, means, fetched: source, manifest: None, sees_rendered: true };
    let mut content = work.run(template)?;
    for (key, value) in source {
        content.data.entry(key.clone()).or_insert_with(|| value.clone());
    }
    Ok(content)
}

/// What goes into a Secret as it was fetched has the names that it had in the store.
fn check_keys(content: Content) -> Result<Content, Failure> {
    match content.data.keys().find_map(|key| Some((key, check_key(key).err()?))) {
        None => Ok(content),
        Some((key, problem)) => {
            let cause = told!("field {} can't be a key of a Secret: it {}", Name(key), problem);
            Err(Failure::new(Headline::Update, cause, Retry::Late))
        }
    }
}

/// Everything fetched, where it goes in a target of this kind without a template.
fn all_of(fetched: &Data, manifest: &Manifest, means: &Means<'_>) -> Result<Edit, Told> {
    let mut all = SecretJson::new(Value::Object(serde_json::Map::new()));
    for (key, value) in fetched {
        let text = value.expose_str().ok_or_else(|| told!("the value for {} is not text", Name(key)))?;
        means.budget.bytes(key.len() + text.len() + ENTRY)?;
        all.get_mut()[key] = Value::from(text);
    }
    let path = if manifest.kind == "ConfigMap" { Path::keys(&["data"]) } else { Path::keys(&["spec", "data"]) };
    Ok(Edit { from: "what was fetched".into(), path, value: all, merges: true })
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

/// A template, and what it is rendered with.
struct Templating<'a> {
    /// Where in the spec the template stands.
    at: &'static str,
    namespace: &'a str,
    sources: &'a Sources,
    means: &'a Means<'a>,
    fetched: &'a Data,
    manifest: Option<&'a Manifest>,
    /// Whether what is rendered later sees what was rendered before.
    sees_rendered: bool,
}

impl Templating<'_> {
    fn run(self, template: &Template) -> Result<Content, Told> {
        let mut work = Rendering { dot: self.means.dot(self.fetched)?, of: self, complaints: RefCell::default() };
        let content = work.content(template)?;
        Ok(Content { complaints: work.complaints.into_inner(), ..content })
    }
}

/// The same while it is rendered.
struct Rendering<'a> {
    of: Templating<'a>,
    /// What was fetched, as templates see it.
    dot: gotmpl::Value,
    complaints: RefCell<Vec<Told>>,
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
    pub fn parse(target: Option<&str>, manifest: Option<&Manifest>) -> Result<Self, Told> {
        let target = target.unwrap_or_default();
        match (target.to_ascii_lowercase().as_str(), manifest) {
            ("labels", _) => Ok(Self::Labels),
            ("annotations", _) => Ok(Self::Annotations),
            ("" | "data", None) => Ok(Self::Data),
            (_, None) => Err(told!("is {}: use Data, Labels or Annotations", Spec(target))),
            ("" | "data", Some(_)) => Ok(Self::Field("data")),
            ("spec", Some(_)) => Ok(Self::Field("spec")),
            (_, Some(_)) => {
                let path = Path::parse(target)
                    .map_err(|problem| told!("{} {}", Spec(target), Told::without_values(problem)))?;
                match path.first() {
                    "apiVersion" | "kind" | "metadata" => Err(told!(
                        "{} would change what the object is: use Labels or Annotations, or a path like spec.x",
                        Spec(target)
                    )),
                    _ => Ok(Self::At(path)),
                }
            }
        }
    }
}

impl Rendering<'_> {
    fn content(&mut self, template: &Template) -> Result<Content, Told> {
        let mut content = Content {
            type_: template.type_.clone().filter(|type_| !type_.is_empty()),
            finalizers: template.metadata.finalizers.clone(),
            ..Content::default()
        };
        let makes_nothing = template.data.is_empty() && template.template_from.is_empty();
        // Other objects hold what was fetched where there is no template at all: External Secrets Operator's rule.
        if self.of.manifest.is_none() && (template.merge_policy == MergePolicy::Merge || makes_nothing) {
            content.data = self.of.fetched.clone();
        }
        for (n, from) in template.template_from.iter().enumerate() {
            self.from(from, &told!("{}.templateFrom[{}]", self.of.at, n), &mut content)?;
            self.see(&content)?;
        }
        let data = if self.of.manifest.is_some() { Destination::Field("data") } else { Destination::Data };
        let mut values = vec![(data, &template.data, "data")];
        match self.of.manifest {
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
                let name = told!("{}.{}[{}]", self.of.at, at, Spec(key));
                let value = self.render(&name, text, Text::Open)?;
                self.put(&mut content, &into, (key, Text::Open), value, &name)?;
            }
            if into == Destination::Data && !values.is_empty() {
                self.see(&content)?;
            }
        }
        Ok(content)
    }

    /// Shows what has been rendered so far to what is rendered next, where that may see it.
    fn see(&mut self, content: &Content) -> Result<(), Told> {
        if self.of.sees_rendered {
            let mut all = self.of.fetched.clone();
            all.extend(content.data.clone());
            self.dot = self.of.means.dot(&all)?;
        }
        Ok(())
    }

    fn from(&self, from: &TemplateFrom, at: &Told, content: &mut Content) -> Result<(), Told> {
        let into = &Destination::parse(from.target.as_deref(), self.of.manifest)
            .map_err(|problem| told!("{}.target {}", at, problem))?;
        let strategy = &from.values_decoding_strategy;
        for (kind, reference) in [(Kind::ConfigMap, &from.config_map), (Kind::Secret, &from.secret)] {
            let Some(reference) = reference else { continue };
            for item in &reference.items {
                let text = self.text(&kind, &reference.name, item)?;
                let whose = if kind == Kind::Secret { Text::Secret } else { Text::Open };
                let name = told!("{}: {} {} key {}", at, kind, Spec(&reference.name), Spec(&item.key));
                self.item((text, whose), item, (into, strategy), &name, content)?;
            }
        }
        if let Some(literal) = &from.literal {
            let name = told!("{}.literal", at);
            let rendered = self.render(&name, literal, Text::Open)?;
            self.pairs(&rendered, (into, strategy), &name, content)?;
        }
        Ok(())
    }

    /// What the template `text` makes of what was fetched. Where a function failed whose complaint Go takes for its result,
    /// that is noted, or an error, as the flags have it.
    fn render(&self, name: &Told, text: &str, whose: Text) -> Result<SecretBytes, Told> {
        let template = self.of.means.engine.template(text, whose, self.of.means.budget);
        let rendered = template.and_then(|template| self.of.means.render(&template, whose, &self.dot));
        let (rendered, complained) = rendered.map_err(|problem| told!("{}: {}", name, problem))?;
        match complained.first() {
            Some(function) if self.of.means.engine.is_strict() => {
                Err(told!("{}: {} can't work on what it is given", name, function))
            }
            _ => {
                let noted = complained.iter().map(|function| told!("{}: {}", name, function));
                self.complaints.borrow_mut().extend(noted);
                Ok(rendered)
            }
        }
    }

    fn text(&self, kind: &Kind, name: &str, item: &TemplateItem) -> Result<&str, Told> {
        let namespace = self.of.namespace.to_owned();
        let source = self.of.sources.get(&Dependency { kind: kind.clone(), namespace, name: name.to_owned() });
        let value = source
            .and_then(|data| data.get(&item.key))
            .ok_or_else(|| told!("{} {} has no key {}", kind, Spec(name), Spec(&item.key)))?;
        value.expose_str().ok_or_else(|| told!("{} {} key {} is not text", kind, Spec(name), Spec(&item.key)))
    }

    fn item(
        &self,
        (text, whose): (&str, Text),
        item: &TemplateItem,
        (into, strategy): (&Destination, &DecodingStrategy),
        name: &Told,
        content: &mut Content,
    ) -> Result<(), Told> {
        let rendered = self.render(name, text, whose)?;
        match &item.template_as {
            TemplateScope::Values => {
                let value = self.decoded(rendered, strategy, name)?;
                self.put(content, into, (&item.key, Text::Open), value, name)
            }
            TemplateScope::KeysAndValues => self.pairs(&rendered, (into, strategy), name, content),
            TemplateScope::Unknown(word) => {
                Err(told!("{}: templateAs is {}: use Values or KeysAndValues", name, Spec(word)))
            }
        }
    }

    /// Rendered text that is a YAML map of keys and values; for a place in an object, any YAML.
    fn pairs(
        &self,
        rendered: &SecretBytes,
        (into, strategy): (&Destination, &DecodingStrategy),
        name: &Told,
        content: &mut Content,
    ) -> Result<(), Told> {
        let path = match into {
            Destination::At(path) => Some(path.clone()),
            Destination::Field("spec") => Some(Path::keys(&["spec"])),
            Destination::Data | Destination::Labels | Destination::Annotations | Destination::Field(_) => None,
        };
        if let Some(path) = path {
            if *strategy != DecodingStrategy::None {
                return Err(told!("{}: valuesDecodingStrategy works on text, not on what goes to a path", name));
            }
            let value = self.yaml(rendered).map_err(|problem| match problem {
                NotYaml::Words(words) => told!("{}: what it renders is not YAML: {}", name, words),
                NotYaml::Exceeded(exceeded) => told!("{}: {}", name, exceeded),
            })?;
            let merges = !path.is_one_key();
            content.edits.push(Edit { from: name.clone(), path, value, merges });
            return Ok(());
        }
        let pairs = self.of.means.lend(|env| gotmpl::eso::string_map(rendered.expose(), env));
        let pairs = pairs.map_err(|problem| match problem.hit() {
            Some(limit) => told!("{}: {}", name, limit.exceeded()),
            None => told!("{}: what it renders is not a YAML map of keys and values: {}", name, problem.words()),
        })?;
        for (key, value) in pairs {
            let key = std::str::from_utf8(&key).map_err(|_| told!("{}: a key of what it renders is not text", name))?;
            self.of.means.budget.bytes(value.len())?;
            let value = self.decoded(SecretBytes::new(value.to_vec()), strategy, name)?;
            self.put(content, into, (key, Text::Secret), value, name)?;
        }
        Ok(())
    }

    fn put(
        &self,
        content: &mut Content,
        into: &Destination,
        (key, whose): (&str, Text),
        value: SecretBytes,
        name: &Told,
    ) -> Result<(), Told> {
        self.of.means.budget.bytes(key.len() + value.len() + ENTRY)?;
        // A key that was rendered may be a value.
        let told_key = match whose {
            Text::Open => told!("the key {}", Spec(key)),
            Text::Secret => Told::from("a key of what it renders"),
        };
        let text = || {
            let text = value.expose_str().map(str::to_owned);
            text.ok_or_else(|| told!("{}: the value for {} is not text", name, told_key))
        };
        match into {
            Destination::Data => {
                check_key(key)
                    .map_err(|problem| told!("{}: {} can't be a key of a Secret: it {}", name, told_key, problem))?;
                content.data.insert(key.to_owned(), value);
            }
            Destination::Labels => _ = content.labels.insert(key.to_owned(), text()?),
            Destination::Annotations => _ = content.annotations.insert(key.to_owned(), text()?),
            Destination::Field(field) => {
                let (path, value) = (Path::keys(&[field, key]), SecretJson::new(Value::from(text()?)));
                content.edits.push(Edit { from: name.clone(), path, value, merges: false });
            }
            Destination::At(path) => {
                // What is not YAML is taken as text.
                let value = match self.yaml(&value) {
                    Ok(value) => value,
                    Err(_) => SecretJson::new(Value::from(text()?)),
                };
                content.edits.push(Edit { from: name.clone(), path: path.clone(), value, merges: false });
            }
        }
        Ok(())
    }

    fn yaml(&self, text: &SecretBytes) -> Result<SecretJson, NotYaml> {
        let value = self.of.means.lend(|env| gotmpl::eso::yaml_value(text.expose(), env));
        let value = value.map_err(|problem| match problem.hit() {
            Some(limit) => NotYaml::Exceeded(limit.exceeded()),
            None => NotYaml::Words(problem.words()),
        })?;
        let json = json(&value, self.of.means.budget)?;
        json.map(SecretJson::new).ok_or(NotYaml::Words("it holds what JSON can't"))
    }

    fn decoded(&self, value: SecretBytes, strategy: &DecodingStrategy, name: &Told) -> Result<SecretBytes, Told> {
        let decoded = decode(&value, strategy, self.of.means.budget)?;
        decoded.ok_or_else(|| told!("{}: a value is not {}, which valuesDecodingStrategy asks for", name, strategy))
    }
}

/// Why what was rendered can't be taken for YAML.
enum NotYaml {
    Words(&'static str),
    Exceeded(Exceeded),
}

impl From<Exceeded> for NotYaml {
    fn from(exceeded: Exceeded) -> Self {
        Self::Exceeded(exceeded)
    }
}

/// What YAML says as JSON, if JSON can say it. What an alias stands for is there as often as it is named.
fn json(value: &gotmpl::Value, budget: &Budget) -> Result<Option<Value>, Exceeded> {
    budget.steps(1)?;
    budget.bytes(ENTRY + value.as_bytes().map_or(0, <[u8]>::len))?;
    let text = |text: &gotmpl::Str| std::str::from_utf8(text).map(str::to_owned).ok();
    Ok(match value {
        gotmpl::Value::Nil | gotmpl::Value::NoValue => Some(Value::Null),
        gotmpl::Value::Bool(yes) => Some(Value::from(*yes)),
        gotmpl::Value::Int(_, number) => Some(Value::from(*number)),
        gotmpl::Value::Uint(_, number) => Some(Value::from(*number)),
        gotmpl::Value::Float(number) => serde_json::Number::from_f64(*number).map(Value::Number),
        gotmpl::Value::Str(string) => text(string).map(Value::from),
        gotmpl::Value::List(items) => {
            let items: Option<Vec<Value>> = items.iter().map(|item| json(item, budget)).collect::<Result<_, _>>()?;
            items.map(Value::Array)
        }
        gotmpl::Value::Map(map) => {
            let mut object = serde_json::Map::new();
            for (key, value) in map.entries() {
                budget.bytes(key.len())?;
                let Some((key, value)) = text(&key).zip(json(&value, budget)?) else { return Ok(None) };
                object.insert(key, value);
            }
            Some(Value::Object(object))
        }
        gotmpl::Value::Complex(..) | gotmpl::Value::Object(_) => None,
    })
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
