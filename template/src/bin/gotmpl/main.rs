//! Renders Go templates from the command line.

fn main() {}
