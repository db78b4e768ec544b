//! What is pushed: read from the cluster or generated, shaped by the template, and laid out by store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use keyferry_crds::{PushData, PushSecret};
use keyferry_limits::{Exceeded, NAMESPACE_HELD, PUSH_RECORD};
use keyferry_provider_core::SecretBytes;
use keyferry_sync::asking::{Asking, LARGE_LOOK};
use keyferry_sync::compute::{are_few, in_turn};
use keyferry_sync::data::{Data, Sources};
use keyferry_sync::engine::Means;
use keyferry_sync::make::{UnderWay, make_one};
use keyferry_sync::outcome::Retry;
use keyferry_sync::ports::{Problem, Versions};
use keyferry_sync::store::{Store, StoreId};
use keyferry_sync::told;
use keyferry_sync::told::{Spec, Told};
use keyferry_sync::{sources, template};

use crate::convert::Keys;
use crate::expand::{self, Aims, Marks, Pushed, Wanted};
use crate::generated::{self, asked_for};
use crate::look::{Look, World};
use crate::memory::{Generated, MacKey};
use crate::outcome::{Causes, Failure, Headline, retry_of};
use crate::ports::Source;
use crate::refers::{named_source, named_stores, namespace, secret, source_selector};

/// What was found.
pub enum Found {
    /// These.
    Sources(Vec<Source>),
    /// The Secret is not there, or none is that bears the labels.
    Gone,
    /// A generator that another controller looks after.
    Theirs,
}

impl Found {
    fn sources(&self) -> Option<&[Source]> {
        if let Self::Sources(sources) = self { Some(sources) } else { None }
    }
}

fn unreadable(problem: &Problem, what: String) -> Failure {
    let retry = if problem.is_temporary { Retry::Soon } else { Retry::Late };
    Failure::new(Headline::Source, Told::without_values(format!("{what}: {problem}")), retry)
}

/// That the Secret which it names does not exist; `None` where it names none.
pub fn missing(ps: &PushSecret) -> Option<Told> {
    let (name, of) = (Spec(named_source(ps)?), Spec(namespace(ps)));
    Some(told!("Secret {} does not exist in namespace {}: create it, or correct the name", name, of))
}

/// Reads the source, for the look of `asking`, and notes at which versions. `under_way` takes what a generator has written down.
pub async fn read(
    world: &World,
    look: &mut Look,
    versions: &mut Versions,
    under_way: &mut UnderWay,
    asking: &Asking,
) -> Result<Found, Failure> {
    let stores = &world.ports.sync.stores;
    let wait = async || {
        let failure = || Failure::new(Headline::Source, Exceeded::Limit(&NAMESPACE_HELD), Retry::Soon);
        if stores.alone(asking).await { Ok(()) } else { Err(failure()) }
    };
    if named_source(&look.ps).is_none() && source_selector(&look.ps).is_none() {
        let made = generate(world, look, under_way).await?;
        if let Found::Sources(sources) = &made
            && !has_room(world, asking, sources)
        {
            wait().await?;
        }
        return Ok(made);
    }
    // While it waits for its turn it holds nothing of what it read.
    if let Some(found) = found(world, look, versions, LARGE_LOOK).await?
        && found.sources().is_none_or(|sources| has_room(world, asking, sources))
    {
        return Ok(found);
    }
    wait().await?;
    Ok(found(world, look, versions, usize::MAX).await?.unwrap_or(Found::Gone))
}

/// Whether a look may hold these beside the others.
fn has_room(world: &World, asking: &Asking, sources: &[Source]) -> bool {
    let bytes = sources.iter().map(Source::cost).sum();
    bytes <= LARGE_LOOK && world.ports.sync.stores.hold(asking, bytes)
}

