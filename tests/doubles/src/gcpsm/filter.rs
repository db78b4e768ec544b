//! What a list is asked for: terms that must all hold, as far as Google's documents use them for secrets and versions.

use serde_json::Value;

/// Whether this, as it is shown, answers the filter; `None` where that can't be read.
pub(super) fn holds(filter: &str, shown: &Value) -> Option<bool> {
    let mut all = true;
    for term in filter.split_whitespace().filter(|term| *term != "AND") {
        let place = term.find([':', '='])?;
        let (field, rest) = term.split_at(place);
        let (operator, wanted) = rest.split_at(1);
        let wanted = wanted.trim_matches('"');
        all &= match field.split_once('.') {
            Some(("labels", label)) => match operator {
                "=" => shown["labels"][label] == wanted,
                _ => shown["labels"][label].as_str().is_some_and(|value| wanted == "*" || value.contains(wanted)),
            },
            None if field == "state" => shown["state"] == wanted,
            None if field == "name" => {
                let name = shown["name"].as_str()?.rsplit('/').next()?;
                if operator == "=" { name == wanted } else { name.contains(wanted) }
            }
            _ => return None,
        };
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::holds;

    #[test]
    fn terms_must_all_hold() {
        let shown = json!({"name": "projects/1/secrets/app-a", "labels": {"team": "blue"}, "state": "ENABLED"});
        for (filter, expected) in [
            ("", Some(true)),
            ("labels.team=blue", Some(true)),
            ("labels.team=blue AND name:app", Some(true)),
            ("labels.team=blue name:app", Some(true)),
            ("labels.team=red", Some(false)),
            ("labels.tier=db", Some(false)),
            ("name:secrets", Some(false)),
            ("state:ENABLED", Some(true)),
            ("state:DISABLED", Some(false)),
            ("anything", None),
            ("size:1", None),
        ] {
            assert_eq!(holds(filter, &shown), expected, "{filter}");
        }
    }
}
