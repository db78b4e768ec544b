//! Files of SOPS for keys of PGP, by the real `gpg` and `sops`: only with the cargo feature `pgp`, which the default leaves out.

use std::path::Path;
use std::sync::Arc;

use keyferry_provider_tests::desk::{CANARY, Desk, YAML, read, store, text};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn files_of_sops_open_with_a_key_of_pgp() {
    let desk = Desk::new();
    let home = desk.path("gnupg");
    std::fs::create_dir(&home).unwrap();
    std::fs::set_permissions(&home, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let environment = [("GNUPGHOME", home.to_str().unwrap())];
    let gpg = |args: &[&str]| {
        let all = [&["--quiet", "--batch", "--pinentry-mode", "loopback", "--passphrase", ""], args].concat();
        text(desk.run_in(&environment, Path::new("gpg"), all))
    };
    for (name, kind) in [("modern", "future-default"), ("usual", "default")] {
        gpg(&["--quick-generate-key", name, kind, "default", "never"]);
        let listed = gpg(&["--list-keys", "--with-colons", name]);
        let fingerprint = listed.lines().find_map(|line| line.strip_prefix("fpr:::::::::")?.split(':').next()).unwrap();
        desk.write("sops.asc", gpg(&["--armor", "--export-secret-keys", name]));
        desk.write("a.yaml", YAML);
        let document = desk.sops_in(&environment, "a.yaml", &format!("pgp: {fingerprint}"));
        let spec = json!({"kind": "sops", "documents": [{"name": "a.yaml", "inline": document}]});
        let with = store(&desk, &["sops.asc"], spec.clone(), &Arc::default()).await;
        assert!(read(&*with, "a.yaml").await.unwrap().contains(CANARY), "{name}");
        let other = store(&desk, &["one.key"], spec, &Arc::default()).await;
        let error = read(&*other, "a.yaml").await.unwrap_err();
        assert!(error.message().contains(&format!("PGP key {fingerprint}: no key of PGP of the store")), "{error}");
    }
    desk.run_in(&environment, Path::new("gpgconf"), ["--kill", "all"]);
}
