//! Servers of ours that speak the APIs of stores that have no server to be had.
//!
//! Each is written from the vendor's API documents, its logins included, and believed only where the vendor's own client
//! works against it: `tests/clients`. A double keeps values in memory, lists in pages, and knows nothing of keyferry.
//!
//! ```
//! use axum::{Router, routing::get};
//! use keyferry_doubles::{Faults, Server};
//!
//! let server = Server::start(Router::new().route("/secret", get(async || "canary")));
//! server.fail(Faults { throttled: 10, broken: 5, reset: 2, ..Faults::default() });
//! assert_eq!(server.calls().len(), 0);
//! assert!(server.url().starts_with("http://127.0.0.1:"));
//! ```
//!
//! Modules, in reading order: `tls` a CA and what it signs, `faults` what a server does wrong, `server` the server, `proxy` a
//! proxy on the way, `asked` requests of JSON APIs, `machine` the metadata servers of clouds, `jwt` Google's,
//! `signature` AWS's and Oracle's, `trusted` credentials that change, `text` percent signs and PEM; the others are one store each.

mod tls;
mod faults;
mod server;
mod proxy;
mod asked;
pub mod machine;
mod jwt;
mod signature;
mod trusted;
mod text;
pub mod akeyless;
pub mod alibaba;
pub mod azurekv;
pub mod bitwarden;
pub mod conjur;
pub mod delinea;
pub mod doppler;
pub mod fortanix;
pub mod gcpsm;
pub mod github;
pub mod gitlab;
pub mod grafana;
pub mod infisical;
pub mod ngrok;
pub mod onepassword;
pub mod robots;
pub mod scaleway;
pub mod secretserver;
pub mod vault;

pub use faults::Faults;
pub use jwt::Account;
pub use proxy::{Passage, Proxy};
pub use server::{Call, ClientCertificate, Server};
pub use signature::OracleUser;
pub use tls::Authority;
