//! What a real API server makes of our CRDs.
//!
//! One program, so that its tests share one testbed; those that need other CRDs than ours have their own.
//!
//! Modules, in reading order: [`cluster`] what the others share, [`rules`] what is refused, [`round_trip`] what is
//! kept, [`old_objects`] what the rules must let pass, [`bounds`] how large it may be, [`manifests`] all that we have,
//! [`documented`] what others' documentation has, [`kubectl`] what users see.

mod cluster;
mod rules;
mod round_trip;
mod old_objects;
mod bounds;
mod manifests;
mod documented;
mod kubectl;
