//! What annotations ask of Vault's injector. Pure.

use std::collections::{BTreeMap, BTreeSet};

/// What all annotations begin with.
pub const PREFIX: &str = "vault.hashicorp.com/";

/// Where files are that nobody says anything else of.
const FOLDER: &str = "/vault/secrets";

/// About the agent's own process, of which there is none any more: images, sizes, logs, caches, tries.
const OF_THE_AGENT: [&str; 33] = [
    "agent-auto-auth-exit-on-err",
    "agent-cache-enable",
    "agent-cache-exit-on-err",
    "agent-cache-listener-port",
    "agent-cache-use-auto-auth-token",
    "agent-disable-idle-connections",
    "agent-disable-keep-alives",
    "agent-enable-quit",
    "agent-image",
    "agent-init-first",
    "agent-init-json-patch",
    "agent-inject",
    "agent-inject-default-template",
    "agent-inject-status",
    "agent-json-patch",
    "agent-limits-cpu",
    "agent-limits-ephemeral",
    "agent-limits-mem",
    "agent-metrics-listener-port",
    "agent-request-namespace",
    "agent-requests-cpu",
    "agent-requests-ephemeral",
    "agent-requests-mem",
    "agent-revoke-grace",
    "agent-revoke-on-shutdown",
    "agent-run-as-group",
    "agent-set-security-context",
    "agent-share-process-namespace",
    "auth-max-backoff",
    "auth-min-backoff",
    "go-max-procs",
    "log-format",
    "log-level",
];

/// Further ones of that kind, by what they begin with.
const OF_THE_AGENT_TOO: [&str; 5] =
    ["agent-telemetry-", "client-max-retries", "client-timeout", "template-config-exit", "template-max-connections"];

/// What can't be carried over, and what to do instead.
const LOST: [(&str, &str); 12] = [
    (
        "agent-configmap",
        "its configuration is in a ConfigMap: write what its templates say as annotations, and run this again",
    ),
    (
        "agent-copy-volume-mounts",
        "nothing of the agent's is there to copy to; what its templates read of it is to be an ExternalSecret's",
    ),
    ("agent-extra-secret", "a Secret for the agent's own templates: take it in with templateFrom"),
    (
        "agent-service-account-token-volume-name",
        "the kubelet makes the token: name its audience in the store (--audience)",
    ),
    ("ca-key", "no key of an authority is needed"),
    (
        "client-cert",
        "the agent's certificate: set spec.provider.vault.tls of the store where its server asks for one; it is then a login out of a Secret, \
                     which mounts refuse",
    ),
    ("client-key", "goes with client-cert"),
    ("proxy-address", "nodes reach Vault themselves: let them"),
    ("tls-server-name", "the name in the server's certificate must be that of its address"),
    ("tls-skip-verify", "certificates are always checked: name the authority (ca-cert, or caBundle in the store)"),
    ("agent-inject-token", "no token of Vault is given away: let the app read its secrets as files"),
    ("auth-type", "only kubernetes is a login as the pod"),
];

/// A file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct File {
    /// What its annotations end with.
    pub raw: String,
    /// The path in Vault, where a template does not say it.
    pub path: Option<String>,
    /// Its template.
    pub template: Option<String>,
    /// Whether its template is a file of the agent's.
    pub has_template_file: bool,
    /// Whether its template has other delimiters than Go's own.
    pub has_own_delimiters: bool,
    /// The folder that it is in.
    pub folder: String,
    /// Its path in there.
    pub name: String,
    /// Its mode, in octal.
    pub mode: Option<String>,
    /// What runs when it changes.
    pub command: Option<String>,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// The files, by their names.
    pub files: Vec<File>,
    /// Vault's role.
    pub role: Option<String>,
    /// The mount of the login, without `auth/`.
    pub login: Option<String>,
    /// Vault's namespace.
    pub namespace: Option<String>,
    /// Vault's URL.
    pub server: Option<String>,
    /// The Secret with certificates, and the file of it that is the authority's.
    pub authority: Option<(String, String)>,
    /// Whether files are written once, before the app starts.
    pub is_once: bool,
    /// Whether the app starts before they are.
    pub is_late: bool,
    /// How often they are written anew.
    pub interval: Option<String>,
    /// The containers that have them, where not all do.
    pub containers: Option<BTreeSet<String>>,
    /// The user whose they are.
    pub user: Option<String>,
    /// Whether that is the first container's.
    pub is_same_user: bool,
    /// Whether the default template writes JSON.
    pub is_json: bool,
    /// The annotation of what can't be carried over, and what to do instead.
    pub lost: Vec<(String, String)>,
    /// All annotations, to be taken away.
    pub names: Vec<String>,
}

