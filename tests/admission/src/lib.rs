//! What a real API server makes of our CRDs: see `tests/admission`. There is nothing here.
