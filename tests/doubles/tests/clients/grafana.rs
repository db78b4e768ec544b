//! grafana-client.

use keyferry_doubles::grafana::{Double, TOKEN};

use crate::client::python;

#[test]
fn the_client_works_against_the_double() {
    let double = Double::start();
    python("grafana_tokens.py", &[("URL", &double.server().url()), ("TOKEN", TOKEN)]);
    assert_eq!((double.accounts().len(), double.tokens()), (24, 1));
    assert_eq!(double.server().calls().iter().filter(|call| call.status == 401).count(), 3);
}
