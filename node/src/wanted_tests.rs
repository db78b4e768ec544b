use keyferry_provider_core::SecretBytes;

use super::*;

/// What a pod asks for, with these attributes of its own.
pub fn wanted(own: &[(&str, &str)], group: &str) -> Result<Wanted, String> {
    let kubelet = [
        ("csi.storage.k8s.io/ephemeral", "true"),
        ("csi.storage.k8s.io/pod.name", "web-0"),
        ("csi.storage.k8s.io/pod.namespace", "team"),
        ("csi.storage.k8s.io/pod.uid", "5d3f"),
        ("csi.storage.k8s.io/serviceAccount.name", "web"),
    ];
    let all = kubelet.iter().chain(own).map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Wanted::of(&all.collect(), group).map_err(|refusal| refusal.message.into_string())
}

fn data(keys: &[&str]) -> Data {
    keys.iter().map(|key| ((*key).to_owned(), SecretBytes::from(*key))).collect()
}

#[test]
fn all_keys_are_files_where_nothing_else_is_said() {
    let plain = wanted(&[("externalSecret", "app")], "").unwrap();
    assert_eq!((plain.access.mode, plain.access.gid), (0o644, None));
    assert_eq!(plain.pod.service_account, "web");
    let files = plain.files(&data(&["a", "b"])).unwrap();
    assert!(files.len() == 2 && files["a"].mode == 0o644 && files["a"].value.expose() == b"a");
    assert!(plain.files(&data(&["..data"])).is_err());
    let grouped = wanted(&[("externalSecret", "app"), ("owner", "7")], "2000").unwrap();
    assert_eq!(grouped.access, Access { mode: 0o640, uid: Some(7), gid: Some(2000) });
}

#[test]
fn items_choose_keys_paths_and_modes() {
    let items = r#"[{"key": "a", "path": "x/y", "mode": "0400"}, {"key": "b"}, {"key": "a", "path": "z"}]"#;
    let wanted = wanted(&[("externalSecret", "app"), ("items", items), ("mode", "0440")], "").unwrap();
    let files = wanted.files(&data(&["a", "b", "c"])).unwrap();
    assert_eq!(
        files.iter().map(|(path, file)| (path.as_str(), file.mode)).collect::<Vec<_>>(),
        [("b", 0o440), ("x/y", 0o400), ("z", 0o440)]
    );
    assert!(wanted.files(&data(&["b"])).unwrap_err().contains("\"a\""));
}

#[test]
fn what_is_wrong_is_said() {
    for (attributes, says) in [
        (vec![], "externalSecret names"),
        (vec![("externalSecret", "../x")], "externalSecret names"),
        (vec![("externalSecret", "app"), ("item", "[]")], "\"item\" is none"),
        (vec![("externalSecret", "app"), ("mode", "0999")], "is not a mode"),
        (vec![("externalSecret", "app"), ("owner", "root")], "no number of a user"),
        (vec![("externalSecret", "app"), ("items", "[]")], "leave it out"),
        (vec![("externalSecret", "app"), ("items", "{")], "no JSON list"),
        (vec![("externalSecret", "app"), ("items", r#"[{"key": "a", "path": "../b"}]"#)], "has the path"),
        (vec![("externalSecret", "app"), ("items", r#"[{"key": "a", "path": "/b"}]"#)], "has the path"),
        (vec![("externalSecret", "app"), ("items", r#"[{"key": "a"}, {"key": "a"}]"#)], "twice"),
        (
            vec![("externalSecret", "app"), ("items", r#"[{"key": "a"}, {"key": "b", "path": "a/b"}]"#)],
            "for a folder of",
        ),
        (vec![("externalSecret", "app"), ("items", r#"[{"key": "a", "mode": 256}]"#)], "no JSON list"),
        (vec![("externalSecret", "app"), ("csi.storage.k8s.io/ephemeral", "false")], "no PersistentVolume"),
        (vec![("externalSecret", "app"), ("csi.storage.k8s.io/pod.name", "")], "podInfoOnMount"),
    ] {
        let told = wanted(&attributes, "").unwrap_err();
        assert!(told.contains(says), "{attributes:?}: {told}");
    }
    let many = format!("[{}]", vec![r#"{"key": "a"}"#; MOUNT_ITEMS.size() + 1].join(","));
    assert!(wanted(&[("externalSecret", "app"), ("items", &many)], "").unwrap_err().contains("limit mount-items"));
}