impl Ask {
    /// Of a pod's annotations; `None` where it asks for nothing.
    pub fn of(annotations: &BTreeMap<String, String>) -> Option<Self> {
        let own: BTreeMap<&str, &str> =
            annotations.iter().filter_map(|(name, value)| Some((name.strip_prefix(PREFIX)?, value.as_str()))).collect();
        if !own.get("agent-inject").is_some_and(|value| is_true(value)) {
            return None;
        }
        let text =
            |name: &str| own.get(name).map(|value| value.trim()).filter(|value| !value.is_empty()).map(str::to_owned);
        let is = |name: &str| own.get(name).is_some_and(|value| is_true(value));
        let mut ask = Self {
            role: text("role"),
            login: text("auth-path").map(|path| path.trim_matches('/').trim_start_matches("auth/").to_owned()),
            namespace: text("namespace"),
            server: text("service"),
            authority: authority(&own),
            is_once: is("agent-pre-populate-only"),
            is_late: own.get("agent-pre-populate").is_some_and(|value| !is_true(value)),
            interval: text("template-static-secret-render-interval").map(interval),
            containers: text("agent-inject-containers")
                .map(|all| all.split(',').map(|one| one.trim().to_owned()).collect()),
            user: text("agent-run-as-user"),
            is_same_user: is("agent-run-as-same-user"),
            is_json: text("agent-inject-default-template").is_some_and(|kind| kind == "json"),
            files: files(&own),
            names: annotations.keys().filter(|name| name.starts_with(PREFIX)).cloned().collect(),
            ..Self::default()
        };
        ask.lost = own.iter().filter_map(|(name, value)| lost(name, value, &own)).collect();
        Some(ask)
    }
}

/// A duration; without a unit the agent takes it for seconds.
fn interval(text: String) -> String {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { format!("{text}s") } else { text }
}

/// As Go reads it.
fn is_true(value: &str) -> bool {
    ["1", "t", "T", "true", "TRUE", "True"].contains(&value.trim())
}

/// The files, each once, by whichever annotation names it.
fn files(own: &BTreeMap<&str, &str>) -> Vec<File> {
    const ORDER: [&str; 3] = ["agent-inject-secret-", "agent-inject-template-file-", "agent-inject-template-"];
    let mut raws = BTreeSet::new();
    for (name, value) in own {
        let raw = ORDER.iter().find_map(|prefix| name.strip_prefix(prefix));
        raws.extend(raw.filter(|raw| !raw.is_empty() && !value.trim().is_empty()));
    }
    let folder = own.get("secret-volume-path").filter(|path| !path.is_empty()).copied().unwrap_or(FOLDER);
    let file = |raw: &str| {
        let of = |annotation: &str| {
            own.get(format!("{annotation}-{raw}").as_str())
                .filter(|value| !value.trim().is_empty())
                .map(|value| (*value).to_owned())
        };
        let keeps_case =
            of("preserve-secret-case").or_else(|| own.get("preserve-secret-case").map(|value| (*value).to_owned()));
        let name = if keeps_case.is_some_and(|value| is_true(&value)) { raw.to_owned() } else { raw.to_lowercase() };
        File {
            raw: raw.to_owned(),
            path: of("agent-inject-secret"),
            template: of("agent-inject-template"),
            has_template_file: of("agent-inject-template").is_none() && of("agent-inject-template-file").is_some(),
            has_own_delimiters: [("agent-template-left-delim", "{{"), ("agent-template-right-delim", "}}")]
                .iter()
                .any(|(annotation, own)| of(annotation).is_some_and(|delimiter| delimiter.trim() != *own)),
            folder: of("secret-volume-path").unwrap_or_else(|| folder.to_owned()).trim_end_matches('/').to_owned(),
            name: of("agent-inject-file").map_or(name, |file| file.trim_matches('/').to_owned()),
            mode: of("agent-inject-perms"),
            command: of("agent-inject-command"),
        }
    };
    raws.into_iter().map(file).collect()
}

/// What is mounted of `tls-secret` is below this.
const CERTIFICATES: &str = "/vault/tls/";

fn authority(own: &BTreeMap<&str, &str>) -> Option<(String, String)> {
    let secret = own.get("tls-secret").filter(|name| !name.is_empty())?;
    let file = own.get("ca-cert").and_then(|path| path.strip_prefix(CERTIFICATES))?;
    Some(((*secret).to_owned(), file.to_owned()))
}

