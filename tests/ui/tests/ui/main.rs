//! The page of `keyferry ui`, in a real browser: against a real API server, and against a double of one that has ten thousand
//! objects at once.
//!
//! Modules, in reading order: [`chromium`] the browser, [`double`] that API server, [`served`] the program, [`door`] who is let in,
//! [`cluster`] what is shown of a real one, [`limited`] what is shown to whoever may not read it all, [`many`] ten thousand rows,
//! [`pictures`] those of the documentation.

mod chromium;
mod double;
mod served;
mod door;
mod cluster;
mod limited;
mod many;
mod pictures;
