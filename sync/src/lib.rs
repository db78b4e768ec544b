//! The life of a secret: plan, fetch, render, apply, record, schedule. No client, socket, clock or file: what it needs of
//! the world are the traits of [`ports`], so that one pipeline serves an operator, a command line and a test.
//!
//! Modules, in reading order. The shared words: [`told`] what may be told, [`request`] what an ExternalSecret asks for,
//! [`excess`] what is too much, [`selection`] by labels, [`store`] and [`dependency`] what it refers to, by which [`address`], [`data`], [`time`], [`settings`]. What it is done with: [`mod@engine`] parsed
//! templates, kept in a `cache`. What to do: [`form`] and [`spec`] what is wrong, [`usable`] which stores may be used,
//! [`windows`], [`plan`]. What it takes: [`asking`] for whom stores are asked, [`states`] of what is generated, [`ports`], [`audit`]. What the target is to hold: [`fetch`] asking the stores,
//! [`keep`] and [`make`] asking generators, [`sources`] reading what templates are taken from, [`render`] from answers to data (with [`property`], [`fields`], [`parts`], [`items`], [`decode`] and [`rewrite`]),
//! [`template`] and [`content`] from data to content (with [`path`]), [`redact`] the last filter, [`compute`] where it
//! is computed, and [`mod@resolve`], which
//! joins these for all modes. What it came to: [`outcome`], [`record`] status and events, [`schedule`] when to look again,
//! [`look`] what is remembered. [`mod@run`] joins them all; the steps are in `work`. Apart from
//! this, [`copies`]: which namespaces get a copy of which object. [`hash`] is External Secrets Operator's.

#![forbid(unsafe_code)]

pub mod told;
pub mod request;
pub mod excess;
pub mod selection;
pub mod store;
pub mod dependency;
pub mod address;
pub mod data;
pub mod time;
pub mod settings;

pub mod engine;
mod cache;
pub mod form;
pub mod spec;
pub mod usable;
pub mod windows;
pub mod plan;

pub mod asking;
pub mod states;
pub mod ports;
pub mod audit;

pub mod fetch;
pub mod keep;
pub mod make;
pub mod sources;
pub mod render;
pub mod property;
pub mod fields;
pub mod parts;
pub mod items;
pub mod decode;
pub mod rewrite;
pub mod template;
pub mod content;
pub mod path;
pub mod redact;
pub mod compute;
pub mod resolve;

pub mod outcome;
pub mod record;
pub mod schedule;
pub mod look;
pub mod run;
mod work;

pub mod copies;

pub mod hash;

pub use resolve::resolve;
pub use run::run;