/// Reads the Secret that is named, or those that bear the labels; `None` where these are more than `most` bytes.
async fn found(world: &World, look: &Look, versions: &mut Versions, most: usize) -> Result<Option<Found>, Failure> {
    let ps = &look.ps;
    if let Some(name) = named_source(ps) {
        let read = world.ports.sources.secret(namespace(ps), name).await;
        let found = read.map_err(|problem| unreadable(&problem, format!("Secret {name:?}")))?;
        versions.insert(secret(ps, name), found.as_ref().and_then(|source| source.version.clone()));
        let Some(source) = found else { return Ok(Some(Found::Gone)) };
        let paid = look.budget.bytes(source.cost());
        paid.map_err(|exceeded| Failure::new(Headline::Source, exceeded, Retry::Late))?;
        return Ok(Some(Found::Sources(vec![source])));
    }
    let Some(selector) = source_selector(ps) else { return Ok(Some(Found::Gone)) };
    let read = world.ports.sources.selected(namespace(ps), selector, &look.budget, most).await;
    let read = read.map_err(|problem| unreadable(&problem, "spec.selector.secret.selector".to_owned()))?;
    let Some(sources) = read else { return Ok(None) };
    versions.extend(sources.iter().map(|source| (secret(ps, &source.name), source.version.clone())));
    Ok(Some(if sources.is_empty() { Found::Gone } else { Found::Sources(sources) }))
}

/// Makes a value where that is due. What was made and is not everywhere yet is not made anew while it is good.
async fn generate(world: &World, look: &mut Look, under_way: &mut UnderWay) -> Result<Found, Failure> {
    let (ps, asked_for) = (look.ps.clone(), asked_for(&world.settings, look));
    let source = |data: Data| Found::Sources(vec![Source { data, ..Source::default() }]);
    if let Some(made) = &look.memory.generated
        && made.asked_for == asked_for
        && generated::is_good(look, made)
    {
        return Ok(source(made.data.clone()));
    }
    let Some(generator) = &ps.spec.selector.generator_ref else { return Ok(Found::Gone) };
    let (ports, settings) = (&world.ports.sync, &world.settings);
    let making = make_one(ports, settings, &ps.metadata, generator, &look.budget, under_way);
    let made = making.await.map_err(|exceeded| Failure::new(Headline::Source, exceeded, Retry::Late))?;
    let Some(made) = made else { return Ok(Found::Theirs) };
    let data = made.map_err(|error| {
        let (kind, name) = (Spec(&generator.kind), Spec(&generator.name));
        let cause = told!("spec.selector.generatorRef: {} {}: {}", kind, name, error);
        Failure::new(Headline::Source, cause, retry_of(&error))
    })?;
    let made = Generated { at: look.began, asked_for, refresh_by: under_way.refresh_by(), data: data.clone() };
    let state = under_way.made().into_values().next();
    let before = (look.memory.generated.replace(made), std::mem::replace(&mut look.memory.made, state));
    if let (Some(before), Some(state)) = before {
        look.memory.halfway.replace(before.at, state);
    }
    Ok(source(data))
}

/// Reads the objects that the template is taken from, for the look of `asking`.
pub async fn templates(
    world: &World,
    look: &Look,
    asking: &Asking,
    versions: &mut Versions,
) -> Result<Sources, Failure> {
    let template = look.ps.spec.template.as_ref();
    let read = sources::read(&world.ports.sync, template, asking, &mut None, versions).await;
    read.map_err(|(cause, retry)| Failure::new(Headline::Template, cause, retry))
}

/// So many entries of a source in a store are found in no time.
const FEW: usize = 1_024;

/// All that is wanted, by store.
pub type Layout = BTreeMap<StoreId, Wanted>;

/// Lays out what goes where.
pub async fn lay_out(
    world: &World,
    look: &Look,
    sources: Vec<Source>,
    templates: &Sources,
    stores: &[Arc<Store>],
) -> Result<Layout, Failure> {
    let means = Means { engine: &world.settings.engine, now: look.began, budget: &look.budget };
    let spec = &look.ps.spec;
    let values: Vec<SecretBytes> = sources.iter().flat_map(|source| source.data.values().cloned()).collect();
    let rounds = sources.len() * stores.len() * spec.data.len();
    let is_small = spec.template.is_none() && spec.data_to.is_empty() && rounds <= FEW && are_few(&values);
    let work = || layout(&look.ps, sources, templates, stores, &world.key, &means);
    let layout = if is_small {
        work()
    } else {
        in_turn(&*world.ports.sync.compute, namespace(&look.ps), &look.budget, work).await
    };
    layout.map_err(|spent| Failure::new(Headline::Set, spent, Retry::Late))
}

