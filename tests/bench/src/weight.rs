//! What the program weighs before it does anything: its file, and the memory of an operator that has nothing to do.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use keyferry_testkit::Operator;
use rustix::fs::{Advice, fadvise};

use crate::bed::Bed;
use crate::double::Double;
use crate::report::progress;
use crate::subject::Subject;
use crate::usage;

/// How large the file may be, and how much memory an idle operator may have had at most, in MiB.
const FILE: f64 = 45.0;
const IDLE: f64 = 25.0;

/// How long it is idle: longer than starting takes, and several renewals of the Lease.
const WATCHED: Duration = Duration::from_secs(30);

/// Weighs the built program on a control plane without objects. Gives what a person reads; an error where it is too heavy.
pub async fn weigh() -> Result<String> {
    let program = Operator::program()?;
    let bytes = std::fs::metadata(&program).with_context(|| format!("cannot read {}", program.display()))?.len();
    let file = bytes as f64 / f64::from(1 << 20);
    progress("starting a control plane");
    let bed = Bed::start().await?;
    let double = Double::start();
    forget(&program)?;
    progress(&format!("an operator has nothing to do for {} s", WATCHED.as_secs()));
    let mut subject = Subject::start(bed.testbed(), &double, None, &[])?;
    tokio::time::sleep(WATCHED).await;
    subject.check()?;
    let idle = usage::peak_mib(subject.id())?;
    subject.stop()?;
    let text = format!(
        "the program: {file:.1} MiB (at most {FILE})\nan idle operator, at its peak: {idle:.1} MiB of memory (at most {IDLE})"
    );
    if file <= FILE && idle <= IDLE { Ok(text) } else { Err(anyhow!("too heavy:\n{text}")) }
}

/// Has the system read a program anew. Of what was just written, as by a build, it keeps larger pieces, each of which counts whole
/// for the process that needs a page of it: that comes to two MiB or three.
fn forget(program: &Path) -> Result<()> {
    let file = File::open(program)?;
    file.sync_all()
        .and_then(|()| Ok(fadvise(&file, 0, None, Advice::DontNeed)?))
        .context("cannot have the program read anew")
}
