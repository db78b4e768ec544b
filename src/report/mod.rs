//! How things stand: the one read model that verbs, and whatever else shows it, take it from. Pure: it is made of what was
//! read, and of the time.
//!
//! Modules, in reading order: [`snapshot`] what was read, [`tries`] what metrics tell besides, [`standing`] how each object
//! stands and when it is looked at, [`origin`] what each key comes from, [`users`] who uses a Secret, [`checks`] what the plan
//! says of it, [`advice`] what to do, [`access`] who may reach a Secret, [`faults`] what is wrong with a whole cluster.

pub mod snapshot;
pub mod tries;
pub mod standing;
pub mod origin;
pub mod users;
pub mod checks;
pub mod advice;
pub mod access;
pub mod faults;
