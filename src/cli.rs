//! The command line: which verbs there are. Each has its flags beside it.

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::verbs::crds::Crds;
use crate::verbs::flags::Run;
use crate::verbs::{
    diff, doctor, edit, explain, grant, init, kubesec, node, refresh, render, reseal, seal, status, sync, ui, validate,
    who,
};

/// keyferry carries secrets from the stores that keep them to the Kubernetes objects that use them.
#[derive(Debug, Parser)]
#[command(version, about, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator until SIGTERM or SIGINT.
    Run(Box<Run>),
    /// Run the CSI driver csi.keyferry.io on a node, until SIGTERM or SIGINT: pods mount secrets that never become a Secret.
    ///
    /// The kubelet asks for each volume with the pod's own tokens, by which all is read and stores are logged in to. Must run as root
    /// and privileged; the chart's DaemonSet does (node.enabled). One JSON line (--audit-log) for each delivery.
    Node(Box<node::NodeArgs>),
    /// Print the Role and the RoleBinding that let a ServiceAccount's pods mount an ExternalSecret, for `kubectl apply -f -`.
    Grant(grant::Grant),
    /// Print the CustomResourceDefinitions as YAML, for `kubectl apply -f -`.
    Crds(Crds),
    /// Say what is wrong with manifests, without a cluster: for the CI of a repository.
    ///
    /// Looks at the objects of the groups external-secrets.io and generators.external-secrets.io: at their schemas and admission rules
    /// as an API server does, with the fields that it would drop; at what the operator would refuse; at templates and patterns; and
    /// at names that nothing among the manifests bears where another one nearly does. Each finding has its file and line.
    ///
    /// Exits with 0 where nothing is wrong or there are warnings only, with 1 where something is (with --strict, also a warning),
    /// and with 2 where something can't be read.
    Validate(validate::Validate),
    /// Print the Secrets that manifests come to, without a cluster; values are masked.
    ///
    /// Reads ExternalSecrets, stores, generators, and the Secrets and ConfigMaps that they refer to. A store of kind `fake`
    /// has its values in itself; another one is asked where it needs no login, or finds it in a Secret among the
    /// manifests; or --values stands in for all of them. A target that is among the manifests counts as there already.
    ///
    /// What is printed is the objects, on standard output; errors and notes go to standard error, each with file and line.
    ///
    /// Exits with 0 where every ExternalSecret came to what it asks for, with 1 where one failed, and with 2 where
    /// something can't be read: the rest is rendered all the same.
    Render(render::Render),
    /// Write the Secrets that manifests come to as files, without a cluster.
    ///
    /// Reads manifests as `render` does, asks the stores, and writes a target for each ExternalSecret into --to: a folder of
    /// files, an .env, JSON or YAML file. Each is swapped at once and written only when it changes, for its owner alone where
    /// --mode says nothing else. What stores log in with is taken from --credential-env, from --credentials, and from Secrets
    /// among the manifests, in this order. A target that is there and was not written by keyferry is left as it is.
    ///
    /// With --watch it stays: refresh intervals are followed, and so are changes of the manifests and of all that lies beside
    /// them; SIGTERM and SIGINT end it well.
    ///
    /// Exits with 0 where all is well, with 1 where an ExternalSecret or the command of --on-change failed, and with 2 where
    /// something can't be read: the rest is written all the same.
    Sync(Box<sync::args::Sync>),
    /// Make a key, and a sample of what it seals: documents that can lie in git.
    ///
    /// Makes age.key, which stays out of git, .age-recipients, secrets.env and app.yaml, and nothing where one of them is there already.
    Init(init::Init),
    /// Edit a sealed document: what is opened for the editor is sealed again when it ends.
    ///
    /// Values that did not change keep their ciphertext. What goes wrong writes nothing; what the editor worked on is removed, whatever
    /// happens.
    Edit(edit::Edit),
    /// Seal a value from standard input for git: paste what is printed into a YAML, JSON or dotenv document.
    ///
    /// With --for, what is printed opens in a cluster only: paste it into a store of the kind sealed.
    Seal(Box<seal::Seal>),
    /// Have values that `seal --for` sealed sealed with the cluster's latest key, in place.
    ///
    /// The operator opens and seals; nobody here sees a value. Nothing else of a file changes. Exits with 0 where all is sealed with
    /// the latest key now, and with 1 where something is not.
    Reseal(Box<reseal::Reseal>),
    /// Tell how the ExternalSecrets, PushSecrets and stores of a cluster stand.
    ///
    /// Tries and next tries stand in the operator's metrics, which are read through the API server: that takes the right to get
    /// the operator's Lease, its pod, and pods/proxy. With --watch each change is a line, as JSON an object on a line.
    Status(status::Status),
    /// Tell why one of them stands as it does, what each of its keys comes from, what the plan says of it, and what to do.
    Explain(explain::Explain),
    /// Have ExternalSecrets or PushSecrets looked at now.
    ///
    /// Sets the annotation external-secrets.io/force-sync. Exits with 1 where, with --wait, one failed or was not refreshed in time.
    Refresh(refresh::Refresh),
    /// Tell which keys of its Secret a refresh of an ExternalSecret would add, remove and change; never a value.
    ///
    /// Asks the stores with the rights of whoever runs it, who must be able to read the Secrets that the stores log in with.
    ///
    /// Exits with 0 where nothing would change, with 1 where something would, and with 2 where that can't be told.
    Diff(diff::Diff),
    /// Tell who reaches a Secret: who uses it, who can read it, and who can come to read it.
    Who(who::Who),
    /// Look for what is wrong with a cluster as a whole.
    ///
    /// Exits with 1 where something wants attention. What can't be seen is told to be unknown.
    Doctor(doctor::Doctor),
    /// Serve a page on this machine about how all of it stands, until SIGTERM or SIGINT: a table with search, one object with its keys,
    /// stores, users and events, and the graph from stores to workloads, as they change.
    ///
    /// Prints a link, which opens the page once. It listens on the loopback interface only, reads with the rights of the kubeconfig's
    /// user, changes nothing, and never asks for a value.
    Ui(Box<ui::Ui>),
    /// Print the completion script of a shell.
    Completion(Completion),
    /// Come from another operator.
    #[command(subcommand)]
    Migrate(Migrate),
}

