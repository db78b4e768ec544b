//! Strangers at the listeners of what is sealed: they need not be tenants.

use serde_json::json;

use crate::attack::{Attack, Press, with};
use crate::stranger::Stranger;

/// What whoever reaches them may do.
pub const ATTACKS: &[Attack] = &[
    Attack::new("strangers-connect", "800 connections to the listeners of what is sealed, which say nothing", |s| {
        with([s.fake("v")], [s.es(0, json!({"refreshInterval": "1s"}))])
    })
    .press(Press::Stranger(Stranger::Connections))
    .seconds(12),
    Attack::new("strangers-dawdle", "800 requests there whose headers come a byte at a time", |s| {
        with([s.fake("v")], [s.es(0, json!({"refreshInterval": "1s"}))])
    })
    .press(Press::Stranger(Stranger::SlowHeaders))
    .seconds(12),
    Attack::new("strangers-pour", "32 bodies there at once that have no end", |s| {
        with([s.fake("v")], [s.es(0, json!({"refreshInterval": "1s"}))])
    })
    .press(Press::Stranger(Stranger::HugeBodies))
    .seconds(12),
    Attack::new("strangers-flood", "32 who ask there to unseal, verify and rotate as fast as they can", |s| {
        with([s.fake("v")], [s.es(0, json!({"refreshInterval": "1s"}))])
    })
    .press(Press::Stranger(Stranger::Floods))
    .seconds(12),
];
