//! PyGithub.

use keyferry_doubles::github::{APP, Double, INSTALLATION};

use crate::client::python;

#[test]
fn the_client_works_against_the_double() {
    let (double, other) = (Double::start(), Double::start());
    let given = [
        ("URL", &*double.server().url()),
        ("APP", APP),
        ("INSTALLATION", INSTALLATION),
        ("KEY", double.key()),
        ("OTHER_KEY", other.key()),
    ];
    python("github_tokens.py", &given);
    let statuses: Vec<_> = double.server().calls().iter().map(|call| call.status).collect();
    assert_eq!(statuses, [201, 201, 401, 401, 404]);
}
