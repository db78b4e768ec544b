//! The Helm chart: what it renders, what it allows, and what it leaves alone.
//!
//! One program, so that its tests share testbeds. What needs a cluster comes last.
//!
//! Modules, in reading order: [`files`] the chart itself, [`values`] what it is told, [`render`], [`monitoring`] and [`rights`] what it
//! makes of it; [`cluster`] a cluster for each test, [`lifecycle`] a release in it, [`upgrade`] from the first chart to
//! today's, [`adoption`] beside what is there already; [`injection`] what pods that ask by an annotation are given.

mod files;
mod values;
mod render;
mod monitoring;
mod rights;

mod cluster;
mod lifecycle;
mod upgrade;
mod adoption;

mod injection;
