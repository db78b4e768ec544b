//! The operator in this process, and somebody who says what its allocator counts.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixListener;
use std::process::ExitCode;

use clap::Parser as _;
use keyferry::cli::{Cli, Command};
use keyferry::threads::control::Control;

use crate::counting;

/// By which argument this program is an operator.
pub const VERB: &str = "--operator";

/// By which variable it stands by for one that works, and of how many shards it is, of which it has none.
pub const STANDBY: &str = "KEYFERRY_HEAP_STANDBY";

/// Runs it until a signal ends it.
pub fn run(socket: &str, kubeconfig: &str) -> ExitCode {
    keyferry_testkit::install_crypto_provider();
    let control = Control::start().expect("a thread");
    let listener = UnixListener::bind(socket).expect("a socket");
    std::thread::spawn(move || counting::uncounted(|| listener.incoming().for_each(|asker| answer(asker.unwrap()))));
    let kubeconfig = format!("--kubeconfig={kubeconfig}");
    let standby = std::env::var_os(STANDBY).map(|shards| format!("--shards={}", shards.display()));
    let mut arguments = vec![
        "keyferry",
        "run",
        &kubeconfig,
        // Each has a connection, which takes tens of kilobytes: what is counted is what ExternalSecrets take.
        "--concurrent=4",
        "--allow-store-addresses=127.0.0.0/8,::1",
        "--metrics-addr=127.0.0.1:0",
        "--live-addr=127.0.0.1:0",
    ];
    arguments.push(standby.as_deref().unwrap_or("--enable-leader-election=false"));
    let Command::Run(flags) = Cli::try_parse_from(arguments).expect("these flags are there").command else {
        return ExitCode::FAILURE;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    counting::begin(std::env::var_os("KEYFERRY_HEAP_PROFILE").is_some());
    match runtime.block_on(keyferry::verbs::run::run(*flags, control)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "{why}"); // nobody is left to tell
            ExitCode::FAILURE
        }
    }
}

fn answer(asker: std::os::unix::net::UnixStream) {
    let mut question = String::new();
    BufReader::new(&asker).read_line(&mut question).unwrap();
    let told = match question.trim() {
        "counts" => counting::counts(),
        _ => counting::profile(),
    };
    (&asker).write_all(told.as_bytes()).unwrap();
}
