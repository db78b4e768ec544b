//! Azure's own clients against the vault and Entra ID.

use keyferry_doubles::Authority;
use keyferry_doubles::azurekv::{CLIENT, Double, SECRET, TENANT};

use crate::client::python;

#[test]
fn azures_clients_log_in_read_list_write_delete_and_recover() {
    let double = Double::start();
    let folder = std::env::temp_dir().join(format!("keyferry-azurekv-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    let bundle = include_str!("azurekv.pem");
    double.trust_certificate(bundle);
    double.trust_token("canary-of-a-federated-token");
    let ca = file("ca.pem", &double.server().authority().pem());
    let other = file("other.pem", &Authority::new().pem());
    python(
        "azurekv.py",
        &[
            ("VAULT", &double.server().url()),
            ("REQUESTS_CA_BUNDLE", &ca),
            ("OTHER_CA", &other),
            ("TENANT", TENANT),
            ("CLIENT", CLIENT),
            ("SECRET", SECRET),
            ("CERTIFICATE", &file("bundle.pem", bundle)),
            ("FEDERATED_TOKEN", &file("token", "canary-of-a-federated-token")),
        ],
    );
    std::fs::remove_dir_all(&folder).expect("it was made");
    let calls = double.server().calls();
    assert!(calls.iter().any(|call| call.query.contains("skiptoken")), "lists have pages");
    assert!(calls.iter().any(|call| call.path.contains("/oauth2/v2.0/token") && call.status == 401), "refusals");
    let bought = |path: &str| calls.iter().any(|call| call.path == path && call.status == 200);
    assert!(bought("/oauth2/exchange") && bought("/oauth2/token"), "a registry's tokens");
    assert!(double.current("secrets", "pushed").is_none(), "it was purged");
}
