//! What the outside lends to a template: limits, a clock, randomness.

use std::time::SystemTime;

use rand::{TryRngCore, rngs::OsRng};

use keyferry_limits::{
    Budget, TEMPLATE_DEPTH, TEMPLATE_HASH_COST, TEMPLATE_KEY_BITS, TEMPLATE_LIST, TEMPLATE_MEMORY, TEMPLATE_OUTPUT,
    TEMPLATE_PATTERN, TEMPLATE_STEPS, TEMPLATE_VALUE,
};

use crate::error::{Failure, Limit};

/// What a template may use at most. Templates are user input.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Evaluation steps: one for each piece of text, action, argument, loop round and element that a function walks.
    pub steps: u64,
    /// Templates that call templates.
    pub template_depth: usize,
    /// Bytes of the output.
    pub output_bytes: usize,
    /// Bytes of one value.
    pub value_bytes: usize,
    /// Bytes of all values that functions returned, added up.
    pub memory_bytes: usize,
    /// Elements of one list.
    pub list_length: usize,
    /// Size of a compiled regular expression.
    pub regex_bytes: usize,
    /// Cost factor of bcrypt.
    pub bcrypt_cost: u32,
    /// Bits of a generated RSA key.
    pub rsa_bits: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            steps: TEMPLATE_STEPS.most,
            template_depth: TEMPLATE_DEPTH.size(),
            output_bytes: TEMPLATE_OUTPUT.size(),
            value_bytes: TEMPLATE_VALUE.size(),
            memory_bytes: TEMPLATE_MEMORY.size(),
            list_length: TEMPLATE_LIST.size(),
            regex_bytes: TEMPLATE_PATTERN.size(),
            bcrypt_cost: TEMPLATE_HASH_COST.most as u32,
            rsa_bits: TEMPLATE_KEY_BITS.size(),
        }
    }
}

/// Where random bytes come from.
pub trait Random {
    /// Fills all of it, or fails.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Failure>;
}

/// What time it is.
pub trait Clock {
    /// Now.
    fn now(&self) -> SystemTime;
}

/// The operating system's randomness.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Failure> {
        OsRng.try_fill_bytes(bytes).map_err(|_| Failure::new("the system has no randomness"))
    }
}

/// The operating system's clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// What one rendering runs with. The default is the system's clock and randomness, and the default limits.
pub struct Env<'a> {
    /// Randomness.
    pub random: Box<dyn Random + 'a>,
    /// The clock.
    pub clock: &'a dyn Clock,
    /// The limits of this rendering.
    pub limits: Limits,
    /// The functions that failed and made Go's complaint their result, as Go's do, each once.
    pub complained: Vec<&'static str>,
    /// What is left for this rendering and all others of the same look.
    pub budget: Option<&'a Budget>,
}

impl Default for Env<'_> {
    fn default() -> Self {
        Self {
            random: Box::new(SystemRandom),
            clock: &SystemClock,
            limits: Limits::default(),
            complained: Vec::new(),
            budget: None,
        }
    }
}

/// What an evaluation step is worth in steps of a look.
const STEP: u64 = 10;

/// What a value takes beside its bytes: its place in a list that has grown, a text's counter and buffer.
pub(crate) const VALUE: usize = 96;

/// What a map takes before it has a second entry: its tree has room for eleven from the first.
const MAP: usize = 512;

/// What an entry of a map takes: a key of its own, a value, and room in a tree that is half empty.
pub(crate) const ENTRY: usize = 2 * VALUE;

/// What a function gets besides its arguments.
pub struct Context<'a, 'e> {
    env: &'a mut Env<'e>,
    steps: u64,
    memory: usize,
}

impl<'a, 'e> Context<'a, 'e> {
    /// A context with nothing used yet.
    pub fn new(env: &'a mut Env<'e>) -> Self {
        Self { env, steps: 0, memory: 0 }
    }

    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.env.limits
    }

    /// The time.
    pub fn now(&self) -> SystemTime {
        self.env.clock.now()
    }

    /// Notes that what this function returns is a complaint, and not what was asked for.
    pub(crate) fn complain(&mut self, function: &'static str) {
        if !self.env.complained.contains(&function) {
            self.env.complained.push(function);
        }
    }

    /// The source of randomness.
    pub fn random(&mut self) -> &mut (dyn Random + 'e) {
        &mut *self.env.random
    }

    /// Pays for work. A function that walks a value (copies, compares, encodes it) pays one step per element it
    /// visits: a list may hold itself many times over, so its size says nothing about the work.
    pub fn spend(&mut self, steps: u64) -> Result<(), Failure> {
        self.steps = self.steps.saturating_add(steps);
        if self.steps <= self.env.limits.steps {
            self.work(steps.saturating_mul(STEP))
        } else {
            Err(Failure::limit(Limit::Steps, self.env.limits.steps))
        }
    }

    /// Pays for work in steps of a look, of which an evaluation step is worth some: for what takes long in itself.
    pub(crate) fn work(&self, steps: u64) -> Result<(), Failure> {
        let steps = usize::try_from(steps).unwrap_or(usize::MAX);
        Ok(self.env.budget.map_or(Ok(()), |budget| budget.steps(steps))?)
    }

    /// Pays for memory that a function takes beside what it returns.
    pub(crate) fn made(&self, bytes: usize) -> Result<(), Failure> {
        Ok(self.env.budget.map_or(Ok(()), |budget| budget.bytes(bytes))?)
    }

    /// Pays for a map that is about to be made, with so many entries.
    pub(crate) fn made_map(&self, entries: usize) -> Result<(), Failure> {
        self.made(entries.saturating_mul(ENTRY).saturating_add(MAP))
    }

    /// May a string of so many bytes be made? To be asked before building anything larger than the arguments; what a
    /// function returns is paid for by the renderer.
    pub fn fits(&self, bytes: usize) -> Result<(), Failure> {
        let limits = &self.env.limits;
        match bytes {
            n if n > limits.value_bytes => Err(Failure::limit(Limit::ValueBytes, limits.value_bytes as u64)),
            n if n > limits.memory_bytes.saturating_sub(self.memory) => {
                Err(Failure::limit(Limit::MemoryBytes, limits.memory_bytes as u64))
            }
            _ => Ok(()),
        }
    }

    /// May a list of so many elements be made? To be asked before building it.
    pub fn fits_list(&self, len: usize) -> Result<(), Failure> {
        if len <= self.env.limits.list_length {
            Ok(())
        } else {
            Err(Failure::limit(Limit::ListLength, self.env.limits.list_length as u64))
        }
    }

    /// Pays for the memory of a value that a function returned.
    pub(crate) fn hold(&mut self, bytes: usize) -> Result<(), Failure> {
        self.fits(bytes)?;
        self.memory = self.memory.saturating_add(bytes);
        self.made(bytes.saturating_add(VALUE))
    }
}
