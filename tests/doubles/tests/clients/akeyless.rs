//! Akeyless's SDK.

use keyferry_doubles::akeyless::{ACCESS, Double};
use serde_json::json;

use crate::client::python;

#[test]
fn the_client_works_against_the_double() {
    let double = Double::start();
    double.put("/app/a", "first", &["blue"]);
    double.put("/app/a", "second", &["blue"]);
    double.put_other("/dynamic", "DYNAMIC_SECRET", json!({"user": "u", "password": "p"}));
    double.put_other("/rotated", "ROTATED_SECRET", json!({"value": {"payload": "p"}}));
    double.put_other("/certificate", "CERTIFICATE", json!({"certificate_pem": "c", "private_key_pem": "k"}));
    for n in 0..25 {
        double.put(&format!("/list/{n}"), "v", &[]);
    }
    let url = double.server().url();
    python("akeyless_items.py", &[("URL", url.as_str()), ("ACCESS_ID", ACCESS.0), ("ACCESS_KEY", ACCESS.1)]);
}
