//! The client of ngrok.

use keyferry_doubles::ngrok::{Double, KEY, VAULT};

use crate::client::python;

#[test]
fn the_client_works_against_the_double() {
    let double = Double::start();
    for n in 0..150 {
        double.put(&format!("many-{n}"), "v");
    }
    python("ngrok_vaults.py", &[("URL", &double.server().url()), ("KEY", KEY), ("VAULT", VAULT)]);
    let (value, metadata, description) = double.held("made").unwrap();
    assert_eq!([value, metadata, description], ["second", "{}", "d"].map(str::to_owned));
    assert!(double.held("many-0").is_none() && double.held("many-1").is_some());
}
