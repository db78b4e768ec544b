//! The life of a push: plan, read the sources, expand, write down what is intended, push, delete, record, schedule. No
//! client, socket, clock or file: what it needs of the world are the traits of [`ports`], beside those of `sync`.
//!
//! Modules, in reading order: [`refers`] what a PushSecret refers to, [`spec`] what is wrong with one, [`ports`] what it
//! takes, [`outcome`] what a look comes to, [`halfway`] which of the values that were replaced are in use, [`memory`] what is remembered, [`look`] one look. What goes where: [`convert`] the keys of
//! a source, [`nameable`] which of them may be told, [`expand`] its entries by store, [`places`] which stores lead to one place, [`chosen`] which stores a look is about. What is there: [`compare`]. What to do: [`schedule`] when, [`generated`] with what was made, [`plan`] what. What was done: [`record`].
//! How it is done: [`audited`] who was given what, [`source`] what is pushed, [`each`] what is done in one store, [`parting`] what of it has lost its Secret,
//! [`delete`] what is undone, [`ledger`] what is
//! written down of it, and when, and [`mod@run`], which joins them all.

#![forbid(unsafe_code)]

pub mod refers;
pub mod spec;
pub mod ports;
pub mod outcome;
pub mod halfway;
pub mod memory;
pub mod look;

pub mod convert;
pub mod nameable;
pub mod expand;
pub mod places;
pub mod chosen;
pub mod compare;

pub mod schedule;
pub mod generated;
pub mod plan;
pub mod record;

pub mod audited;
pub mod source;
pub mod each;
pub mod parting;
pub mod delete;
pub mod ledger;
pub mod run;

pub use run::run;