/// Flags of `keyferry completion`.
#[derive(Args, Debug)]
pub struct Completion {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// The name that kubectl runs it by, as a plugin of its own.
const PLUGIN: &str = "kubectl-keyferry";

impl Cli {
    /// The arguments of this process, under the name that it was called by. Ends the process where they are wrong.
    pub fn of_process() -> Self {
        let called = std::env::args_os().next().map(std::path::PathBuf::from).unwrap_or_default();
        let is_plugin = called.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PLUGIN));
        let matches = Self::command_called(is_plugin).get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    /// The command, as messages name it.
    pub fn command_called(is_plugin: bool) -> clap::Command {
        if is_plugin { Self::command().name("kubectl keyferry").bin_name("kubectl keyferry") } else { Self::command() }
    }
}

impl Completion {
    /// Prints it.
    pub fn print(&self, out: &mut dyn std::io::Write) -> Result<(), String> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "keyferry", &mut script);
        out.write_all(&script).map_err(|_| "can't write to standard output".to_owned())
    }
}

/// The ways from another operator: its cluster, and manifests that were written for it.
#[derive(Debug, Subcommand)]
pub enum Migrate {
    /// Find what stands between External Secrets Operator and keyferry; clear it away with --apply.
    ///
    /// Changes nothing without --apply. Exits with 1 where something blocks the switch.
    Eso(keyferry_migrate::Eso),
    /// Have manifests on disk say v1 where they say v1beta1.
    ///
    /// Lists files and lines; changes the version and no other byte with --write. Looks through YAML and JSON, Helm templates
    /// and Kustomize patches among them. What it can't be sure of it leaves alone, and says so.
    ///
    /// Exits with 0 where no old version is left, with 1 where some are, and with 2 where something can't be read or written.
    Manifests(keyferry_migrate::manifests::Manifests),
    /// Make ExternalSecrets and stores of what kubernetes-external-secrets left behind (kubernetes-client.io/v1).
    ///
    /// Prints the new manifests, and on standard error what is to do and what could not be carried over, by file and line. Changes
    /// nothing. Exits with 0 where all was carried over, with 1 where something is left, and with 2 where something can't be read.
    Kes(Box<keyferry_migrate::kes::Kes>),
    /// Make ExternalSecrets and stores of what workloads ask of Vault's injector (vault.hashicorp.com/agent-inject), and patches of these.
    ///
    /// Prints the new manifests, and on standard error what is to do, what could not be carried over, by file and line, and commands to
    /// copy. Changes nothing. Exits with 0 where all was carried over, with 1 where something is left, and with 2 where something can't be
    /// read.
    VaultAgent(Box<keyferry_migrate::agent::VaultAgent>),
    /// Make ExternalSecrets and stores of the Secrets Store CSI Driver's SecretProviderClasses (Vault, AWS, Azure, Google).
    ///
    /// Reads files, or the cluster where none is named. Prints the new manifests, and on standard error what is to do and what could not be
    /// carried over, by file and line. Changes nothing. Exits with 0 where all was carried over, with 1 where something is left, and with
    /// 2 where something can't be read.
    SecretsStore(Box<keyferry_migrate::secrets_store::SecretsStore>),
    /// Seal anew what kubesec encrypted, with a store and an ExternalSecret for each Secret.
    ///
    /// Keys are taken from the gpg on the PATH, and from AWS's KMS by the machine's own login. Prints the new manifests, and never a value
    /// in the clear. Exits with 2 where a file does not open: the others are converted all the same.
    Kubesec(Box<kubesec::Kubesec>),
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn run(args: &[&str]) -> Result<Run, clap::Error> {
        let all = ["keyferry", "run"].into_iter().chain(args.iter().copied());
        Cli::try_parse_from(all).map(|cli| match cli.command {
            Command::Run(run) => *run,
            _ => unreachable!("`run` was parsed"),
        })
    }

