use std::path::PathBuf;

use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use serde_json::json;

use super::*;

/// What becomes of a volume whose ExternalSecret is answered with one status and its store with another, some seconds after
/// it was refused first; and since when it is refused then.
async fn refused(es: StatusCode, store: StatusCode, seconds: i64) -> (Result<bool, Kind>, Option<Timestamp>) {
    let server = Router::new().fallback(async move |request: Request| {
        let is_store = request.uri().path().contains("secretstores");
        let status = if is_store { store } else { es };
        let reason = if status == StatusCode::NOT_FOUND { "NotFound" } else { "" };
        let metadata = json!({"name": "app", "namespace": "team"});
        let body = if status == StatusCode::OK {
            json!({"metadata": metadata, "spec": {"secretStoreRef": {"name": "s"}, "dataFrom": [{"extract": {"key": "k"}}]}})
        } else {
            json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status.as_u16(), "reason": reason, "message": ""})
        };
        (status, [(header::CONTENT_TYPE, "application/json")], body.to_string())
    });
    let client = kube::Client::new(server, "team");
    let folder = tempfile::tempdir().unwrap();
    let marks = Marks::open(folder.path()).unwrap();
    let text = |text: &str| text.to_owned();
    let mut mark = Mark {
        target: PathBuf::from("/v"),
        namespace: text("team"),
        pod: text("web-0"),
        service_account: text("web"),
        external_secret: text("app"),
        is_delivered: true,
        synced: None,
        refused_since: Some(Timestamp::UNIX_EPOCH),
    };
    marks.write(&mark).unwrap();
    let pod = Pod { namespace: text("team"), name: text("web-0"), uid: text("5d3f"), service_account: text("web") };
    let reader = Reader { client: &client, own: &client, pod: &pod, allows_static_logins: false, is_named: true };
    let now = Timestamp::from_second(seconds).unwrap();
    let came = read(&reader, ("app", None), &marks, &mut mark, now).await;
    let goes = came.map(|came| came.is_err()).map_err(|refusal| refusal.kind);
    (goes, marks.read(Path::new("/v")).unwrap().refused_since)
}

#[tokio::test]
async fn files_go_where_the_pod_may_not_and_not_where_its_token_is_not_taken() {
    let (ok, since) = (StatusCode::OK, Some(Timestamp::UNIX_EPOCH));
    assert_eq!(refused(StatusCode::FORBIDDEN, ok, 60).await, (Ok(true), since));
    assert_eq!(refused(StatusCode::FORBIDDEN, ok, 59).await, (Err(Kind::Denied), since));
    assert_eq!(refused(StatusCode::UNAUTHORIZED, ok, 3600).await, (Err(Kind::Unknown), since));
    assert_eq!(refused(StatusCode::NOT_FOUND, ok, 0).await, (Ok(true), since));
}

#[tokio::test]
async fn who_may_read_it_again_is_refused_no_more_whatever_its_stores_are() {
    let (goes, since) = refused(StatusCode::OK, StatusCode::FORBIDDEN, 3600).await;
    assert_eq!((goes, since), (Err(Kind::Denied), None));
}

#[test]
fn who_has_nothing_due_waits_for_nobody() {
    let spec = |more: serde_json::Value| {
        let mut spec =
            json!({"secretStoreRef": {"name": "s"}, "dataFrom": [{"extract": {"key": "k"}}], "refreshInterval": "1h"});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        keyferry_builders::es(spec)
    };
    let at = keyferry_builders::at;
    let last = |second, version: &str| LastSync { at: at(second), version: version.to_owned() };
    let is_due = |more, last: Option<LastSync>, now| is_due(&spec(more), "1", last.as_ref(), at(now));
    assert!(is_due(json!({}), None, 0), "the first mount");
    assert!(is_due(json!({}), Some(last(0, "1")), 3600) && !is_due(json!({}), Some(last(0, "1")), 60));
    assert!(is_due(json!({}), Some(last(0, "0")), 60), "it was changed");
    assert!(!is_due(json!({"refreshInterval": "0s"}), Some(last(0, "0")), 3600));
    for (policy, by_change) in [("OnChange", true), ("CreatedOnce", false)] {
        let policy = json!({"refreshPolicy": policy});
        assert_eq!(is_due(policy.clone(), Some(last(0, "0")), 3600), by_change);
        assert!(!is_due(policy, Some(last(0, "1")), 7200));
    }
    let never = json!({"syncWindows": {"kind": "allow", "windows": [{"schedule": "0 0 31 2 *", "duration": "1h"}]}});
    assert!(!is_due(never, Some(last(0, "1")), 3600), "no window is open");
}
