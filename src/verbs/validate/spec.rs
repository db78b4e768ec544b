//! What the operator would say of a spec before it asks anybody: its own checks, templates and patterns. Pure.

use keyferry_crds::{ExternalSecret, PushSecret, Rewrite, SecretStoreSpec, Template};
use keyferry_go::regexp;
use keyferry_limits::Budget;
use keyferry_sync::engine::{Engine, Text};
use keyferry_sync::told::Told;
use keyferry_sync::{excess, spec};

use super::finding::{At, Finding, Part, Severity};
use crate::verbs::hint::near;

/// What parses templates, and what there is.
pub struct Operator<'a> {
    /// The language of templates.
    pub engine: &'a Engine,
    /// The kinds of generators that are built.
    pub generators: &'a [&'static str],
    /// The providers that are built.
    pub providers: &'a [&'static str],
}

fn told(check: &'static str, message: String) -> Finding {
    Finding::at(At::named_in(&message), Severity::Error, check, message)
}

impl Operator<'_> {
    /// What is wrong with an ExternalSecret.
    pub fn external_secret(&self, es: &ExternalSecret) -> Vec<Finding> {
        let mut found: Vec<Finding> = spec::problems(es).into_iter().map(|problem| told("spec", problem)).collect();
        // What is too much is not gone through.
        if !found.is_empty() && es.spec.data.len() + es.spec.data_from.len() > 100_000 {
            return found;
        }
        // Of kinds that there are not the schema tells.
        let unanswerable = spec::unanswerable(es).into_iter().map(Told::into_string);
        let unanswerable = unanswerable.filter(|problem| !problem.contains("] has kind \""));
        found.extend(unanswerable.map(|problem| told("spec", problem)));
        let unsupported = spec::unsupported(es, self.generators).into_iter();
        found.extend(unsupported.map(|feature| {
            let message = format!("it is not part of this version of keyferry: {feature}");
            Finding { severity: Severity::Warning, ..told("spec", message) }
        }));
        for (n, entry) in es.spec.data_from.iter().enumerate() {
            for (m, change) in entry.rewrite.iter().enumerate() {
                let at = At::from(&["spec", "dataFrom"][..]).then(n).named("rewrite").then(m);
                self.rewrite(at, change, &mut found);
            }
        }
        if let Some(template) = &es.spec.target.template {
            let keys: Vec<&str> = es.spec.data.iter().map(|entry| entry.secret_key.as_str()).collect();
            let keys = Some(keys).filter(|_| es.spec.data_from.is_empty());
            self.template(&At::from(&["spec", "target", "template"][..]), template, keys.as_deref(), &mut found);
        }
        found
    }

    /// What is wrong with a PushSecret.
    pub fn push_secret(&self, ps: &PushSecret) -> Vec<Finding> {
        let problems = keyferry_push::spec::problems(ps).into_iter();
        let mut found: Vec<Finding> = problems.map(|problem| told("spec", problem)).collect();
        if let Some(template) = &ps.spec.template {
            self.template(&At::from(&["spec", "template"][..]), template, None, &mut found);
        }
        found
    }

    /// What is wrong with the spec of a store.
    pub fn store(&self, store: &SecretStoreSpec, known: &[&str], bad_pattern: Option<String>) -> Vec<Finding> {
        let mut found: Vec<Finding> = bad_pattern.into_iter().map(|problem| told("spec", problem)).collect();
        for name in store.provider.0.keys() {
            let at = At::from(&["spec", "provider", name][..]);
            if self.providers.contains(&name.as_str()) {
                continue;
            }
            let (severity, message) = match near(name, known.iter().copied()) {
                Some(meant) if !known.contains(&name.as_str()) => {
                    (Severity::Error, format!("there is no provider {name:?}; did you mean {meant}?"))
                }
                _ => (Severity::Warning, format!("provider {name:?} is not part of this version of keyferry")),
            };
            found.push(Finding::at(at, severity, "spec", message));
        }
        if let Some((name, spec)) = store.provider.0.iter().next()
            && let Some(problem) = excess::of_provider(name, spec)
        {
            found.push(told("spec", problem));
        }
        found
    }

    fn rewrite(&self, at: At, change: &Rewrite, found: &mut Vec<Finding>) {
        if let Some(regexp) = &change.regexp
            && let Err(why) = regexp::compile(&regexp.source)
        {
            let message = format!("{:?} is not a regular expression: {why}", regexp.source);
            found.push(Finding::at(at.clone().named("regexp").named("source"), Severity::Error, "spec", message));
        }
        if let Some(transform) = &change.transform
            && let Err(why) = self.engine.name_template(&transform.template, &Budget::default())
        {
            let at = at.named("transform").named("template");
            found.push(Finding::at(at, Severity::Error, "template", format!("it is no template: {why}")));
        }
    }

    fn template(&self, at: &At, template: &Template, keys: Option<&[&str]>, found: &mut Vec<Finding>) {
        let metadata = at.clone().named("metadata");
        let maps = [
            (at.clone().named("data"), &template.data),
            (metadata.clone().named("annotations"), &template.metadata.annotations),
            (metadata.named("labels"), &template.metadata.labels),
        ];
        for (at, map) in maps {
            for (key, text) in map {
                self.text(at.clone().named(key), text, keys, found);
            }
        }
        for (n, from) in template.template_from.iter().enumerate() {
            if let Some(literal) = &from.literal {
                self.text(at.clone().named("templateFrom").then(n).named("literal"), literal, keys, found);
            }
        }
    }

    fn text(&self, at: At, text: &str, keys: Option<&[&str]>, found: &mut Vec<Finding>) {
        if let Err(why) = self.engine.template(text, Text::Open, &Budget::default()) {
            found.push(Finding::at(at, Severity::Error, "template", format!("it is no template: {why}")));
            return;
        }
        for (given, meant) in keys.into_iter().flat_map(|keys| mistyped(text, keys)) {
            let message = format!("nothing is fetched into the key {given:?}; did you mean {meant}?");
            found.push(Finding::at(at.clone(), Severity::Error, "template", message));
        }
    }
}

