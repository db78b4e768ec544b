//! A Prometheus of a test, with the alerts of the chart, which hold at once.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow};
use keyferry_testkit::process::Process;
use keyferry_testkit::{Operator, eventually, install};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::files::rules;

/// How long anything may take. Long, because machines are busy.
pub const SOON: Duration = Duration::from_secs(300);

/// What stands for `$__rate_interval`: enough scrapes for a rate.
const RATE_INTERVAL: &str = "20s";

/// It ends with the test.
pub struct Prometheus {
    http: reqwest::Client,
    url: String,
    // Declared before its folder: it ends first.
    _process: Process,
    folder: TempDir,
}

/// Whom it asks: the name, the address, and the arguments of how.
pub type Job<'a> = (&'a str, String, &'a str);

impl Prometheus {
    /// One that asks nobody yet.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at_once = rules(|rule| _ = rule.as_object_mut().unwrap().remove("for"));
        std::fs::write(folder.path().join("rules.yaml"), at_once).unwrap();
        write_config(&folder, &[]);
        let port = Operator::free_port().unwrap();
        let program = install::prometheus().expect("Prometheus builds").join("prometheus");
        let mut command = std::process::Command::new(program);
        command
            .arg(format!("--config.file={}", folder.path().join("prometheus.yaml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args(["--web.enable-lifecycle", "--log.level=warn"]);
        let process = Process::start("prometheus", command, &folder.path().join("log")).unwrap();
        keyferry_testkit::install_crypto_provider();
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().unwrap();
        let started = Self { http, url: format!("http://127.0.0.1:{port}"), _process: process, folder };
        eventually(SOON, || async { started.text("/-/ready").await }).await;
        started
    }

    /// It asks these from now on.
    pub async fn scrape(&self, jobs: &[Job<'_>]) {
        write_config(&self.folder, jobs);
        let asked = self.http.post(format!("{}/-/reload", self.url)).send().await.unwrap();
        assert!(asked.status().is_success(), "{}", asked.text().await.unwrap());
    }

    async fn text(&self, path: &str) -> Result<String> {
        Ok(self.http.get(format!("{}{path}", self.url)).send().await?.error_for_status()?.text().await?)
    }

    /// What its API answers, where that is good.
    pub async fn api(&self, path: &str) -> Result<Value> {
        let answer = self.http.get(format!("{}/api/v1/{path}", self.url)).send().await?.text().await?;
        let answer: Value = serde_json::from_str(&answer).with_context(|| answer.clone())?;
        if answer["status"] == "success" { Ok(answer["data"].clone()) } else { Err(anyhow!("{path}: {answer}")) }
    }

    /// What a query of a panel gives now.
    pub async fn query(&self, query: &str) -> Result<Vec<Value>> {
        let query = query.replace("$__rate_interval", RATE_INTERVAL);
        let found = self.api(&format!("query?query={}", encoded(&query))).await?;
        found["result"].as_array().cloned().ok_or_else(|| anyhow!("{query}: {found}"))
    }

    /// What a query of a panel gives for each of the last seconds.
    pub async fn range(&self, query: &str, seconds: u64) -> Result<Vec<Value>> {
        let query = encoded(&query.replace("$__rate_interval", RATE_INTERVAL));
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let path = format!("query_range?query={query}&start={}&end={now}&step=1", now - seconds);
        let found = self.api(&path).await?;
        found["result"].as_array().cloned().ok_or_else(|| anyhow!("{query}: {found}"))
    }

    /// The alerts that fire now.
    pub async fn firing(&self) -> Result<Vec<Value>> {
        let data = self.api("alerts").await?;
        let alerts = data["alerts"].as_array().cloned().unwrap_or_default();
        Ok(alerts.into_iter().filter(|alert| alert["state"] == "firing").collect())
    }
}

/// Targets have the labels that Prometheus' operator gives those of a ServiceMonitor.
fn write_config(folder: &TempDir, jobs: &[Job<'_>]) {
    let job = |(name, address, scheme): &Job<'_>| {
        json!({
            "job_name": name, "scheme": scheme, "tls_config": {"insecure_skip_verify": true},
            "static_configs": [{"targets": [address], "labels": {"namespace": "keyferry", "pod": format!("{name}-0")}}],
        })
    };
    let config = json!({
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yaml"],
        "scrape_configs": jobs.iter().map(job).collect::<Vec<_>>(),
    });
    std::fs::write(folder.path().join("prometheus.yaml"), config.to_string()).unwrap();
}

/// As it stands in a URL.
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
