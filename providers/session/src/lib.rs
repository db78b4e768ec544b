//! What stores hold for a while: a token, or credentials, that a login gave and that end.
//!
//! A provider says in a [`Source`] how a login is made, and how one is renewed where that can be done without another.
//! It asks a [`Session`] for what to make calls with, and tells it what a store refused; all else is here, and so the
//! same for all:
//!
//! - Nothing is got before somebody asks, and nothing for nobody: what nobody asks for ends, and the next who asks gets
//!   another.
//! - There is one attempt at a time, for all who need it (single flight). One that fails is the answer of all who waited for it, and of
//!   nobody else: who comes later begins another.
//! - What nears its end is renewed while it is still good, and nobody waits for that. A renewal that fails costs nothing
//!   until the end, and is tried again after a pause.
//! - What a store refuses is forgotten once, however many calls met its end, and each of them may be made once more.
//!   What is young is not taken for ended: it is wrong.
//! - Ages are measured by a clock that nobody sets: one that is set back would keep what is long over.
//!
//! An attempt is a task of its own. Whoever waits for one may give up without ending it for the others, and what it gets
//! is kept for the next. It is bounded in time, and ends with its session. Nothing is revoked: what was replaced or
//! dropped lives on in the store until its own end.
//!
//! Modules, in reading order: [`life`] how long something is good, [`source`] where it comes from, [`session`] the
//! machine; and apart from these [`turns`], in which is computed what takes a processor.

#![forbid(unsafe_code)]

pub mod life;
pub mod source;
pub mod session;
pub mod turns;

pub use life::Life;
pub use session::{Held, Session, TOO_YOUNG_TO_END};
pub use source::{Grant, Source};
