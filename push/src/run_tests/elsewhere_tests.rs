//! What is pushed through one store, and wanted through another that leads to the same place, or may.

use super::*;

#[tokio::test]
async fn another_store_that_leads_to_the_same_place_takes_over_what_was_pushed() {
    let vault =
        |path: &str, role: &str| json!({"vault": {"server": "https://v", "path": path, "auth": {"role": role}}});
    for (from, to, deleted) in [
        (json!({"fake": {"a": 1}}), json!({"fake": {"a": 1}}), false),
        (json!({"fake": {"a": 1}}), json!({"fake": {"other": 1}}), true),
        // Who logs in, and how, says nothing of where that is.
        (vault("kv", "old"), vault("kv", "new"), false),
        (vault("kv", "old"), vault("other", "old"), true),
        (json!({"aws": {"region": "r"}}), json!({"aws": {"region": "s"}}), true),
    ] {
        let mut rig = Rig::new(json!({"deletionPolicy": "Delete", "data": [entry("a", "k")]}));
        rig.put_store("s", from);
        rig.put_store("t", to);
        rig.double.secret("src", &[("a", "1")]);
        rig.look().await;
        rig.ps.metadata.finalizers = Some(vec![names::FINALIZER_PUSH_SECRET.to_owned()]);
        rig.respec(json!({"secretStoreRefs": [{"name": "t"}]}));
        let done = rig.look().await;
        assert_eq!(done.contains(&"delete s/k".to_owned()), deleted, "{done:?}");
        // Different stores may lead to one place all the same.
        assert_eq!(done.iter().filter(|what| *what == "push t/k").count(), 1 + usize::from(deleted), "{done:?}");
        assert_eq!((rig.recorded("SecretStore/t"), rig.recorded("SecretStore/s").len()), (vec!["k".to_owned()], 0));
    }
}

#[tokio::test]
async fn what_may_be_wanted_through_another_login_stays_and_that_is_told() {
    let keys = json!({"aws": {"region": "r", "auth": {"secretRef": {}}}});
    let role = json!({"aws": {"region": "r", "role": "arn:aws:iam::1:role/a"}});
    let mut rig = Rig::new(json!({"deletionPolicy": "Delete", "data": [entry("a", "k")]}));
    rig.put_store("s", keys);
    rig.put_store("t", role);
    rig.double.secret("src", &[("a", "1")]);
    rig.look().await;
    rig.ps.metadata.finalizers = Some(vec![names::FINALIZER_PUSH_SECRET.to_owned()]);
    rig.double.with(|state| state.notes.clear());
    rig.respec(json!({"secretStoreRefs": [{"name": "t"}]}));
    let done = rig.look().await;
    assert!(!done.iter().any(|what| what.starts_with("delete")), "{done:?}");
    assert_eq!((rig.recorded("SecretStore/t"), rig.recorded("SecretStore/s").len()), (vec!["k".to_owned()], 0));
    let notes = rig.double.with(|state| std::mem::take(&mut state.notes));
    let told = "what was pushed through SecretStore/s stays, since SecretStore \"t\" may lead to the same place";
    assert!(notes.iter().any(|note| note.starts_with(told) && note.ends_with(": \"k\"")), "{notes:?}");
    // What is wanted nowhere goes.
    rig.respec(json!({"secretStoreRefs": [{"name": "t"}], "data": [entry("a", "l")]}));
    assert!(rig.look().await.contains(&"delete t/k".to_owned()));
}

#[tokio::test]
async fn what_could_not_be_put_back_is_pushed_by_the_next_look() {
    for (kind, is_write_only) in
        [(ErrorKind::Unavailable, false), (ErrorKind::Invalid, false), (ErrorKind::Denied, true)]
    {
        // Nothing shows that they lead to one place, and they do.
        let mut rig = Rig::new(json!({"deletionPolicy": "Delete", "data": [entry("a", "k")]}));
        rig.double.with(|state| (state.is_write_only, state.is_one) = (is_write_only, true));
        rig.double.secret("src", &[("a", "1")]);
        rig.look().await;
        rig.ps.metadata.finalizers = Some(vec![names::FINALIZER_PUSH_SECRET.to_owned()]);
        rig.double.with(|state| state.fails_after_delete = Some(kind));
        rig.respec(json!({"secretStoreRefs": [{"name": "t"}]}));
        let done = rig.look().await;
        assert!(done.contains(&"delete s/k".to_owned()), "{done:?}");
        let said = "set secret failed: could not write remote ref a to target secretstore t: ";
        assert!(rig.said[0].starts_with(said), "{:?}", rig.said);
        assert_eq!((rig.double.held("t", "k"), rig.recorded("SecretStore/s").len()), (None, 0));
        rig.double.with(|state| state.failing.clear());
        rig.now += 1;
        let done = rig.look().await;
        assert!(done.contains(&"push t/k".to_owned()), "{kind:?}: {done:?}");
        assert_eq!(
            (rig.said[0].as_str(), rig.double.held("t", "k").as_deref()),
            ("Done(Done { pushed: 1, deleted: 0 })", Some("1"))
        );
    }
}
