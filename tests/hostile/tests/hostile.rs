//! A few attacks of each kind, all at once, and a restart with all of them there: `make hostile` makes every one.

use std::process::ExitCode;
use std::time::Duration;

use keyferry_hostile::report::progress;
use keyferry_hostile::round::{self, Bounds};
use keyferry_hostile::{Ground, Report, attacks};
use libtest_mimic::{Arguments, Failed, Trial};

/// At rest the build that tests run has some 30 MiB more than a release, as it is not optimized.
const MEMORY_MIB: f64 = 288.0;

/// Where the API server takes longer than this to answer somebody who asks for one small object twice a second, the machine
/// has no time for anybody, and what was measured says nothing. Then it is measured once more; a flood of ours would do it
/// again.
const NO_TIME: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trial = Trial::test("nothing_that_one_tenant_writes_stops_the_others", || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            let report = test().await?;
            let slowest = report.slowest_answer();
            if report.is_good() || slowest < NO_TIME {
                return judge(&report);
            }
            progress(&format!("the API server took {:.1} s to answer us: once more", slowest.as_secs_f64()));
            judge(&test().await?)
        })
    });
    libtest_mimic::run(&arguments, vec![trial]).exit_code()
}

async fn test() -> Result<Report, Failed> {
    let all = attacks::all();
    let short: Vec<_> = all.into_iter().filter(|attack| attacks::SHORT.contains(&attack.name)).collect();
    let bounds = Bounds { memory: MEMORY_MIB, seconds: Some(20) };
    let mut ground = Ground::start().await.map_err(|error| format!("{error:#}"))?;
    let mut report = Report::default();
    let rows = round::attack(&mut ground, &short, bounds).await.map_err(|error| format!("{error:#}"))?;
    report.0.extend(rows);
    // The objects are still there.
    report.0.push(round::restart(&mut ground, &[], bounds).await.map_err(|error| format!("{error:#}"))?);
    progress(&report.table());
    Ok(report)
}

fn judge(report: &Report) -> Result<(), Failed> {
    if report.is_good() { Ok(()) } else { Err(report.table().into()) }
}
