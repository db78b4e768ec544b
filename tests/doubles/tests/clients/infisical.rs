//! Infisical's SDK.

use keyferry_doubles::infisical::{CLIENT, Double, PROJECT};

use crate::client::python;

#[test]
fn the_client_works_against_the_double() {
    let double = Double::start();
    for (folder, name, value) in
        [("/", "A", "a"), ("/", "URL", "pg://${A}"), ("/sub", "B", "b"), ("/shared", "SHARED", "s")]
    {
        double.put(folder, name, value);
    }
    double.import("/", "/shared");
    let url = double.server().url();
    let environment =
        [("URL", url.as_str()), ("CLIENT_ID", CLIENT.0), ("CLIENT_SECRET", CLIENT.1), ("PROJECT", PROJECT)];
    python("infisical.py", &environment);
}