/// Fails where there is more of it than can be recorded, or than the look may compute: then the rest is not laid out.
fn layout(
    ps: &PushSecret,
    sources: Vec<Source>,
    templates: &Sources,
    stores: &[Arc<Store>],
    key: &MacKey,
    means: &Means<'_>,
) -> Result<Layout, Told> {
    let mut all: Layout = stores.iter().map(|store| (store.id.clone(), Wanted::of(store))).collect();
    let aims: Vec<Aims<'_>> = stores.iter().map(|store| Aims::of(ps, store)).collect();
    let explicit: BTreeSet<&str> = ps.spec.data.iter().map(PushData::secret_key).collect();
    let mut recorded = 0;
    for source in sources {
        means.budget.steps(1)?;
        let name = source.name.clone();
        let own: BTreeSet<String> = source.data.keys().cloned().collect();
        match shaped(ps, source, templates, means) {
            Ok(mut source) => {
                let marks = Marks::take(&mut source, key);
                let keys = Keys::of(&source.data, &own);
                let pushed = Pushed { source: &source, keys: &keys, marks: &marks };
                for aims in &aims {
                    let more = expand::entries(ps, &pushed, aims, &explicit, key, means)?;
                    if let Some(wanted) = all.get_mut(&aims.store.id) {
                        recorded -= wanted.recorded();
                        wanted.add(more);
                        recorded += wanted.recorded();
                    }
                    if recorded > PUSH_RECORD.size() {
                        return Err(told!("{}", PUSH_RECORD));
                    }
                }
            }
            Err(problem) => {
                let whose = if name.is_empty() { "what was generated".into() } else { told!("Secret {}", Spec(&name)) };
                let problem = told!("{}: {}", whose, problem);
                all.values_mut().for_each(|wanted| wanted.unknown.push(problem.clone()));
            }
        }
    }
    Ok(all)
}

/// What the template makes of a source.
fn shaped(ps: &PushSecret, source: Source, templates: &Sources, means: &Means<'_>) -> Result<Source, Told> {
    let Some(shape) = &ps.spec.template else { return Ok(source) };
    let content = template::of_push(shape, namespace(ps), &source.data, templates, means)?;
    let (mut labels, mut annotations) = (source.labels, source.annotations);
    labels.extend(content.labels);
    annotations.extend(content.annotations);
    Ok(Source { data: content.data, type_: content.type_, labels, annotations, ..source })
}

/// Whether a store that it names is not there.
pub fn is_any_missing(look: &Look) -> bool {
    named_stores(&look.ps).iter().any(|id| !look.stores.contains_key(id))
}

/// What is known to fail before any store is asked: stores that are not there, and entries that have no value.
pub fn not_there(look: &Look, layout: &Layout) -> Causes {
    let mut causes = Causes::new();
    for id in named_stores(&look.ps).into_iter().filter(|id| !look.stores.contains_key(id)) {
        let (kind, name) = (|| Told::from(id.kind()), || Spec(&id.name));
        // External Secrets Operator's words first.
        let cause = told!(
            "could not get {} {}, {}.external-secrets.io {} not found: create it",
            kind(),
            name(),
            kind(),
            name()
        );
        causes.push((cause, Retry::Late));
    }
    let mut said = BTreeSet::new();
    for wanted in layout.values() {
        for cause in wanted.failed.values().chain(&wanted.unknown) {
            if said.insert(cause.as_str().to_owned()) {
                causes.push((cause.clone(), Retry::Late));
            }
        }
    }
    causes
}
