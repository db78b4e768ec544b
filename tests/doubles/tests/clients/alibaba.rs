//! Alibaba Cloud, by alibabacloud-kms20160120 and alibabacloud-credentials.

use keyferry_doubles::alibaba::{Double, PROVIDER, ROLE};

use crate::client::python;

#[test]
fn alibabas_own_client() {
    let double = Double::start("lab-id", "canary-of-a-secret", "canary.of.a-token");
    double.put("app/db", "first");
    double.put("app/db", "second");
    double.put("tagged", "t");
    double.tag("tagged", &[("team", "blue")]);
    double.put("forbidden", "x");
    double.forbid("forbidden");
    double.put("deleted", "x");
    double.mark_deleted("deleted");
    let file = std::env::temp_dir().join(format!("keyferry-alibaba-{}", std::process::id()));
    std::fs::write(&file, "canary.of.a-token").unwrap();
    python(
        "alibaba.py",
        &[
            ("HOST", double.server().url().trim_start_matches("http://")),
            ("ID", "lab-id"),
            ("SECRET", "canary-of-a-secret"),
            ("ROLE", ROLE),
            ("PROVIDER", PROVIDER),
            ("TOKEN_FILE", &file.display().to_string()),
        ],
    );
    std::fs::remove_file(&file).unwrap();
}
