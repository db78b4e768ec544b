//! What the API server was asked, from its own `apiserver_request_total`.

use std::collections::BTreeMap;

use anyhow::Result;
use kube::Client;
use kube::api::GetParams;
use serde::Serialize;

/// Requests by verb and resource: `("GET", "secrets")`, `("PATCH", "externalsecrets/status")`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requests(BTreeMap<(String, String), u64>);

/// Leases are left out of what an operator asks for: the control plane renews its own all the time.
const LEASES: &str = "leases";

/// The resources that operators of this kind deal with. The rest is the control plane, busy with itself.
const RESOURCES: [&str; 12] = [
    "secrets",
    "configmaps",
    "serviceaccounts",
    "serviceaccounts/token",
    "events",
    "namespaces",
    "externalsecrets",
    "externalsecrets/status",
    "secretstores",
    "secretstores/status",
    "clustersecretstores",
    "clustersecretstores/status",
];

impl Requests {
    /// Reads the counters. Reading is no request of a resource, so that it does not count itself.
    pub async fn read(client: &Client) -> Result<Self> {
        // "Object metrics of the root": the way to a plain path without naming the HTTP library.
        let request = kube::core::Request::new("").get("metrics", &GetParams::default())?;
        let text = client.request_text(request).await?;
        Ok(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let mut counts = BTreeMap::new();
        for line in text.lines().filter_map(|line| line.strip_prefix("apiserver_request_total{")) {
            let Some((labels, value)) = line.rsplit_once("} ") else { continue };
            let label = |name: &str| {
                let (_, rest) = labels.split_once(&format!("{name}=\""))?;
                Some(rest.split('"').next().unwrap_or_default())
            };
            // `resource` is also the end of `subresource`; in the exposition's order it comes first.
            let (verb, resource, sub) =
                (label("verb"), label(",resource").unwrap_or_default(), label("subresource").unwrap_or_default());
            let resource = match sub {
                "" => resource.to_owned(),
                sub => format!("{resource}/{sub}"),
            };
            let count = value.parse::<f64>().unwrap_or_default() as u64;
            *counts.entry((verb.unwrap_or_default().to_owned(), resource)).or_default() += count;
        }
        Self(counts)
    }

    /// What came since `before`.
    pub fn since(&self, before: &Self) -> Self {
        let grown = self.0.iter().map(|(key, count)| {
            let before = before.0.get(key).copied().unwrap_or_default();
            (key.clone(), count.saturating_sub(before))
        });
        Self(grown.filter(|(_, count)| *count > 0).collect())
    }

    /// What an operator may have asked, most first. Watches are counted when they end, so they are left out.
    pub fn of_operators(&self) -> Vec<Line> {
        let mut lines: Vec<Line> = self
            .0
            .iter()
            .filter(|((verb, resource), _)| verb != "WATCH" && RESOURCES.contains(&resource.as_str()))
            .map(|((verb, resource), count)| Line { verb: verb.clone(), resource: resource.clone(), count: *count })
            .collect();
        lines.sort_by_key(|line| std::cmp::Reverse(line.count));
        lines
    }

    /// All but watches about one resource, by verb.
    pub fn about(&self, resource: &str) -> BTreeMap<&str, u64> {
        let about = self.0.iter().filter(|((verb, of), _)| of == resource && verb != "WATCH");
        about.map(|((verb, _), count)| (verb.as_str(), *count)).collect()
    }

    /// Everybody's requests about Leases.
    pub fn leases(&self) -> u64 {
        self.about(LEASES).values().sum()
    }
}

/// So many requests of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// The API server's word: GET, LIST, POST, PUT, PATCH, DELETE.
    pub verb: String,
    /// The resource, with its subresource.
    pub resource: String,
    /// How many.
    pub count: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
# TYPE apiserver_request_total counter
apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="secrets",scope="resource",subresource="",verb="GET",version="v1"} 3
apiserver_request_total{code="404",component="apiserver",dry_run="",group="",resource="secrets",scope="resource",subresource="",verb="GET",version="v1"} 2
apiserver_request_total{code="200",component="apiserver",dry_run="",group="external-secrets.io",resource="externalsecrets",scope="resource",subresource="status",verb="PATCH",version="v1"} 7
apiserver_request_total{code="200",component="apiserver",dry_run="",group="coordination.k8s.io",resource="leases",scope="resource",subresource="",verb="PUT",version="v1"} 9
apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="secrets",scope="cluster",subresource="",verb="WATCH",version="v1"} 1
"#;

    #[test]
    fn counters_are_added_up_over_codes() {
        let requests = Requests::parse(TEXT);
        assert_eq!(requests.about("secrets"), [("GET", 5)].into());
        assert_eq!(requests.about("externalsecrets/status"), [("PATCH", 7)].into());
        assert_eq!(requests.leases(), 9);
        let lines: Vec<_> = requests.of_operators().into_iter().map(|line| (line.resource, line.count)).collect();
        assert_eq!(lines, [("externalsecrets/status".to_owned(), 7), ("secrets".to_owned(), 5)]);
        assert_eq!(requests.since(&requests), Requests::default());
    }
}
