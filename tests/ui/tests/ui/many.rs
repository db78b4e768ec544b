//! Ten thousand ExternalSecrets: the page is there at once, holds a few rows, and is told of what changes alone.

use std::collections::BTreeMap;
use std::io::Write as _;

use serde_json::{Value, json};

use crate::chromium::{Chromium, Tab};
use crate::double::{Double, external_secret};
use crate::served::Served;

const MANY: i64 = 10_000;

/// How often it is loaded: the machine is busy with other things, too, and the fastest tells what the page takes.
const LOADS: usize = 5;

fn objects(count: i64) -> BTreeMap<&'static str, Vec<Value>> {
    let store = json!({"name": "vault", "kind": "SecretStore"});
    let failed = "could not get secret data from provider: spec.data[1].remoteRef: the store has no such secret";
    let of = |n: i64| {
        let message = (n % 100 == 42).then_some(failed);
        external_secret(&format!("team-{:03}", n % 200), &format!("app-{n:05}"), store.clone(), message, n + 1)
    };
    let all = (0..count).map(of).collect();
    let empty = ["pushsecrets", "secretstores", "clustersecretstores"].map(|plural| (plural, Vec::new()));
    empty.into_iter().chain([("externalsecrets", all)]).collect()
}

/// Milliseconds until something was there, the least of several loads: first paint, the first rows, all rows.
async fn loads(tab: &Tab, link: &str) -> [f64; 3] {
    let mut least = [f64::MAX; 3];
    tab.follow(link).await;
    for _ in 0..LOADS {
        tab.reload().await;
        tab.until("performance.getEntriesByName('first-contentful-paint').length > 0").await;
        let names = ["first-contentful-paint", "rows", "all"];
        for (least, name) in least.iter_mut().zip(names) {
            let at = tab.js(&format!("performance.getEntriesByName('{name}')[0].startTime")).await;
            *least = least.min(at.as_f64().unwrap());
        }
    }
    least
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_rows_are_there_at_once_and_told_of_one_by_one() {
    let double = Double::start(objects(MANY)).await;
    let served = Served::start(&double.kubeconfig(), &[]).await;
    let chromium = Chromium::start().await;
    let tab = chromium.tab().await;
    let few = Double::start(objects(10)).await;
    let few_served = Served::start(&few.kubeconfig(), &[]).await;
    let [paint_of_few, ..] = loads(&chromium.tab().await, &few_served.link).await;
    let [paint, first, all] = loads(&tab, &served.link).await;
    let measured = format!("first paint {paint:.0} ms, first rows {first:.0} ms, all rows {all:.0} ms\n");
    let _ = std::io::stderr().write_all(measured.as_bytes());
    // On a machine that is so busy that ten rows take as long, ten thousand may.
    let is_at_once = paint < 1000.0 || paint < 3.0 * paint_of_few;
    assert!(is_at_once, "first paint after {paint} ms, of ten rows after {paint_of_few} ms");
    assert!(first <= all, "the first rows are shown while others are on their way: {first} {all}");

    tab.until(&format!("document.querySelector('#table').getAttribute('aria-rowcount') === '{}'", MANY + 1)).await;
    assert!(tab.text("#summary").await.starts_with("10,000 ExternalSecrets of 10,000 objects, 100 failed"));
    are_few(&tab).await;
    by_keyboard(&tab).await;
    by_search(&tab).await;
    told_one_by_one(&tab, &double).await;
    assert_eq!(tab.violations().await, Vec::<String>::new());
    tab.was_well(&served.origin());
}

/// The page holds the rows that are seen, and some beside them, wherever one is.
async fn are_few(tab: &Tab) {
    for part in ["0", "0.5", "1"] {
        tab.js(&format!("(s => s.scrollTop = s.scrollHeight * {part})(document.querySelector('#scroller'))")).await;
        // Whatever is seen has its row.
        let seen = "(() => { const s = document.querySelector('#scroller').getBoundingClientRect(); \
                    return document.elementFromPoint(s.left + 40, s.top + s.height - 30).closest('#rows tr') !== null; })()";
        tab.until(seen).await;
        let count = tab.js("document.querySelectorAll('#rows tr').length").await.as_u64().unwrap();
        assert!((10..80).contains(&count), "{count} rows at {part}");
    }
    tab.js("document.querySelector('#scroller').scrollTop = 0").await;
}

async fn by_keyboard(tab: &Tab) {
    let row = "Number(document.activeElement.closest('#rows tr')?.getAttribute('aria-rowindex') ?? 0)";
    tab.js("document.querySelector('#clear').focus()").await;
    // The heads of the columns, and then one row of all.
    for _ in 0..9 {
        tab.press("Tab").await;
    }
    assert_eq!(tab.js(row).await, 2);
    for (key, expected) in [("End", MANY + 1), ("ArrowUp", MANY), ("Home", 2), ("ArrowUp", 2), ("ArrowDown", 3)] {
        tab.press(key).await;
        assert_eq!(tab.js(row).await, expected, "{key}");
        // It is where it is seen.
        let seen = "(() => { const [r, s, h] = [document.activeElement, document.querySelector('#scroller'), document.querySelector('#head')] \
                    .map(e => e.getBoundingClientRect()); return r.top >= h.bottom - 1 && r.bottom <= s.bottom + 1; })()";
        assert_eq!(tab.js(seen).await, true, "{key}");
    }
    tab.press("PageDown").await;
    let down = tab.js(row).await.as_i64().unwrap();
    assert!((8..60).contains(&down), "{down}");
    // From there on one leaves the table, and does not go through ten thousand links.
    tab.press("Tab").await;
    assert_eq!(tab.js(row).await, 0);
    tab.press("Home").await;
}

async fn by_search(tab: &Tab) {
    tab.js("document.activeElement.blur()").await;
    tab.press("/").await;
    tab.write("team-042 APP-00042").await;
    tab.until("document.querySelectorAll('#rows tr').length === 1").await;
    tab.until("document.querySelector('#count').innerText === '1 of 10,000 objects'").await;
    assert!(tab.text("#rows").await.contains("the store has no such secret"));
    tab.click("#clear").await;
    tab.until("document.querySelectorAll('#rows tr').length > 1").await;
    tab.click("#statuses label:nth-child(2)").await;
    tab.until("document.querySelector('#count').innerText === '100 of 10,000 objects'").await;
    assert!(tab.js("location.hash").await.as_str().unwrap().contains("status=Failed"), "it can be kept");
    tab.click("#clear").await;
    tab.until("document.querySelector('#count').innerText === '10,000 objects'").await;
}

async fn told_one_by_one(tab: &Tab, double: &Double) {
    let heard = || tab.events("Network.eventSourceMessageReceived");
    let before = heard().len();
    let store = json!({"name": "vault", "kind": "SecretStore"});
    double.put("externalsecrets", external_secret("team-007", "app-00007", store, Some("it broke just now"), 20_001));
    tab.until("document.querySelector('#rows').innerText.includes('it broke just now')").await;
    assert!(tab.text("#announcement").await.contains("team-007/app-00007 has failed"));
    let told: Vec<Value> = heard()
        .split_off(before)
        .iter()
        .map(|of| serde_json::from_str(of["data"].as_str().unwrap()).unwrap())
        .collect();
    let rows: usize = told.iter().map(|news: &Value| news["rows"].as_array().unwrap().len()).sum();
    assert_eq!(rows, 1, "only what changed is told: {told:?}");
}
