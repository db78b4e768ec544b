use super::super::tests::{empty, found, one, sample, steps, store};
use super::*;
use crate::facts::{HeldNamespace, Identity, PushSecret};

#[test]
fn finalizers_of_stores() {
    let held = Store { held: true, ..store(Some("a"), "vault", Identity::Own) };
    let push = PushSecret {
        namespace: "a".to_owned(),
        name: "push".to_owned(),
        deletes: true,
        stores: [held.name.clone()].into(),
        selects: false,
        held: false,
        different: Vec::new(),
    };
    let with = |push: Option<Vec<PushSecret>>| Cluster { stores: vec![held.clone()], push_secrets: push, ..empty() };
    let is_freed = |push| !steps(&with(push)).is_empty();
    assert!(is_freed(Some(vec![])));
    assert!(!is_freed(None), "nobody knows whether it is needed");
    assert!(!is_freed(Some(vec![push.clone()])));
    assert!(is_freed(Some(vec![PushSecret { deletes: false, ..push.clone() }])));
    let selects = PushSecret { stores: Default::default(), selects: true, ..push.clone() };
    assert!(!is_freed(Some(vec![selects.clone()])));
    assert!(is_freed(Some(vec![PushSecret { namespace: "b".to_owned(), ..selects }])), "it can't reach that store");
    assert_eq!(one(&with(Some(vec![]))).code, "store-finalizers");
    assert_eq!(one(&with(None)).severity, Severity::Attention);
    let mut pushing = empty();
    pushing.push_secrets = Some(vec![PushSecret { held: true, ..push }]);
    assert_eq!(one(&pushing).code, "pushsecret-finalizers");
    assert_eq!(steps(&pushing), [] as [&str; 0], "that one is never taken off here");
}

#[test]
fn finalizers_of_namespaces() {
    let mut cluster = empty();
    cluster.namespaces = vec![HeldNamespace { name: "a".to_owned(), by: vec!["gone".to_owned(), "there".to_owned()] }];
    cluster.cluster_external_secrets = Some(["there".to_owned()].into());
    assert_eq!(steps(&cluster), ["remove the finalizer of ClusterExternalSecret gone from namespace/a"]);
    assert_eq!(found(&cluster).iter().filter(|finding| finding.code == "namespace-finalizers").count(), 2);
    cluster.cluster_external_secrets = None;
    assert_eq!(steps(&cluster), [] as [&str; 0]);
    assert_eq!(one(&cluster).count, 2);

    let mut others = empty();
    others.generator_states = sample(&["a/b"]);
    assert_eq!(one(&others).code, "generatorstate-finalizers");
    let mut held = empty();
    held.external_secrets.held = 10_000;
    assert_eq!((one(&held).severity, one(&held).count), (Severity::Note, 10_000));
}
