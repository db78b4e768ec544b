//! Fields that a schema does not know: the API server drops them when it stores an object under it.

use std::collections::BTreeSet;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde_json::Value;

/// The paths below `spec` of an object that its schema does not know. Entries of lists are `[]`.
pub fn fields(schema: &JSONSchemaProps, object: &Value) -> BTreeSet<String> {
    let mut lost = BTreeSet::new();
    let spec = schema.properties.as_ref().and_then(|properties| properties.get("spec"));
    if let (Some(schema), Some(spec)) = (spec, object.get("spec")) {
        walk(schema, spec, "spec", &mut lost);
    }
    lost
}

fn walk(schema: &JSONSchemaProps, value: &Value, path: &str, lost: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = format!("{path}.{name}");
                let known = schema.properties.as_ref().and_then(|properties| properties.get(name));
                match (known, &schema.additional_properties) {
                    (Some(known), _) => walk(known, value, &path, lost),
                    (None, Some(JSONSchemaPropsOrBool::Schema(any))) => walk(any, value, &path, lost),
                    (None, Some(JSONSchemaPropsOrBool::Bool(true))) => {}
                    _ if schema.x_kubernetes_preserve_unknown_fields == Some(true) => {}
                    _ => drop(lost.insert(path)),
                }
            }
        }
        Value::Array(entries) => {
            let Some(JSONSchemaPropsOrArray::Schema(schema)) = &schema.items else { return };
            let path = format!("{path}[]");
            entries.iter().for_each(|entry| walk(schema, entry, &path, lost));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_schema_does_not_know() {
        let schema = json!({"properties": {"spec": {"properties": {
            "known": {"type": "string"},
            "list": {"items": {"properties": {"a": {}}}},
            "map": {"additionalProperties": {"properties": {"a": {}}}},
            "any": {"additionalProperties": true},
            "open": {"properties": {"half": {"properties": {}}}, "x-kubernetes-preserve-unknown-fields": true},
        }}}});
        let schema: JSONSchemaProps = serde_json::from_value(schema).unwrap();
        let object = json!({"other": 1, "spec": {
            "known": "x", "refreshIntervall": "1h",
            "list": [{"a": 1}, {"a": 1, "b": 2}],
            "map": {"x": {"a": 1, "b": 2}}, "any": {"x": {"y": 1}},
            "open": {"half": {"x": 1}, "more": {"y": 1}},
        }});
        let lost: Vec<String> = fields(&schema, &object).into_iter().collect();
        assert_eq!(lost, ["spec.list[].b", "spec.map.x.b", "spec.open.half.x", "spec.refreshIntervall"]);
    }
}
