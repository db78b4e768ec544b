//! How a vendor's client is run.

use std::process::Command;

/// Runs a Python script of this folder with vendors' clients at hand. Gives what it printed.
///
/// # Panics
/// Where it fails, with what it printed: scripts say `assert` for what they expect.
pub fn python(script: &str, environment: &[(&str, &str)]) -> String {
    let clients = keyferry_testkit::install::clients().expect("vendors' clients");
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients");
    let mut command = Command::new(clients);
    // No proxy stands between a client and loopback, whatever the machine has.
    command.arg(script).current_dir(folder).env("NO_PROXY", "*").env("PYTHONDONTWRITEBYTECODE", "1");
    command.envs(environment.iter().copied());
    let output = command.output().expect("Python");
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script}: {out}\n{errors}");
    out.into_owned()
}
