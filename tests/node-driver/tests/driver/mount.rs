//! The first mount, and the end of one.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use keyferry_node::rpc::csi::volume_usage::Unit;
use keyferry_node_driver_tests::kubelet::Ask;
use keyferry_node_driver_tests::rig::{APP, LONG, Rig, STRANGER};
use keyferry_testkit::eventually;
use serde_json::{Value, json};
use tonic::Code;

tests![
    a_pod_gets_files_by_its_own_identity_and_nothing_is_left_behind,
    who_has_no_rights_is_told_the_rule,
    the_kubelet_finds_it_and_nobody_else_may,
    items_groups_and_modes_are_as_asked,
    how_full_a_volume_is_can_be_known,
    a_login_of_the_store_s_own_is_not_for_pods,
    what_a_pod_can_t_have_is_said,
    who_brings_no_token_for_the_store_has_no_part_in_another_s_login,
];

const CANARY: &str = "kf-canary-7c1e55";

async fn a_pod_gets_files_by_its_own_identity_and_nothing_is_left_behind() {
    let rig = Rig::new("thread", &[]).await;
    rig.put("db", json!({"user": "ada", "password": CANARY})).await;
    rig.declare("db", json!({}));
    rig.grant("db", APP).await;
    let mut ask = rig.ask("web-0", APP, "db").await;
    ask.in_secrets = true;
    rig.kubelet.publish(&ask).await.expect("it mounts");
    assert_eq!(rig.kubelet.read("web-0", "password").as_deref(), Some(CANARY));
    assert_eq!(rig.kubelet.read("web-0", "user").as_deref(), Some("ada"));
    let mounts = rig.kubelet.mounts();
    assert_eq!(mounts.len(), 1, "{mounts:?}");
    // As much as the limit mount-memory says.
    for option in ["nosuid", "nodev", "noexec", "tmpfs keyferry", "size=16384k"] {
        assert!(mounts[0].contains(option), "{}", mounts[0]);
    }
    // One record of the delivery, which names and does not tell.
    let records = eventually(LONG, || async {
        let log = rig.kubelet.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let records: Vec<Value> = lines.filter(|line| line["action"] == "mounted").collect();
        // Nobody waits until it is written.
        if records.is_empty() { Err("no record".to_owned()) } else { Ok(records) }
    })
    .await;
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0]["workload"], json!({"pod": "web-0", "serviceAccount": APP}));
    assert_eq!((&records[0]["outcome"], &records[0]["object"]["name"]), (&json!("done"), &json!("db")));
    assert_eq!(records[0]["sources"][0]["keys"].as_array().map(Vec::len), Some(1), "{}", records[0]);
    // Nothing of the value, nor of a token, is on the disk or in the log.
    let disk = String::from_utf8_lossy(&rig.kubelet.on_disk()).into_owned();
    let tokens: Value = serde_json::from_str(&ask.tokens).expect("tokens");
    for secret in [CANARY, tokens[""]["token"].as_str().expect("one"), tokens["vault"]["token"].as_str().expect("one")]
    {
        assert!(!disk.contains(secret), "a secret is on the disk or in the log");
    }
    // As the kubelet of older versions gives tokens.
    let mut second = rig.ask("web-1", APP, "db").await;
    second.in_secrets = false;
    rig.kubelet.publish(&second).await.expect("it mounts");
    for pod in ["web-0", "web-1", "web-0", "never"] {
        rig.kubelet.unpublish(pod).await.expect("its end is answered, again and again");
        assert!(!rig.kubelet.target(pod).exists());
    }
    assert!(rig.kubelet.mounts().is_empty());
    assert_eq!(fs::read_dir(rig.kubelet.state()).expect("a folder").count(), 0, "what is written down goes, too");
}

async fn who_has_no_rights_is_told_the_rule() {
    let rig = Rig::new("rights", &[]).await;
    rig.put("db", json!({"password": CANARY})).await;
    rig.declare("db", json!({}));
    rig.grant("db", APP).await;
    let refused = rig.kubelet.publish(&rig.ask("other", STRANGER, "db").await).await.expect_err("it is refused");
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    for part in ["ServiceAccount \"stranger\"", "\"resourceNames\":[\"db\"]", "keyferry grant db --to stranger"] {
        assert!(refused.message().contains(part), "{refused}");
    }
    // The API server lets it now, and the store does not.
    rig.grant("db", STRANGER).await;
    let refused = rig.kubelet.publish(&rig.ask("other", STRANGER, "db").await).await.expect_err("it is refused");
    assert!(refused.message().contains("SecretStore \"vault\""), "{refused}");
    assert!(!refused.message().contains(CANARY));
    assert!(rig.kubelet.mounts().is_empty() && !rig.kubelet.target("other").exists());
    assert_eq!(fs::read_dir(rig.kubelet.state()).expect("a folder").count(), 0);
    // Nor does a login of another account's help.
    rig.kubelet.publish(&rig.ask("web", APP, "db").await).await.expect("it mounts");
    rig.kubelet.publish(&rig.ask("other", STRANGER, "db").await).await.expect_err("it is refused still");
}

