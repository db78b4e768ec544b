//! Conjur, by conjur-api.

use keyferry_doubles::conjur::{Double, HOST};

use crate::client::python;

#[test]
fn conjurs_own_client() {
    let double = Double::start_tls("canary-of-a-key", "canary-of-a-jwt");
    double.put("apps/a", b"first");
    double.put("apps/b", b"b");
    double.annotate("apps/b", &[("team", "blue")]);
    double.put("apps/binary", b"\xff\0");
    double.put("apps/forbidden", b"x");
    double.forbid("apps/forbidden");
    let folder = std::env::temp_dir().join(format!("keyferry-conjur-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (cert, key) = double.server().authority().client("apps/keyferry");
    let file = |name: &str, content: &str| {
        let path = folder.join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let ca = file("ca.pem", &double.server().authority().pem());
    let (cert, key) = (file("cert.pem", &cert), file("key.pem", &key));
    let environment = [
        ("URL", double.server().url()),
        ("CA", ca),
        ("HOST", HOST.to_owned()),
        ("KEY", "canary-of-a-key".to_owned()),
        ("JWT", "canary-of-a-jwt".to_owned()),
        ("CERT", cert),
        ("CERT_KEY", key),
    ];
    let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    python("conjur.py", &environment);
    std::fs::remove_dir_all(&folder).unwrap();
}
