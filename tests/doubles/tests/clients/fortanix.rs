//! The client of Fortanix.

use keyferry_doubles::fortanix::{Double, KEY};

use crate::client::python;

#[test]
fn the_client_works_against_the_double() {
    let double = Double::start();
    double.put("password", "SECRET", b"of a secret");
    double.put("blob", "OPAQUE", b"\x00\xff");
    double.put("kept", "SECRET", b"of nobody");
    double.keep("kept");
    python("fortanix.py", &[("URL", &double.server().url()), ("KEY", KEY)]);
}