fn lost(name: &str, value: &str, own: &BTreeMap<&str, &str>) -> Option<(String, String)> {
    const READ: [&str; 12] = [
        "role",
        "auth-path",
        "namespace",
        "service",
        "tls-secret",
        "agent-pre-populate",
        "agent-pre-populate-only",
        "agent-run-as-user",
        "agent-run-as-same-user",
        "agent-inject-containers",
        "secret-volume-path",
        "preserve-secret-case",
    ];
    const OF_FILES: [&str; 11] = [
        "agent-inject-secret-",
        "agent-inject-template-",
        "agent-inject-template-file-",
        "agent-inject-file-",
        "agent-inject-perms-",
        "agent-inject-command-",
        "agent-template-left-delim-",
        "agent-template-right-delim-",
        "secret-volume-path-",
        "preserve-secret-case-",
        // Here it always is one.
        "error-on-missing-key-",
    ];
    let is_read = READ.contains(&name)
        || name == "template-static-secret-render-interval"
        || OF_THE_AGENT.contains(&name)
        || OF_FILES.iter().any(|prefix| name.starts_with(prefix))
        || OF_THE_AGENT_TOO.iter().any(|prefix| name.starts_with(prefix));
    let is_harmless = match name {
        "tls-skip-verify" | "agent-inject-token" => !is_true(value),
        "auth-type" => value == "kubernetes",
        "ca-cert" => own.contains_key("tls-secret") && value.starts_with(CERTIFICATES),
        _ => value.trim().is_empty(),
    };
    if is_read || is_harmless {
        return None;
    }
    if let Some((_, instead)) = LOST.iter().find(|(lost, _)| *lost == name) {
        return Some((name.to_owned(), (*instead).to_owned()));
    }
    let instead = match name {
        "ca-cert" => {
            "a certificate in the agent's image or volumes: put it into a ConfigMap, and name that in caProvider of the store"
        }
        _ if name.starts_with("auth-config-") => "the login is made with the pod's token and the store's fields alone",
        _ => "it is not known here",
    };
    Some((name.to_owned(), instead.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(annotations: &[(&str, &str)]) -> Option<Ask> {
        let all = annotations.iter().map(|(name, value)| (format!("{PREFIX}{name}"), (*value).to_owned()));
        Ask::of(&all.collect())
    }

    #[test]
    fn who_does_not_ask_is_left_alone() {
        assert_eq!(ask(&[("agent-inject-secret-a", "p")]), None);
        assert_eq!(ask(&[("agent-inject", "false"), ("agent-inject-secret-a", "p")]), None);
        assert_eq!(ask(&[("agent-inject", "1")]).unwrap().files, []);
    }

    #[test]
    fn files_are_where_the_injector_puts_them() {
        let ask = ask(&[
            ("agent-inject", "true"),
            ("agent-inject-secret-Db.Creds", "secret/data/db"),
            ("agent-inject-template-Db.Creds", "{{ x }}"),
            ("agent-inject-secret-UPPER", "secret/data/up"),
            ("preserve-secret-case-UPPER", "true"),
            ("agent-inject-file-UPPER", "sub/up.txt"),
            ("agent-inject-perms-UPPER", "0400"),
            ("secret-volume-path", "/etc/app/"),
            ("secret-volume-path-UPPER", "/run/up"),
            ("agent-inject-template-file-t", "/vault/custom/t.ctmpl"),
            ("agent-inject-command-UPPER", "kill -HUP 1"),
            ("agent-inject-template-only", "{{ y }}"),
        ])
        .unwrap();
        let files: Vec<_> =
            ask.files.iter().map(|file| (file.raw.as_str(), file.folder.as_str(), file.name.as_str())).collect();
        assert_eq!(
            files,
            [
                ("Db.Creds", "/etc/app", "db.creds"),
                ("UPPER", "/run/up", "sub/up.txt"),
                ("only", "/etc/app", "only"),
                ("t", "/etc/app", "t")
            ]
        );
        assert_eq!(
            (ask.files[1].mode.as_deref(), ask.files[1].command.as_deref()),
            (Some("0400"), Some("kill -HUP 1"))
        );
        assert!(ask.files[3].has_template_file && !ask.files[2].has_template_file);
        assert_eq!(ask.lost, []);
    }

    #[test]
    fn an_interval_without_a_unit_is_in_seconds() {
        for (theirs, ours) in [("300", Some("300s")), ("5m", Some("5m")), ("", None)] {
            let ask = ask(&[("agent-inject", "true"), ("template-static-secret-render-interval", theirs)]).unwrap();
            assert_eq!(ask.interval.as_deref(), ours, "{theirs}");
        }
    }

    #[test]
    fn what_the_agent_alone_needed_goes_unsaid_and_the_rest_is_told() {
        let ask = ask(&[
            ("agent-inject", "true"),
            ("agent-image", "x"),
            ("agent-telemetry-prefix", "x"),
            ("role", "app"),
            ("auth-path", "auth/cluster-a"),
            ("tls-secret", "vault-ca"),
            ("ca-cert", "/vault/tls/ca.crt"),
            ("tls-skip-verify", "false"),
            ("proxy-address", "http://p"),
            ("agent-configmap", "c"),
            ("auth-config-x", "y"),
            ("something-new", "z"),
            ("agent-inject-secret-a", "kv/a"),
            ("error-on-missing-key-a", "true"),
            ("agent-template-left-delim-a", "<<"),
        ])
        .unwrap();
        assert_eq!((ask.role.as_deref(), ask.login.as_deref()), (Some("app"), Some("cluster-a")));
        assert_eq!(ask.authority, Some(("vault-ca".into(), "ca.crt".into())));
        let lost: Vec<&str> = ask.lost.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(lost, ["agent-configmap", "auth-config-x", "proxy-address", "something-new"]);
        assert!(ask.files[0].has_own_delimiters);
    }
}
