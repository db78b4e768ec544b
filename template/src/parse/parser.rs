//! Blocks and definitions.
//!
//! Open blocks and definitions are kept on stacks, not in recursion: a chain of `else if` may be as long as it likes.

use std::collections::HashMap;

use super::{
    lexer::{Kind, Token, lex},
    node::{Name, Pipe},
    program::{Op, Program},
};
use crate::{
    error::{Error, Failure},
    function::Functions,
    strconv::quote,
    template::Options,
    value::Str,
};

/// What a text was parsed into.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub programs: HashMap<Box<str>, Program>,
}

/// Parses a text and the definitions in it.
pub(crate) fn parse(name: &str, text: &Str, options: &Options) -> Result<Parsed, Error> {
    let tokens = lex(text, options.left(), options.right());
    let mut parser = Parser {
        name,
        text,
        tokens,
        at: 0,
        seen: 0,
        functions: &options.functions,
        most_nesting: options.nesting,
        nesting: 0,
        action_line: 0,
        names: HashMap::from([(b"$".to_vec(), 0)]),
        trees: vec![Tree::new(name, TreeKind::Main)],
        programs: HashMap::new(),
    };
    match parser.run() {
        Ok(()) => Ok(Parsed { programs: parser.programs }),
        Err(failure) => Err(parser.error(failure)),
    }
}

pub(super) type Result<T, E = Failure> = std::result::Result<T, E>;

/// The state of parsing a text.
pub(super) struct Parser<'a> {
    name: &'a str,
    text: &'a Str,
    tokens: Vec<Token<'a>>,
    at: usize,
    seen: usize,
    pub functions: &'a Functions,
    pub most_nesting: usize,
    pub nesting: usize,
    action_line: usize,
    names: HashMap<Vec<u8>, Name>,
    trees: Vec<Tree>,
    programs: HashMap<Box<str>, Program>,
}

/// A template being defined.
struct Tree {
    name: Box<str>,
    kind: TreeKind,
    ops: Vec<Op>,
    vars: Vec<Name>,
    /// How many of the variables have which name.
    visible: HashMap<Name, usize>,
    range_depth: usize,
    open: Vec<Open>,
}

enum TreeKind {
    Main,
    Define,
    /// Defined and called in one: where it stands, and what with.
    Block(usize, Pipe),
}

/// An `if`, `with` or `range` whose `end` has not come.
struct Open {
    control: Control,
    /// Opened by `else if` or `else with`: the `end` is also the outer one's.
    chained: bool,
    vars: usize,
    start: usize,
    /// The jump over the `else`, once there is one.
    jump: Option<usize>,
    in_else: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Control {
    If,
    With,
    Range,
}

impl Tree {
    fn new(name: &str, kind: TreeKind) -> Self {
        let visible = HashMap::from([(0, 1)]);
        Self { name: name.into(), kind, ops: Vec::new(), vars: vec![0], visible, range_depth: 0, open: Vec::new() }
    }

    fn context(&self) -> &'static str {
        match self.kind {
            TreeKind::Main => "input",
            TreeKind::Define => "define clause",
            TreeKind::Block(..) => "block clause",
        }
    }
}

// Tokens.
impl<'a> Parser<'a> {
    pub fn next(&mut self) -> Token<'a> {
        let token = self.peek();
        self.at = (self.at + 1).min(self.tokens.len());
        token
    }

    pub fn backup(&mut self) {
        self.at = self.at.saturating_sub(1);
    }

    pub fn peek(&mut self) -> Token<'a> {
        let at = self.at.min(self.tokens.len() - 1);
        self.seen = self.seen.max(at);
        self.tokens[at].clone()
    }

    pub fn next_non_space(&mut self) -> Token<'a> {
        loop {
            let token = self.next();
            if token.kind != Kind::Space {
                return token;
            }
        }
    }

    pub fn peek_non_space(&mut self) -> Token<'a> {
        let token = self.next_non_space();
        self.backup();
        token
    }

    /// Where we are, to come back to.
    pub fn position(&self) -> usize {
        self.at
    }

    pub fn go_back(&mut self, position: usize) {
        self.at = position;
    }

    fn expect(&mut self, kind: Kind, context: &str) -> Result<Token<'a>> {
        let token = self.next_non_space();
        if token.kind == kind { Ok(token) } else { Err(self.unexpected(&token, context)) }
    }

    pub fn unexpected(&self, token: &Token<'_>, context: &str) -> Failure {
        let what = token.describe();
        let started = match token.kind == Kind::Error && self.action_line != 0 && self.action_line != token.line {
            // Not "in action" twice.
            true if what.ends_with(" action") => format!(" started at {}:{}", self.name, self.action_line),
            true => format!(" in action started at {}:{}", self.name, self.action_line),
            false => String::new(),
        };
        match token.kind {
            Kind::Error => Failure::new(format!("{what}{started}")),
            _ => Failure::new(format!("unexpected {what} in {context}")),
        }
    }

    fn error(&self, failure: Failure) -> Error {
        Error::parse(self.name, self.tokens[self.seen].line, failure)
    }
}

