//! From events to the nodes of the first document.

use std::collections::HashMap;

use zeroize::Zeroizing;

use super::{
    NESTING, Problem,
    parser::{Event, Parser},
};
use crate::{
    env::{Context, VALUE},
    error::{Failure, Limit},
};

/// A document. The root is the first node.
pub(super) struct Document {
    pub nodes: Vec<Node>,
}

/// The place of a node in its document.
pub(super) type Place = usize;

pub(super) enum Node {
    Scalar {
        value: Zeroizing<String>,
        /// The tag, in full; empty where there is none.
        tag: String,
        /// No quotes: what it means is up to the reader.
        plain: bool,
    },
    List(Vec<Place>),
    /// Keys and values in turn.
    Map(Vec<Place>),
    Alias {
        name: String,
        target: Place,
    },
}

#[derive(Default)]
struct Builder {
    nodes: Vec<Node>,
    anchors: HashMap<String, Place>,
    /// The collections that are not closed yet.
    open: Vec<Place>,
}

/// Reads the first document; `None` where there is none.
pub(super) fn parse(context: &mut Context<'_, '_>, text: &[u8]) -> Result<Option<Document>, Problem> {
    let mut parser = Parser::new(text)?;
    let mut builder = Builder::default();
    loop {
        context.spend(1)?;
        context.made(2 * VALUE)?;
        match parser.next()? {
            Event::StreamEnd => return Ok(None),
            Event::DocumentStart => {}
            Event::DocumentEnd => return Ok(Some(Document { nodes: builder.nodes })),
            Event::Alias(name) => match builder.anchors.get(&name).copied() {
                Some(target) => builder.add(None, Node::Alias { name, target }),
                None => return Err(Problem::yaml(format!("unknown anchor '{name}' referenced"))),
            },
            Event::Scalar { anchor, tag, value, plain } => {
                context.made(value.len() + tag.len())?;
                builder.add(anchor, Node::Scalar { value, tag, plain });
            }
            Event::ListStart { anchor } => builder.begin(anchor, Node::List(Vec::new()))?,
            Event::MapStart { anchor } => builder.begin(anchor, Node::Map(Vec::new()))?,
            Event::ListEnd | Event::MapEnd => {
                builder.open.pop();
            }
        }
    }
}

impl Builder {
    fn add(&mut self, anchor: Option<String>, node: Node) {
        let place = self.nodes.len();
        self.nodes.push(node);
        if let Some(anchor) = anchor {
            self.anchors.insert(anchor, place);
        }
        let parent = self.open.last().and_then(|parent| self.nodes.get_mut(*parent));
        if let Some(Node::List(children) | Node::Map(children)) = parent {
            children.push(place);
        }
    }

    fn begin(&mut self, anchor: Option<String>, node: Node) -> Result<(), Problem> {
        if self.open.len() >= NESTING {
            return Err(Problem::Limit(Failure::limit(Limit::Nesting, NESTING as u64)));
        }
        let place = self.nodes.len();
        self.add(anchor, node);
        self.open.push(place);
        Ok(())
    }
}
