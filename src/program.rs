//! The `keyferry` command: reads its arguments, sets the TLS library, and runs. It is part of the library, since what a program
//! that is nothing but this one waits for would be compiled a second time there.

use std::io::{IsTerminal as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command as Process, ExitCode};

use keyferry_migrate::manifests::Manifests;
use keyferry_migrate::{Eso, Outcome};

use crate::cli::{Cli, Command, Migrate};
use crate::threads::control::Control;
use crate::verbs;

/// What names certificates of authorities to trust, and the folders that Go reads where no others are named.
const CERT_FILE: &str = "SSL_CERT_FILE";
const CERT_DIR: &str = "SSL_CERT_DIR";
const CERT_DIRS: [&str; 2] = ["/etc/ssl/certs", "/etc/pki/tls/certs"];

/// How the C library keeps memory.
///
/// From which size on it gives it back to the system as soon as it is freed. Left to itself it takes the largest block that
/// was ever freed for this, 32 MiB say, and then each of many threads keeps so much: one large answer, and the process has
/// several times of what it needs for good.
///
/// And from how many heaps it takes it. Left to itself each thread has one of its own, with holes of its own: what one frees
/// no other can use, which comes to a fifth of all that an operator has. From one alone threads wait for each other, which comes
/// to a tenth of its processor time.
const MALLOC: [(&str, &str); 2] = [("MALLOC_MMAP_THRESHOLD_", "262144"), ("MALLOC_ARENA_MAX", "2")];

/// Does what the arguments of this process say; answers what it ends with.
pub fn main() -> ExitCode {
    if let Err(message) = with_environment() {
        return fail(&message);
    }
    // Before all else: a signal that comes before its handler kills, or, where this is the first process of a container,
    // gets lost.
    let control = match Control::start() {
        Ok(control) => control,
        Err(message) => return fail(&message),
    };
    // Two TLS libraries in one process would panic at the first connection; this one is all of ours.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    // A panic's message may quote what it choked on; its place is enough to find it.
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(std::io::stderr(), "keyferry: panic at {place}");
    }));
    let command = Cli::of_process().command;
    // These do that themselves, once they can say that it failed.
    if !matches!(command, Command::Run(_) | Command::Node(_) | Command::Sync(_)) {
        verbs::run::forbid_core_dumps();
    }
    if works_on_values(&command) {
        verbs::run::forbid_looking_in();
    }
    match &command {
        // These end by themselves; most others have nothing to finish, and may be waiting for input.
        Command::Run(_) | Command::Node(_) | Command::Sync(_) | Command::Ui(_) => {}
        // The editor has the terminal, and what it works on is to be put away.
        Command::Edit(_) => control.leave_interrupts_to_the_child(),
        _ => control.end_at_once(),
    }
    let result = match command {
        Command::Crds(args) => args.print(&mut std::io::stdout().lock()).map(|()| ExitCode::SUCCESS),
        Command::Run(args) => wait_for(verbs::run::run(*args, control)).map(|()| ExitCode::SUCCESS),
        Command::Node(args) => wait_for(verbs::node::run(*args, control)).map(|()| ExitCode::SUCCESS),
        Command::Grant(args) => wait_for(async { args.run(&mut std::io::stdout()).await }).map(|()| ExitCode::SUCCESS),
        Command::Validate(args) => validate(&args),
        Command::Render(args) => wait_for(render(&args)),
        Command::Sync(args) => wait_for(sync(*args, &control)),
        Command::Init(args) => args.run(&mut std::io::stdout().lock()).map(|()| ExitCode::SUCCESS),
        Command::Edit(args) => wait_for(edit(&args, &control)).map(|()| ExitCode::SUCCESS),
        Command::Seal(args) => wait_for(seal(&args)).map(|()| ExitCode::SUCCESS),
        Command::Reseal(args) => wait_for(async { args.run(&mut std::io::stdout()).await }),
        Command::Status(_)
        | Command::Explain(_)
        | Command::Refresh(_)
        | Command::Diff(_)
        | Command::Who(_)
        | Command::Doctor(_) => wait_for(about_a_cluster(command)),
        Command::Ui(args) => wait_for(ui(&args, &control)).map(|()| ExitCode::SUCCESS),
        Command::Completion(args) => args.print(&mut std::io::stdout()).map(|()| ExitCode::SUCCESS),
        Command::Migrate(Migrate::Eso(args)) => wait_for(migrate(args)),
        Command::Migrate(Migrate::Manifests(args)) => manifests(&args),
        Command::Migrate(Migrate::Kes(args)) => kes(&args),
        Command::Migrate(Migrate::VaultAgent(args)) => wait_for(vault_agent(args)),
        Command::Migrate(Migrate::SecretsStore(args)) => wait_for(secrets_store(*args)),
        Command::Migrate(Migrate::Kubesec(args)) => {
            wait_for(async { args.run(&mut std::io::stdout(), &mut std::io::stderr()).await })
        }
    };
    match result {
        Ok(code) => code,
        Err(message) => fail(&message),
    }
}

