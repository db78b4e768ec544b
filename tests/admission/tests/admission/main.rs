//! What a real API server makes of our CRDs.
//!
//! One program, so that its tests share one testbed; those that need other CRDs than ours have their own.

mod bounds;
mod cluster;
mod kubectl;
mod manifests;
mod old_objects;
mod round_trip;
mod rules;
