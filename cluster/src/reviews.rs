//! Who asks, and whether they may: tokens and rights of readers of ours, as the API server knows them.

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::{Api, PostParams};
use zeroize::Zeroize as _;

use crate::problem::{ApiProblem, timely};

/// What a token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// Its owner may read the path.
    Allowed,
    /// Its owner may not.
    Forbidden,
    /// The API server does not know it.
    Unknown,
}

/// Whether the owner of `token` may GET the path of ours, as a non-resource URL.
pub async fn may_get(client: &kube::Client, token: &str, path: &str) -> Result<Reader, ApiProblem> {
    let Some(user) = owner(client, token).await? else { return Ok(Reader::Unknown) };
    let spec = SubjectAccessReviewSpec {
        user: user.username,
        uid: user.uid,
        groups: user.groups,
        extra: user.extra,
        non_resource_attributes: Some(NonResourceAttributes {
            path: Some(path.to_owned()),
            verb: Some("get".to_owned()),
        }),
        ..SubjectAccessReviewSpec::default()
    };
    let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
    let api: Api<SubjectAccessReview> = Api::all(client.clone());
    let answer = timely(api.create(&PostParams::default(), &review)).await?;
    let is_allowed = answer.status.is_some_and(|status| status.allowed && status.denied != Some(true));
    Ok(if is_allowed { Reader::Allowed } else { Reader::Forbidden })
}

/// Namespace and name of the ServiceAccount that `token` is of, where it was made for `audience`.
pub async fn account(
    client: &kube::Client,
    token: &str,
    audience: &str,
) -> Result<Option<(String, String)>, ApiProblem> {
    let user = reviewed(client, token, Some(vec![audience.to_owned()])).await?;
    let name = user.and_then(|user| user.username).unwrap_or_default();
    let account = name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    Ok(account.map(|(namespace, name)| (namespace.to_owned(), name.to_owned())))
}

async fn owner(client: &kube::Client, token: &str) -> Result<Option<UserInfo>, ApiProblem> {
    reviewed(client, token, None).await
}

async fn reviewed(
    client: &kube::Client,
    token: &str,
    audiences: Option<Vec<String>>,
) -> Result<Option<UserInfo>, ApiProblem> {
    let spec = TokenReviewSpec { token: token.to_owned(), audiences: audiences.clone() };
    let mut review = TokenReview { spec, ..TokenReview::default() };
    let api: Api<TokenReview> = Api::all(client.clone());
    let answer = timely(api.create(&PostParams::default(), &review)).await;
    review.spec.token.zeroize();
    let mut answer = answer?;
    // It comes back with the answer.
    answer.spec.token.zeroize();
    // An API server that knows nothing of audiences answers none, and has not looked at them.
    let is_for = |known: &Option<Vec<String>>| {
        audiences.iter().flatten().all(|audience| known.as_ref().is_some_and(|known| known.contains(audience)))
    };
    let status = answer.status.filter(|status| status.authenticated == Some(true) && is_for(&status.audiences));
    Ok(status.and_then(|status| status.user))
}
