//! How much a pattern takes when it is compiled, before it is.

use regex_syntax::hir::{Class, Hir, HirKind};

/// Bytes for a range of characters, which becomes several of bytes, forward and backward; for `\pL` it is some 40 KiB.
const RANGE: usize = 64;

/// Bytes for what else is a step on the way through a text.
const STEP: usize = 32;

/// About how many bytes the automata of a pattern take. What is repeated is there as often.
pub fn size(hir: &Hir) -> usize {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => STEP,
        HirKind::Literal(literal) => literal.0.len().saturating_mul(STEP),
        HirKind::Class(Class::Unicode(class)) => class.ranges().len().saturating_mul(RANGE),
        HirKind::Class(Class::Bytes(class)) => class.ranges().len().saturating_mul(STEP),
        HirKind::Capture(capture) => size(&capture.sub).saturating_add(2 * STEP),
        HirKind::Repetition(repetition) => {
            let times = repetition.max.unwrap_or(repetition.min.max(1)) as usize;
            size(&repetition.sub).saturating_add(STEP).saturating_mul(times)
        }
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().fold(STEP, |sum, part| sum.saturating_add(size(part)))
        }
    }
}
