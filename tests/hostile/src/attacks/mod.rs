//! The table of attacks. What is tried here is one of many of its kind: what must hold is the rule.
//!
//! In reading order: [`patterns`] regular expressions, [`growth`] bytes that grow, [`work`] what takes long to compute,
//! [`stores`] servers that answer ill, [`reach`] what belongs to others, [`crowds`] many of everything,
//! [`pushes`] what is pushed, [`restarts`] who restarts, [`strangers`] who is no tenant.

pub mod patterns;
pub mod growth;
pub mod work;
pub mod stores;
pub mod reach;
pub mod crowds;
pub mod pushes;
pub mod restarts;
pub mod strangers;

use crate::attack::Attack;

/// All attacks, in the order in which they are made.
pub fn all() -> Vec<&'static Attack> {
    let of_tenants = [
        patterns::ATTACKS,
        growth::ATTACKS,
        work::ATTACKS,
        stores::ATTACKS,
        reach::ATTACKS,
        crowds::ATTACKS,
        pushes::ATTACKS,
        restarts::ATTACKS,
    ];
    let tables = of_tenants.into_iter().chain([strangers::ATTACKS]);
    tables.flatten().collect()
}

/// A few of each kind, for a run of a minute.
pub const SHORT: &[&str] = &[
    "namespace-regexes",
    "find-classes",
    "rewrite-grows",
    "password-times-keys",
    "one-value-often",
    "template-repeats",
    "template-growers",
    "nested-loops",
    "hang",
    "retry-huge",
    "generator-path",
    "forbidden-types",
    "metadata-addresses",
    "tiny-interval",
    "strangers-dawdle",
    "strangers-flood",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::attack::Scene;
    use crate::server::Server;

    #[test]
    fn every_attack_has_a_name_of_its_own_and_objects_that_bear_it() {
        let server = Server::start(vec![]);
        let names: BTreeSet<&str> = all().iter().map(|attack| attack.name).collect();
        assert_eq!(names.len(), all().len());
        assert!(names.len() >= 40, "{}", names.len());
        for attack in all() {
            let objects = (attack.objects)(&Scene { attack: attack.name, server: &server });
            assert!(!objects.is_empty(), "{}", attack.name);
            let own: Vec<&str> = objects.iter().map(|object| object["metadata"]["name"].as_str().unwrap()).collect();
            assert!(own.iter().all(|name| attack.owns(name)), "{}: {own:?}", attack.name);
            let unique: BTreeSet<(&str, &str)> =
                objects.iter().zip(&own).map(|(object, name)| (object["kind"].as_str().unwrap(), *name)).collect();
            assert_eq!(unique.len(), objects.len(), "{}", attack.name);
            for object in &objects {
                let size = object.to_string().len();
                assert!(size < 1_500_000, "{}: {size} bytes are more than etcd takes", attack.name);
            }
        }
    }

    #[test]
    fn the_short_run_is_made_of_attacks_that_are_there() {
        let known: BTreeSet<&str> = all().iter().map(|attack| attack.name).collect();
        assert!(SHORT.iter().all(|name| known.contains(name)));
    }
}