/// The keys that a template names at its top, and that are not among those that are fetched, with the one that was most likely
/// meant. Where a dot may stand for something else, it is not looked into.
fn mistyped<'a>(text: &'a str, keys: &[&'a str]) -> Vec<(&'a str, &'a str)> {
    const MOVES: [&str; 6] = ["range", "with", "define", "block", "template", "$"];
    let actions: Vec<&str> = text.split("{{").skip(1).filter_map(|rest| Some(rest.split_once("}}")?.0)).collect();
    if actions.iter().any(|action| MOVES.iter().any(|word| action.contains(word))) {
        return Vec::new();
    }
    let fields = actions.into_iter().flat_map(|action| {
        let operands = action.split(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | '|'));
        operands.filter_map(|operand| operand.strip_prefix('.')).map(|path| path.split('.').next().unwrap_or(path))
    });
    let unknown = fields.filter(|field| !field.is_empty() && !keys.contains(field));
    unknown.filter_map(|field| Some((field, near(field, keys.iter().copied())?))).collect()
}

impl At {
    /// A field below.
    pub fn named(mut self, name: &str) -> Self {
        self.0.push(Part::Key(name.to_owned()));
        self
    }

    /// An element below.
    pub fn then(mut self, n: usize) -> Self {
        self.0.push(Part::Index(n));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_nothing_is_fetched_into_is_told_where_another_was_meant() {
        let keys = ["password", "user"];
        assert_eq!(mistyped("{{ .pasword }}:{{ .user | upper }}", &keys), [("pasword", "password")]);
        assert_eq!(mistyped("{{ printf \"%s\" (.usr | b64enc) }}", &keys), [("usr", "user")]);
        assert_eq!(mistyped("{{ with .x }}{{ .usr }}{{ end }}", &keys), []);
        assert_eq!(mistyped("{{ .other }} {{ .user.name }} .usr", &keys), []);
    }
}
