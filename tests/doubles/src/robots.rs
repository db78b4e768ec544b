//! Quay and Cloudsmith: registries that believe the tokens of ServiceAccounts, and give their own for them. Cloudsmith's own
//! client speaks to the one; for the federation of Quay there is none, so that the other is written from its documents alone.

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;

use crate::Server;
use crate::asked::{self, Asked};

/// The token of a ServiceAccount that they believe.
pub const BELIEVED: &str = "canary.of.the-cluster";

/// A token that ends at second 4102444800.
pub fn token() -> String {
    format!("h.{}.canary", URL_SAFE_NO_PAD.encode(r#"{"exp":4102444800}"#))
}

/// A Quay with the robot account `org+robot`.
pub fn quay() -> Server {
    Server::start(Router::new().fallback(async |request: Request| of_quay(&Asked::of(request).await)))
}

fn of_quay(asked: &Asked) -> Response {
    let shows = format!("Basic {}", STANDARD.encode(format!("org+robot:{BELIEVED}")));
    match asked.what() {
        ("GET", path) if path == ["oauth2", "federation", "robot", "token"] => {
            if asked.header("authorization") == shows {
                asked::json(200, &json!({"token": token()}))
            } else {
                asked::json(401, &json!({"error": "Invalid username or password"}))
            }
        }
        _ => asked::with(404, "text/html", "<html>".to_owned(), &[]),
    }
}

/// A Cloudsmith with the service `robot` of the organisation `org`.
pub fn cloudsmith() -> Server {
    Server::start(Router::new().fallback(async |request: Request| of_cloudsmith(&Asked::of(request).await)))
}

fn of_cloudsmith(asked: &Asked) -> Response {
    match asked.what() {
        ("POST", path) if path == ["openid", "org"] => {
            if asked.text("oidc_token") == BELIEVED && asked.text("service_slug") == "robot" {
                asked::json(201, &json!({"token": token()}))
            } else {
                asked::json(422, &json!({"detail": "Invalid OIDC token."}))
            }
        }
        _ => asked::json(404, &json!({"detail": "Not found."})),
    }
}
