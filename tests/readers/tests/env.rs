//! `keyferry sync --format env` and `docker-env`: each reader reads what was written, to the byte.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_files::contents::Data;
use keyferry_files::format::{docker_env, env};
use keyferry_provider_core::SecretBytes;
use keyferry_reader_tests::{File, Variables};
use keyferry_seed::Seed;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// What readers are known to stumble over.
const VALUES: [&str; 24] = [
    "",
    "plain-1.2/3",
    "two words",
    " around ",
    "it's",
    "a$HOME`id`\\n\"",
    "it's $HOME \\ \"q\" \\\\",
    "ends so \\",
    "back\\\\slash n\\n",
    "$HOME's \\\\\"",
    "${HOME}",
    "%n %B %%",
    "line 1\nline 2\n'quoted'",
    "\nfirst\n\n",
    "carriage\rreturn\r",
    "\n\r",
    "#no comment",
    "x # y",
    "a=b=c==",
    "~root",
    "tab\there",
    "!history",
    "export A=b",
    "\u{e4} \u{2028}\u{feff}",
];

/// Those, and as many as are wanted that are drawn of what quotes and escapes are made of.
fn values(rng: &mut StdRng, drawn: usize) -> Vec<String> {
    const PARTS: [&str; 24] = [
        "a", "b", " ", "'", "\"", "\\", "\\\\", "$", "${", "}", "`", "#", "\n", "\r", "\t", "=", "n", "(", ";", "&",
        "!", "*", "%", "\u{e4}",
    ];
    let one = |rng: &mut StdRng| {
        let length = rng.random_range(1..9);
        (0..length).map(|_| PARTS[rng.random_range(0..PARTS.len())]).collect()
    };
    let mut all: Vec<String> = VALUES.iter().map(|value| (*value).to_owned()).collect();
    all.extend((0..drawn).map(|_| one(rng)));
    all
}

fn data(all: &Variables) -> Data {
    all.iter().map(|(name, value)| (name.clone(), SecretBytes::from(value.as_str()))).collect()
}

/// The values that can be written so, each under a name of its own.
fn writable(values: Vec<String>, written: impl Fn(&Data) -> bool) -> Variables {
    let all = values.into_iter().enumerate().map(|(n, value)| (format!("K_{n:03}"), value));
    let (kept, refused): (Variables, Variables) =
        all.partition(|(name, value)| written(&data(&BTreeMap::from([(name.clone(), value.clone())]))));
    assert!(kept.len() > 2 * refused.len(), "most can be written: {refused:?}");
    kept
}

#[test]
fn shells_and_docker_compose_read_what_is_written_for_all() {
    let seed = Seed::new("values of variables");
    let mut rng = StdRng::seed_from_u64(seed.number());
    let all = writable(values(&mut rng, 500), |data| env(data).is_ok());
    let file = File::new(env(&data(&all)).unwrap().expose());
    assert_eq!(file.by_compose(), all);
    for shell in [&["sh"][..], &["bash"], &["bash", "--posix"], &["busybox", "sh"]] {
        assert_eq!(file.by_shell(shell, all.keys()), all, "{shell:?}");
    }
}

#[test]
fn systemd_reads_what_is_written_for_all() {
    let seed = Seed::new("values of an EnvironmentFile");
    let mut rng = StdRng::seed_from_u64(seed.number());
    let all = writable(values(&mut rng, 60), |data| env(data).is_ok());
    for value in all.into_values() {
        let all = [("BUILD_ID", value.as_str()), ("ID", "x"), ("VARIANT_ID", "y")];
        let all: Variables = all.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let written = env(&data(&all)).unwrap();
        assert_eq!(File::new(written.expose()).by_systemd(), all, "{:?}", written.expose_str());
    }
}

/// It has rules of its own: `docs/sync.md` says for which values they are those of others.
#[test]
fn python_dotenv_reads_the_same_but_for_backslashes_dollars_and_carriage_returns() {
    let seed = Seed::new("values for python-dotenv");
    let mut rng = StdRng::seed_from_u64(seed.number());
    let mut all = writable(values(&mut rng, 500), |data| env(data).is_ok());
    all.retain(|_, value| !value.contains(['\\', '$', '\r']));
    assert!(all.len() > 50);
    assert_eq!(File::new(env(&data(&all)).unwrap().expose()).by_python(), all);
}

#[test]
fn docker_and_kubectl_read_what_is_written_for_them() {
    let seed = Seed::new("values of an --env-file");
    let mut rng = StdRng::seed_from_u64(seed.number());
    let mut drawn = values(&mut rng, 500);
    drawn.push("x".repeat((64 << 10) - "K_000=".len() - 1));
    let all = writable(drawn, |data| docker_env(data).is_ok());
    let file = File::new(docker_env(&data(&all)).unwrap().expose());
    assert_eq!(file.by_docker(), all);
    let encoded: Variables = all.iter().map(|(name, value)| (name.clone(), STANDARD.encode(value))).collect();
    assert_eq!(file.by_kubectl(), encoded);
}

/// Why there are two forms, and why the one refuses what it does.
#[test]
fn neither_reads_the_form_of_the_other() {
    let all: Variables = BTreeMap::from([("A".to_owned(), "two words".to_owned())]);
    let quoted = File::new(env(&data(&all)).unwrap().expose()).by_docker();
    assert_eq!(quoted["A"], "'two words'");
    let all: Variables = BTreeMap::from([("A".to_owned(), "x # y".to_owned())]);
    let bare = File::new(docker_env(&data(&all)).unwrap().expose()).by_compose();
    assert_eq!(bare["A"], "x");
}
