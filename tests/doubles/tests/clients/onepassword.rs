//! 1Password Connect.

use keyferry_doubles::onepassword::Double;

use crate::client;

#[test]
fn the_vendors_client_reads_and_writes() {
    let double = Double::start("canary-token");
    let vault = double.vault("prod");
    let fields = [("username", "admin"), ("password", "canary é\n")];
    let item = double.add(&vault, "LOGIN", "db credentials", &fields, &[]);
    double.attach(&vault, &item, "ca.bin", b"\x00\xff", None);
    let hidden = double.vault("hidden");
    double.grant(&hidden, false);
    client::python("onepassword.py", &[("CONNECT_URL", &double.server().url())]);
}
