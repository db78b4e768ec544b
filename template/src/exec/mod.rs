//! Running a parsed template.
//!
//! Statements run in a loop over a flat program, with scopes and calls on stacks of their own; only parentheses
//! recurse, and their depth is bounded when the template is parsed.
//!
//! Modules, in reading order: [`range`] what a range goes round, [`eval`] pipelines, [`field`] fields and methods,
//! [`call`] function calls.

mod range;
mod eval;
mod field;
mod call;

use zeroize::Zeroizing;

use crate::{
    env::{Context, Env},
    error::{Error, Failure, Limit},
    fmt,
    parse::{
        node::{Name, Pipe},
        program::{Op, Program},
    },
    template::Template,
    value::{Value, map::Nursery},
};
pub(crate) use eval::zero;
use range::Items;

pub(crate) fn run(template: &Template, data: &Value, env: &mut Env<'_>) -> Result<Zeroizing<Vec<u8>>, Error> {
    let _nursery = Nursery::open();
    let most_output = env.limits.output_bytes;
    let mut state = State {
        template,
        context: Context::new(env),
        out: Zeroizing::default(),
        most_output,
        dot: data.clone(),
        vars: vec![(0, data.clone())],
        frame: Frame { name: &template.name, program: None, pc: 0, dot: Value::Nil, vars: 0, scopes: 0 },
        scopes: Vec::new(),
        frames: Vec::new(),
        args: Vec::new(),
    };
    state.frame.program = template.programs.get(template.name.as_str());
    state.run()?;
    // It is bounded by a limit of its own, so that it may be paid for when it is there.
    let paid = state.context.made(state.out.len());
    paid.map_err(|failure| state.fail(0, "text", failure))?;
    Ok(std::mem::take(&mut state.out))
}

struct State<'t, 'a, 'e> {
    template: &'t Template,
    context: Context<'a, 'e>,
    out: Zeroizing<Vec<u8>>,
    most_output: usize,
    dot: Value,
    vars: Vec<(Name, Value)>,
    scopes: Vec<Scope<'t>>,
    /// The template that runs, and those that wait for it.
    frame: Frame<'t>,
    frames: Vec<Frame<'t>>,
    /// Arguments under evaluation, of all calls.
    args: Vec<Value>,
}

/// A template that runs.
struct Frame<'t> {
    name: &'t str,
    program: Option<&'t Program>,
    pc: usize,
    /// Dot of the caller, to return to.
    dot: Value,
    /// Where its variables and scopes begin.
    vars: usize,
    scopes: usize,
}

/// An open block.
struct Scope<'t> {
    /// How many variables there were before.
    vars: usize,
    /// Dot before.
    dot: Value,
    range: Option<Range<'t>>,
}

struct Range<'t> {
    pipe: &'t Pipe,
    body: usize,
    end: usize,
    /// What is left to go round; nothing while the `else` runs.
    items: Option<Items>,
    /// How many variables there were before the body.
    vars: usize,
}

impl<'t> State<'t, '_, '_> {
    fn run(&mut self) -> Result<(), Error> {
        loop {
            let op = self.frame.program.and_then(|program| program.ops.get(self.frame.pc));
            self.frame.pc += 1;
            match op {
                Some(op) => {
                    self.context.spend(1).map_err(|failure| self.fail_op(op, failure))?;
                    self.step(op)?;
                }
                None => match self.frames.pop() {
                    Some(caller) => self.leave(caller),
                    None => return Ok(()),
                },
            }
        }
    }

