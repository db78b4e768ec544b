//! Vendors' own clients against our doubles: a double is believed only where its vendor's client works against it.

mod azurekv;
mod client;
mod akeyless;
mod doppler;
mod gitlab;
mod infisical;
mod gcpsm;
mod vault;
mod onepassword;

#[test]
fn every_client_is_there() {
    client::python("installed.py", &[]);
}