/// Whether it works on values in the clear at somebody's desk. An operator's process may have to be looked into.
fn works_on_values(command: &Command) -> bool {
    matches!(
        command,
        Command::Init(_)
            | Command::Edit(_)
            | Command::Seal(_)
            | Command::Render(_)
            | Command::Diff(_)
            | Command::Migrate(Migrate::Kubesec(_))
    )
}

/// Begins anew, once, where the environment lacks something that it is to hold from the beginning: a process can't safely
/// change its own.
fn with_environment() -> Result<(), String> {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    // Where SSL_CERT_FILE names certificates, Go's clients, and so External Secrets Operator's, read the usual folders
    // beside that file; our TLS library reads the file alone.
    let folders = CERT_DIRS.iter().filter(|folder| Path::new(folder).is_dir()).copied().collect::<Vec<_>>();
    let lacks_folders = is_set(CERT_FILE) && !is_set(CERT_DIR) && !folders.is_empty();
    let mut malloc = MALLOC.to_vec();
    malloc.retain(|(name, _)| cfg!(target_env = "gnu") && !is_set(name));
    let lacks_any = lacks_folders || !malloc.is_empty();
    let Some(own) = std::env::current_exe().ok().filter(|_| lacks_any) else { return Ok(()) };
    let mut anew = Process::new(own);
    // By its name it is known whether kubectl runs it.
    let mut arguments = std::env::args_os();
    if let Some(name) = arguments.next() {
        anew.arg0(name);
    }
    anew.args(arguments);
    if lacks_folders {
        anew.env(CERT_DIR, folders.join(":"));
    }
    anew.envs(malloc);
    let problem = anew.exec();
    if lacks_folders {
        Err(format!("can't begin anew with {CERT_DIR} set, which {CERT_FILE} alone needs: {}", problem.kind()))
    } else {
        // It needs more memory so, and does all that it does.
        Ok(())
    }
}

fn fail(message: &str) -> ExitCode {
    // Who logs says its last words there too: whoever reads a log reads no other lines.
    if tracing::dispatcher::has_been_set() {
        tracing::error!("{message}");
    } else {
        let _ = writeln!(std::io::stderr(), "keyferry: {message}");
    }
    ExitCode::FAILURE
}

fn wait_for<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let Ok(runtime) = tokio::runtime::Builder::new_multi_thread().enable_all().build() else {
        return Err("can't start threads".to_owned());
    };
    let done = runtime.block_on(work);
    // Nobody waits for threads that are still at something: it is over.
    runtime.shutdown_background();
    done
}

