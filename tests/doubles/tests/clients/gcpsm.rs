//! google-cloud-secret-manager and google-auth against our double of Google.

use keyferry_doubles::gcpsm::{Double, NUMBER};

use crate::client::python;

#[test]
fn googles_client_works_against_the_double() {
    let double = Double::start();
    double.pages_of(10);
    double.give("canary-of-somebody-else");
    let pool = format!("//iam.googleapis.com/projects/{NUMBER}/locations/global/workloadIdentityPools/p/providers/x");
    double.trust("canary-of-somebody-else", &pool);
    let cluster = "https://container.googleapis.com/v1/projects/p-1/locations/europe-west1/clusters/c-1";
    double.trust("canary-of-somebody-else", &format!("identitynamespace:p-1.svc.id.goog:{cluster}"));
    double.trust_aws("AKIDCANARY", "canary-of-aws");
    double.allow_acting_as("reader@p-1.iam.gserviceaccount.com");
    let url = double.server().url();
    let host = url.trim_start_matches("http://");
    for session in ["", "canary-of-a-session"] {
        let environment = [
            ("DOUBLE", url.as_str()),
            ("KEY", &double.key()),
            ("DELETED_KEY", &double.deleted_key()),
            ("AWS_KEY", "canary-of-aws"),
            ("AWS_SESSION", session),
            ("GCE_METADATA_HOST", host),
            ("GCE_METADATA_ROOT", host),
            ("GCE_METADATA_IP", host),
        ];
        assert!(python("gcpsm.py", &environment).contains("all of it works"));
    }
}
