//! Mangled templates and mangled data: nothing may panic, overflow the stack or take for ever.

use std::{
    fs,
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use super::support::{Data, corpus, here, oracle, ours};

/// No template may take longer; a debug build is slow.
const LONGEST: Duration = Duration::from_secs(20);

/// As small as the stack of a thread usually is.
const STACK: usize = 2 << 20;

const TOKENS: &[&str] = &[
    "{{",
    "}}",
    "{{-",
    "-}}",
    "(",
    ")",
    "|",
    ":=",
    "=",
    "$",
    "$x",
    ".",
    "..",
    "\"",
    "`",
    "'",
    "\\",
    "\n",
    "range",
    "end",
    "if",
    "else",
    "with",
    "define",
    "template",
    "block",
    "break",
    "continue",
    "nil",
    "true",
    "9223372036854775807",
    "-1",
    "1e308",
    "0x",
    "/*",
    "*/",
    "%*d",
    "%[9]d",
    "\u{0}",
    "\u{feff}",
    "☃",
    "list",
    "dict",
    "until 99999999",
    "repeat 99999999",
    "(((((((((((((((((((((((((((((((((((((((((",
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    "- - - - - - - - - -",
    "&a",
    "*a",
    "<<: *a",
    "{a: ",
    "| toJson",
    "| fromJson",
    "| fromYaml",
    "| toYaml",
    "| printf",
    "| regexReplaceAll",
    "a**",
    "(?i)",
    "{0,1000}{0,1000}",
    "set $d \"d\" $d",
    ".fuzz",
    "| b64dec",
    "| indent 9999999",
    "seq 1 99999999",
    "3000000000",
];

/// Functions that take one text and read something difficult in it.
const READERS: &[&str] = &[
    "fromYaml",
    "fromJson",
    "mustFromJson",
    "pkcs12key",
    "pkcs12cert",
    "pkcs12keyPass \"changeit\"",
    "pkcs12certPass \"changeit\"",
    "filterPEM \"CERTIFICATE\"",
    "filterCertChain \"leaf\"",
    "filterCertChain \"intermediate\"",
    "certSANs",
    "jwkPublicKeyPem",
    "jwkPrivateKeyPem",
    "pemTruststoreToPKCS12",
    "semver",
    "urlParse",
    "toDate \"2006-01-02\"",
    "b64dec",
    "b32dec",
    "hexdec",
    "regexFindAll \"a.*b\" -1",
    "regexMatch \"x\"",
    "snakecase",
    "camelcase",
    "wrap 5",
    "title",
    "quote",
    "js",
    "html",
    "urlquery",
    "atoi",
    "float64",
    "splitList \",\"",
    "initials",
    "fromYaml | toYaml",
    "fromJson | toPrettyJson",
    "decryptAES \"k\"",
    "rsaDecrypt \"RSA-OAEP\" \"SHA256\" .x",
];

pub fn run(seed: u64, minutes: f64) -> ExitCode {
    let data = corpus::data();
    let templates: Vec<Vec<u8>> = corpus::all().into_iter().map(|case| case.template.into_bytes()).collect();
    let current = Arc::new(Mutex::new(Vec::new()));
    let started = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let last_words = here("../.cache/template-fuzz-current");
    panic::set_hook(Box::new(|_| {}));
    let (done, finished) = mpsc::channel();
    let worker = {
        let fuzzer = Fuzzer { random: StdRng::seed_from_u64(seed), templates, data };
        let watched = Watched { current: current.clone(), started: started.clone(), last_words: last_words.clone() };
        let work = move || {
            let _ = done.send(watched.render(fuzzer, began, minutes));
        };
        thread::Builder::new().stack_size(STACK).spawn(work).expect("a thread starts")
    };
    loop {
        match finished.recv_timeout(Duration::from_secs(1)) {
            Ok((count, panics)) => {
                let _ = worker.join();
                let _ = fs::remove_file(last_words);
                println!("{count} templates in {minutes} min, {panics} panics, no timeout, seed {seed}");
                return if panics == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE };
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => return ExitCode::FAILURE,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let since = started.load(Ordering::Relaxed);
                let now = began.elapsed().as_millis() as u64;
                if since > 0 && now.saturating_sub(since) > LONGEST.as_millis() as u64 {
                    let template = current.lock().expect("nobody panics with it").clone();
                    println!("TIMEOUT {}", String::from_utf8_lossy(&template).replace('\n', "⏎"));
                    return ExitCode::FAILURE;
                }
            }
        }
    }
}

