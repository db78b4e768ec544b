//! Those who read files of variables, each asked for what a file says: real ones, none of them ours.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use keyferry_testkit::install;
use serde_json::Value;
use tempfile::TempDir;

/// Variables by name.
pub type Variables = BTreeMap<String, String>;

static OF_GO: LazyLock<PathBuf> = LazyLock::new(|| install::env_readers().expect("the readers of Go build"));

/// A file of variables.
pub struct File(TempDir);

impl File {
    /// One that says this.
    pub fn new(text: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("env"), text).unwrap();
        Self(folder)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("env")
    }

    fn run(&self, mut command: Command) -> Vec<u8> {
        let output = command.current_dir(self.0.path()).output();
        let output = output.unwrap_or_else(|error| panic!("{command:?} can't be run: {error}"));
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    fn json(&self, program: &Path, args: &[&str]) -> Value {
        let mut command = Command::new(program);
        command.args(args).arg(self.path());
        serde_json::from_slice(&self.run(command)).unwrap()
    }

    /// By a shell, started so; of these names.
    pub fn by_shell<'a>(&self, shell: &[&str], names: impl Iterator<Item = &'a String>) -> Variables {
        let names: Vec<&String> = names.collect();
        let print: String = names.iter().map(|name| format!("printf '%s\\0' \"${name}\"; ")).collect();
        let mut command = Command::new(shell[0]);
        command.args(&shell[1..]).args(["-c", &format!("set -eu; . ./env; {print}")]);
        let printed = String::from_utf8(self.run(command)).unwrap();
        let values: Vec<&str> = printed.split_terminator('\0').collect();
        assert_eq!(values.len(), names.len());
        names.into_iter().cloned().zip(values.into_iter().map(str::to_owned)).collect()
    }

    /// By docker compose.
    pub fn by_compose(&self) -> Variables {
        serde_json::from_value(self.json(&OF_GO, &["compose"])).unwrap()
    }

    /// By `docker run --env-file`.
    pub fn by_docker(&self) -> Variables {
        let lines: Vec<String> = serde_json::from_value(self.json(&OF_GO, &["docker"])).unwrap();
        let split = |line: String| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        lines.into_iter().map(|line| split(line).unwrap()).collect()
    }

    /// By `kubectl create secret --from-env-file`: the data of the Secret, in base64.
    pub fn by_kubectl(&self) -> Variables {
        let kubectl = install::ensure().expect("the programs are installed").kubectl;
        let mut command = Command::new(kubectl);
        command.args(["create", "secret", "generic", "s", "--dry-run=client", "-o=json", "--from-env-file=env"]);
        let secret: Value = serde_json::from_slice(&self.run(command)).unwrap();
        serde_json::from_value(secret["data"].clone()).unwrap()
    }

    /// By python-dotenv.
    pub fn by_python(&self) -> Variables {
        let python = install::ensure().expect("the programs are installed").python;
        let script = "import dotenv, json, sys; print(json.dumps(dotenv.dotenv_values(sys.argv[1])))";
        serde_json::from_value(self.json(&python, &["-c", script])).unwrap()
    }

    /// By systemd, which shows what it reads of these three names: they are of the file that it reads like an EnvironmentFile and whose
    /// values its other files may name.
    pub fn by_systemd(&self) -> Variables {
        let named = [("ID", "%o"), ("BUILD_ID", "%B"), ("VARIANT_ID", "%W")];
        let line: Vec<String> = named.iter().map(|(name, _)| (*name).to_owned()).collect();
        for (name, shown) in named {
            let to = self.0.path().join(name);
            std::fs::write(
                self.0.path().join(format!("{name}.conf")),
                format!("f+ {} - - - - {shown}\n", to.display()),
            )
            .unwrap();
        }
        let mut command = Command::new("systemd-tmpfiles");
        command.arg("--create").args(line.iter().map(|name| self.0.path().join(format!("{name}.conf"))));
        command.env("SYSTEMD_OS_RELEASE", self.path());
        self.run(command);
        let read = |name: &String| std::fs::read_to_string(self.0.path().join(name)).unwrap();
        line.iter().map(|name| (name.clone(), read(name))).collect()
    }
}