    #[test]
    fn flags_of_external_secrets_operator_are_taken() {
        let run = run(&[
            "--concurrent=1",
            "--metrics-addr=:9090",
            "--loglevel=debug",
            "--zap-time-encoding=epoch",
            "--enable-leader-election=false",
            "--enable-leader-election=true",
            "--enable-secrets-caching",
            "--client-qps=50",
            "--store-requeue-interval=1m30s",
        ]);
        // clap refuses a repeated flag, Go takes the last; nobody writes that.
        assert!(run.is_err());
        let run = super::tests::run(&[
            "--metrics-addr=:9090",
            "--enable-leader-election",
            "--enable-secrets-caching",
            "--store-requeue-interval=1m30s",
        ])
        .unwrap();
        assert_eq!(run.metrics_addr.to_string(), "0.0.0.0:9090");
        assert!(run.enable_leader_election);
        assert_eq!(run.accepted.given(), ["--enable-secrets-caching"]);
        let secured =
            super::tests::run(&["--metrics-secure", "--metrics-auth=true", "--metrics-cert-dir=/certs"]).unwrap();
        assert!(secured.metrics_secure && secured.metrics_auth);
        assert_eq!((secured.metrics_cert_name.as_str(), secured.metrics_key_name.as_str()), ("tls.crt", "tls.key"));
        assert_eq!(run.store_requeue_interval, Duration::from_secs(90));
    }

    #[test]
    fn a_plugin_bears_the_name_that_it_is_called_by() {
        let help = |is_plugin: bool| Cli::command_called(is_plugin).render_help().to_string();
        assert!(help(true).contains("Usage: kubectl keyferry <COMMAND>"), "{}", help(true));
        assert!(help(false).contains("Usage: keyferry <COMMAND>"), "{}", help(false));
    }

    #[test]
    fn every_shell_has_a_completion_that_knows_the_verbs() {
        use clap::ValueEnum as _;
        for shell in clap_complete::Shell::value_variants() {
            let mut script = Vec::new();
            Completion { shell: *shell }.print(&mut script).unwrap();
            let script = String::from_utf8(script).unwrap();
            assert!(["status", "explain", "validate"].iter().all(|verb| script.contains(verb)), "{shell}");
        }
    }

    #[test]
    fn a_migration_changes_nothing_unasked() {
        let parsed = Cli::try_parse_from(["keyferry", "migrate", "eso", "--context=prod", "--output=json"]);
        match parsed.map(|cli| cli.command) {
            Ok(Command::Migrate(Migrate::Eso(args))) => {
                assert!(!args.apply);
                assert_eq!(args.controller_class, "default");
                assert_eq!(args.connection.context.as_deref(), Some("prod"));
            }
            other => panic!("{other:?}"),
        }
        let wrong = Cli::try_parse_from(["keyferry", "migrate", "eso", "--output=yaml"]).unwrap_err();
        assert_eq!(wrong.exit_code(), 2);
    }

    #[test]
    fn manifests_are_changed_only_when_that_is_said() {
        let write = |args: &[&str]| {
            let all = ["keyferry", "migrate", "manifests"].into_iter().chain(args.iter().copied());
            match Cli::try_parse_from(all).map(|cli| cli.command) {
                Ok(Command::Migrate(Migrate::Manifests(args))) => Ok((args.paths.len(), args.write)),
                Ok(other) => panic!("{other:?}"),
                Err(error) => Err(error.exit_code()),
            }
        };
        assert_eq!(write(&["a"]), Ok((1, false)));
        assert_eq!(write(&["a", "b", "--write"]), Ok((2, true)));
        assert_eq!(write(&[]), Err(2));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (args, says) in [
            (["--store-requeue-interval=5"], "is not a duration"),
            (["--store-requeue-interval=0"], "must be above zero"),
            (["--metrics-addr=here"], "is not an address"),
            (["--concurrent=0"], "0 is not in"),
            (["--adopt=maybe"], "any, empty, never"),
        ] {
            let error = run(&args).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
