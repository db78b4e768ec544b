//! The generators that are built. Their rules are those of External Secrets Operator: none; what can't be made becomes a
//! condition of the ExternalSecret that asks for it.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::json;

use super::node::*;
use super::{CLUSTER, NAMESPACED, Names, version};
use crate::names;

pub(super) fn crds() -> Vec<CustomResourceDefinition> {
    let generator = |kind, plural, scope, description: &str, spec: Node| {
        let schema = object(description)
            .field("apiVersion", string("Group and version of this object."))
            .field("kind", string("Kind of this object."))
            .field("metadata", Node::metadata())
            .field("spec", spec)
            .field("status", anything("What was last seen and done."));
        let categories = [names::CATEGORY, names::CATEGORY_GENERATORS];
        let versions = vec![version(names::GENERATORS_VERSION, schema)];
        Names { kind, plural, short: None, scope }.of_group(names::GENERATORS_GROUP, &categories, versions)
    };
    vec![
        generator("Fake", "fakes", NAMESPACED, "Gives the values that are written down in it.", fake()),
        generator("Password", "passwords", NAMESPACED, "Makes random passwords.", password()),
        generator("UUID", "uuids", NAMESPACED, "Makes a random UUID.", object("Nothing to say.")),
        generator(
            "ClusterGenerator",
            "clustergenerators",
            CLUSTER,
            "A generator for the ExternalSecrets of all namespaces.",
            cluster(),
        ),
    ]
}

fn fake() -> Node {
    object("The values.")
        .field("controller", string("Controller class that looks after it; empty is any."))
        .field("data", map_of_strings("Values by key."))
}

fn password() -> Node {
    object("What the passwords are made of.")
        .field("length", integer("Number of characters.").default(json!(24)))
        .field("digits", integer("Number of digits among them; a quarter if not set."))
        .field("symbols", integer("Number of symbols among them; a quarter if not set."))
        .field("symbolCharacters", string("The symbols to choose from."))
        .field("noUpper", boolean("Use no capital letters.").default(json!(false)))
        .field("allowRepeat", boolean("Let a character come more than once.").default(json!(false)))
        .field("secretKeys", strings("A password of its own under each of these keys; under password if not set."))
        .field(
            "encoding",
            word("How to encode the passwords.", &["raw", "base64", "base64url", "base32", "hex"])
                .default(json!("raw")),
        )
}

fn cluster() -> Node {
    object("The generator.").required("kind", string("Kind of the generator, such as Password.")).required(
        "generator",
        object("Its spec, under a field named after its kind.")
            .field("fakeSpec", fake())
            .field("passwordSpec", password())
            .field("uuidSpec", object("Nothing to say.")),
    )
}
