//! Finds matches, and pays for all that it looks at.
//!
//! A lazy automaton is walked by hand here because only so it is known how far it looks: `a.*b|a` looks through the
//! whole text for each `a` when there is no `b`, and a template could make it do that a million times. What the
//! automaton builds on its way is paid for as well.

use regex_automata::{
    Anchored, Input, MatchKind,
    hybrid::{
        LazyStateID,
        dfa::{Cache, Config, DFA},
    },
    nfa::thompson::{self, Compiler, NFA, WhichCaptures, pikevm, pikevm::PikeVM},
    util::captures::Captures,
};
use regex_syntax::hir::Hir;

use crate::{
    env::Context,
    error::{Failure, Limit},
};

/// Bytes that an automaton may keep of what it has built.
const CACHE: usize = 1 << 20;

/// How many bytes to walk before paying.
const STRIDE: usize = 1024;

/// Bytes walked for one step.
const WALK: usize = 64;

/// Bytes built for one step.
const BUILD: usize = 64;

/// States times bytes for one step where all states are looked at for each byte.
const GROUPS: usize = 256;

/// A match that ends no farther away is looked at again from the front, which needs no automaton for the way back.
const NEAR: usize = 64;

/// A pattern that is ready to search.
pub(super) struct Searcher {
    hir: Hir,
    nfa: NFA,
    forward: Walker,
    backward: Option<Walker>,
    groups: PikeVM,
    cache: Option<pikevm::Cache>,
}

/// An automaton that is built while it is walked.
struct Walker {
    dfa: DFA,
    cache: Cache,
    paid: usize,
}

fn too_large(context: &Context<'_, '_>) -> Failure {
    Failure::limit(Limit::RegexSize, context.limits().regex_bytes as u64)
}

impl Searcher {
    pub(super) fn new(context: &Context<'_, '_>, hir: Hir) -> Result<Self, Failure> {
        let nfa = compile(context, &hir, false)?;
        let groups = PikeVM::new_from_nfa(nfa.clone()).map_err(|_| too_large(context))?;
        let forward = Walker::new(context, nfa.clone(), MatchKind::LeftmostFirst)?;
        Ok(Self { hir, nfa, forward, backward: None, groups, cache: None })
    }

    /// Room for the places of all groups.
    pub(super) fn captures(&self) -> Captures {
        Captures::all(self.nfa.group_info().clone())
    }

    /// Is there a match anywhere?
    pub(super) fn is_match(&mut self, context: &mut Context<'_, '_>, text: &[u8]) -> Result<bool, Failure> {
        Ok(self.end(context, text, 0, true)?.is_some())
    }

    /// The first match from a place on.
    pub(super) fn find(
        &mut self,
        context: &mut Context<'_, '_>,
        text: &[u8],
        from: usize,
    ) -> Result<Option<(usize, usize)>, Failure> {
        let Some((from, end)) = self.end(context, text, from, false)? else { return Ok(None) };
        if end - from > NEAR {
            return self.start(context, text, from, end).map(|start| Some((start, end)));
        }
        let mut captures = Captures::matches(self.nfa.group_info().clone());
        self.look_closely(context, Input::new(text).span(from..end), &mut captures)?;
        Ok(captures.get_match().map(|found| (found.start(), found.end())))
    }

    /// The same, with the places of groups.
    pub(super) fn find_groups(
        &mut self,
        context: &mut Context<'_, '_>,
        text: &[u8],
        from: usize,
        captures: &mut Captures,
    ) -> Result<Option<(usize, usize)>, Failure> {
        let Some((from, end)) = self.end(context, text, from, false)? else { return Ok(None) };
        let input = if end - from > NEAR {
            Input::new(text).span(self.start(context, text, from, end)?..end).anchored(Anchored::Yes)
        } else {
            Input::new(text).span(from..end)
        };
        self.look_closely(context, input, captures)?;
        Ok(captures.get_match().map(|found| (found.start(), found.end())))
    }

    /// Where the first match ends, and from where on that was found.
    fn end(
        &mut self,
        context: &mut Context<'_, '_>,
        text: &[u8],
        mut from: usize,
        any: bool,
    ) -> Result<Option<(usize, usize)>, Failure> {
        let within_character = |at: usize| text.get(at).is_some_and(|byte| byte & 0xc0 == 0x80);
        while let Some(end) = self.forward.forward(context, text, from, any)? {
            // Only a match of nothing ends there, and Go knows no such place.
            if !within_character(end) {
                return Ok(Some((from, end)));
            }
            from = end + 1;
        }
        Ok(None)
    }

