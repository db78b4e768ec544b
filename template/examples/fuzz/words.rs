//! Names of functions by what is special about them, and words to put between them.

/// Functions whose answer is random, or slow, or an error by design.
pub const LEFT_OUT: &[&str] = &[
    "bcrypt",
    "htpasswd",
    "genPrivateKey",
    "genCA",
    "genCAWithKey",
    "genSelfSignedCert",
    "genSelfSignedCertWithKey",
    "genSignedCert",
    "genSignedCertWithKey",
    "encryptAES",
    "randBytes",
    "randAlphaNum",
    "randAlpha",
    "randAscii",
    "randNumeric",
    "randInt",
    "shuffle",
    "uuidv4",
    "derivePassword",
    "pemToPkcs12",
    "pemToPkcs12Pass",
    "fullPemToPkcs12",
    "fullPemToPkcs12Pass",
    "pemTruststoreToPKCS12",
    "pemTruststoreToPKCS12Pass",
    "fail",
    "call",
    "len",
];

/// Functions that make much of a large number: they get small ones only, and no more of themselves.
pub const GROWING: &[&str] = &["repeat", "until", "untilStep", "seq", "indent", "nindent", "wrap", "wrapWith", "chunk"];

/// Functions that refuse most texts: what they get is from the samples, or they would be most of all errors.
pub const PICKY: &[&str] = &[
    "certSANs",
    "decryptAES",
    "dig",
    "filterCertChain",
    "filterPEM",
    "jwkPrivateKeyPem",
    "jwkPublicKeyPem",
    "mustFromJson",
    "pkcs12cert",
    "pkcs12certPass",
    "pkcs12key",
    "pkcs12keyPass",
    "rsaDecrypt",
    "semver",
    "semverCompare",
];

/// Functions that change a map: it must not become part of itself, or Go dies of printing it.
pub const CHANGING: &[&str] = &["set", "unset", "merge", "mergeOverwrite", "mustMerge", "mustMergeOverwrite"];

/// Short texts.
pub const WORDS: &[&str] =
    &["a", "b", "x1", "Foo", "é", "user", "☃", "0", "k-v", "", "True", "~", "1.5", "ÀB", "a b", "\u{1F600}"];

/// What `printf` may be asked for.
pub const FORMATS: &[&str] = &[
    "%v",
    "%s",
    "%d",
    "%5d|",
    "%-6v|",
    "%q",
    "%x",
    "%t",
    "%.2f",
    "%g",
    "%e",
    "%T",
    "%+v",
    "%#v",
    "%c",
    "%U",
    "%08.3f",
    "%v %v",
    "%s-%s",
    "%%",
    "%z",
    "%[2]v %[1]v",
    "%*d",
    "%o",
    "%b",
    "%X",
    "% d",
    "%+d",
    "%3c|",
    "%.3s",
    "%6.2v",
    "%#x",
];
