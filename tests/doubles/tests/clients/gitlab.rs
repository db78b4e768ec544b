//! python-gitlab.

use keyferry_doubles::gitlab::{Double, TOKEN};

use crate::client::python;

#[test]
fn the_client_works_against_the_double() {
    let double = Double::start();
    double.project("1", &[("top", 7)]);
    double.put("projects/1", "A", "of prod", "prod");
    double.put("projects/1", "A", "of all", "*");
    double.put("projects/1", "HIDDEN", "h", "*");
    double.hide("projects/1", "HIDDEN");
    for n in 0..250 {
        double.put("groups/7", &format!("OF_GROUP_{n}"), "v", "*");
    }
    python("gitlab_variables.py", &[("URL", &double.server().url()), ("TOKEN", TOKEN)]);
}
