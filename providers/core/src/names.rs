//! Names that Kubernetes gives. Nothing else may become part of a path of its API: what a user writes could lead elsewhere
//! in it.

/// Whether a namespace can have this name (a DNS label).
pub fn is_label(text: &str) -> bool {
    text.len() <= 63 && is_part(text)
}

/// Whether a Secret, a ConfigMap or a ServiceAccount can have this name (a DNS subdomain).
pub fn is_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_part)
}

/// Prefixes of labels and annotations by which GitOps tools and kubectl know what they look after.
const TOOLS: [&str; 6] = [
    "argocd.argoproj.io/",
    "config.kubernetes.io/",
    "helm.toolkit.fluxcd.io/",
    "kubectl.kubernetes.io/",
    "kustomize.toolkit.fluxcd.io/",
    "meta.helm.sh/",
];

/// The label by which Argo CD knows what is its own, where nobody chose another; and the one that Helm asks for.
const LABELS_OF_TOOLS: [&str; 2] = ["app.kubernetes.io/instance", "app.kubernetes.io/managed-by"];

/// Whether it is a label or annotation by which a tool knows its own: copied to another object it would make that one the
/// tool's, to be pruned.
pub fn is_mark_of_a_tool(key: &str) -> bool {
    TOOLS.iter().any(|prefix| key.starts_with(prefix)) || LABELS_OF_TOOLS.contains(&key)
}

fn is_part(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_what_would_lead_elsewhere() {
        for (text, name, label) in [
            ("app", true, true),
            ("app.v1-2", true, false),
            ("", false, false),
            ("App", false, false),
            ("a/b", false, false),
            ("..", false, false),
            ("a..b", false, false),
            ("-a", false, false),
            ("a-", false, false),
            ("a?x", false, false),
            ("a%2fb", false, false),
            ("a#b", false, false),
            ("a\\b", false, false),
            ("a\nb", false, false),
            ("ä", false, false),
        ] {
            assert_eq!((is_name(text), is_label(text)), (name, label), "{text:?}");
        }
        assert!(is_name(&"a".repeat(253)) && !is_name(&"a".repeat(254)));
        assert!(is_label(&"a".repeat(63)) && !is_label(&"a".repeat(64)));
    }
}