    fn step(&mut self, op: &'t Op) -> Result<(), Error> {
        match op {
            Op::Text(range) => {
                let text = self.template.text.get(range.clone()).unwrap_or_default();
                if !fmt::append(&mut self.out, self.most_output, text) {
                    return Err(self.fail_op(op, self.too_long()));
                }
            }
            Op::Action(pipe) => {
                let dot = self.dot.clone();
                let value = self.pipeline(&dot, pipe)?;
                let fits = !pipe.decl.is_empty() || fmt::write(&mut self.out, self.most_output, &value);
                if !fits {
                    return Err(self.fail_op(op, self.too_long()));
                }
            }
            Op::If { pipe, otherwise } => self.branch(pipe, *otherwise, false)?,
            Op::With { pipe, otherwise } => self.branch(pipe, *otherwise, true)?,
            Op::Range { pipe, otherwise, end } => self.range(pipe, *otherwise, *end)?,
            Op::Next | Op::Continue => self.next_round(),
            Op::Break => self.leave_range(),
            Op::Jump(target) => self.frame.pc = *target,
            Op::End => {
                self.close_scope();
            }
            Op::Call { pos: _, name, pipe } => self.call_template(op, name, pipe.as_ref())?,
        }
        Ok(())
    }

    fn too_long(&self) -> Failure {
        Failure::limit(Limit::OutputBytes, self.most_output as u64)
    }

    fn branch(&mut self, pipe: &'t Pipe, otherwise: usize, with: bool) -> Result<(), Error> {
        let (vars, dot) = (self.vars.len(), self.dot.clone());
        let value = self.pipeline(&dot, pipe)?;
        self.scopes.push(Scope { vars, dot, range: None });
        match value.is_true() {
            true if with => self.dot = value,
            true => {}
            false => self.frame.pc = otherwise,
        }
        Ok(())
    }

    fn range(&mut self, pipe: &'t Pipe, otherwise: usize, end: usize) -> Result<(), Error> {
        let (vars, dot) = (self.vars.len(), self.dot.clone());
        let value = self.pipeline(&dot, pipe)?;
        let items = Items::of(&value, pipe.decl.len()).map_err(|failure| self.fail(pipe.pos, pipe, failure))?;
        let paid = self.context.spend(items.cost()).and_then(|()| self.context.made(items.held()));
        paid.map_err(|failure| self.fail(pipe.pos, pipe, failure))?;
        let body = self.frame.pc;
        let range = Range { pipe, body, end, items: Some(items), vars: self.vars.len() };
        self.scopes.push(Scope { vars, dot, range: Some(range) });
        if !self.round() {
            self.frame.pc = otherwise;
            if let Some(range) = self.scopes.last_mut().and_then(|scope| scope.range.as_mut()) {
                range.items = None;
            }
        }
        Ok(())
    }

    /// Starts the next round of the innermost scope, which is a range, if there is one.
    fn round(&mut self) -> bool {
        let Some(range) = self.scopes.last_mut().and_then(|scope| scope.range.as_mut()) else {
            return false;
        };
        let Some((index, item)) = range.items.as_mut().and_then(Iterator::next) else {
            return false;
        };
        let (decl, assign, body) = (&range.pipe.decl, range.pipe.assign, range.body);
        self.vars.truncate(range.vars);
        match (decl.as_slice(), assign) {
            ([], _) => {}
            ([(name, _)], true) => {
                self.set(*name, item.clone());
            }
            ([(first, _), (second, _), ..], true) => {
                self.set(*first, index);
                self.set(*second, item.clone());
            }
            ([_], false) => self.set_top(1, item.clone()),
            ([..], false) => {
                self.set_top(1, item.clone());
                self.set_top(2, index);
            }
        }
        self.dot = item;
        self.frame.pc = body;
        true
    }

    /// Ends a round: closes what is open in it, and goes round again or on.
    fn next_round(&mut self) {
        while self.scopes.len() > self.frame.scopes {
            let end = match self.scopes.last().and_then(|scope| scope.range.as_ref()) {
                Some(range) if range.items.is_some() => range.end,
                _ => {
                    self.close_scope();
                    continue;
                }
            };
            if !self.round() {
                self.close_scope();
                self.frame.pc = end;
            }
            return;
        }
    }