// Variables.
impl Parser<'_> {
    fn tree(&mut self) -> &mut Tree {
        self.trees.last_mut().expect("the main tree stays until the end")
    }

    pub fn declare(&mut self, text: &[u8]) -> Name {
        let next = self.names.len() as Name;
        let name = *self.names.entry(text.to_vec()).or_insert(next);
        let tree = self.tree();
        tree.vars.push(name);
        *tree.visible.entry(name).or_default() += 1;
        name
    }

    pub fn lookup(&mut self, text: &[u8]) -> Option<Name> {
        let name = *self.names.get(text)?;
        self.tree().visible.get(&name).is_some_and(|count| *count > 0).then_some(name)
    }
}

// Statements.
impl Parser<'_> {
    fn run(&mut self) -> Result<()> {
        loop {
            let token = self.next();
            match token.kind {
                Kind::Eof => return self.finish(),
                Kind::Text => {
                    let range = token.pos..token.pos + token.text.len();
                    self.tree().ops.push(Op::Text(range));
                }
                Kind::LeftDelim => {
                    self.action_line = token.line;
                    self.action()?;
                    self.action_line = 0;
                }
                _ => return Err(self.unexpected(&token, "input")),
            }
        }
    }

    fn action(&mut self) -> Result<()> {
        let top = self.trees.len() == 1 && self.tree().open.is_empty();
        let token = self.next_non_space();
        match token.kind {
            Kind::Define if top => self.define(),
            Kind::Block => self.block(),
            Kind::Break => self.leave(Op::Break, "{{break}}"),
            Kind::Continue => self.leave(Op::Continue, "{{continue}}"),
            Kind::Else => self.otherwise(),
            Kind::End => self.end(),
            Kind::If => self.open(Control::If, false),
            Kind::With => self.open(Control::With, false),
            Kind::Range => self.open(Control::Range, false),
            Kind::Template => self.call(),
            _ => {
                self.backup();
                let pipe = self.pipeline("command", Kind::RightDelim)?;
                self.tree().ops.push(Op::Action(pipe));
                Ok(())
            }
        }
    }

    fn define(&mut self) -> Result<()> {
        let token = self.next_non_space();
        let name = self.template_name(&token, "define clause")?;
        self.expect(Kind::RightDelim, "define clause")?;
        self.trees.push(Tree::new(&name, TreeKind::Define));
        Ok(())
    }

    fn block(&mut self) -> Result<()> {
        let token = self.next_non_space();
        let name = self.template_name(&token, "block clause")?;
        let pipe = self.pipeline("block clause", Kind::RightDelim)?;
        self.trees.push(Tree::new(&name, TreeKind::Block(token.pos, pipe)));
        Ok(())
    }

    fn call(&mut self) -> Result<()> {
        let token = self.next_non_space();
        let name = self.template_name(&token, "template clause")?;
        let pipe = match self.next_non_space().kind {
            Kind::RightDelim => None,
            _ => {
                self.backup();
                Some(self.pipeline("template clause", Kind::RightDelim)?)
            }
        };
        self.tree().ops.push(Op::Call { pos: token.pos, name, pipe });
        Ok(())
    }

    fn template_name(&mut self, token: &Token<'_>, context: &str) -> Result<Box<str>> {
        match token.kind {
            Kind::String | Kind::RawString => match quote::unquote(token.text) {
                Some(name) => Ok(String::from_utf8_lossy(&name).into()),
                None => Err(Failure::new("invalid syntax")),
            },
            _ => Err(self.unexpected(token, context)),
        }
    }

    fn leave(&mut self, op: Op, what: &str) -> Result<()> {
        let token = self.next_non_space();
        match token.kind {
            Kind::RightDelim if self.tree().range_depth > 0 => {
                self.tree().ops.push(op);
                Ok(())
            }
            Kind::RightDelim => Err(Failure::new(format!("{what} outside {{{{range}}}}"))),
            _ => Err(self.unexpected(&token, what)),
        }
    }

    fn open(&mut self, control: Control, chained: bool) -> Result<()> {
        let vars = self.tree().vars.len();
        let pipe = match control {
            Control::If => self.pipeline("if", Kind::RightDelim)?,
            Control::With => self.pipeline("with", Kind::RightDelim)?,
            Control::Range => self.pipeline("range", Kind::RightDelim)?,
        };
        let tree = self.tree();
        let start = tree.ops.len();
        tree.ops.push(match control {
            Control::If => Op::If { pipe, otherwise: 0 },
            Control::With => Op::With { pipe, otherwise: 0 },
            Control::Range => Op::Range { pipe, otherwise: 0, end: 0 },
        });
        tree.range_depth += usize::from(control == Control::Range);
        tree.open.push(Open { control, chained, vars, start, jump: None, in_else: false });
        Ok(())
    }

    fn otherwise(&mut self) -> Result<()> {
        let after = self.peek_non_space();
        let chain = match after.kind {
            Kind::If => Some(Control::If),
            Kind::With => Some(Control::With),
            _ => {
                self.expect(Kind::RightDelim, "else")?;
                None
            }
        };
        let tree = self.tree();
        let context = tree.context();
        match tree.open.last_mut() {
            Some(open) if open.in_else => Err(Failure::new("expected end; found {{else}}")),
            Some(open) => {
                let control = open.control;
                open.in_else = true;
                match control {
                    Control::Range => {
                        tree.range_depth -= 1;
                        tree.ops.push(Op::Next);
                    }
                    Control::If | Control::With => {
                        open.jump = Some(tree.ops.len());
                        tree.ops.push(Op::Jump(0));
                    }
                }
                let (start, otherwise) = (open.start, tree.ops.len());
                tree.point(start, otherwise);
                match chain {
                    Some(next) if next == control => {
                        self.next_non_space();
                        self.open(next, true)
                    }
                    Some(_) => Err(self.unexpected(&after, "input")),
                    None => Ok(()),
                }
            }
            None if context == "input" => Err(Failure::new("unexpected {{else}}")),
            None => Err(Failure::new(format!("unexpected {{{{else}}}} in {context}"))),
        }
    }

    fn end(&mut self) -> Result<()> {
        self.expect(Kind::RightDelim, "end")?;
        loop {
            let tree = self.tree();
            match tree.open.pop() {
                Some(open) => {
                    tree.close(&open);
                    if !open.chained {
                        return Ok(());
                    }
                }
                None if self.trees.len() == 1 => return Err(Failure::new("unexpected {{end}}")),
                None => return self.finish_tree(),
            }
        }
    }

    fn finish(&mut self) -> Result<()> {
        if self.trees.len() == 1 && self.tree().open.is_empty() {
            self.finish_tree()
        } else {
            Err(Failure::new("unexpected EOF"))
        }
    }

    /// Keeps what the innermost tree defines. An empty definition gives way to another, and never replaces one.
    fn finish_tree(&mut self) -> Result<()> {
        let Some(tree) = self.trees.pop() else {
            return Ok(());
        };
        let text = self.text;
        let is_empty = |ops: &[Op]| {
            ops.iter().all(|op| match op {
                Op::Text(range) => is_blank(&text[range.clone()]),
                _ => false,
            })
        };
        match self.programs.get(&tree.name) {
            Some(before) if !is_empty(&before.ops) => {
                if !is_empty(&tree.ops) {
                    return Err(Failure::new(format!("multiple definition of template {:?}", tree.name)));
                }
            }
            _ => {
                self.programs.insert(tree.name.clone(), Program { ops: tree.ops });
            }
        }
        if let TreeKind::Block(pos, pipe) = tree.kind {
            self.tree().ops.push(Op::Call { pos, name: tree.name, pipe: Some(pipe) });
        }
        Ok(())
    }
}

impl Tree {
    /// Says where a block goes on if its pipeline is empty.
    fn point(&mut self, start: usize, target: usize) {
        if let Some(Op::If { otherwise, .. } | Op::With { otherwise, .. } | Op::Range { otherwise, .. }) =
            self.ops.get_mut(start)
        {
            *otherwise = target;
        }
    }

    fn close(&mut self, open: &Open) {
        if !open.in_else {
            if open.control == Control::Range {
                self.range_depth -= 1;
                self.ops.push(Op::Next);
            }
            self.point(open.start, self.ops.len());
        }
        let last = self.ops.len();
        if let Some(Op::Jump(target)) = open.jump.and_then(|jump| self.ops.get_mut(jump)) {
            *target = last;
        }
        if let Some(Op::Range { end, .. }) = self.ops.get_mut(open.start) {
            *end = last + 1;
        }
        self.ops.push(Op::End);
        for name in self.vars.drain(open.vars..) {
            self.visible.entry(name).and_modify(|count| *count -= 1);
        }
    }
}

/// Nothing but what Unicode calls space.
fn is_blank(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.chars().all(char::is_whitespace))
}
