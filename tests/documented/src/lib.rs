//! Manifests of stores as others document them: see `tests/documented`. There is nothing here.