    /// As in Go, a `break` in the `else` of a range ends that range and not the one around it.
    fn leave_range(&mut self) {
        while self.scopes.len() > self.frame.scopes {
            if let Some(range) = self.close_scope() {
                self.frame.pc = range.end;
                return;
            }
        }
    }

    fn close_scope(&mut self) -> Option<Range<'t>> {
        let scope = self.scopes.pop()?;
        self.vars.truncate(scope.vars);
        self.dot = scope.dot;
        scope.range
    }

    fn call_template(&mut self, op: &'t Op, name: &'t str, pipe: Option<&'t Pipe>) -> Result<(), Error> {
        let Some(program) = self.template.programs.get(name) else {
            return Err(
                self.fail_op(op, Failure::about("template not defined", format!("template {name:?} not defined")))
            );
        };
        let most = self.context.limits().template_depth;
        if self.frames.len() >= most {
            return Err(self.fail_op(op, Failure::limit(Limit::TemplateDepth, most as u64)));
        }
        let dot = self.dot.clone();
        let value = match pipe {
            Some(pipe) => self.pipeline(&dot, pipe)?,
            None => Value::NoValue,
        };
        let callee =
            Frame { name, program: Some(program), pc: 0, dot, vars: self.vars.len(), scopes: self.scopes.len() };
        self.frames.push(std::mem::replace(&mut self.frame, callee));
        self.vars.push((0, value.clone()));
        self.dot = value;
        Ok(())
    }

    fn leave(&mut self, caller: Frame<'t>) {
        self.vars.truncate(self.frame.vars);
        self.scopes.truncate(self.frame.scopes);
        let callee = std::mem::replace(&mut self.frame, caller);
        self.dot = callee.dot;
    }

    /// The innermost variable of that name, and how many others were looked at to find it.
    fn variable(&self, name: Name) -> Option<(&Value, u64)> {
        let own = self.vars.get(self.frame.vars..)?;
        let found = own.iter().rev().zip(0..).find(|((known, _), _)| *known == name);
        found.map(|((_, value), distance)| (value, distance))
    }

    /// Assigns to the innermost variable of that name, if there is one.
    fn set(&mut self, name: Name, value: Value) -> bool {
        let own = self.vars.get_mut(self.frame.vars..).unwrap_or_default();
        match own.iter_mut().rev().find(|(known, _)| *known == name) {
            Some((_, slot)) => {
                *slot = value;
                true
            }
            None => false,
        }
    }

    fn set_top(&mut self, place: usize, value: Value) {
        let slot = self.vars.len().checked_sub(place).and_then(|at| self.vars.get_mut(at));
        if let Some((_, slot)) = slot {
            *slot = value;
        }
    }

    /// An error at a part of the template.
    fn fail(&self, pos: usize, part: impl std::fmt::Display, failure: Failure) -> Error {
        let source = (self.template.name.as_str(), &*self.template.text);
        Error::render(source, self.frame.name, pos, part.to_string(), failure)
    }

    /// An error at a statement.
    fn fail_op(&self, op: &Op, failure: Failure) -> Error {
        match op {
            Op::Text(range) => self.fail(range.start, "text", failure),
            Op::Action(pipe) | Op::If { pipe, .. } | Op::With { pipe, .. } | Op::Range { pipe, .. } => {
                self.fail(pipe.pos, pipe, failure)
            }
            Op::Call { pos, name, pipe: Some(pipe) } => {
                self.fail(*pos, format_args!("{{{{template {name:?} {pipe}}}}}"), failure)
            }
            Op::Call { pos, name, pipe: None } => self.fail(*pos, format_args!("{{{{template {name:?}}}}}"), failure),
            Op::Next | Op::Continue | Op::Break | Op::Jump(_) | Op::End => {
                let range = self.scopes.iter().rev().find_map(|scope| scope.range.as_ref());
                match range {
                    Some(range) => self.fail(range.pipe.pos, range.pipe, failure),
                    None => self.fail(0, "text", failure),
                }
            }
        }
    }
}
