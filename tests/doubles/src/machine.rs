//! The metadata servers of Azure and Google, as far as they give tokens, and the agent of EKS Pod Identity.

use axum::Router;
use axum::extract::Request;
use serde_json::json;

use crate::Server;
use crate::asked::{self, Asked};

/// The key of AWS that the agent gives, at `/pod-identity`: its id, its secret, the token of the session.
pub const AWS_KEY: [&str; 3] = ["ASIAMACHINE", "canary-of-the-machines-key", "canary-of-the-machines-session=="];

/// Gives this token to who asks as the clouds' own libraries do.
pub fn start(token: &'static str) -> Server {
    Server::start(Router::new().fallback(move |request: Request| async move {
        let asked = Asked::of(request).await;
        match (&asked.what().1[..], asked.header("metadata"), asked.header("metadata-flavor")) {
            (["metadata", "identity", "oauth2", "token"], "true", _) if !asked.query("resource").is_empty() => {
                asked::json(200, &json!({"access_token": token, "expires_in": "3600"}))
            }
            (["computeMetadata", "v1", "instance", "service-accounts", "default", "identity"], _, "Google")
                if !asked.query("audience").is_empty() =>
            {
                asked::with(200, "text/html", token.to_owned(), &[])
            }
            (["pod-identity"], ..) => {
                let [id, secret, token] = AWS_KEY;
                asked::json(200, &json!({"AccessKeyId": id, "SecretAccessKey": secret, "Token": token}))
            }
            _ => asked::json(403, &json!({"error": "forbidden"})),
        }
    }))
}
