//! hvac, boto3 and google-auth against the double of Vault and the clouds around it.

use keyferry_doubles::vault::Double;
use serde_json::json;

use crate::client;

const SECRET: &str = "canary-of-the-test";
const ROLE: &str = "arn:aws:iam::123456789012:role/app";
const USER: &str = "arn:aws:iam::123456789012:user/app";

#[test]
fn logins_and_what_they_are_good_for() {
    let double = Double::start();
    double.put("app", json!({"password": SECRET}));
    for mount in ["ldap", "userpass"] {
        double.user(mount, "app", SECRET);
    }
    double.aws_key("AKIDEXAMPLE", SECRET, USER);
    double.server_id("vault.example.com");
    double.aws_role_of(ROLE, USER, Some("of the other account"));
    double.aws_role_of_token(&format!("{ROLE}-of-token"), SECRET);
    let account = double.google_account("app@p.iam.gserviceaccount.com");
    double.google_account("machine@p.iam.gserviceaccount.com");
    double.kubernetes_token(SECRET);
    for (role, identity) in [
        ("app", USER),
        ("assumed", ROLE),
        ("google", "app@p.iam.gserviceaccount.com"),
        ("machine", "machine@p.iam.gserviceaccount.com"),
    ] {
        double.bind(role, identity);
    }
    let url = double.server().url();
    let host = url.trim_start_matches("http://");
    client::python("vault.py", &[("VAULT", &url), ("KEY_FILE", &account.key_file()), ("GCE_METADATA_HOST", host)]);
}
