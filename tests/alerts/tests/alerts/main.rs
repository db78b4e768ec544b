//! The alerts and the dashboard of the chart: by promtool alone, and by a Prometheus that scrapes a running operator.
//!
//! Modules, in reading order: [`files`] what is tested, [`promtool`] each alert where it fires and where it does not,
//! [`prometheus`] a Prometheus, [`picture`] what the dashboard shows of it, [`slow`] what takes a minute to go wrong, [`running`] what
//! a Prometheus makes of an operator and a driver.

mod files;
mod promtool;
mod prometheus;
mod picture;
mod slow;
mod running;
