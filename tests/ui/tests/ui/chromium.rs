//! Chromium without a window, driven over the DevTools protocol through a pipe: it listens nowhere, and ends with the test.

use std::collections::HashMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_testkit::{eventually, install};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;

/// How long anything may take. Long, because machines are busy.
pub const SOON: Duration = Duration::from_secs(90);

/// Its names, as distributions have them.
const PROGRAMS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// It is to open pages, and nothing else of its own. A sandbox it has not as root.
const FLAGS: [&str; 16] = [
    "--headless",
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--mute-audio",
    "--force-color-profile=srgb",
    "--lang=en",
    "--window-size=1280,800",
];

/// A browser. Killed when dropped.
pub struct Chromium {
    pipe: Arc<Pipe>,
    // Declared before its folder: it ends first.
    _child: Child,
    profile: TempDir,
}

/// The way to it.
struct Pipe {
    to: tokio::sync::Mutex<ChildStdin>,
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Value>>>,
    events: Mutex<Vec<Value>>,
}

impl Chromium {
    pub async fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        let program = PROGRAMS.into_iter().find(|name| is_on_path(name));
        let program = program.expect("there is no Chromium: `scripts/packages` installs it");
        let log = std::fs::File::create(profile.path().join("log")).unwrap();
        // It reads what it is asked from 3, and answers at 4.
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >&2", program]).args(FLAGS);
        command.arg(format!("--user-data-dir={}", profile.path().join("profile").display()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true);
        let mut child = command.spawn().expect("a shell runs");
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let pipe = Arc::new(Pipe {
            to: tokio::sync::Mutex::new(to),
            next: AtomicU64::new(1),
            waiting: Mutex::default(),
            events: Mutex::default(),
        });
        tokio::spawn(hear(from, pipe.clone()));
        Self { pipe, _child: child, profile }
    }

    /// A new tab, which has nothing to do with others.
    pub async fn tab(&self) -> Tab {
        let opened = async {
            let context = self.pipe.call(None, "Target.createBrowserContext", json!({})).await?;
            let asked = json!({"url": "about:blank", "browserContextId": context["browserContextId"]});
            let target = self.pipe.call(None, "Target.createTarget", asked).await?;
            let asked = json!({"targetId": target["targetId"], "flatten": true});
            let attached = self.pipe.call(None, "Target.attachToTarget", asked).await?;
            let session = attached["sessionId"].as_str().context("a session")?.to_owned();
            let tab = Tab { pipe: self.pipe.clone(), session };
            for domain in ["Page", "Runtime", "Network", "Log"] {
                tab.call(&format!("{domain}.enable"), json!({})).await?;
            }
            anyhow::Ok(tab)
        };
        match opened.await {
            Ok(tab) => tab,
            Err(error) => {
                let said = std::fs::read_to_string(self.profile.path().join("log")).unwrap_or_default();
                panic!("Chromium opens no tab: {error:#}; it says:\n{said}")
            }
        }
    }
}

fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Takes answers and events to who wants them, until the browser ends.
async fn hear(from: ChildStdout, pipe: Arc<Pipe>) {
    let mut from = BufReader::new(from);
    let mut message = Vec::new();
    while from.read_until(0, &mut message).await.is_ok_and(|read| read > 0) {
        let heard: Value = serde_json::from_slice(message.strip_suffix(b"\0").unwrap_or(&message)).unwrap_or_default();
        message.clear();
        match heard["id"].as_u64().and_then(|id| pipe.waiting.lock().unwrap().remove(&id)) {
            Some(waits) => drop(waits.send(heard)),
            None => pipe.events.lock().unwrap().push(heard),
        }
    }
    pipe.waiting.lock().unwrap().clear();
}

impl Pipe {
    async fn call(&self, session: Option<&str>, method: &str, params: Value) -> Result<Value> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut message = json!({"id": id, "method": method, "params": params});
        if let Some(session) = session {
            message["sessionId"] = json!(session);
        }
        let (tell, told) = oneshot::channel();
        self.waiting.lock().unwrap().insert(id, tell);
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.lock().await.write_all(&bytes).await.context("the browser has ended")?;
        let answer = tokio::time::timeout(SOON, told).await.with_context(|| format!("{method} is not answered"))?;
        let answer = answer.context("the browser has ended")?;
        match answer.get("error") {
            Some(error) => Err(anyhow!("{method}: {error}")),
            None => Ok(answer["result"].clone()),
        }
    }
}

/// A tab of it.
pub struct Tab {
    pipe: Arc<Pipe>,
    session: String,
}

impl Tab {
    /// Asks for anything that the protocol has.
    pub async fn call(&self, method: &str, params: Value) -> Result<Value> {
        self.pipe.call(Some(&self.session), method, params).await
    }

    /// Opens an address.
    pub async fn open(&self, url: &str) {
        let opened = self.call("Page.navigate", json!({ "url": url })).await.unwrap();
        assert_eq!(opened["errorText"], Value::Null, "{url}");
    }

    /// Opens what a link of `keyferry ui` leads to, and waits until it is told all.
    pub async fn follow(&self, link: &str) {
        self.open(link).await;
        self.until("performance.getEntriesByName('all').length > 0").await;
    }

    /// Loads the page again.
    pub async fn reload(&self) {
        // What is there still must not be taken for what comes.
        self.js("performance.clearMarks()").await;
        self.call("Page.reload", json!({})).await.unwrap();
        self.until("performance.getEntriesByName('all').length > 0").await;
    }

