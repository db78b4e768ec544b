//! What a server does wrong.

use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::Response;
use rand::Rng as _;
use rand::rngs::StdRng;

/// How many calls of a hundred fail, and in which way. Of those that fail none reaches the store behind, but for those that are
/// `unheard`.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// 429, with `Retry-After: 0` where `told`.
    pub throttled: u32,
    /// 500.
    pub broken: u32,
    /// The end of the connection without an answer.
    pub reset: u32,
    /// Never an answer.
    pub hanging: u32,
    /// The store does what is asked, and its answer never comes.
    pub unheard: u32,
    /// 200, and a page of HTML that holds the canary `canary-of-garbage`.
    pub garbage: u32,
    /// 200, and JSON without an end.
    pub huge: u32,
    /// Before every answer.
    pub delay: Duration,
    /// Whether 429 says when to come again.
    pub told: bool,
    /// Calls whose path has none of these in it are let alone; empty is every call.
    pub paths: Vec<String>,
    /// Calls by other methods are let alone, where there is one.
    pub method: Option<&'static str>,
}

/// What is done to one call.
pub(crate) enum Fault {
    Answer(Response),
    Reset,
    Hang,
    Unheard,
}

impl Faults {
    /// What happens to a call by this method of this path: nothing, mostly.
    pub(crate) fn draw(&self, method: &str, path: &str, random: &mut StdRng) -> Option<Fault> {
        if self.method.is_some_and(|only| only != method) {
            return None;
        }
        if !self.paths.is_empty() && !self.paths.iter().any(|part| path.contains(part.as_str())) {
            return None;
        }
        let mut drawn = random.random_range(0..100);
        let mut falls = |share: u32| {
            let falls = drawn < share;
            drawn = drawn.wrapping_sub(share);
            falls
        };
        if falls(self.throttled) {
            let mut answer = answer(StatusCode::TOO_MANY_REQUESTS, Body::empty());
            if self.told {
                answer.headers_mut().insert("retry-after", axum::http::HeaderValue::from_static("0"));
            }
            Some(Fault::Answer(answer))
        } else if falls(self.broken) {
            Some(Fault::Answer(answer(StatusCode::INTERNAL_SERVER_ERROR, Body::from("canary-of-garbage"))))
        } else if falls(self.reset) {
            Some(Fault::Reset)
        } else if falls(self.hanging) {
            Some(Fault::Hang)
        } else if falls(self.unheard) {
            Some(Fault::Unheard)
        } else if falls(self.garbage) {
            Some(Fault::Answer(answer(StatusCode::OK, Body::from("<html>canary-of-garbage"))))
        } else if falls(self.huge) {
            Some(Fault::Answer(answer(StatusCode::OK, Body::new(Endless))))
        } else {
            None
        }
    }
}

fn answer(status: StatusCode, body: Body) -> Response {
    Response::builder().status(status).header("content-type", "application/json").body(body).expect("an answer")
}

/// A list of zeros that does not end.
struct Endless;

impl hyper::body::Body for Endless {
    type Data = axum::body::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        static ZEROS: [u8; 64 << 10] = {
            let mut zeros = [b'0'; 64 << 10];
            zeros[0] = b'[';
            zeros
        };
        std::task::Poll::Ready(Some(Ok(hyper::body::Frame::data(axum::body::Bytes::from_static(&ZEROS)))))
    }
}
