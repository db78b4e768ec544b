//! What is shown of a real cluster, in which an operator works: as it stands, as it changes, and never a value.

use std::path::{Path, PathBuf};

use keyferry_behaviour_tests::Rig;
use keyferry_behaviour_tests::leaks::Place;
use serde_json::{Value, json};

use crate::chromium::{Chromium, Tab};
use crate::served::Served;

/// What somebody who may write into a namespace would have run in the browser of somebody who may read Secrets.
const HOSTILE: &str =
    "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>\u{202e}txet\u{202c}";

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_shown_as_it_stands_and_as_it_changes() {
    let mut rig = Rig::new("ui").await;
    populate(&rig).await;
    let metrics = format!("--metrics-url={}", rig.operator().metrics_url("/metrics"));
    let served =
        Served::start(&rig.testbed.kubeconfig(), &[&format!("--namespace={}", rig.namespace()), &metrics]).await;
    let chromium = Chromium::start().await;
    let tab = chromium.tab().await;
    tab.follow(&served.link).await;

    the_table(&tab).await;
    one_object(&tab).await;
    what_others_wrote_is_text(&tab).await;
    the_graph(&tab).await;
    it_changes(&tab, &rig).await;
    no_value_is_there(&tab, &rig).await;
    tab.was_well(&served.origin());
    no_text_becomes_markup(&tab).await;
    rig.finish().await;
}

async fn populate(rig: &Rig) {
    rig.vault_store("s").await;
    let values = json!({"user": rig.canaries.value("user"), "pass": rig.canaries.value("pass")});
    rig.put("app", values).await;
    let data = rig.data("app", &["user", "pass"]);
    rig.external_secret("db", json!({"refreshInterval": "1h", "data": data})).await;
    let missing =
        json!({"refreshInterval": "1h", "secretStoreRef": {"name": "none"}, "data": rig.data("app", &["user"])});
    rig.external_secret("broken", missing).await;
    let labels = json!({"app": "web"});
    let container = json!({"name": "web", "image": "web:1", "envFrom": [{"secretRef": {"name": "db"}}]});
    let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [container]}});
    rig.apply("Deployment", "web", json!({"spec": {"selector": {"matchLabels": labels}, "template": template}})).await;
    // Nobody else writes the status of what is another operator's.
    let other = json!({"controller": "another", "provider": {"fake": {"data": []}}});
    rig.apply("SecretStore", "other", json!({ "spec": other })).await;
    rig.until_synced("db").await;
    rig.until_failed("broken", &["none"]).await;
    // By now that store has been seen: who looked at this before that would take it for its own.
    let key = "<b onmouseover=\"document.title='taken'\">bold</b>";
    let data = json!([{"secretKey": "k", "remoteRef": {"key": key}}]);
    rig.external_secret("hostile", json!({"secretStoreRef": {"name": "other"}, "data": data})).await;
    let condition = json!({"type": "Ready", "status": "False", "reason": "R", "message": HOSTILE});
    rig.cluster.patch_status("ExternalSecret", "hostile", &json!({"status": {"conditions": [condition]}})).await;
}

/// A row of the table by the name in it.
fn row(name: &str) -> String {
    format!("[...document.querySelectorAll('#rows tr')].find(tr => tr.querySelector('a').innerText === '{name}')")
}

async fn the_table(tab: &Tab) {
    tab.until(&format!("({})?.innerText.includes('Ready') ?? false", row("db"))).await;
    let names = tab.js("[...document.querySelectorAll('#rows a')].map(a => a.innerText)").await;
    assert_eq!(names, json!(["broken", "hostile", "other", "db", "s"]), "what failed comes first");
    let broken = tab.js(&format!("({}).innerText", row("broken"))).await;
    assert!(broken.as_str().unwrap().contains("SecretStore \"none\" does not exist"), "{broken}");
    tab.until(&format!("/^[0-9]+$/.test(({}).cells[7].innerText)", row("broken"))).await;
    for (scheme, motion) in [("light", "no-preference"), ("dark", "reduce")] {
        tab.prefers(scheme, motion).await;
        assert_eq!(tab.violations().await, Vec::<String>::new(), "the table, {scheme}");
        is_pictured(tab, &format!("list-{scheme}")).await;
    }
    tab.prefers("light", "no-preference").await;
}