/// What is told of a cluster to whoever asks.
async fn about_a_cluster(command: Command) -> Result<ExitCode, String> {
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let well = |()| ExitCode::SUCCESS;
    let answer = match command {
        Command::Status(args) => verbs::status::run(&args, &mut out, &mut err).await.map(well),
        Command::Explain(args) => verbs::explain::run(&args, &mut out, &mut err).await.map(well),
        Command::Refresh(args) => verbs::refresh::run(&args, &mut out, &mut err).await,
        Command::Diff(args) => verbs::diff::run(&args, &mut out, &mut err).await,
        Command::Who(args) => verbs::who::run(&args, &mut out, &mut err).await.map(well),
        Command::Doctor(args) => verbs::doctor::run(&args, &mut out, &mut err).await,
        _ => Ok(ExitCode::FAILURE),
    };
    answer.map_err(|why| verbs::table::plain(&why).into_owned())
}

fn validate(args: &verbs::validate::Validate) -> Result<ExitCode, String> {
    verbs::validate::run(args, &mut std::io::stdin(), &mut std::io::stdout(), &mut std::io::stderr())
}

async fn render(args: &verbs::render::Render) -> Result<ExitCode, String> {
    let (mut input, mut out, mut err) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    verbs::render::run(args, &mut input, &mut out, &mut err).await
}

async fn sync(args: verbs::sync::args::Sync, control: &Control) -> Result<ExitCode, String> {
    let is_terminal = std::io::stdout().is_terminal();
    let (mut input, mut out) = (std::io::stdin(), std::io::stdout());
    verbs::sync::run(args, control.ends_when_asked(), &mut input, &mut out, is_terminal).await
}

async fn ui(args: &verbs::ui::Ui, control: &Control) -> Result<(), String> {
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    verbs::ui::run(args, control.ends_when_asked()(), &mut out, &mut err).await
}

async fn seal(args: &verbs::seal::Seal) -> Result<(), String> {
    args.run(&mut std::io::stdin(), &mut std::io::stdout()).await
}

async fn edit(args: &verbs::edit::Edit, control: &Control) -> Result<(), String> {
    let asks = std::io::stdin().is_terminal();
    let input = asks.then(|| Box::new(std::io::BufReader::new(std::io::stdin())) as Box<dyn std::io::BufRead + Send>);
    args.run(input, &mut std::io::stderr(), control.ends_when_asked()()).await
}

async fn migrate(args: Eso) -> Result<ExitCode, String> {
    let providers: Vec<&str> = keyferry_stores::registry::PROVIDERS.iter().map(|provider| provider.name).collect();
    let outcome = keyferry_migrate::run(&args, &providers, &mut std::io::stdout(), &mut std::io::stderr()).await?;
    Ok(match outcome {
        Outcome::Clear => ExitCode::SUCCESS,
        Outcome::Blocked => ExitCode::FAILURE,
    })
}

fn manifests(args: &Manifests) -> Result<ExitCode, String> {
    let stand = keyferry_migrate::manifests::run(args, &mut std::io::stdout(), &mut std::io::stderr());
    stand.map(|stand| ExitCode::from(stand as u8)).map_err(|_| "can't write the report".to_owned())
}

async fn vault_agent(args: Box<keyferry_migrate::agent::VaultAgent>) -> Result<ExitCode, String> {
    let stand = keyferry_migrate::agent::run(&args, &mut std::io::stdout(), &mut std::io::stderr()).await;
    stand.map(|stand| ExitCode::from(stand as u8)).map_err(|_| "can't write the report".to_owned())
}

async fn secrets_store(args: keyferry_migrate::secrets_store::SecretsStore) -> Result<ExitCode, String> {
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let stand = keyferry_migrate::secrets_store::run(&args, &mut out, &mut err).await?;
    Ok(ExitCode::from(stand as u8))
}

fn kes(args: &keyferry_migrate::kes::Kes) -> Result<ExitCode, String> {
    let stand = keyferry_migrate::kes::run(args, &mut std::io::stdout(), &mut std::io::stderr());
    stand.map(|stand| ExitCode::from(stand as u8)).map_err(|_| "can't write the report".to_owned())
}
