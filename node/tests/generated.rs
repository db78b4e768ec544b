//! What is generated of `proto/` is what is committed. No protoc is needed.

use std::path::Path;

use tonic_prost_build::FileDescriptorSet;

/// Set to have it written anew.
const UPDATE: &str = "KEYFERRY_UPDATE_GENERATED";

/// What carries tokens or values has no `Debug`.
const SECRET: [&str; 4] =
    ["csi.v1.NodePublishVolumeRequest", "v1alpha1.MountRequest", "v1alpha1.MountResponse", "v1alpha1.File"];

fn generate(into: &Path) {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let files = ["csi.proto", "registration.proto", "provider.proto"];
    let descriptors: FileDescriptorSet = protox::compile(files, [&proto]).unwrap();
    // Values are handed over without a copy.
    let builder = tonic_prost_build::configure().skip_debug(SECRET).bytes(".v1alpha1.File.contents").out_dir(into);
    builder.compile_fds(descriptors).unwrap();
}

#[test]
fn generated_code_is_as_committed() {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/rpc");
    if std::env::var_os(UPDATE).is_some() {
        generate(&committed);
    }
    let fresh = tempfile::tempdir().unwrap();
    generate(fresh.path());
    for name in ["csi.v1.rs", "pluginregistration.rs", "v1alpha1.rs"] {
        let read = |folder: &Path| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        assert!(
            read(fresh.path()) == read(&committed),
            "{name} is not what node/proto gives: run {UPDATE}=1 cargo test -p keyferry-node --test generated"
        );
    }
}