async fn is_pictured(tab: &Tab, name: &str) {
    let file: PathBuf = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("ui-{name}.png"));
    let size = tab.picture(&file).await;
    assert!(size > 10_000, "{name} is empty: {size} bytes");
}

/// Opens an object of the table by keyboard, and waits until it is shown.
async fn open(tab: &Tab, name: &str) {
    // Where one went by a link the table is shown a moment later, and what is hidden takes no key.
    tab.until("!document.querySelector('#list-view').hidden").await;
    tab.js("performance.clearMarks('object')").await;
    tab.js(&format!("({}).querySelector('a').focus()", row(name))).await;
    tab.press("Enter").await;
    tab.until("performance.getEntriesByName('object').length > 0").await;
    assert_eq!(tab.js("document.activeElement.id").await, "object-title", "one is where one went");
}

async fn one_object(tab: &Tab) {
    open(tab, "db").await;
    let text = tab.text("#object").await;
    for part in [
        "Ready",
        "SecretSynced",
        "Secret db, is there",
        "it is refreshed in ",
        "spec.data[1]",
        "SecretStore \"s\"",
        "all keys as variables",
        "its stores can be used: ok",
        "nothing is due before",
    ] {
        assert!(text.contains(part), "{part}\n---\n{text}");
    }
    tab.until("document.querySelector('#object section:last-of-type').innerText.includes('Normal')").await;
    let nodes =
        tab.js("[...document.querySelectorAll('#object .graph li')].map(li => li.firstChild.textContent)").await;
    assert_eq!(nodes, json!(["s", "db", "db", "web"]));
    assert_eq!(tab.js("document.querySelectorAll('#object .graph path').length").await, 3);
    tab.click("#object-who button").await;
    tab.until("performance.getEntriesByName('who').length > 0").await;
    let who = tab.text("#object-who").await;
    assert!(who.contains("ServiceAccount keyferry-system/keyferry") && who.contains("they can read it"), "{who}");
    for scheme in ["light", "dark"] {
        tab.prefers(scheme, "no-preference").await;
        assert_eq!(tab.violations().await, Vec::<String>::new(), "one object, {scheme}");
    }
    tab.js("window.scrollTo(0, 0)").await;
    is_pictured(tab, "object-dark").await;
    tab.prefers("light", "no-preference").await;
    is_pictured(tab, "object-light").await;
    tab.press("Escape").await;
    tab.until("!document.querySelector('#list-view').hidden").await;
    assert_eq!(tab.js("document.activeElement.innerText").await, "db", "one goes on where one was");
}

async fn what_others_wrote_is_text(tab: &Tab) {
    open(tab, "hostile").await;
    let text = tab.js("document.querySelector('#object').textContent").await;
    assert!(text.as_str().unwrap().contains(HOSTILE) && text.as_str().unwrap().contains("<b onmouseover="), "{text}");
    assert_eq!(tab.js("document.querySelectorAll('img, b, script:not([src])').length").await, 0);
    assert!(!tab.js("document.title").await.as_str().unwrap().contains("taken"));
    tab.press("Escape").await;
}

/// It is last: the browser complains of it.
async fn no_text_becomes_markup(tab: &Tab) {
    let attempt =
        "(() => { try { document.body.innerHTML = '<p>taken</p>'; return 'taken'; } catch { return 'refused'; } })()";
    assert_eq!(tab.js(attempt).await, "refused");
}