    async fn try_js(&self, expression: &str) -> Result<Value> {
        let asked = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let answer = self.call("Runtime.evaluate", asked).await?;
        match answer.get("exceptionDetails") {
            Some(thrown) => Err(anyhow!("{expression}: {thrown}")),
            None => Ok(answer["result"]["value"].clone()),
        }
    }

    /// What an expression comes to in the page.
    pub async fn js(&self, expression: &str) -> Value {
        self.try_js(expression).await.unwrap()
    }

    /// The text of the first element of a selector.
    pub async fn text(&self, selector: &str) -> String {
        let text = self.js(&format!("document.querySelector({selector:?})?.innerText ?? ''")).await;
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until an expression is true in the page.
    #[track_caller]
    pub fn until(&self, expression: &str) -> impl Future<Output = ()> {
        eventually(SOON, move || async move {
            // Between two pages there is nobody to ask.
            match self.try_js(expression).await {
                Ok(Value::Bool(true)) => Ok(()),
                Ok(other) => Err(anyhow!("{expression} is {other}")),
                Err(error) => Err(error),
            }
        })
    }

    /// Clicks on the first element of a selector, as a person does.
    pub async fn click(&self, selector: &str) {
        let place = format!(
            "(() => {{ const e = document.querySelector({selector:?}); e.scrollIntoView({{block: 'center'}}); \
             const r = e.getBoundingClientRect(); return [r.left + r.width / 2, r.top + r.height / 2]; }})()"
        );
        let place = self.js(&place).await;
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({"type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1});
            self.call("Input.dispatchMouseEvent", event).await.unwrap();
        }
    }

    /// Presses a key.
    pub async fn press(&self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, None),
            "Enter" => (13, Some("\r")),
            "Escape" => (27, None),
            "PageDown" => (34, None),
            "End" => (35, None),
            "Home" => (36, None),
            "ArrowUp" => (38, None),
            "ArrowDown" => (40, None),
            "/" => (191, Some("/")),
            other => panic!("{other}"),
        };
        let mut event = json!({"type": "keyDown", "key": key, "code": key, "windowsVirtualKeyCode": code});
        if let Some(text) = text {
            event["text"] = json!(text);
        }
        self.call("Input.dispatchKeyEvent", event.clone()).await.unwrap();
        event["type"] = json!("keyUp");
        self.call("Input.dispatchKeyEvent", event).await.unwrap();
    }

    /// Types a text where the focus is.
    pub async fn write(&self, text: &str) {
        self.call("Input.insertText", json!({ "text": text })).await.unwrap();
    }

    /// What the person prefers: darkness, and stillness.
    pub async fn prefers(&self, scheme: &str, motion: &str) {
        let features = json!([
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": motion},
        ]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features })).await.unwrap();
    }

    /// A picture of what is seen, into a file; gives its size.
    pub async fn picture(&self, file: &Path) -> u64 {
        let taken = self.call("Page.captureScreenshot", json!({"format": "png"})).await.unwrap();
        let bytes = STANDARD.decode(taken["data"].as_str().unwrap()).unwrap();
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, &bytes).unwrap();
        bytes.len() as u64
    }

    /// What axe finds wrong with the page as it is, for those who can't see it, or hardly.
    pub async fn violations(&self) -> Vec<String> {
        let axe = std::fs::read_to_string(install::axe().expect("axe-core is installed")).unwrap();
        self.js(&format!("{axe}; true")).await;
        let run = "axe.run(document, {resultTypes: ['violations']}).then(found => ({ \
                   passes: found.passes.length, \
                   violations: found.violations.map(v => v.id + ': ' + v.nodes.map(n => n.target.join(' ') + ' (' + n.failureSummary + ')').join('; ')) \
                   }))";
        let found = self.js(run).await;
        assert!(found["passes"].as_u64().is_some_and(|passes| passes > 15), "axe looked at something: {found}");
        serde_json::from_value(found["violations"].clone()).unwrap()
    }

    /// The events of a kind as yet.
    pub fn events(&self, method: &str) -> Vec<Value> {
        let all = self.pipe.events.lock().unwrap();
        let of = all.iter().filter(|event| event["sessionId"] == self.session.as_str() && event["method"] == method);
        of.map(|event| event["params"].clone()).collect()
    }

    /// The addresses that the page asked for.
    pub fn asked_for(&self) -> Vec<String> {
        let requests =
            self.events("Network.requestWillBeSent").into_iter().chain(self.events("Network.webSocketCreated"));
        let urls =
            requests.map(|of| of["request"]["url"].as_str().or(of["url"].as_str()).unwrap_or_default().to_owned());
        urls.collect()
    }

    /// What the browser complained of: exceptions, what a policy forbade, what could not be loaded.
    pub fn complaints(&self) -> Vec<String> {
        let thrown = self.events("Runtime.exceptionThrown").into_iter().map(|of| of.to_string());
        let logged = self.events("Log.entryAdded").into_iter().map(|of| of["entry"].clone());
        let logged = logged.filter(|entry| entry["level"] != "verbose" && entry["level"] != "info");
        thrown.chain(logged.map(|entry| entry.to_string())).collect()
    }

    /// Nothing was asked of anybody but `origin`, and nothing went wrong.
    pub fn was_well(&self, origin: &str) {
        let asked = self.asked_for();
        assert!(asked.len() > 4, "requests are seen: {asked:?}");
        let elsewhere: Vec<&String> = asked.iter().filter(|url| !url.starts_with(origin)).collect();
        assert!(elsewhere.is_empty(), "the page asks elsewhere: {elsewhere:?}");
        let complaints = self.complaints();
        assert!(complaints.is_empty(), "the browser complains:\n{}", complaints.join("\n"));
    }
}
