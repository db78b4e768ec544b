//! The client of Delinea.

use keyferry_doubles::secretserver::{DOMAIN, Double, USER};

use crate::client::python;

#[test]
fn the_client_works_against_the_double() {
    let double = Double::start();
    let id = double.put("db", [r#"{"user":"app"}"#, "of the field", "of the file"]).to_string();
    let platform = Double::start_platform();
    platform.put("db", [r#"{"user":"app"}"#, "of the field", "of the file"]);
    let (url, platform) = (double.server().url(), platform.server().url());
    let (name, password) = USER;
    let given = [
        ("URL", &*url),
        ("PLATFORM", &platform),
        ("NAME", name),
        ("PASSWORD", password),
        ("DOMAIN", DOMAIN),
        ("ID", &id),
    ];
    python("secretserver.py", &given);
}
