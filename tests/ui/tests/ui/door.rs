//! Who is let in, by the running program: its listener, its link, and what others may send.

use std::time::Duration;

use keyferry_testkit::process::Signal;
use reqwest::header::{COOKIE, HOST, SET_COOKIE};
use reqwest::{Client, Response};

use crate::double::Double;
use crate::served::Served;

fn http() -> Client {
    keyferry_testkit::install_crypto_provider();
    Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap()
}

async fn served() -> (Double, Served) {
    let double = Double::start(["externalsecrets"].map(|plural| (plural, Vec::new())).into()).await;
    let served = Served::start(&double.kubeconfig(), &[]).await;
    (double, served)
}

fn cookie(answer: &Response) -> String {
    answer.headers()[SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned()
}

/// The addresses at which this machine listens on a port, as the kernel has them.
fn listening(port: u16) -> Vec<String> {
    let files = ["/proc/net/tcp", "/proc/net/tcp6"].map(|file| std::fs::read_to_string(file).unwrap_or_default());
    let sockets = files.iter().flat_map(|text| text.lines().skip(1));
    let local = sockets.filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (address, at) = fields.get(1)?.split_once(':')?;
        (*fields.get(3)? == "0A" && u16::from_str_radix(at, 16).ok()? == port).then(|| address.to_owned())
    });
    local.collect()
}

#[tokio::test]
async fn only_who_has_the_link_and_asks_by_its_name_is_let_in() {
    let (_double, served) = served().await;
    let (http, page) = (http(), served.page().to_owned());
    let port = served.origin().rsplit(':').next().unwrap().parse().unwrap();
    assert_eq!(listening(port), ["0100007F"], "it listens on loopback, and nowhere else");

    for path in ["", "app.js", "style.css", "news", "object/ExternalSecret/a/b", "users/a", "who/a/b"] {
        assert_eq!(http.get(format!("{page}{path}")).send().await.unwrap().status(), 403, "{path}");
    }
    let named_otherwise = http.get(&served.link).header(HOST, "evil.example").send().await.unwrap();
    assert_eq!(named_otherwise.status(), 421, "a name that was made to lead here (DNS rebinding)");
    let opened = http.get(&served.link).send().await.unwrap();
    assert_eq!(opened.status(), 200, "what was turned away used nothing up");
    let cookie = cookie(&opened);
    assert_eq!(http.get(&served.link).send().await.unwrap().status(), 403, "the link is good once");

    let ask = |path: &str| http.get(format!("{page}{path}")).header(COOKIE, &cookie);
    for path in ["", "app.js", "style.css", "icon.svg", "users/a"] {
        let answer = ask(path).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        let policy = answer.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; "), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        for (name, value) in
            [("x-content-type-options", "nosniff"), ("cache-control", "no-store"), ("referrer-policy", "no-referrer")]
        {
            assert_eq!(answer.headers()[name], value, "{path}");
        }
        assert!(!answer.headers().keys().any(|name| name.as_str().starts_with("access-control")));
    }
    assert_eq!(ask("").header(HOST, "evil.example").send().await.unwrap().status(), 421);
    assert_eq!(ask("").header("sec-fetch-site", "same-site").send().await.unwrap().status(), 403);
    for path in ["object/ExternalSecret/a/b", "object/Secret/a/b", "who/a/b", "../"] {
        assert_eq!(ask(path).send().await.unwrap().status(), 404, "{path}");
    }
    let posted = http.post(&page).header(COOKIE, &cookie).send().await.unwrap();
    assert_eq!(posted.status(), 405);
    let other = http.get(&page).header(COOKIE, format!("{cookie}0")).send().await.unwrap();
    assert_eq!(other.status(), 403);
}

#[tokio::test]
async fn it_ends_well_while_a_page_is_open() {
    for signal in [Signal::TERM, Signal::INT] {
        let (_double, mut served) = served().await;
        let cookie = cookie(&http().get(&served.link).send().await.unwrap());
        let mut news = http().get(format!("{}news", served.page())).header(COOKIE, cookie).send().await.unwrap();
        assert_eq!(news.headers()["content-type"], "text/event-stream");
        assert!(news.chunk().await.unwrap().is_some_and(|chunk| chunk.starts_with(b"id: ")), "it is being told");
        served.program.signal(signal).unwrap();
        let ended = served.program.wait(Duration::from_secs(20)).unwrap();
        assert_eq!(ended.code(), Some(0), "{}", served.program.log().unwrap());
        assert_eq!(served.program.log().unwrap().lines().count(), 2, "{}", served.program.log().unwrap());
    }
}
