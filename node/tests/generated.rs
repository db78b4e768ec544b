//! What is generated of `proto/` is what is committed. No protoc is needed.

use std::path::Path;

use tonic_prost_build::FileDescriptorSet;

/// Set to have it written anew.
const UPDATE: &str = "KEYFERRY_UPDATE_GENERATED";

/// Requests that carry tokens have no `Debug`.
const SECRET: &str = "csi.v1.NodePublishVolumeRequest";

fn generate(into: &Path) {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let files = ["csi.proto", "registration.proto"];
    let descriptors: FileDescriptorSet = protox::compile(files, [&proto]).unwrap();
    let builder = tonic_prost_build::configure().skip_debug([SECRET]).out_dir(into);
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
    for name in ["csi.v1.rs", "pluginregistration.rs"] {
        let read = |folder: &Path| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        assert!(
            read(fresh.path()) == read(&committed),
            "{name} is not what node/proto gives: run {UPDATE}=1 cargo test -p keyferry-node --test generated"
        );
    }
}
