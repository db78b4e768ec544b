//! A kubeconfig as data. It comes from a Secret that a tenant may write: whatever in it would run something, read a
//! file of the operator, or lead the way elsewhere is refused, before anything else is made of it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_provider_core::{Error, SecretBytes};
use keyferry_provider_http::{self as http, Way};
use serde::Deserialize;

use crate::config::{Access, Identity, pem, server};

/// Fields of a cluster and of a user that are refused, and why.
const REFUSED_OF_CLUSTER: [(&str, &str); 3] = [
    ("proxy-url", "a proxy would see what we do: remove it"),
    ("certificate-authority", "it names a file, and files are not read: use certificate-authority-data"),
    ("tls-server-name", "checking the certificate for another name is not supported: use the name in server"),
];
const REFUSED_OF_USER: [(&str, &str); 11] = [
    ("exec", "commands are not run: use a token or client-certificate-data"),
    ("auth-provider", "plugins are not run: use a token or client-certificate-data"),
    ("tokenFile", "it names a file, and files are not read: use token"),
    ("client-certificate", "it names a file, and files are not read: use client-certificate-data"),
    ("client-key", "it names a file, and files are not read: use client-key-data"),
    ("username", "basic authentication is not supported: use a token or client-certificate-data"),
    ("password", "basic authentication is not supported: use a token or client-certificate-data"),
    ("as", "impersonation is not supported"),
    ("as-uid", "impersonation is not supported"),
    ("as-groups", "impersonation is not supported"),
    ("as-user-extra", "impersonation is not supported"),
];

/// The parts of a kubeconfig that matter.
#[derive(Deserialize)]
pub struct Kubeconfig {
    #[serde(rename = "current-context", default)]
    current_context: String,
    #[serde(default)]
    contexts: Vec<Named>,
    #[serde(default)]
    clusters: Vec<Named>,
    #[serde(default)]
    users: Vec<Named>,
}

/// An entry of one of the lists.
#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    name: String,
    #[serde(alias = "context", alias = "cluster", alias = "user", default)]
    fields: Option<Fields>,
}

type Fields = BTreeMap<String, serde_json::Value>;

impl Kubeconfig {
    /// Reads YAML or JSON.
    pub fn read(text: &SecretBytes) -> Result<Self, Error> {
        // The parser's own error would quote what it stumbles over.
        let unreadable = || Error::invalid("the Secret does not hold a kubeconfig");
        serde_saphyr::from_str(text.expose_str().ok_or_else(unreadable)?).map_err(|_| unreadable())
    }

    /// How to get in by the current context; what leads there is called so.
    pub fn access(self, fields: http::Fields) -> Result<Access, Error> {
        if self.current_context.is_empty() {
            return Err(Error::invalid("it has no current-context"));
        }
        let mut context = take(self.contexts, &self.current_context, "contexts")?;
        let mut cluster = take(self.clusters, &text(&mut context, "cluster")?.unwrap_or_default(), "clusters")?;
        let mut user = take(self.users, &text(&mut context, "user")?.unwrap_or_default(), "users")?;
        refuse(&cluster, &REFUSED_OF_CLUSTER, "cluster")?;
        refuse(&user, &REFUSED_OF_USER, "user")?;

        let address = text(&mut cluster, "server")?.ok_or_else(|| Error::invalid("the cluster has no server"))?;
        let insecure = match cluster.get("insecure-skip-tls-verify") {
            None | Some(serde_json::Value::Null) => false,
            Some(flag) => {
                flag.as_bool().ok_or_else(|| Error::invalid("insecure-skip-tls-verify is neither true nor false"))?
            }
        };
        let ca = match text(&mut cluster, "certificate-authority-data")? {
            None => None,
            Some(_) if insecure => {
                return Err(Error::invalid(
                    "it has certificate-authority-data and insecure-skip-tls-verify: remove one",
                ));
            }
            Some(data) => Some(pem(&data).ok_or_else(|| not_base64("certificate-authority-data"))?),
        };
        let secret = |data: String, field| {
            let compact: String = data.split_ascii_whitespace().collect();
            STANDARD.decode(compact).map(SecretBytes::new).map_err(|_| not_base64(field))
        };
        let token = text(&mut user, "token")?;
        let cert = text(&mut user, "client-certificate-data")?;
        let key = text(&mut user, "client-key-data")?;
        let identity = match (token, cert, key) {
            // Go's client sends both then; the token decides who we are.
            (Some(token), _, _) => Identity::Token(SecretBytes::new(token.into_bytes())),
            (None, Some(cert), Some(key)) => Identity::Certificate {
                cert: secret(cert, "client-certificate-data")?,
                key: secret(key, "client-key-data")?,
            },
            (None, None, None) => return Err(Error::invalid("the user has neither token nor client-certificate-data")),
            (None, _, _) => {
                return Err(Error::invalid("the user has only one of client-certificate-data and client-key-data"));
            }
        };
        let way = Way::new(server(&address, "server")?, fields);
        Ok(Access { way, ca, insecure, identity })
    }
}

fn take(list: Vec<Named>, name: &str, what: &str) -> Result<Fields, Error> {
    let found = list.into_iter().find(|entry| entry.name == name);
    found
        .and_then(|entry| entry.fields)
        .ok_or_else(|| Error::invalid(format!("there is nothing called {name:?} in {what}")))
}

