//! The samples of the pages about stores: see `tests/samples`. There is nothing here.
