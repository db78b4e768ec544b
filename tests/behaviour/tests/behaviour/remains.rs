//! What is left of values in the operator's memory after a refresh: nothing as they are, for a reader of its memory to find.
//!
//! The buffers that the README lists hold them as they travel: in JSON, where a quote stands behind a backslash, and in base64.
//! The values here have such quotes, so that what is theirs and what is ours can be told apart.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use keyferry_behaviour_tests::Rig;
use memchr::memmem::Finder;
use serde_json::json;

tests![values_are_gone_after_a_refresh];

/// How much is read at once.
const PIECE: usize = 1 << 20;

/// A value of many parts: of a buffer that grew, and of one that was written over from its beginning, some would be left.
const PARTS: usize = 400;

/// Until what was freed is written over by nothing but chance.
const SETTLE: Duration = Duration::from_secs(2);

/// A value, and what is in each of its parts.
struct Marked {
    value: String,
    mark: String,
}

impl Marked {
    fn new() -> Self {
        let mark = format!("-{:032x}\"", rand::random::<u128>());
        let value = (0..PARTS).map(|part| format!("{part:04}{mark}\\")).collect();
        Self { value, mark }
    }
}

async fn values_are_gone_after_a_refresh() {
    let mut rig = Rig::new("remains").await;
    let [first, second, kept] = [Marked::new(), Marked::new(), Marked::new()];
    rig.canaries.add("first", &first.value);
    rig.canaries.add("second", &second.value);
    rig.vault_store("s").await;
    // A store that has a value in its spec: that is found, or nothing would be proven.
    let provider = json!({"fake": {"data": [{"key": "k", "value": kept.value}]}});
    rig.apply("SecretStore", "known", json!({ "spec": { "provider": provider } })).await;
    rig.until_ready("SecretStore", "known", "True", "Valid", &[]).await;

    let template = json!({"template": {"data": {"all": "user={{ .user }}, pass={{ .pass | upper }}"}}});
    let put = async |rig: &Rig, marked: &Marked| {
        rig.put("app", json!({"user": marked.value, "pass": "none-of-these"})).await;
    };
    put(&rig, &first).await;
    rig.external_secret("plain", json!({"refreshInterval": "1h", "data": rig.data("app", &["user"])})).await;
    let data = rig.data("app", &["user", "pass"]);
    rig.external_secret("made", json!({"refreshInterval": "1h", "data": data, "target": template})).await;
    let until = async |rig: &Rig, marked: &Marked| {
        rig.until_texts("plain", json!({ "user": marked.value })).await;
        rig.until_texts("made", json!({"all": format!("user={}, pass=NONE-OF-THESE", marked.value)})).await;
    };
    until(&rig, &first).await;
    put(&rig, &second).await;
    for name in ["plain", "made"] {
        rig.force_sync(name).await;
    }
    until(&rig, &second).await;
    for name in ["plain", "made"] {
        rig.until_synced(name).await;
    }
    tokio::time::sleep(SETTLE).await;

    let id = rig.operator().process().id();
    let found = |marked: &Marked| occurrences(id, marked.mark.as_bytes());
    assert!(found(&kept) > 0, "memory can be searched");
    for (name, marked) in [("first", &first), ("second", &second)] {
        let found = found(marked);
        assert_eq!(found, 0, "{found} of {PARTS} parts of the {name} value are left in memory");
    }
    rig.finish().await;
}

/// How often these bytes stand in the memory that a process can write.
fn occurrences(id: u32, bytes: &[u8]) -> usize {
    let maps = std::fs::read_to_string(format!("/proc/{id}/maps")).expect("our own child's memory can be looked at");
    let memory = File::open(format!("/proc/{id}/mem")).expect("the same");
    let (finder, mut piece, mut found) = (Finder::new(bytes), vec![0; PIECE + bytes.len()], 0);
    for line in maps.lines() {
        let mut columns = line.split_whitespace();
        let (Some(range), Some(rights)) = (columns.next(), columns.next()) else { continue };
        let Some((begin, end)) = range.split_once('-').filter(|_| rights.starts_with("rw")) else { continue };
        let address = |text: &str| u64::from_str_radix(text, 16).expect("an address");
        let (mut at, end) = (address(begin), address(end));
        while at < end {
            // What lies over the edge of a piece is read with both, and counted with the first.
            let length = usize::try_from(end - at).unwrap_or(usize::MAX).min(piece.len());
            match memory.read_at(&mut piece[..length], at) {
                Ok(read) => found += finder.find_iter(&piece[..read]).filter(|at| *at < PIECE).count(),
                // Some that are mapped can't be read, and hold nothing of ours.
                Err(_) => break,
            }
            at += PIECE as u64;
        }
    }
    found
}