fn refuse(fields: &Fields, refused: &[(&str, &str)], what: &str) -> Result<(), Error> {
    let is_set = |value: &serde_json::Value| !value.is_null() && value.as_str() != Some("");
    match refused.iter().find(|(field, _)| fields.get(*field).is_some_and(is_set)) {
        Some((field, why)) => Err(Error::invalid(format!("its {what} sets {field}: {why}"))),
        None => Ok(()),
    }
}

fn text(fields: &mut Fields, field: &str) -> Result<Option<String>, Error> {
    match fields.remove(field) {
        None | Some(serde_json::Value::Null) => Ok(None),
        Some(serde_json::Value::String(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
        Some(_) => Err(Error::invalid(format!("{field} is not text"))),
    }
}

fn not_base64(field: &str) -> Error {
    Error::invalid(format!("{field} is not base64"))
}

#[cfg(test)]
mod tests {
    use keyferry_provider_core::ErrorKind;

    use super::*;
    use crate::config::KUBERNETES;

    const CANARY: &str = "canary-3c1f";

    fn kubeconfig(cluster: &str, user: &str) -> Result<Access, Error> {
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: main\n\
             contexts:\n- name: other\n  context: {{cluster: x, user: y}}\n- name: main\n  context: {{cluster: c, user: u}}\n\
             clusters:\n- name: c\n  cluster: {{server: 'https://k:6443'{cluster}}}\n\
             users:\n- name: u\n  user: {{{user}}}\n- name: unused\n  user: {{exec: {{command: rm}}}}\n"
        );
        let access =
            Kubeconfig::read(&text.as_str().into()).and_then(|kubeconfig| kubeconfig.access(KUBERNETES.kubeconfig));
        if let Err(error) = &access {
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(!error.message().contains(CANARY), "{error}");
        }
        access
    }

    #[test]
    fn a_token_and_a_ca() {
        let access = kubeconfig(", certificate-authority-data: UEVN", &format!("token: {CANARY}")).unwrap();
        assert_eq!((access.way.server.as_str(), access.ca.as_deref()), ("https://k:6443/", Some(&b"PEM"[..])));
        assert!(matches!(access.identity, Identity::Token(token) if token.expose_str() == Some(CANARY)));
    }

    #[test]
    fn a_certificate() {
        let access = kubeconfig("", "client-certificate-data: Q0VSVA==, client-key-data: S0VZ").unwrap();
        let Identity::Certificate { cert, key } = access.identity else { panic!() };
        assert_eq!((cert.expose(), key.expose()), (&b"CERT"[..], &b"KEY"[..]));
    }

    #[test]
    fn what_runs_reads_or_leads_elsewhere_is_refused() {
        let token = format!("token: {CANARY}");
        for (cluster, user, word) in [
            ("", format!("{token}, exec: {{command: sh, args: [-c, {CANARY}]}}"), "exec"),
            ("", format!("{token}, auth-provider: {{name: gcp}}"), "auth-provider"),
            ("", "tokenFile: /var/run/secrets/kubernetes.io/serviceaccount/token".to_owned(), "tokenFile"),
            ("", format!("{token}, client-certificate: /x"), "client-certificate"),
            ("", format!("{token}, client-key: /x"), "client-key"),
            ("", format!("username: admin, password: {CANARY}"), "basic"),
            ("", format!("{token}, as: admin"), "impersonation"),
            (", proxy-url: 'http://evil'", token.clone(), "proxy-url"),
            (", certificate-authority: /etc/passwd", token.clone(), "certificate-authority"),
            (", tls-server-name: x", token.clone(), "tls-server-name"),
        ] {
            let error = kubeconfig(cluster, &user).expect_err(word);
            assert!(error.message().contains(word), "{error}");
        }
    }

    #[test]
    fn what_is_broken_is_named() {
        for (cluster, user, word) in [
            ("", "{}".to_owned(), "does not hold a kubeconfig"),
            ("", String::new(), "neither token"),
            ("", "client-key-data: S0VZ".to_owned(), "only one of"),
            ("", format!("client-certificate-data: '{CANARY}!', client-key-data: S0VZ"), "not base64"),
            ("", "token: [1]".to_owned(), "not text"),
            (", certificate-authority-data: UEVN, insecure-skip-tls-verify: true", "token: t".to_owned(), "remove one"),
            (", insecure-skip-tls-verify: maybe", "token: t".to_owned(), "neither true"),
        ] {
            let error = kubeconfig(cluster, &user).expect_err(word);
            assert!(error.message().contains(word), "{error}");
        }
        for (text, word) in [
            (format!("{{{CANARY}"), "does not hold"),
            ("clusters: []".to_owned(), "current-context"),
            ("current-context: x".to_owned(), "contexts"),
            ("\"just text\"".to_owned(), "does not hold"),
        ] {
            let error = Kubeconfig::read(&text.as_str().into())
                .and_then(|kubeconfig| kubeconfig.access(KUBERNETES.kubeconfig))
                .expect_err(word);
            assert!(error.message().contains(word) && !error.message().contains(CANARY), "{error}");
        }
    }
}
