//! What patterns take that are made to take much, as the kernel counts it. The peak is that of the process, so that this
//! test has one to itself.

use keyferry_go::regexp::{compile, compile_with_groups, first_wrong};

/// The most that this process has ever held, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kib << 10
}

#[test]
fn no_pattern_takes_the_memory_of_all_others() {
    let letters = r"\pL".repeat(10_000);
    let patterns = [
        letters.clone(),
        format!("[{letters}]"),
        format!("[^{letters}]"),
        format!("(?i){letters}"),
        format!("(?i)[{}]", r"\PL\pL".repeat(5_000)),
        r"[\x{0}-\x{10ffff}]".repeat(1_700),
        r"(\pL{90}){10}".repeat(2_000),
        "((a{1,10}){1,10}){1,10}".repeat(1_000),
        format!("{}a{}", "(".repeat(10_000), ")".repeat(10_000)),
        format!("{}a{}", "(?:".repeat(8_000), ")*".repeat(8_000)),
        "(a|b|ab)*".repeat(3_600),
        r"[a-z]\d|".repeat(4_000),
        r"(?P<name>\pL)".repeat(2_000),
    ];
    let before = peak();
    for pattern in &patterns {
        let _ = compile(pattern).map(|compiled| compiled.is_match(&"ab".repeat(1_000)));
        let _ = compile_with_groups(pattern);
        let _ = first_wrong([pattern.as_str(); 10]);
    }
    let took = peak() - before;
    assert!(took < 64 << 20, "{} MiB", took >> 20);
}
