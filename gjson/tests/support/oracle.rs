//! The Go side: builds the oracle, then asks it through pipes.

use std::{
    io::{BufReader, BufWriter, Read, Write},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::OnceLock,
    thread,
    time::Duration,
};

use super::{Answer, Pair, ours};

/// Builds the oracle, and says where it is. Panics where Go is missing or refuses.
fn program() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let program = here.join("../.cache/gjson-oracle/oracle");
        let build = || {
            let mut go = Command::new("go");
            go.args(["build", "-trimpath", "-o"]).arg(&program).arg(".").current_dir(here.join("oracle"));
            go.env("CGO_ENABLED", "0").output().expect("go runs: the oracle is a Go program")
        };
        let mut built = build();
        // The first build downloads its modules, over networks that fail now and then.
        for pause in [5, 15, 30] {
            if built.status.success() {
                break;
            }
            thread::sleep(Duration::from_secs(pause));
            built = build();
        }
        assert!(built.status.success(), "building the oracle: {}", String::from_utf8_lossy(&built.stderr));
        program
    })
}

pub struct Oracle {
    child: Child,
    stdin: Option<BufWriter<ChildStdin>>,
    stdout: BufReader<ChildStdout>,
}

impl Oracle {
    pub fn start() -> Self {
        let mut child =
            Command::new(program()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the oracle starts");
        let stdin = child.stdin.take().map(BufWriter::new);
        let stdout = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        Self { child, stdin, stdout }
    }

    /// Go's answers, in order.
    pub fn ask(&mut self, pairs: &[Pair]) -> Vec<Answer> {
        let stdin = self.stdin.as_mut().expect("the oracle is asked before it ends");
        thread::scope(|scope| {
            // A dead oracle breaks the pipe; the missing answers tell.
            scope.spawn(|| {
                let _ = pairs.iter().try_for_each(|pair| {
                    write(stdin, &pair.path)?;
                    write(stdin, &pair.json)
                });
                let _ = stdin.flush();
            });
            pairs
                .iter()
                .map(|pair| {
                    let mut field = || read(&mut self.stdout);
                    match (field(), field(), field(), field()) {
                        (Some(kind), Some(text), Some(raw), Some(error)) if error.is_empty() => {
                            Answer::Found { kind: String::from_utf8_lossy(&kind).into_owned(), text, raw }
                        }
                        (.., Some(error)) => Answer::None(String::from_utf8_lossy(&error).into_owned()),
                        _ => {
                            panic!("the oracle died near {} of {}", pair.path.escape_ascii(), pair.json.escape_ascii())
                        }
                    }
                })
                .collect()
        })
    }

    fn differs(&mut self, pair: &Pair) -> bool {
        let answer = ours(pair);
        !matches!(answer, Answer::None(_)) && self.ask(std::slice::from_ref(pair))[0] != answer
    }

    /// Leaves out of a pair what the difference does not need.
    pub fn shrink(&mut self, pair: &Pair) -> Pair {
        let mut pair = pair.clone();
        for size in [64, 16, 4, 2, 1, 3, 2, 1] {
            for of_path in [true, false] {
                let mut at = 0;
                loop {
                    let mut smaller = pair.clone();
                    let text = if of_path { &mut smaller.path } else { &mut smaller.json };
                    if at + size > text.len() {
                        break;
                    }
                    text.drain(at..at + size);
                    if self.differs(&smaller) { pair = smaller } else { at += 1 }
                }
            }
        }
        pair
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}

fn write(out: &mut impl Write, field: &[u8]) -> std::io::Result<()> {
    out.write_all(&u32::try_from(field.len()).expect("a short field").to_be_bytes())?;
    out.write_all(field)
}

fn read(from: &mut impl Read) -> Option<Vec<u8>> {
    let mut size = [0; 4];
    from.read_exact(&mut size).ok()?;
    let mut field = vec![0; u32::from_be_bytes(size) as usize];
    from.read_exact(&mut field).ok()?;
    Some(field)
}
