//! Doppler's command line.

use keyferry_doubles::doppler::{Double, TOKEN};

use crate::client::python;

#[test]
fn the_command_line_works_against_the_double() {
    let double = Double::start();
    double.put("API_KEY", "k");
    python("doppler.py", &[("URL", &double.server().url()), ("TOKEN", TOKEN)]);
}