    /// Where the match begins that ends there.
    fn start(&mut self, context: &mut Context<'_, '_>, text: &[u8], from: usize, end: usize) -> Result<usize, Failure> {
        let walker = match &mut self.backward {
            Some(walker) => walker,
            none => {
                let nfa = compile(context, &self.hir, true)?;
                none.insert(Walker::new(context, nfa, MatchKind::All)?)
            }
        };
        walker.backward(context, text, from, end).map(|start| start.unwrap_or(end))
    }

    fn look_closely(
        &mut self,
        context: &mut Context<'_, '_>,
        input: Input<'_>,
        captures: &mut Captures,
    ) -> Result<(), Failure> {
        let work = input.get_span().len().saturating_mul(self.nfa.states().len());
        context.spend((work / GROUPS) as u64)?;
        let cache = self.cache.get_or_insert_with(|| self.groups.create_cache());
        self.groups.captures(cache, input, captures);
        Ok(())
    }
}

fn compile(context: &Context<'_, '_>, hir: &Hir, reverse: bool) -> Result<NFA, Failure> {
    let config = thompson::Config::new().nfa_size_limit(Some(context.limits().regex_bytes)).reverse(reverse);
    let captures = if reverse { WhichCaptures::None } else { WhichCaptures::All };
    let compiled = Compiler::new().configure(config.which_captures(captures)).build_from_hir(hir);
    let compiled = compiled.map_err(|_| too_large(context))?;
    // It was built byte by byte, at each call.
    context.work(compiled.memory_usage() as u64)?;
    Ok(compiled)
}

impl Walker {
    fn new(context: &Context<'_, '_>, nfa: NFA, kind: MatchKind) -> Result<Self, Failure> {
        let config = Config::new().match_kind(kind).cache_capacity(CACHE).skip_cache_capacity_check(true);
        let dfa = DFA::builder().configure(config).build_from_nfa(nfa).map_err(|_| too_large(context))?;
        let cache = dfa.create_cache();
        let paid = cache.memory_usage();
        Ok(Self { dfa, cache, paid })
    }

    /// Pays for the bytes walked and for what was built.
    fn pay(&mut self, context: &mut Context<'_, '_>, walked: usize) -> Result<(), Failure> {
        // What was thrown away when the cache was full counts too.
        let built = self.cache.clear_count().saturating_mul(CACHE).saturating_add(self.cache.memory_usage());
        let more = built.saturating_sub(self.paid);
        self.paid = self.paid.max(built);
        context.spend((walked / WALK + more / BUILD) as u64)
    }

    fn next(
        &mut self,
        context: &Context<'_, '_>,
        state: LazyStateID,
        byte: Option<u8>,
    ) -> Result<LazyStateID, Failure> {
        let next = match byte {
            Some(byte) => self.dfa.next_state(&mut self.cache, state, byte),
            None => self.dfa.next_eoi_state(&mut self.cache, state),
        };
        next.map_err(|_| too_large(context))
    }

    /// Where the first match from `from` on ends, or the first place where it is known that there is one.
    fn forward(
        &mut self,
        context: &mut Context<'_, '_>,
        text: &[u8],
        from: usize,
        any: bool,
    ) -> Result<Option<usize>, Failure> {
        context.spend(1)?;
        let input = Input::new(text).span(from..text.len());
        let start = self.dfa.start_state_forward(&mut self.cache, &input);
        let mut state = start.map_err(|_| too_large(context))?;
        let mut found = None;
        let mut unpaid = from;
        // A state tells of a match one byte late, so that it may look at what follows.
        for at in from..=text.len() {
            state = self.next(context, state, text.get(at).copied())?;
            if state.is_match() {
                found = Some(at);
            }
            if state.is_dead() || (any && found.is_some()) {
                self.pay(context, at - unpaid)?;
                return Ok(found);
            }
            if at - unpaid >= STRIDE {
                self.pay(context, at - unpaid)?;
                unpaid = at;
            }
        }
        self.pay(context, text.len() - unpaid)?;
        Ok(found)
    }

    /// Where the longest match that ends at `end` begins.
    fn backward(
        &mut self,
        context: &mut Context<'_, '_>,
        text: &[u8],
        from: usize,
        end: usize,
    ) -> Result<Option<usize>, Failure> {
        context.spend(1)?;
        let input = Input::new(text).span(from..end).anchored(Anchored::Yes);
        let start = self.dfa.start_state_reverse(&mut self.cache, &input);
        let mut state = start.map_err(|_| too_large(context))?;
        let mut found = None;
        let mut unpaid = end;
        for at in (from..=end).rev() {
            let byte = at.checked_sub(1).and_then(|before| text.get(before)).copied();
            state = self.next(context, state, byte)?;
            if state.is_match() {
                found = Some(at);
            }
            if state.is_dead() {
                break;
            }
            if unpaid - at >= STRIDE {
                self.pay(context, unpaid - at)?;
                unpaid = at;
            }
        }
        self.pay(context, unpaid - from)?;
        Ok(found)
    }
}
