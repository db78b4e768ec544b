//! Vendors' own clients against our doubles: a double is believed only where its vendor's client works against it.

mod akeyless;
mod alibaba;
mod azurekv;
mod client;
mod cloudsmith;
mod conjur;
mod doppler;
mod fortanix;
mod gcpsm;
mod github;
mod gitlab;
mod grafana;
mod infisical;
mod ngrok;
mod onepassword;
mod secretserver;
mod vault;

#[test]
fn every_client_is_there() {
    client::python("installed.py", &[]);
}
