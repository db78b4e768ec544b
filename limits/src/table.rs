//! The limits, in the order in which a look meets them.

use crate::{Limit, Unit};

/// Every limit.
pub const ALL: &[&Limit] = &[&LOOK_BYTES, &LOOK_STEPS, &COMPUTE_TIME, &REFRESH_RATE];

/// What a look may hold at once and in sum: all that is fetched, decoded, rewritten, rendered and made. A Secret holds
/// 1 MiB, so that nothing sensible needs more.
pub const LOOK_BYTES: Limit = Limit {
    name: "look-bytes",
    most: 64 << 20,
    unit: Unit::Bytes,
    of: "what one refresh fetches and makes",
    raise: "split it into several ExternalSecrets",
};

/// What a look may compute.
pub const LOOK_STEPS: Limit = Limit {
    name: "look-steps",
    most: 200_000_000,
    unit: Unit::Steps,
    of: "what one refresh computes",
    raise: "split it into several ExternalSecrets, or make its templates and patterns simpler",
};

/// How long a look may compute at once, rendering or templating. Who takes longer is stopped.
pub const COMPUTE_TIME: Limit = Limit {
    name: "compute-time",
    most: 10,
    unit: Unit::Seconds,
    of: "computing for one refresh",
    raise: "make its templates and patterns simpler, or split it into several ExternalSecrets",
};

/// How often something may be refreshed or checked by time.
pub const REFRESH_RATE: Limit = Limit {
    name: "refresh-rate",
    most: 1,
    unit: Unit::Items,
    of: "refreshes of one object in a second",
    raise: "a shorter interval acts as 1s",
};
