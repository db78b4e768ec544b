//! Lists, page by page (pagination): clusters hold more than fits into one answer.

use kube::api::{Api, ListParams, ObjectList};
use kube::core::DynamicObject;
use serde::de::DeserializeOwned;

use crate::problem::{ApiProblem, timely};

/// How many objects a page holds.
const PAGE: u32 = 500;

/// One page: its objects, and where the next begins, if there is one. A list that takes so long that the API server
/// forgets its beginning goes on with what is there now.
pub async fn some<K: Clone + DeserializeOwned + std::fmt::Debug>(
    api: &Api<K>,
    params: &ListParams,
    from: Option<&str>,
) -> Result<(Vec<K>, Option<String>), ApiProblem> {
    next(params, from, async |params| api.list(&params).await).await
}

/// The same for metadata only.
async fn some_metadata(
    api: &Api<DynamicObject>,
    params: &ListParams,
    from: Option<&str>,
) -> Result<(Vec<kube::api::ObjectMeta>, Option<String>), ApiProblem> {
    let page = next(params, from, async |params| api.list_metadata(&params).await).await?;
    Ok((page.0.into_iter().map(|object| object.metadata).collect(), page.1))
}

async fn next<T: Clone>(
    params: &ListParams,
    from: Option<&str>,
    ask: impl AsyncFn(ListParams) -> Result<ObjectList<T>, kube::Error>,
) -> Result<(Vec<T>, Option<String>), ApiProblem> {
    let at = |from: Option<&str>| {
        let mut params = params.clone().limit(PAGE);
        params.continue_token = from.map(str::to_owned);
        params
    };
    // A token that is too old comes back with another in the refusal.
    let expired = |error: &kube::Error| match error {
        kube::Error::Api(status) if status.code == 410 => {
            status.metadata.as_ref().and_then(|metadata| metadata.continue_.clone()).filter(|token| !token.is_empty())
        }
        _ => None,
    };
    let asked = async {
        match ask(at(from)).await {
            Ok(page) => Ok(page),
            Err(error) => match expired(&error) {
                Some(token) => ask(at(Some(&token))).await,
                None => Err(error),
            },
        }
    };
    let page = timely(asked).await?;
    let token = page.metadata.continue_.clone().filter(|token| !token.is_empty());
    Ok((page.items, token))
}

/// Hands over every object of a list.
pub async fn all<K: Clone + DeserializeOwned + std::fmt::Debug>(
    api: &Api<K>,
    params: ListParams,
    mut each: impl FnMut(K),
) -> Result<(), ApiProblem> {
    let mut from = None;
    loop {
        let (objects, token) = some(api, &params, from.as_deref()).await?;
        objects.into_iter().for_each(&mut each);
        match token {
            Some(token) => from = Some(token),
            None => return Ok(()),
        }
    }
}

/// Hands over the metadata of every object of a list.
pub async fn all_metadata(
    api: &Api<DynamicObject>,
    params: ListParams,
    mut each: impl FnMut(kube::api::ObjectMeta),
) -> Result<(), ApiProblem> {
    let mut from = None;
    loop {
        let (objects, token) = some_metadata(api, &params, from.as_deref()).await?;
        objects.into_iter().for_each(&mut each);
        match token {
            Some(token) => from = Some(token),
            None => return Ok(()),
        }
    }
}

/// One object; `None` where it does not exist.
pub async fn one(api: &Api<DynamicObject>, name: &str) -> Result<Option<DynamicObject>, ApiProblem> {
    timely(api.get_opt(name)).await
}
