//! `docs/reference/flags.md` is what the program says of its own flags.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// What a verb says of itself. Values of the environment are no part of it.
fn help(verb: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyferry"));
    let output = command.args(verb).arg("--help").env_clear().output().expect("keyferry runs");
    assert!(output.status.success(), "keyferry {} --help", verb.join(" "));
    let text = String::from_utf8(output.stdout).expect("help is text");
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// The verbs that a help lists.
fn verbs(help: &str) -> Vec<String> {
    let (_, listed) = help.split_once("Commands:\n").unwrap_or_default();
    let lines = listed.lines().take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    names.filter(|name| !name.is_empty() && *name != "help").map(str::to_owned).collect()
}

fn page() -> String {
    let mut page =
        "<!-- Made by `make reference` of what the program says: change src/cli.rs and src/verbs. -->\n# Flags\n\n\
                    What `keyferry VERB --help` prints. [The command line](../cli.md) says what each verb is for.\n"
            .to_owned();
    let all = help(&[]);
    let mut count = 0;
    for verb in verbs(&all) {
        let text = help(&[&verb]);
        let within = verbs(&text);
        for words in std::iter::once(vec![verb.as_str()]).chain(within.iter().map(|inner| vec![&verb, inner.as_str()]))
        {
            let text = help(&words);
            write!(page, "\n## keyferry {}\n\n```text\n{text}\n```\n", words.join(" "))
                .expect("memory takes everything");
            count += 1;
        }
    }
    assert!(count > 20, "the page found its verbs: {count}");
    page
}

#[test]
fn the_committed_page_of_flags_is_up_to_date() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/flags.md");
    let page = page();
    if std::env::var_os("KEYFERRY_WRITE").is_some() {
        std::fs::write(&file, &page).expect("the page can be written");
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(committed == page, "docs/reference/flags.md is old: run `make reference`, and commit the result");
}
