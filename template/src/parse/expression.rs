//! Pipelines and their parts.

use super::{
    lexer::{Kind, Token},
    node::{Command, Expr, ExprKind, Pipe},
    number::Number,
    parser::{Parser, Result},
};
use crate::{
    error::{Failure, Limit},
    strconv::quote,
    value::Str,
};

impl Parser<'_> {
    /// `[$x [, $y] :=] command [| command]...`, up to and with the token `end`.
    pub fn pipeline(&mut self, context: &str, end: Kind) -> Result<Pipe> {
        let pos = self.peek_non_space().pos;
        let mut pipe = Pipe { pos, assign: false, decl: Vec::new(), cmds: Vec::new() };
        self.declarations(context, &mut pipe)?;
        loop {
            let token = self.next_non_space();
            match token.kind {
                kind if kind == end => break,
                Kind::Bool
                | Kind::CharConstant
                | Kind::Complex
                | Kind::Dot
                | Kind::Field
                | Kind::Identifier
                | Kind::Number
                | Kind::Nil
                | Kind::RawString
                | Kind::String
                | Kind::Variable
                | Kind::LeftParen => {
                    self.backup();
                    let command = self.command()?;
                    pipe.cmds.push(command);
                }
                _ => return Err(self.unexpected(&token, context)),
            }
        }
        if pipe.cmds.is_empty() {
            return Err(Failure::new(format!("missing value for {context}")));
        }
        let constant = pipe.cmds.iter().skip(1).position(|command| {
            let first = command.parts.first().map(|part| &part.kind);
            first.is_some_and(ExprKind::is_constant)
        });
        match constant {
            Some(at) => Err(Failure::new(format!("non executable command in pipeline stage {}", at + 2))),
            None => Ok(pipe),
        }
    }

    fn declarations(&mut self, context: &str, pipe: &mut Pipe) -> Result<()> {
        loop {
            let variable = self.peek_non_space();
            if variable.kind != Kind::Variable {
                return Ok(());
            }
            let here = self.position();
            self.next_non_space();
            let next = self.peek_non_space();
            let declares = matches!(next.kind, Kind::Assign | Kind::Declare);
            let comma = next.kind == Kind::Char && next.text == b",";
            if !declares && !comma {
                self.go_back(here);
                return Ok(());
            }
            self.next_non_space();
            let name = self.declare(variable.text);
            pipe.decl.push((name, String::from_utf8_lossy(variable.text).into()));
            match (comma, context) {
                (false, _) => {
                    pipe.assign = next.kind == Kind::Assign;
                    return Ok(());
                }
                (true, "range") if pipe.decl.len() < 2 => match self.peek_non_space().kind {
                    Kind::Variable | Kind::RightDelim | Kind::RightParen => {}
                    _ => return Err(Failure::new("range can only initialize variables")),
                },
                (true, _) => return Err(Failure::new(format!("too many declarations in {context}"))),
            }
        }
    }

    fn command(&mut self) -> Result<Command> {
        let mut command = Command { pos: self.peek_non_space().pos, parts: Vec::new() };
        loop {
            self.peek_non_space();
            command.parts.extend(self.operand()?);
            let token = self.next();
            match token.kind {
                Kind::Space => {}
                Kind::RightDelim | Kind::RightParen => {
                    self.backup();
                    break;
                }
                Kind::Pipe => break,
                _ => return Err(self.unexpected(&token, "operand")),
            }
        }
        if command.parts.is_empty() { Err(Failure::new("empty command")) } else { Ok(command) }
    }

    /// A term and the fields behind it.
    fn operand(&mut self) -> Result<Option<Expr>> {
        let Some(term) = self.term()? else {
            return Ok(None);
        };
        let first = self.peek();
        if first.kind != Kind::Field {
            return Ok(Some(term));
        }
        let mut more = Vec::new();
        while self.peek().kind == Kind::Field {
            more.push(field(&self.next()));
        }
        let kind = match term.kind {
            ExprKind::Field(mut fields) => {
                fields.append(&mut more);
                ExprKind::Field(fields)
            }
            ExprKind::Variable { name, text, mut fields } => {
                fields.append(&mut more);
                ExprKind::Variable { name, text, fields }
            }
            ExprKind::Bool(_) | ExprKind::Str { .. } | ExprKind::Number(_) | ExprKind::Nil | ExprKind::Dot => {
                return Err(Failure::new(format!("unexpected . after term {:?}", term.to_string())));
            }
            kind @ (ExprKind::Function(_) | ExprKind::Chain { .. } | ExprKind::Pipe(_)) => {
                ExprKind::Chain { of: Box::new(Expr { pos: term.pos, kind }), fields: more }
            }
        };
        Ok(Some(Expr { pos: first.pos, kind }))
    }

    fn term(&mut self) -> Result<Option<Expr>> {
        let token = self.next_non_space();
        let kind = match token.kind {
            Kind::Identifier => {
                let name = String::from_utf8_lossy(token.text);
                match self.functions.get(&name) {
                    Some(function) => ExprKind::Function(function),
                    None => return Err(Failure::new(format!("function {name:?} not defined"))),
                }
            }
            Kind::Dot => ExprKind::Dot,
            Kind::Nil => ExprKind::Nil,
            Kind::Variable => match self.lookup(token.text) {
                Some(name) => ExprKind::Variable { name, text: lossy(token.text), fields: Vec::new() },
                None => return Err(Failure::new(format!("undefined variable {:?}", lossy(token.text)))),
            },
            Kind::Field => ExprKind::Field(vec![field(&token)]),
            Kind::Bool => ExprKind::Bool(token.text == b"true"),
            Kind::CharConstant => number(Number::from_char(token.text))?,
            Kind::Complex => number(Number::from_complex(token.text))?,
            Kind::Number => number(Number::from_text(token.text))?,
            Kind::String | Kind::RawString => match quote::unquote(token.text) {
                Some(text) => ExprKind::Str { quoted: lossy(token.text), text: Str::from(text) },
                None => return Err(Failure::new("invalid syntax")),
            },
            Kind::LeftParen => {
                if self.nesting >= self.most_nesting {
                    return Err(Failure::limit(Limit::Nesting, self.most_nesting as u64));
                }
                self.nesting += 1;
                let pipe = self.pipeline("parenthesized pipeline", Kind::RightParen)?;
                self.nesting -= 1;
                ExprKind::Pipe(Box::new(pipe))
            }
            _ => {
                self.backup();
                return Ok(None);
            }
        };
        Ok(Some(Expr { pos: token.pos, kind }))
    }
}

fn number(read: std::result::Result<Number, String>) -> Result<ExprKind> {
    read.map(|number| ExprKind::Number(Box::new(number))).map_err(Failure::new)
}

fn lossy(text: &[u8]) -> Box<str> {
    String::from_utf8_lossy(text).into()
}

/// The name behind the dot.
fn field(token: &Token<'_>) -> Box<str> {
    lossy(token.text.get(1..).unwrap_or_default())
}
