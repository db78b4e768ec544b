//! Cloudsmith's own client.

use keyferry_doubles::robots::{BELIEVED, cloudsmith, token};

use crate::client::python;

#[test]
fn the_client_works_against_the_double() {
    let double = cloudsmith();
    python("cloudsmith_tokens.py", &[("URL", &double.url()), ("BELIEVED", BELIEVED), ("GIVEN", &token())]);
    let statuses: Vec<_> = double.calls().iter().map(|call| call.status).collect();
    assert_eq!(statuses, [201, 422, 422, 404]);
}
