//! The client of Delinea.

use keyferry_doubles::secretserver::{DOMAIN, Double, USER};

use crate::client::python;

#[test]
fn the_client_works_against_the_double() {
    let double = Double::start();
    let id = double.put("db", [r#"{"user":"app"}"#, "of the field", "of the file"]).to_string();
    let url = double.server().url();
    python(
        "secretserver.py",
        &[("URL", &url), ("NAME", USER.0), ("PASSWORD", USER.1), ("DOMAIN", DOMAIN), ("ID", &id)],
    );
}
