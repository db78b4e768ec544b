//! Vendors' own clients against our doubles: a double is believed only where its vendor's client works against it.

mod azurekv;
mod client;
mod gcpsm;

#[test]
fn every_client_is_there() {
    client::python("installed.py", &[]);
}
