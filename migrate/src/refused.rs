//! What generators may ask for in External Secrets Operator, and keyferry refuses. What both refuse is not among it. A test of
//! `tests/documented` holds it to what builds them. Pure.

use serde_json::Value;

/// The longest password.
const PASSWORD: i64 = 65_536;

/// The most that the passwords of one generator may come to, in bytes.
const PASSWORDS: usize = 1 << 20;

/// What a generator of this kind asks for that keyferry refuses, as `docs/compatibility.md` has it.
pub fn refusals(kind: &str, spec: &Value) -> Vec<&'static str> {
    let is_set = |pointer: &str| spec.pointer(pointer).is_some_and(|value| !value.is_null());
    let number = |pointer: &str| spec.pointer(pointer).and_then(Value::as_i64);
    let is_in = |pointer: &str, all: &[&str]| all.contains(&text(spec, pointer));
    let plain =
        |pointer: &str| (is_plain(text(spec, pointer)), "an address without https:// that credentials are sent to");
    let found = match kind {
        "ACRAccessToken" => vec![
            (is_in("/environmentType", &["GermanCloud", "AzureStackCloud"]), "a cloud that gives no tokens"),
            plain("/registry"),
        ],
        "CloudsmithAccessToken" => vec![plain("/apiUrl")],
        "ECRAuthorizationToken" => {
            vec![(!is_in("/scope", &["", "private", "public"]), "a scope that is neither private nor public")]
        }
        "GithubAccessToken" | "GitlabDeployToken" | "Grafana" | "QuayAccessToken" => vec![plain("/url")],
        "MFA" => vec![
            (number("/length") > Some(10), "a code of more than 10 digits"),
            (
                !is_in("/algorithm", &["", "sha1", "sha256", "sha384", "sha512", "sha512_256"]),
                "an algorithm that there is not, for which ESO takes SHA-1",
            ),
        ],
        "Password" => passwords(spec),
        "SSHKey" => vec![
            (
                is_in("/keyType", &["", "rsa"])
                    && number("/keySize").is_some_and(|size| ![2048, 3072, 4096].contains(&size)),
                "an RSA key of another size than 2048, 3072 or 4096",
            ),
            (text(spec, "/comment").chars().any(char::is_control), "a comment with control characters"),
        ],
        "STSSessionToken" => {
            vec![(is_set("/auth/jwt"), "auth.jwt: AWS gives sessions to users with an access key only")]
        }
        _ => Vec::new(),
    };
    found.into_iter().filter(|(is_so, _)| *is_so).map(|(_, what)| what).collect()
}

fn text<'v>(spec: &'v Value, pointer: &str) -> &'v str {
    spec.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Whether a URL is one of plain HTTP, and leads off this machine.
fn is_plain(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return false };
    let at = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let host = at.rsplit_once(':').filter(|(_, port)| is_port(port)).map_or(at, |(host, _)| host);
    !matches!(host, "localhost" | "[::1]") && !host.starts_with("127.")
}

fn passwords(spec: &Value) -> Vec<(bool, &'static str)> {
    let keys: Vec<&str> = spec["secretKeys"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let has_twins = keys.iter().enumerate().any(|(n, key)| keys[..n].contains(key));
    let length = spec["length"].as_i64().filter(|length| *length > 0).unwrap_or(24);
    let each = usize::try_from(length).unwrap_or(usize::MAX);
    let each = each.saturating_add(text(spec, "/prefix").len()).saturating_add(text(spec, "/suffix").len());
    vec![
        (has_twins, "the same name twice in secretKeys"),
        (keys.contains(&""), "an empty name in secretKeys"),
        (length > PASSWORD, "a password of more than 65536 characters"),
        (keys.len().max(1).saturating_mul(each) > PASSWORDS, "passwords of more than 1 MiB together"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_leads_off_the_machine_needs_tls() {
        for (url, is_so) in [
            ("http://grafana.example.com", true),
            ("http://10.0.0.1:3000/x", true),
            ("http://localhost:3000", false),
            ("http://[::1]:3000/", false),
            ("http://127.0.0.1", false),
            ("https://grafana.example.com", false),
            ("quay.io", false),
            ("", false),
        ] {
            assert_eq!(is_plain(url), is_so, "{url}");
        }
    }
}