async fn the_kubelet_finds_it_and_nobody_else_may() {
    let rig = Rig::new("found", &[]).await;
    let info = rig.kubelet.info().await.expect("it answers");
    assert_eq!((info.r#type.as_str(), info.name.as_str()), ("CSIPlugin", "csi.keyferry.io"));
    assert_eq!(info.supported_versions, ["1.0.0"]);
    assert!(info.endpoint.ends_with("/plugins/csi.keyferry.io/csi.sock"), "{}", info.endpoint);
    assert_eq!(rig.kubelet.modes(), [0o600; 2]);
}

async fn items_groups_and_modes_are_as_asked() {
    let rig = Rig::new("items", &[]).await;
    rig.put("db", json!({"user": "ada", "password": CANARY, "more": "x"})).await;
    rig.declare("db", json!({}));
    rig.grant("db", APP).await;
    let mut ask = rig.ask("web", APP, "db").await;
    ask.group = "2000".to_owned();
    let items = r#"[{"key": "password", "path": "db/pass", "mode": "0400"}, {"key": "user"}]"#;
    ask.attributes.extend([("items".to_owned(), items.to_owned()), ("owner".to_owned(), "7".to_owned())]);
    rig.kubelet.publish(&ask).await.expect("it mounts");
    let stat = |path: &str| {
        let stat = fs::metadata(rig.kubelet.target("web").join(path)).expect("it is there");
        (stat.mode() & 0o7777, stat.uid(), stat.gid())
    };
    assert_eq!(stat("db/pass"), (0o400, 7, 2000));
    assert_eq!(stat("user"), (0o640, 7, 2000));
    assert_eq!(stat("."), (0o750, 7, 2000));
    assert_eq!(rig.kubelet.read("web", "db/pass").as_deref(), Some(CANARY));
    assert!(rig.kubelet.read("web", "more").is_none());
    rig.kubelet.unpublish("web").await.expect("it ends");
}

async fn how_full_a_volume_is_can_be_known() {
    let rig = Rig::new("usage", &[]).await;
    let value = "x".repeat(100_000);
    rig.put("db", json!({"a": value})).await;
    rig.declare("db", json!({}));
    rig.grant("db", APP).await;
    let none = rig.kubelet.usage("web").await.expect_err("nothing is mounted yet");
    assert_eq!(none.code(), Code::NotFound, "{none}");
    let ask = rig.ask("web", APP, "db").await;
    rig.kubelet.publish(&ask).await.expect("it mounts");
    let usage = rig.kubelet.usage("web").await.expect("it is known");
    let [(Unit::Bytes, room, used), (Unit::Inodes, files, there)] = usage[..] else { panic!("{usage:?}") };
    assert_eq!(room, 16 << 20, "as much as the limit mount-memory says");
    assert!((100_000..200_000).contains(&used), "{used} bytes are used");
    // The volume, the folder of this version, the file, and the links to both.
    assert_eq!((files, there), (8192, 5));
    // The volume's folder alone, as where it is not mounted, is nobody's to look at.
    rig.kubelet.unpublish("web").await.expect("it ends");
    std::fs::create_dir_all(rig.kubelet.target("web")).expect("a folder");
    let none = rig.kubelet.usage("web").await.expect_err("it is not mounted any more");
    assert_eq!(none.code(), Code::NotFound, "{none}");
}

async fn a_login_of_the_store_s_own_is_not_for_pods() {
    let rig = Rig::new("static", &[]).await;
    let fake = json!({"provider": {"fake": {"data": [{"key": "k", "value": CANARY}]}}});
    rig.apply("SecretStore", "fake", fake);
    let spec = json!({
        "secretStoreRef": {"name": "fake", "kind": "SecretStore"}, "target": {"creationPolicy": "None"},
        "data": [{"secretKey": "a", "remoteRef": {"key": "k"}}],
    });
    rig.apply("ExternalSecret", "static", spec);
    rig.grant("static", APP).await;
    let refused = rig.kubelet.publish(&rig.ask("web", APP, "static").await).await.expect_err("it is refused");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("spec.loginBy: Mount") && refused.message().contains("--allow-static-logins"));
    let lenient = Rig::new("allowed", &["--allow-static-logins"]).await;
    let fake = json!({"provider": {"fake": {"data": [{"key": "k", "value": CANARY}]}}});
    lenient.apply("SecretStore", "fake", fake);
    let spec = json!({
        "secretStoreRef": {"name": "fake", "kind": "SecretStore"}, "target": {"creationPolicy": "None"},
        "data": [{"secretKey": "a", "remoteRef": {"key": "k"}}],
    });
    lenient.apply("ExternalSecret", "static", spec);
    lenient.grant("static", APP).await;
    lenient.kubelet.publish(&lenient.ask("web", APP, "static").await).await.expect("an admin allows it");
    assert_eq!(lenient.kubelet.read("web", "a").as_deref(), Some(CANARY));
    lenient.kubelet.unpublish("web").await.expect("it ends");
}

async fn what_a_pod_can_t_have_is_said() {
    let rig = Rig::new("said", &[]).await;
    rig.put("db", json!({"password": CANARY})).await;
    rig.declare("db", json!({}));
    for name in ["db", "none"] {
        // A right may be there before the object is.
        if name == "db" {
            rig.grant(name, APP).await;
        }
    }
    let generators = json!({
        "target": {"creationPolicy": "None"},
        "dataFrom": [{"sourceRef": {"generatorRef": {
            "apiVersion": "generators.external-secrets.io/v1alpha1", "kind": "Password", "name": "p",
        }}}],
    });
    rig.apply("ExternalSecret", "made", generators);
    rig.grant("made", APP).await;
    let ask = rig.ask("web", APP, "made").await;
    let refused = rig.kubelet.publish(&ask).await.expect_err("it is refused");
    assert!(refused.message().contains("generator Password"), "{refused}");
    let mut wrong = rig.ask("web", APP, "db").await;
    wrong.attributes.push(("item".to_owned(), "x".to_owned()));
    let refused = rig.kubelet.publish(&wrong).await.expect_err("it is refused");
    assert_eq!(refused.code(), Code::InvalidArgument);
    // The kubelet was asked for no token of the store's audience.
    let mut tokens: Value = serde_json::from_str(&ask.tokens).expect("tokens");
    tokens.as_object_mut().expect("tokens").remove("vault");
    let mut lacking = rig.ask("web", APP, "db").await;
    lacking.tokens = tokens.to_string();
    let refused = rig.kubelet.publish(&lacking).await.expect_err("it is refused");
    assert!(refused.message().contains("node.audiences") && refused.message().contains("\"vault\""), "{refused}");
    assert!(rig.kubelet.mounts().is_empty() && !rig.kubelet.target("web").exists());
}

async fn who_brings_no_token_for_the_store_has_no_part_in_another_s_login() {
    let rig = Rig::new("lacking", &[]).await;
    rig.put("db", json!({"a": "first"})).await;
    rig.declare("db", json!({}));
    rig.grant("db", APP).await;
    let (ask, lacking) = (rig.ask("web", APP, "db").await, rig.ask_with("later", APP, "db", &[""]).await);
    rig.kubelet.publish(&ask).await.expect("it mounts");
    // The login is there, and so is what the store has answered.
    let refused = rig.kubelet.publish(&lacking).await.expect_err("it is refused");
    assert!(refused.message().contains("node.audiences") && refused.message().contains("\"vault\""), "{refused}");
    assert!(!rig.kubelet.is_mounted("later"));
    // Who brought one and brings none any more keeps what it has, and is told.
    rig.put("db", json!({"a": "second"})).await;
    let told =
        rig.event_after("web", "MountNotRefreshed", &Ask { tokens: lacking.tokens.clone(), ..ask.clone() }).await;
    assert!(told.contains("node.audiences"), "{told}");
    assert_eq!(rig.kubelet.read("web", "a").as_deref(), Some("first"));
    eventually(LONG, || async {
        rig.kubelet.publish(&ask).await.map_err(|refused| refused.to_string())?;
        let shown = rig.kubelet.read("web", "a");
        if shown.as_deref() == Some("second") { Ok(()) } else { Err(format!("{shown:?}")) }
    })
    .await;
    rig.kubelet.unpublish("web").await.expect("it ends");
}