async fn the_graph(tab: &Tab) {
    tab.click("#to-graph").await;
    tab.until("performance.getEntriesByName('graph').length > 0").await;
    let columns = tab.js("[...document.querySelectorAll('#graph ul')].map(ul => [...ul.children].map(li => li.firstChild.textContent).sort())").await;
    assert_eq!(
        columns,
        json!([["none", "other", "s"], ["broken", "db", "hostile"], ["broken", "db", "hostile"], ["web"]])
    );
    let item = tab
        .js("[...document.querySelectorAll('#graph li')].find(li => li.innerText.startsWith('s\\n')).textContent")
        .await;
    assert!(item.as_str().unwrap().ends_with("leads to db"), "it is told to who sees no lines: {item}");
    tab.js("[...document.querySelectorAll('#graph a')].find(a => a.innerText === 'db').focus()").await;
    tab.until("document.querySelectorAll('#graph path.near').length === 3").await;
    for scheme in ["dark", "light"] {
        tab.prefers(scheme, "no-preference").await;
        assert_eq!(tab.violations().await, Vec::<String>::new(), "the graph, {scheme}");
        is_pictured(tab, &format!("graph-{scheme}")).await;
    }
}

async fn it_changes(tab: &Tab, rig: &Rig) {
    tab.click("#to-list").await;
    open(tab, "broken").await;
    assert!(tab.text("#object").await.contains("create the store that it names"), "what to do is said");
    rig.respec("broken", json!({"secretStoreRef": {"name": "s"}})).await;
    tab.until("document.querySelector('#object dl .status').innerText.endsWith('Ready')").await;
    tab.press("Escape").await;
    tab.until(&format!("({})?.innerText.includes('Ready') ?? false", row("broken"))).await;
    who_uses_it_changes(tab, rig).await;
    a_row_moves(tab, rig).await;
    rig.cluster.delete("ExternalSecret", "broken").await;
    tab.until(&format!("{} === undefined", row("broken"))).await;
    tab.until("document.querySelector('#count').innerText === '4 objects'").await;
}

/// A workload that comes while one looks at what it uses, and goes again.
async fn who_uses_it_changes(tab: &Tab, rig: &Rig) {
    open(tab, "db").await;
    tab.until("document.body.dataset.watched === 'true'").await;
    let labels = json!({"app": "late"});
    let container = json!({"name": "late", "image": "late:1", "envFrom": [{"secretRef": {"name": "db"}}]});
    let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [container]}});
    rig.apply("Deployment", "late", json!({"spec": {"selector": {"matchLabels": labels}, "template": template}})).await;
    tab.until("document.querySelector('#object').innerText.includes('late')").await;
    rig.cluster.delete("Deployment", "late").await;
    tab.until("!document.querySelector('#object').innerText.includes('late')").await;
    tab.press("Escape").await;
}

/// One fails and comes first: whoever is on it by keyboard goes along.
async fn a_row_moves(tab: &Tab, rig: &Rig) {
    let first = "document.querySelector('#rows a').innerText";
    tab.until("!document.querySelector('#list-view').hidden").await;
    assert_ne!(tab.js(first).await, "db");
    tab.js(&format!("({}).querySelector('a').focus()", row("db"))).await;
    rig.respec("db", json!({"secretStoreRef": {"name": "none"}})).await;
    tab.until(&format!("{first} === 'db'")).await;
    assert_eq!(tab.js("document.activeElement.innerText").await, "db", "one stays on what moves");
}

/// Neither in what is seen nor in what the server tells.
async fn no_value_is_there(tab: &Tab, rig: &Rig) {
    let namespace = rig.namespace();
    let paths = [
        format!("object/ExternalSecret/{namespace}/db"),
        format!("object/SecretStore/{namespace}/s"),
        format!("users/{namespace}"),
        format!("who/{namespace}/db"),
    ];
    let mut places = Vec::new();
    for path in paths {
        let text = tab.js(&format!("fetch('{path}').then(answer => answer.text())")).await;
        assert!(text.as_str().unwrap().starts_with('{'), "{path}: {text}");
        places.push(Place::new(path, text.as_str().unwrap()));
    }
    let heard = tab.events("Network.eventSourceMessageReceived").into_iter().map(|of| of["data"].to_string());
    places.push(Place::new("what is told", heard.collect::<String>()));
    let page: Value = tab.js("document.documentElement.outerHTML").await;
    places.push(Place::new("the page", page.as_str().unwrap()));
    assert_eq!(rig.canaries.find(&places), Vec::<String>::new());
}
