//! Nothing but tests: see `tests/node`.
