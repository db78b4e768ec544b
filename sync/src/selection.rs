//! Label selectors: whom they select, and an index that finds who is concerned by a label without trying all. Pure.

use std::collections::{BTreeSet, HashMap};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::data::StringMap;

/// Whether a label selector matches; one that says nothing matches everything, one with an unknown operator nothing.
pub fn selects(selector: &LabelSelector, labels: &StringMap) -> bool {
    let by_labels =
        selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key).is_some_and(|label| label == value));
    let by_expressions = selector.match_expressions.iter().flatten().all(|expression| {
        let label = labels.get(&expression.key);
        let listed = || label.is_some_and(|label| expression.values.iter().flatten().any(|value| value == label));
        match expression.operator.as_str() {
            "In" => listed(),
            "NotIn" => !listed(),
            "Exists" => label.is_some(),
            "DoesNotExist" => label.is_none(),
            _ => false,
        }
    });
    by_labels && by_expressions
}

/// What labels must hold for a selector to match: the narrowest of what it asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Anchor {
    /// This label, with this value.
    Label(String, String),
    /// This label, with any value.
    Key(String),
    /// Nothing that can be looked up.
    Anything,
}

fn anchors(selector: &LabelSelector) -> Vec<Anchor> {
    if let Some((key, value)) = selector.match_labels.iter().flatten().next() {
        return vec![Anchor::Label(key.clone(), value.clone())];
    }
    let expressions = || selector.match_expressions.iter().flatten();
    if let Some(one_of) = expressions().find(|expression| expression.operator == "In") {
        let values = one_of.values.iter().flatten();
        return values.map(|value| Anchor::Label(one_of.key.clone(), value.clone())).collect();
    }
    match expressions().find(|expression| expression.operator == "Exists") {
        Some(exists) => vec![Anchor::Key(exists.key.clone())],
        None => vec![Anchor::Anything],
    }
}

/// The anchors that labels satisfy.
fn satisfied(labels: &StringMap) -> impl Iterator<Item = Anchor> {
    let of_label =
        |(key, value): (&String, &String)| [Anchor::Label(key.clone(), value.clone()), Anchor::Key(key.clone())];
    labels.iter().flat_map(of_label).chain([Anchor::Anything])
}

/// Things that are found by labels: those that have them, or those that select by them.
#[derive(Debug)]
pub struct ByLabel<T>(HashMap<Anchor, BTreeSet<T>>);

impl<T> Default for ByLabel<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Ord + Clone> ByLabel<T> {
    /// Takes in one that has these labels.
    pub fn add_labelled(&mut self, thing: &T, labels: &StringMap) {
        satisfied(labels).for_each(|anchor| self.add(anchor, thing));
    }

    /// Forgets one that had these labels.
    pub fn remove_labelled(&mut self, thing: &T, labels: &StringMap) {
        satisfied(labels).for_each(|anchor| self.remove(&anchor, thing));
    }

    /// Takes in one that selects by these.
    pub fn add_selecting(&mut self, thing: &T, selectors: &[LabelSelector]) {
        selectors.iter().flat_map(anchors).for_each(|anchor| self.add(anchor, thing));
    }

    /// Forgets one that selected by these.
    pub fn remove_selecting(&mut self, thing: &T, selectors: &[LabelSelector]) {
        selectors.iter().flat_map(anchors).for_each(|anchor| self.remove(&anchor, thing));
    }

    /// Of those that have labels: all that one of these selectors may match.
    pub fn may_be_selected(&self, selectors: &[LabelSelector]) -> BTreeSet<&T> {
        selectors.iter().flat_map(anchors).filter_map(|anchor| self.0.get(&anchor)).flatten().collect()
    }

    /// Of those that select: all that may match these labels.
    pub fn may_select(&self, labels: &StringMap) -> BTreeSet<&T> {
        satisfied(labels).filter_map(|anchor| self.0.get(&anchor)).flatten().collect()
    }

    fn add(&mut self, anchor: Anchor, thing: &T) {
        self.0.entry(anchor).or_default().insert(thing.clone());
    }

    fn remove(&mut self, anchor: &Anchor, thing: &T) {
        if let Some(things) = self.0.get_mut(anchor) {
            things.remove(thing);
            if things.is_empty() {
                self.0.remove(anchor);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn selector(value: Value) -> LabelSelector {
        serde_json::from_value(value).unwrap()
    }

    fn labels(value: Value) -> StringMap {
        serde_json::from_value(value).unwrap()
    }

    fn expression(operator: &str, values: Value) -> Value {
        json!({"matchExpressions": [{"key": "team", "operator": operator, "values": values}]})
    }

    /// Whatever a selector asks for, it is found by whatever it matches, from both sides.
    #[test]
    fn the_index_finds_all_that_match_and_little_else() {
        let selectors = [
            json!({}),
            json!({"matchLabels": {"team": "a", "tier": "web"}}),
            expression("In", json!(["a", "b"])),
            expression("NotIn", json!(["a"])),
            expression("Exists", json!(null)),
            expression("DoesNotExist", json!(null)),
        ]
        .map(selector);
        let things =
            [json!({}), json!({"team": "a"}), json!({"team": "b", "tier": "web"}), json!({"team": "a", "tier": "web"})];
        let things = things.map(labels);
        let (mut selecting, mut labelled) = (ByLabel::default(), ByLabel::default());
        for (n, one) in selectors.iter().enumerate() {
            selecting.add_selecting(&n, std::slice::from_ref(one));
        }
        for (n, one) in things.iter().enumerate() {
            labelled.add_labelled(&n, one);
        }
        for (m, thing) in things.iter().enumerate() {
            for (n, one) in selectors.iter().enumerate() {
                let found = selecting.may_select(thing).contains(&n);
                assert_eq!(found, labelled.may_be_selected(std::slice::from_ref(one)).contains(&m), "{n} {m}");
                assert!(found || !selects(one, thing), "{n} {m}");
            }
        }
        assert!(
            !selecting.may_select(&labels(json!({"other": "x"}))).contains(&2),
            "nothing of what it asks for is there"
        );
        for (n, one) in selectors.iter().enumerate() {
            selecting.remove_selecting(&n, std::slice::from_ref(one));
        }
        for (n, one) in things.iter().enumerate() {
            labelled.remove_labelled(&n, one);
        }
        assert!(selecting.0.is_empty() && labelled.0.is_empty(), "nothing is left behind");
    }
}
