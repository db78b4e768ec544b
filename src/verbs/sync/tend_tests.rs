use std::fs;

use keyferry_provider_core::proxy::Proxies;
use keyferry_stores::files::Sought;

use super::*;
use crate::verbs::keyring::With;
use crate::verbs::manifests::Pipeline;
use crate::verbs::sync::args::{Format, Output};
use crate::verbs::sync::credentials::Credentials;

#[tokio::test]
async fn a_reading_that_ends_by_a_bug_is_told_once_and_tried_again_a_little_later() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.yaml"), "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n").unwrap();
    let source = Source::Files {
        paths: vec![folder.path().join("a.yaml")],
        recursive: false,
        namespace: "default".to_owned(),
        credentials: Credentials::default(),
        identities: With::default(),
        sought: Sought::default(),
        unseal: None,
        audit: Arc::new(()),
        proxies: Proxies::default(),
    };
    let access = keyferry_files::access::Access::default();
    let form = Form { format: Format::Files, by_namespace: false, access, tells: false };
    let orders = Orders { watches: true, takes_any_class: true, prunes: false, form, on_change: None };
    let (stamp, loaded) = (source.stamp(), source.load(&mut std::io::empty()).await);
    let root = keyferry_files::root::Root::open(&folder.path().join("out"), access).unwrap();
    let mut out = Vec::new();
    {
        let reporter = Reporter::new(&mut out, Output::Text, false);
        let pipeline = Pipeline {
            controller_class: None,
            template_left_delimiter: "{{".to_owned(),
            template_right_delimiter: "}}".to_owned(),
            strict_templates: false,
        };
        let settings = pipeline.settings();
        let mut tending = Tending::new(orders, source, settings, reporter, (stamp, loaded), root).unwrap();
        for _ in 0..2 {
            let mut broken = Some(tokio::spawn(async { panic!("on purpose") }));
            let loaded = read(&mut broken).await;
            assert!(loaded.is_none());
            tending.reloaded(loaded);
            tending.poll();
            assert!(tending.reading.is_none(), "not at once");
            let at = tending.ask_at.unwrap();
            assert!(at > clock::now() && at <= later(clock::now(), ASK_AGAIN));
            tending.ask_at = Some(clock::now());
            tending.poll();
            assert!(tending.reading.is_some());
        }
        let loaded = read(&mut tending.reading).await;
        tending.reloaded(loaded);
        assert!(tending.ask_at.is_none() && !tending.has_broken, "files are read when they change");
    }
    let told = String::from_utf8(out).unwrap();
    assert_eq!(told.matches("a bug of keyferry while it read").count(), 1, "{told}");
}
