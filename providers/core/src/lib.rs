//! The contract between keyferry and the stores that keep secrets.
//!
//! A store implements [`Provider`]; it asks for what it logs in with through the port [`Credentials`] and reports
//! the calls it makes to [`Calls`]. Nothing here knows Kubernetes objects, a cloud SDK, or an async runtime, so a
//! provider crate can be read, built and tested alone.
//!
//! Modules, in reading order: [`mod@secret`] the type that carries values, [`mod@error`] the one error,
//! [`mod@capabilities`] what a store can do and how it is read, [`mod@push`] what is written, [`mod@provider`] the trait, [`mod@search`] searches as a whole,
//! [`mod@generator`] the trait of generators, [`mod@credentials`] the port, [`mod@registration`] how either presents
//! itself, [`mod@key_service`] keys that stay where they are, [`mod@unseal`] what was sealed for them, [`mod@json`] taking values out of JSON without copies, [`mod@property`] parts of them that are
//! written, [`mod@body`] answers while they are read, [`mod@parts`] values of several fields and files,
//! [`mod@network`] ranges of addresses, [`mod@proxy`] what goes through a proxy, [`mod@address`] where a store must not lead,
//! [`mod@names`] what Kubernetes gives for names.

#![forbid(unsafe_code)]

pub mod secret;
pub mod error;
pub mod capabilities;
pub mod push;
pub mod provider;
pub mod search;
pub mod generator;
pub mod credentials;
pub mod registration;
pub mod key_service;
pub mod unseal;
pub mod json;
pub mod property;
pub mod body;
pub mod parts;
pub mod network;
pub mod proxy;
pub mod address;
pub mod names;

pub use capabilities::{Capabilities, Dialect, Metadata, PropertyLookup};
pub use credentials::{CaRef, CaSource, Credentials, SecretRef, ServiceAccountRef, Token};
pub use error::{Blame, Error, ErrorKind};
pub use generator::{Generator, Keep, Made, State, Term};
pub use key_service::{KeyService, KeyServiceFuture, KeyServiceRegistration, KeyServices, Wrapped};
pub use provider::{Answer, Fetched, Key, Page, Provider, Query, filled, one_by_one};
pub use push::{Origin, Payload, Push, Reach, Remote};
pub use registration::{
    BuildContext, BuildFuture, Built, Caller, Calls, Environment, Files, GeneratorRegistration, Registration, Room,
};
pub use search::{Gathered, Search, find_all};
pub use secret::{SecretBuf, SecretBytes};
pub use unseal::{Scope, Unseal};
