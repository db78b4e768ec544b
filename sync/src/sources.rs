//! The objects that templates are taken from, as one look reads them. Of each only what the template names is held, and for
//! that there is as little room as for what stores answer.

use keyferry_crds::Template;
use keyferry_limits::NAMESPACE_HELD;

use crate::asking::{Asking, LARGE_LOOK};
use crate::data::{self, Sources};
use crate::dependency::Dependency;
use crate::outcome::Retry;
use crate::ports::{Ports, Turn, Versions};
use crate::request::template_keys;
use crate::told::Told;

/// Reads for the look of `asking` what `template` names, and notes in `versions` at which version each object was. While it
/// waits for room it has no `turn`: others go on. Fails with what may be told, and when to try again.
pub async fn read(
    ports: &Ports,
    template: Option<&Template>,
    asking: &Asking,
    turn: &mut Option<Turn>,
    versions: &mut Versions,
) -> Result<Sources, (Told, Retry)> {
    let (mut sources, mut held) = (Sources::new(), 0);
    for (source, keys) in template_keys(template, &asking.namespace) {
        let Dependency { kind, name, namespace } = &source;
        let failed =
            |why: String, retry| (Told::without_values(format!("template source {kind} {name:?}: {why}")), retry);
        let found = ports.objects.source(&source).await.map_err(|problem| {
            let retry = if problem.is_temporary { Retry::Soon } else { Retry::Late };
            failed(format!("can't be read: {problem}"), retry)
        })?;
        versions.insert(source.clone(), found.as_ref().and_then(|(version, _)| version.clone()));
        let (_, mut data) =
            found.ok_or_else(|| failed(format!("it does not exist in namespace {namespace:?}"), Retry::Late))?;
        // All of it was read, whatever is kept.
        asking.pay(data::cost(&data)).map_err(|exceeded| failed(exceeded.to_string(), Retry::Late))?;
        data.retain(|key, _| keys.contains(key.as_str()));
        let bytes = data::cost(&data);
        held += bytes;
        if !ports.stores.hold(asking, bytes) || held > LARGE_LOOK {
            let had = turn.take().is_some();
            if !ports.stores.alone(asking).await {
                return Err(failed(NAMESPACE_HELD.to_string(), Retry::Soon));
            }
            if had {
                *turn = Some(ports.objects.turn(asking.lane()).await);
            }
        }
        sources.insert(source, data);
    }
    Ok(sources)
}
