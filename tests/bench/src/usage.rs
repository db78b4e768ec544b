//! What a process needs, as the kernel counts it.

use std::fs;

use anyhow::{Context as _, Result, anyhow};

/// Processor seconds that a process has used so far, of all its threads.
pub fn cpu_seconds(id: u32) -> Result<f64> {
    let path = format!("/proc/{id}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    // The name stands in parentheses and may hold anything; utime and stime are the 12th and 13th after it.
    let (_, rest) = stat.rsplit_once(") ").ok_or_else(|| anyhow!("{path} is of another form"))?;
    let ticks = rest.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().unwrap_or_default()).sum::<u64>();
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// The most memory that it had resident since [`forget_peak`], in MiB.
pub fn peak_mib(id: u32) -> Result<f64> {
    let path = format!("/proc/{id}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kib.map(|kib| kib / 1024.0).ok_or_else(|| anyhow!("{path} has no VmHWM"))
}

/// Begins a new peak. Where the kernel does not let us, the peak is that since its start.
pub fn forget_peak(id: u32) {
    let _ = fs::write(format!("/proc/{id}/clear_refs"), "5");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        let id = std::process::id();
        let before = cpu_seconds(id).unwrap();
        let begun = std::time::Instant::now();
        let mut n = 0u64;
        // On a busy machine a while may pass before it gets the processor for as long as the kernel counts.
        let used = loop {
            n = std::hint::black_box(n + 1);
            if !n.is_multiple_of(1_000_000) {
                continue;
            }
            let used = cpu_seconds(id).unwrap() - before;
            if used > 0.0 {
                break used;
            }
            assert!(begun.elapsed().as_secs() < 60, "nothing is counted");
        };
        assert!(used < 60.0, "{used}");
        forget_peak(id);
        assert!(peak_mib(id).unwrap() > 1.0);
    }
}