/// What is told of the rendering at work: by which template, and since when (milliseconds, plus one).
struct Watched {
    current: Arc<Mutex<Vec<u8>>>,
    started: Arc<AtomicU64>,
    last_words: PathBuf,
}

impl Watched {
    /// Renders until the time is over; how many templates, and how many panics.
    fn render(&self, mut fuzzer: Fuzzer, began: Instant, minutes: f64) -> (u64, u64) {
        let options = ours::options(&oracle::Options::default());
        let (mut count, mut panics) = (0u64, 0u64);
        while began.elapsed().as_secs_f64() < minutes * 60.0 {
            let (template, data) = fuzzer.next();
            // What is found there after an overflow of the stack is to blame for it.
            let _ = fs::write(&self.last_words, &template);
            self.current.lock().expect("nobody panics with it").clone_from(&template);
            self.started.store(began.elapsed().as_millis() as u64 + 1, Ordering::Relaxed);
            let outcome =
                panic::catch_unwind(AssertUnwindSafe(|| ours::render(&template, &ours::root(&data), &options)));
            self.started.store(0, Ordering::Relaxed);
            count += 1;
            if outcome.is_err() {
                panics += 1;
                println!("PANIC {}", String::from_utf8_lossy(&template).replace('\n', "⏎"));
                if let Some(blob) = data.get("fuzz") {
                    println!("    .fuzz is {blob:?}");
                }
            }
            if count.is_multiple_of(50_000) {
                println!("{count} templates, {panics} panics, {:.0} s", began.elapsed().as_secs_f64());
            }
        }
        (count, panics)
    }
}

struct Fuzzer {
    random: StdRng,
    templates: Vec<Vec<u8>>,
    data: Data,
}

impl Fuzzer {
    fn next(&mut self) -> (Vec<u8>, Data) {
        match self.random.random_range(0..10) {
            0 => {
                let len = self.random.random_range(0..200);
                let bytes = (0..len).map(|_| self.random.random()).collect();
                (bytes, self.data.clone())
            }
            1..=3 => {
                let keys: Vec<&String> = self.data.keys().collect();
                let key = keys.choose(&mut self.random).map(|key| (*key).clone()).unwrap_or_default();
                let blob = self.data.get(&key).cloned().unwrap_or_default();
                let blob = self.mangle(blob);
                let reader = READERS.choose(&mut self.random).copied().unwrap_or("quote");
                let mut data = self.data.clone();
                data.insert("fuzz".to_owned(), blob);
                data.insert("x".to_owned(), data.get("oaep-sha256.bin").cloned().unwrap_or_default());
                (format!("{{{{ .fuzz | {reader} }}}}").into_bytes(), data)
            }
            _ => {
                let template = self.templates.choose(&mut self.random).cloned().unwrap_or_default();
                (self.mangle(template), self.data.clone())
            }
        }
    }

    fn mangle(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        for _ in 0..self.random.random_range(1..6) {
            let at = self.random.random_range(0..=bytes.len());
            let to = (at + self.random.random_range(0..20)).min(bytes.len());
            match self.random.random_range(0..8) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.random.random_range(0..8),
                1 if at < bytes.len() => bytes[at] = self.random.random(),
                2 => drop(bytes.drain(at..to)),
                3 | 4 => {
                    let token = TOKENS.choose(&mut self.random).copied().unwrap_or_default();
                    bytes.splice(at..at, token.bytes());
                }
                5 => {
                    let piece = bytes[at..to].to_vec();
                    let times = *[1, 2, 10, 1000].choose(&mut self.random).unwrap_or(&1);
                    bytes.splice(at..at, piece.repeat(times));
                }
                6 => {
                    let other = self.templates.choose(&mut self.random).cloned().unwrap_or_default();
                    bytes.truncate(at);
                    bytes.extend_from_slice(other.get(other.len() / 2..).unwrap_or_default());
                }
                _ => bytes.truncate(to),
            }
        }
        bytes
    }
}
