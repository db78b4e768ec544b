//! The tests of the interface that all drivers are to pass: csi-sanity.

use std::collections::BTreeSet;
use std::process::Command;

use keyferry_node_driver_tests::rig::Rig;
use keyferry_testkit::install;
use serde_json::Value;

tests![csi_sanity_finds_nothing_wrong];

/// What is for a driver that mounts what is there already, and no more.
const PASSED: [&str; 13] = [
    "Identity Service GetPluginCapabilities should return appropriate capabilities",
    "Identity Service GetPluginInfo should return appropriate information",
    "Identity Service Probe should return appropriate information",
    "Node Service NodeGetCapabilities should return appropriate capabilities",
    "Node Service NodeGetInfo should return appropriate values",
    "Node Service NodeGetVolumeStats should fail when no volume id is provided",
    "Node Service NodeGetVolumeStats should fail when no volume path is provided",
    "Node Service NodeGetVolumeStats should fail when volume is not found",
    "Node Service NodePublishVolume should fail when no target path is provided",
    "Node Service NodePublishVolume should fail when no volume capability is provided",
    "Node Service NodePublishVolume should fail when no volume id is provided",
    "Node Service NodeUnpublishVolume should fail when no target path is provided",
    "Node Service NodeUnpublishVolume should fail when no volume id is provided",
];

/// What makes its volumes by the Controller service, which ours have no need of.
const LEFT_OUT: [&str; 6] = [
    r"\[Controller Server\]",
    "GroupController Service",
    "NodeUnpublishVolume should remove target path",
    "NodeGetVolumeStats should fail when volume does not exist on the specified path",
    "Node Service should work",
    "Node Service should be idempotent",
];

/// What csi-sanity says where it skips what the driver does not claim to do.
const NOT_CLAIMED: [&str; 6] = [
    "NodeExpandVolume not supported",
    "NodeGetStorageHealth not supported",
    "NodeGetVolumeHealth not supported",
    "NodeStageVolume not supported",
    "NodeUnstageVolume not supported",
    "Service does not have single node multi writer capability",
];

async fn csi_sanity_finds_nothing_wrong() {
    let rig = Rig::new("sanity", &[]).await;
    let program = tokio::task::spawn_blocking(install::csi_sanity).await.expect("a task").expect("csi-sanity");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("report.json");
    let target = rig.kubelet.target("sanity");
    std::fs::create_dir_all(target.parent().expect("a parent")).expect("the pod's folder");
    let mut command = Command::new(program);
    command.arg(format!("--csi.endpoint={}", rig.kubelet.socket().display()));
    command.arg(format!("--csi.mountdir={}", target.display()));
    command.arg(format!("--csi.stagingdir={}", folder.path().join("staging").display()));
    command.arg(format!("--ginkgo.json-report={}", file.display()));
    command.args(["--ginkgo.no-color", &format!("--ginkgo.skip={}", LEFT_OUT.join("|"))]);
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("a task").expect("it runs");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}");
    let report: Value = serde_json::from_slice(&std::fs::read(file).expect("a report")).expect("JSON");
    let mut passed = BTreeSet::new();
    for test in report[0]["SpecReports"].as_array().expect("tests") {
        let names = test["ContainerHierarchyTexts"].as_array().into_iter().flatten().chain([&test["LeafNodeText"]]);
        let name = names.filter_map(Value::as_str).collect::<Vec<_>>().join(" ");
        match test["State"].as_str().unwrap_or_default() {
            "passed" => {
                passed.insert(name);
            }
            // Left out by name, there is no message.
            "skipped" => {
                let why = test["Failure"]["Message"].as_str().unwrap_or_default();
                assert!(why.is_empty() || NOT_CLAIMED.contains(&why), "{name}: {why}");
            }
            // One that csi-sanity itself does not run yet.
            "pending" => assert!(name.contains("pagination"), "{name}"),
            other => panic!("{name}: {other}"),
        }
    }
    assert_eq!(passed, PASSED.map(str::to_owned).into());
}
