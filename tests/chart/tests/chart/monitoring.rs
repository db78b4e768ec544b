//! What the chart makes for Prometheus' operator and for Grafana.

use keyferry_chart_tests::{NAMESPACE, folder, notes, render, try_render};
use serde_json::{Value, json};

/// The alerts of a PrometheusRule with these values.
fn alerts(values: Value) -> Vec<Value> {
    let mut all = json!({"prometheusRule": values});
    all["prometheusRule"]["enabled"] = true.into();
    all["prometheusRule"]["renderMode"] = "alwaysRender".into();
    let groups = render(&all).get("PrometheusRule", "keyferry")["spec"]["groups"].clone();
    let groups = groups.as_array().expect("there are groups").clone();
    groups.iter().flat_map(|group| group["rules"].as_array().expect("it has rules").clone()).collect()
}

fn file(name: &str) -> String {
    std::fs::read_to_string(folder().join("files").join(name)).unwrap()
}

#[test]
fn the_alerts_are_those_of_the_file() {
    let file: Value = serde_saphyr::from_str(&file("alerts.yaml")).unwrap();
    assert_eq!(Value::from(alerts(json!({}))), file["groups"][0]["rules"]);
}

#[test]
fn values_say_how_severe_an_alert_is_and_where_it_leads() {
    let usual = alerts(json!({}));
    let changed = alerts(json!({
        "severities": {"KeyferryStoreDown": "page"}, "disabled": ["KeyferryNoLeader"], "alertLabels": {"team": "platform"},
        "runbookUrl": "https://wiki.example/keyferry",
    }));
    assert_eq!(changed.len(), usual.len() - 1);
    assert!(changed.iter().all(|alert| alert["alert"] != "KeyferryNoLeader"));
    assert!(changed.iter().all(|alert| alert["labels"]["team"] == "platform"));
    let of = |name: &str| changed.iter().find(|alert| alert["alert"] == name).unwrap();
    assert_eq!(of("KeyferryStoreDown")["labels"]["severity"], "page");
    assert_eq!(of("KeyferryExternalSecretStale")["labels"]["severity"], "warning");
    let leads = &of("KeyferryStoreDown")["annotations"]["runbook_url"];
    assert_eq!(leads, "https://wiki.example/keyferry#keyferrystoredown");
    for wrong in [json!({"severities": {"KeyferryStore": "page"}}), json!({"disabled": ["KeyferryStore"]})] {
        let mut values = json!({"prometheusRule": wrong});
        values["prometheusRule"]["enabled"] = true.into();
        values["prometheusRule"]["renderMode"] = "alwaysRender".into();
        let said = try_render(&values, &[]).err().unwrap();
        assert!(said.contains("there is no alert KeyferryStore;"), "{said}");
    }
}

#[test]
fn a_cluster_that_knows_no_rules_is_told_so() {
    let rule =
        json!({"prometheusRule": {"enabled": true, "namespace": "monitoring", "additionalLabels": {"release": "p"}}});
    assert_eq!(render(&rule).all("PrometheusRule").count(), 0);
    assert!(notes(&rule).contains("There is no PrometheusRule"), "{}", notes(&rule));
    assert!(!notes(&json!({})).contains("PrometheusRule"));
    let known = try_render(&rule, &["--api-versions=monitoring.coreos.com/v1/PrometheusRule"]);
    let known = known.unwrap_or_else(|error| panic!("{error}"));
    let metadata = &known.get("PrometheusRule", "keyferry")["metadata"];
    assert_eq!((&metadata["namespace"], &metadata["labels"]["release"]), (&json!("monitoring"), &json!("p")));
    let strict = json!({"prometheusRule": {"enabled": true, "renderMode": "failIfMissing"}});
    assert!(try_render(&strict, &[]).err().is_some_and(|said| said.contains("does not know PrometheusRules")));
}

#[test]
fn a_dashboard_is_found_by_the_label_of_the_sidecar() {
    let values = json!({"grafanaDashboard": {
        "enabled": true, "annotations": {"grafana_folder": "Secrets"}, "extraLabels": {"team": "platform"},
    }});
    let rendered = render(&values);
    let map = rendered.get("ConfigMap", "keyferry-dashboard");
    let labels = &map["metadata"]["labels"];
    assert_eq!((&labels["grafana_dashboard"], &labels["team"]), (&json!("1"), &json!("platform")));
    assert_eq!(map["metadata"]["namespace"], NAMESPACE);
    assert_eq!(map["metadata"]["annotations"], json!({"grafana_folder": "Secrets"}));
    let dashboard: Value = serde_json::from_str(map["data"]["keyferry.json"].as_str().unwrap()).unwrap();
    assert_eq!(dashboard, serde_json::from_str::<Value>(&file("dashboard.json")).unwrap());

    let named = render(
        &json!({"grafanaDashboard": {"enabled": true, "sidecarLabel": "dashboards", "sidecarLabelValue": "yes"}}),
    );
    let labels = named.get("ConfigMap", "-dashboard")["metadata"]["labels"].clone();
    assert_eq!((&labels["dashboards"], labels.get("grafana_dashboard")), (&json!("yes"), None));
    assert_eq!(render(&json!({})).all("ConfigMap").count(), 0);
}

#[test]
fn the_pods_of_the_driver_are_scraped_with_the_operator() {
    let values = |node: bool| json!({"node": {"enabled": node}, "serviceMonitor": {"enabled": true, "renderMode": "alwaysRender", "interval": "10s"}});
    assert_eq!(render(&values(false)).all("ServiceMonitor").count(), 1);
    let rendered = render(&values(true));
    let service = rendered.get("Service", "-node-metrics");
    let pods = &rendered.get("DaemonSet", "-node")["spec"]["template"];
    for (name, value) in service["spec"]["selector"].as_object().unwrap() {
        assert_eq!(&pods["metadata"]["labels"][name], value, "the Service finds the pods");
    }
    let container = &pods["spec"]["containers"][0];
    assert_eq!(container["ports"][0]["name"], service["spec"]["ports"][0]["targetPort"]);
    let monitor = &rendered.get("ServiceMonitor", "-node-metrics")["spec"];
    for (name, value) in monitor["selector"]["matchLabels"].as_object().unwrap() {
        assert_eq!(&service["metadata"]["labels"][name], value, "the ServiceMonitor finds the Service");
    }
    let of_operator = &rendered.get("ServiceMonitor", "keyferry-metrics")["spec"]["selector"]["matchLabels"];
    let labels = &service["metadata"]["labels"];
    let both = of_operator.as_object().unwrap().iter().all(|(name, value)| labels[name] == *value);
    assert!(!both, "the operator's ServiceMonitor does not find this one, too");
    assert_eq!(monitor["endpoints"][0]["interval"], "10s");
}
