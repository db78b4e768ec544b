//! The audit log in a file, or on standard error.

use std::fs::{OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};

use tokio::sync::mpsc::UnboundedReceiver;

use super::{Account, Line};

/// Where lines are written.
pub(super) type Out = Box<dyn Write + Send>;

/// Where `--audit-log` says that it goes: `-` is standard error, anything else a file, which is appended to and is for its
/// owner alone. The error is for a person.
pub(super) fn open(target: &str) -> Result<Out, String> {
    if target == "-" {
        return Ok(Box::new(std::io::stderr()));
    }
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(target);
    let failed = |error: std::io::Error| format!("can't open the audit log {target}: {}", error.kind());
    let file = file.map_err(failed)?;
    // One that was there already may be for others, too; what is no file has an access of its own.
    if file.metadata().map_err(failed)?.is_file() {
        file.set_permissions(Permissions::from_mode(0o600)).map_err(failed)?;
    }
    Ok(Box::new(file))
}

/// Writes what is queued, until the queue ends.
pub(super) fn write(mut queued: UnboundedReceiver<Line>, mut out: Out, account: &Account) {
    let (mut has_failed, mut is_torn) = (false, false);
    while let Some(line) = queued.blocking_recv() {
        match write_line(&mut *out, &line, &mut is_torn) {
            Ok(()) => {
                has_failed = false;
                account.writes(&line);
            }
            Err(error) => {
                account.drops(&line);
                if !std::mem::replace(&mut has_failed, true) {
                    tracing::error!(cause = %error.kind(), "can't write the audit log: deliveries are not in it");
                }
            }
        }
    }
}

/// Writes a line, in one piece where that can be: others write to the same place. `is_torn` says, before and after, that a part
/// of one stands there without its end: the next begins a line of its own.
fn write_line(out: &mut dyn Write, line: &[u8], is_torn: &mut bool) -> std::io::Result<()> {
    if *is_torn {
        out.write_all(b"\n")?;
        *is_torn = false;
    }
    let mut rest = line;
    while !rest.is_empty() {
        match out.write(rest) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => rest = &rest[count..],
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        *is_torn = !rest.is_empty();
    }
    out.flush()
}
