//! Functions of Consul Template, and what comes to the same in a template of ours.

/// What becomes of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is called so.
    Called(&'static str),
    /// The same, but what it works on comes second, not last.
    Second(&'static str),
    /// Lines are indented, but not empty ones.
    Indent,
    /// There is none; what to do instead.
    None(&'static str),
}

/// The names that are the same in Go's own language.
const OF_GO: [&str; 18] = [
    "and", "or", "not", "len", "index", "slice", "print", "printf", "println", "html", "js", "urlquery", "eq", "ne",
    "lt", "le", "gt", "ge",
];

/// Functions of sprig that a template of ours must not have, or that give something else each time.
const NOT_OF_SPRIG: [&str; 12] = [
    "env",
    "expandenv",
    "getHostByName",
    "now",
    "date",
    "uuidv4",
    "randAlpha",
    "randAlphaNum",
    "randNumeric",
    "randAscii",
    "randBytes",
    "randInt",
];

/// What it says where a value decides, even where there is none.
pub fn decides(name: &str) -> bool {
    let plain = name.strip_prefix("sprig_").unwrap_or(name);
    ["and", "or", "not", "default", "empty", "coalesce", "ternary"].contains(&plain)
}

/// Whether it works on whatever a value is, and not on its text.
pub fn takes_any(name: &str) -> bool {
    let plain = name.strip_prefix("sprig_").unwrap_or(name);
    ["len", "slice", "eq", "ne", "lt", "le", "gt", "ge"].contains(&plain) || plain.to_lowercase().contains("json")
}

/// What becomes of a function of this name.
pub fn fate(name: &str) -> Fate {
    if let Some(same) = OF_GO.iter().find(|known| **known == name) {
        return Fate::Called(same);
    }
    match name {
        "true" => Fate::Called("true"),
        "false" => Fate::Called("false"),
        "nil" => Fate::Called("nil"),
        "base64Encode" => Fate::Called("b64enc"),
        "base64Decode" => Fate::Called("b64dec"),
        "toLower" => Fate::Called("lower"),
        "toUpper" => Fate::Called("upper"),
        "trimSpace" => Fate::Called("trim"),
        "trim" => Fate::Called("trimAll"),
        "trimPrefix" => Fate::Called("trimPrefix"),
        "trimSuffix" => Fate::Called("trimSuffix"),
        "replaceAll" => Fate::Called("replace"),
        "regexMatch" => Fate::Called("mustRegexMatch"),
        "regexReplaceAll" => Fate::Second("mustRegexReplaceAll"),
        "sha256Hex" => Fate::Called("sha256sum"),
        "toJSON" => Fate::Called("mustToJson"),
        "toUnescapedJSON" => Fate::Called("mustToRawJson"),
        "toJSONPretty" => Fate::Called("mustToPrettyJson"),
        "parseJSON" => Fate::Called("mustFromJson"),
        "indent" => Fate::Indent,
        "pkiCert" | "pkiSign" => Fate::None(
            "a certificate of its own for each pod can't be mounted: let cert-manager issue it, or make a VaultDynamicSecret and an \
             ExternalSecret of it, which come to a Secret",
        ),
        "secrets" => Fate::None("lists of secrets: name each, or search for them with dataFrom.find"),
        "env" | "envOrDefault" | "mustEnv" => {
            Fate::None("it reads the agent's environment: write what it holds into the template")
        }
        "file" => {
            Fate::None("it reads a file of the agent's: put it into a ConfigMap and take it in with templateFrom")
        }
        "key" | "keyExists" | "keyOrDefault" | "ls" | "safeLs" | "tree" | "safeTree" | "service" | "services"
        | "node" | "nodes" | "datacenters" | "connect" | "caLeaf" | "caRoots" => Fate::None(
            "it asks Consul, of which there is no store: keep the value in Vault, or write it into the template",
        ),
        "scratch" | "executeTemplate" | "loop" | "timestamp" | "plugin" | "writeToFile" | "explode" | "explodeMap" => {
            Fate::None("there is nothing like it: write it in another way")
        }
        _ => Fate::None("no function of ours is known to give the same: look for one among sprig's"),
    }
}

/// What sprig calls a function that Consul Template has under `sprig_`.
pub fn of_sprig(name: &str) -> Option<&str> {
    name.strip_prefix("sprig_").filter(|plain| !NOT_OF_SPRIG.contains(plain))
}
