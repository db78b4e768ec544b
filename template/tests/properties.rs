//! What differs from call to call, in Go as here: compared by what it must be, and by whether the other side can read it.

mod support;

use std::{
    io::Write,
    process::{Command, Stdio},
};

use base64::{
    Engine as _,
    alphabet::BCRYPT,
    engine::general_purpose::{GeneralPurpose, NO_PAD, STANDARD},
};
use support::{Answer, Data, corpus, oracle, ours};

fn data_with(entries: &[(&str, Vec<u8>)]) -> Data {
    let mut data = corpus::data();
    data.extend(entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    data
}

fn output(answer: Answer, template: &str) -> Vec<u8> {
    match answer {
        Answer::Output(bytes) => bytes,
        Answer::Error(error) => panic!("{template}: {error}"),
    }
}

fn here(template: &str, data: &Data) -> Vec<u8> {
    output(ours::one(template, data, &oracle::Options::default()), template)
}

fn go(template: &str, data: &Data) -> Vec<u8> {
    output(oracle::ask(&[template], data, &oracle::Options::default()).remove(0), template)
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("text")
}

/// Both engines' answers, for a check that both must pass.
fn from_both(template: &str) -> [String; 2] {
    let data = corpus::data();
    [text(here(template, &data)), text(go(template, &data))]
}

#[test]
fn random_text_has_its_length_and_alphabet() {
    type Alphabet = fn(char) -> bool;
    let checks: [(&str, usize, Alphabet); 4] = [
        ("randAlphaNum", 64, |c| c.is_ascii_alphanumeric()),
        ("randAlpha", 64, |c| c.is_ascii_alphabetic()),
        ("randNumeric", 64, |c| c.is_ascii_digit()),
        ("randAscii", 64, |c| (' '..='~').contains(&c)),
    ];
    for (function, len, check) in checks {
        for answer in from_both(&format!("{{{{ {function} {len} }}}}")) {
            assert_eq!(answer.chars().filter(|c| check(*c)).count(), len, "{function}: {answer}");
            assert_eq!(answer.chars().count(), len);
        }
        let [first, second] = [0, 1].map(|_| here(&format!("{{{{ {function} {len} }}}}"), &Data::new()));
        assert_ne!(first, second, "{function}");
    }
    for answer in from_both("{{ randBytes 33 }}") {
        assert_eq!(STANDARD.decode(answer).expect("base64").len(), 33);
    }
    for answer in from_both("{{ uuidv4 }}") {
        let parts: Vec<&str> = answer.split('-').collect();
        assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert!(parts[2].starts_with('4') && parts[3].starts_with(['8', '9', 'a', 'b']), "{answer}");
    }
    for answer in from_both("{{ range until 50 }}{{ randInt 3 6 }}{{ end }}") {
        assert!(answer.len() == 50 && answer.chars().all(|c| "345".contains(c)), "{answer}");
    }
    for answer in from_both("{{ shuffle \"abcdefghijé\" }}") {
        let mut chars: Vec<char> = answer.chars().collect();
        chars.sort_unstable();
        assert_eq!(chars.into_iter().collect::<String>(), "abcdefghijé");
    }
}

/// Computes a bcrypt hash again with its own salt.
fn verify(password: &str, hash: &str) {
    let code = GeneralPurpose::new(&BCRYPT, NO_PAD.with_decode_allow_trailing_bits(true));
    let (salt, digest) = hash.strip_prefix("$2a$10$").expect("a hash of cost 10").split_at(22);
    let salt = code.decode(salt).expect("a salt").try_into().expect("a salt of 16 bytes");
    let again = bcrypt::bcrypt(10, salt, format!("{password}\0").as_bytes());
    assert_eq!(code.encode(&again[..23]), digest, "{hash}");
}

#[test]
fn password_hashes_verify() {
    for answer in from_both("{{ bcrypt \"s3cret\" }}") {
        verify("s3cret", &answer);
    }
    for answer in from_both("{{ htpasswd \"me\" \"s3cret\" }}") {
        let hash = answer.strip_prefix("me:").expect("the name");
        verify("s3cret", hash);
    }
}

#[test]
fn each_side_decrypts_what_the_other_encrypts() {
    let sealed = here("{{ encryptAES \"key\" \"plain ☃\" }}", &Data::new());
    assert_eq!(text(go("{{ decryptAES \"key\" .x }}", &data_with(&[("x", sealed)]))), "plain ☃");
    let sealed = go("{{ encryptAES \"key\" \"plain ☃\" }}", &corpus::data());
    assert_eq!(text(here("{{ decryptAES \"key\" .x }}", &data_with(&[("x", sealed)]))), "plain ☃");
}

#[test]
fn each_side_reads_keys_and_certificates_of_the_other() {
    let make = concat!(
        "{{ $ca := genCA \"ca\" 30 }}{{ $c := genSignedCert \"leaf\" (list \"10.0.0.1\" \"::1\") (list \"a.b\") 30 $ca }}",
        "{{ $c.Cert }}|{{ $c.Key }}|{{ $ca.Cert }}|{{ genPrivateKey \"ecdsa\" }}|{{ genPrivateKey \"ed25519\" }}"
    );
    let read = concat!(
        "{{ certSANs .leaf | join \",\" }} {{ (buildCustomCert (b64enc .leaf) (b64enc .key)).Cert | eq .leaf }} ",
        "{{ filterCertChain \"root\" .ca | eq .ca }} {{ (genCAWithKey \"x\" 1 .ecdsa).Key | eq .ecdsa }} ",
        "{{ (genSelfSignedCertWithKey \"x\" nil nil 1 .ed25519).Key | eq .ed25519 }}"
    );
    let split = |bytes: Vec<u8>| {
        let text = text(bytes);
        let parts: Vec<Vec<u8>> = text.split('|').map(|part| part.as_bytes().to_vec()).collect();
        let names = ["leaf", "key", "ca", "ecdsa", "ed25519"];
        data_with(&names.into_iter().zip(parts).collect::<Vec<_>>())
    };
    let expected = "a.b,10.0.0.1,::1 true true true true";
    assert_eq!(text(go(read, &split(here(make, &Data::new())))), expected);
    assert_eq!(text(here(read, &split(go(make, &corpus::data())))), expected);
}

#[test]
fn each_side_reads_the_pkcs12_files_of_the_other() {
    let data = corpus::data();
    let read = "{{ pkcs12keyPass \"pass\" .file }}{{ pkcs12certPass \"pass\" .file }}";
    for key in ["leaf.key", "ec256-sec1.key", "ec384.key", "ec521.key", "ed25519.key", "rsa2048-pkcs1.key"] {
        for (function, pass) in [("pemToPkcs12Pass", true), ("fullPemToPkcs12Pass", true), ("fullPemToPkcs12", false)] {
            let (argument, read) =
                if pass { ("\"pass\"", read.to_owned()) } else { ("", read.replace("Pass \"pass\"", "")) };
            let make = format!("{{{{ {function} (index . \"chain.pem\") (index . \"{key}\") {argument} | b64dec }}}}");
            let by_us = text(go(&read, &data_with(&[("file", here(&make, &data))])));
            let by_go = text(here(&read, &data_with(&[("file", go(&make, &data))])));
            assert_eq!(by_us, by_go, "{function} {key}");
            assert!(by_us.starts_with("-----BEGIN PRIVATE KEY-----\n"));
        }
    }
}

#[test]
fn openssl_reads_our_pkcs12_files() {
    let data = corpus::data();
    let read = |template: &str| {
        let file = here(template, &data);
        let mut openssl = Command::new("openssl")
            .args(["pkcs12", "-info", "-nodes", "-passin", "pass:pass"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("openssl runs");
        openssl.stdin.take().expect("a pipe").write_all(&file).expect("openssl takes the file");
        let output = openssl.wait_with_output().expect("openssl ends");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{told}");
        (String::from_utf8_lossy(&output.stdout).into_owned(), told)
    };
    let (shown, told) =
        read("{{ fullPemToPkcs12Pass (index . \"chain.pem\") (index . \"leaf.key\") \"pass\" | b64dec }}");
    assert_eq!(shown.matches("BEGIN CERTIFICATE").count(), 3);
    assert_eq!(shown.matches("BEGIN PRIVATE KEY").count(), 1);
    assert!(told.contains("PBES2, PBKDF2, AES-256-CBC, Iteration 2048, PRF hmacWithSHA256"), "{told}");
    let (shown, _) = read("{{ pemTruststoreToPKCS12Pass (index . \"chain.pem\") \"pass\" | b64dec }}");
    assert_eq!(shown.matches("BEGIN CERTIFICATE").count(), 3);
    assert!(shown.contains("friendlyName: CN=leaf.example,O=keyferry test data"), "{shown}");
}

#[test]
fn trust_stores_are_those_of_go() {
    // Salts differ; the names and certificates that openssl shows do not.
    let data = corpus::data();
    let make = "{{ pemTruststoreToPKCS12Pass (index . \"chain.pem\") \"pass\" }}";
    assert_eq!(here(make, &data).len(), go(make, &data).len());
}

#[test]
fn dates_follow_the_time_zone_data() {
    // Zones change with the data that each side has; these have not for long.
    for zone in ["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "UTC"] {
        let template = format!("{{{{ dateInZone \"2006-01-02T15:04:05Z07:00 MST\" 1715000000 \"{zone}\" }}}}");
        let [ours, go] = from_both(&template);
        assert_eq!(ours, go);
    }
}

#[test]
fn white_space_behind_the_last_certificate_is_nothing() {
    let read = |name: &str| corpus::data()[name].clone();
    for space in ["\n", " \n\t\r\n", "\n\n\n"] {
        let with_space = |name: &str| [read(name), space.as_bytes().to_vec()].concat();
        let data = data_with(&[("chain", with_space("chain.pem")), ("key", with_space("leaf.key"))]);
        for template in [
            "{{ pemTruststoreToPKCS12 .chain }}",
            "{{ pemTruststoreToPKCS12Pass .chain \"p\" }}",
            "{{ fullPemToPkcs12 .chain .key }}",
            "{{ fullPemToPkcs12Pass .chain .key \"p\" }}",
            "{{ pemToPkcs12 .chain .key }}",
            "{{ filterPEM \"CERTIFICATE\" .chain }}",
            "{{ certSANs .chain }}",
        ] {
            assert!(!here(template, &data).is_empty(), "{template} with {space:?}");
        }
        assert!(here("{{ filterPEM \"OTHER\" .chain }}", &data).is_empty(), "{space:?}");
    }
}
