//! The objects that templates are taken from, as one look reads them. Of each only what the template names is held, and for
//! that there is as little room as for what stores answer.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use keyferry_crds::Template;
use keyferry_limits::NAMESPACE_HELD;

use crate::asking::{Asking, LARGE_LOOK};
use crate::data::{self, Data, Sources};
use crate::dependency::{Dependency, Version};
use crate::outcome::Retry;
use crate::ports::{Ports, Turn, Versions};
use crate::request::template_keys;
use crate::told::Told;

/// Reads for the look of `asking` what `template` names, and notes in `versions` at which version each object was. Where
/// there is no room for all of it, it begins anew once it has its turn: while it waits it holds nothing of what it read, and
/// no `turn`, so that others go on. Fails with what may be told, and when to try again.
pub async fn read(
    ports: &Ports,
    template: Option<&Template>,
    asking: &Asking,
    turn: &mut Option<Turn>,
    versions: &mut Versions,
) -> Result<Sources, (Told, Retry)> {
    let mut reading = Reading { ports, wanted: template_keys(template, &asking.namespace), asking, paid: 0 };
    if let Some(sources) = reading.all(Share::OfMany, versions).await? {
        return Ok(sources);
    }
    let had = turn.take().is_some();
    if !ports.stores.alone(asking).await {
        return Err((Told::without_values(NAMESPACE_HELD.to_string()), Retry::Soon));
    }
    if had {
        *turn = Some(ports.objects.turn(asking.lane()).await);
    }
    Ok(reading.all(Share::Alone, versions).await?.unwrap_or_default())
}

/// How much one look may hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Share {
    /// What there is room for beside the others, and not more than a large look.
    OfMany,
    /// What its budget has left: it has its turn.
    Alone,
}

struct Reading<'a> {
    ports: &'a Ports,
    wanted: BTreeMap<Dependency, BTreeSet<&'a str>>,
    asking: &'a Asking,
    /// How many of them were paid for: reading one again costs a look nothing more.
    paid: usize,
}

impl Reading<'_> {
    /// Reads them all; `None` where that would be more than the share.
    async fn all(&mut self, share: Share, versions: &mut Versions) -> Result<Option<Sources>, (Told, Retry)> {
        let (mut sources, mut held) = (Sources::new(), 0);
        for (n, (source, keys)) in self.wanted.iter().enumerate() {
            let (version, mut data) = self.one(source, versions).await?;
            versions.insert(source.clone(), version);
            // All of it was read, whatever is kept.
            if n >= self.paid {
                let cost = data::cost(&data);
                self.asking.pay(cost).map_err(|exceeded| failed(source, exceeded, Retry::Late))?;
                self.paid = n + 1;
            }
            data.retain(|key, _| keys.contains(key.as_str()));
            let bytes = data::cost(&data);
            held += bytes;
            if share == Share::OfMany && (held > LARGE_LOOK || !self.ports.stores.hold(self.asking, bytes)) {
                return Ok(None);
            }
            sources.insert(source.clone(), data);
        }
        Ok(Some(sources))
    }

    /// Reads one; the version is noted also where there is none.
    async fn one(
        &self,
        source: &Dependency,
        versions: &mut Versions,
    ) -> Result<(Option<Version>, Data), (Told, Retry)> {
        let found = self.ports.objects.source(source).await.map_err(|problem| {
            let retry = if problem.is_temporary { Retry::Soon } else { Retry::Late };
            failed(source, format!("can't be read: {problem}"), retry)
        })?;
        found.ok_or_else(|| {
            versions.insert(source.clone(), None);
            failed(source, format!("it does not exist in namespace {:?}", source.namespace), Retry::Late)
        })
    }
}

fn failed(source: &Dependency, why: impl Display, retry: Retry) -> (Told, Retry) {
    let Dependency { kind, name, .. } = source;
    (Told::without_values(format!("template source {kind} {name:?}: {why}")), retry)
}
