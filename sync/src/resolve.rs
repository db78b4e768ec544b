//! From requests to what a target is to hold: the seam of all modes. Whoever delivers secrets, and wherever to, begins here.

use std::sync::Arc;

use keyferry_crds::{DeletionPolicy, ExternalSecret};
use keyferry_limits::{Budget, Exceeded};
use keyferry_provider_core::{Error, ErrorKind, Key, SecretBytes};

use jiff::Timestamp;

use crate::asking::Asking;
use crate::audit::{self, Workload};
use crate::content::Content;
use crate::data::{Data, Sources};
use crate::engine::Means;
use crate::make::UnderWay;
use crate::outcome::{Failure, Headline, NAMED_CAUSES, Retry};
use crate::ports::{Planning, Ports, Turn, Versions};
use crate::redact::blank;
use crate::render::{Answers, render};
use crate::request::{Origin, Request, generates};
use crate::settings::Settings;
use crate::store::{Store, StoreId};
use crate::told::Told;
use crate::{compute, fetch, make, sources, template};

/// For whom something is resolved, and when.
pub struct Asker<'a> {
    /// What is asked, and where it is told.
    pub ports: &'a Ports,
    /// The flags of the mode that asks.
    pub settings: &'a Settings,
    /// The ExternalSecret that says what.
    pub es: &'a ExternalSecret,
    /// The pod that gets it, where it is for one.
    pub workload: Option<&'a Workload>,
    /// When it began: the time that templates see.
    pub now: Timestamp,
    /// Whether somebody asked for it: then it goes before what is merely due.
    pub is_asked_for: bool,
    /// What it may take, all stages together. Whoever made it may stop it.
    pub budget: Arc<Budget>,
}

/// What was fetched and made, under the names that the target, or its template, knows.
pub struct Resolved {
    /// By key.
    pub data: Data,
    /// Entries that do not exist in the store and that deletionPolicy passes over.
    pub missing: Vec<Told>,
    /// Of which stores and generators it is, and which secrets these are.
    pub sources: Vec<audit::Source>,
}

/// What is kept until all is told, whatever resolving came to.
#[derive(Default)]
pub struct Kept {
    /// What was fetched and made of it, to blank out of messages.
    pub values: Vec<SecretBytes>,
    /// Who asked, which keeps room for what was answered.
    pub asking: Option<Arc<Asking>>,
    /// Room for the requests that follow, from when all is fetched.
    pub turn: Option<Turn>,
    /// What generators make.
    pub under_way: UnderWay,
    /// The stores that log in with the very Secret that is to be written, each with a key that it has just answered.
    pub logins: Vec<(Arc<Store>, Option<Key>)>,
}

/// Resolves `requests` to all that a target is to hold; `None` where a generator belongs to another controller class. A
/// failure is fit to be told.
pub async fn resolve(asker: &Asker<'_>, requests: &[Request]) -> Result<Option<(Resolved, Content)>, Failure> {
    let mut kept = Kept::default();
    let resolving = async {
        let Some(resolved) = data(asker, requests, asker.ports.stores.planning(), &mut kept).await? else {
            return Ok(None);
        };
        let (content, _) = content(asker, resolved.data.clone(), &mut kept).await?;
        Ok(Some((resolved, content)))
    };
    match resolving.await {
        Ok(resolved) => Ok(resolved),
        Err(failure) => Err(asker.blank(failure, &kept.values).await),
    }
}

/// The first half: fetch, make, render.
pub async fn data(
    asker: &Asker<'_>,
    requests: &[Request],
    planning: Planning,
    kept: &mut Kept,
) -> Result<Option<Resolved>, Failure> {
    let Asker { ports, settings, es, .. } = asker;
    let namespace = es.metadata.namespace.as_deref().unwrap_or_default();
    let asking = Asking::in_lane(namespace, asker.is_asked_for, asker.budget.clone());
    let asking = &*kept.asking.insert(asking);
    let mut answers = fetch::fetch(&*ports.stores, es, requests, planning, asking).await;
    kept.values.extend(answers.values.values().flatten().cloned());
    asking.within().map_err(too_much)?;
    kept.logins = logins(requests, &answers);
    kept.turn = Some(ports.objects.turn(asking.lane()).await);
    if generates(es) {
        let tolerates = es.spec.target.deletion_policy != DeletionPolicy::Retain;
        let is_failure = |error: &Error| !(tolerates && error.kind() == ErrorKind::NotFound);
        let has_failed = answers.values.values().any(|answer| answer.as_ref().is_err_and(is_failure));
        let making = make::make(ports, settings, es, requests, &asker.budget, has_failed, &mut kept.under_way);
        let Some(generated) = Box::pin(making).await.map_err(too_much)? else { return Ok(None) };
        kept.values.extend(generated.values().flatten().flat_map(Data::values).cloned());
        answers.generated = generated;
    }
    let is_small = compute::is_small(requests, &answers);
    let rendering = || render(requests, &answers, &es.spec.target.deletion_policy, &asker.means());
    let rendered = asker.compute(is_small, rendering).await?;
    kept.values.extend(rendered.data.values().cloned());
    Ok(Some(Resolved { data: rendered.data, missing: rendered.missing, sources: answered(requests, &answers) }))
}

/// The second half: the template over `data`, with the versions of the objects that it was taken from.
pub async fn content(asker: &Asker<'_>, data: Data, kept: &mut Kept) -> Result<(Content, Versions), Failure> {
    let (sources, versions) = asker.sources(kept).await?;
    let is_small = compute::is_plain(asker.es, data.values());
    let templating = || template::content(asker.es, data, &sources, &asker.means());
    let content = asker.compute(is_small, templating).await?;
    kept.values.extend(content.values());
    Ok((content, versions))
}

/// What was answered and made, by where it is from.
fn answered(requests: &[Request], answers: &Answers) -> Vec<audit::Source> {
    let stores = answers.asked().into_iter().filter_map(|(store, keys)| {
        let at = |key: &Key| (store.clone(), key.clone());
        let answered = keys.iter().filter(|key| answers.values.get(&at(key)).is_some_and(Result::is_ok));
        let keys = answered.map(|key| audit::Secret::answered(key, answers.versions.get(&at(key)))).collect::<Vec<_>>();
        (!keys.is_empty()).then(|| audit::Source { object: audit::Object::store(store), keys })
    });
    let generators = requests.iter().filter_map(|request| match &request.origin {
        Origin::Store(..) => None,
        Origin::Generator(generator) => Some(audit::Source {
            object: audit::Object {
                kind: generator.kind.clone(),
                name: generator.name.clone(),
                ..audit::Object::default()
            },
            keys: Vec::new(),
        }),
    });
    stores.chain(generators).collect()
}

fn too_much(exceeded: Exceeded) -> Failure {
    Failure::new(Headline::Fetch, exceeded, Retry::Late)
}

fn logins(requests: &[Request], answers: &Answers) -> Vec<(Arc<Store>, Option<Key>)> {
    let store = |id: &StoreId| {
        requests.iter().find_map(|request| match &request.origin {
            Origin::Store(store, _) if store.id == *id => Some(store.clone()),
            Origin::Store(..) | Origin::Generator(_) => None,
        })
    };
    let answered = |id: &StoreId| {
        let keys = answers.values.iter().filter(|((of, _), answer)| of == id && answer.is_ok());
        keys.map(|((_, key), _)| key).min().cloned()
    };
    answers.logins.iter().filter_map(|id| Some((store(id)?, answered(id)))).collect()
}

impl Asker<'_> {
    /// Computes what is small here, and all else when it is our turn.
    pub(crate) async fn compute<T: Send>(&self, is_small: bool, work: impl FnOnce() -> T + Send) -> T {
        if is_small {
            return work();
        }
        let namespace = self.es.metadata.namespace.as_deref().unwrap_or_default();
        compute::in_turn(&*self.ports.compute, namespace, &self.budget, work).await
    }

    /// What its templates are rendered with.
    fn means(&self) -> Means<'_> {
        Means { engine: &self.settings.engine, now: self.now, budget: &self.budget }
    }

    /// A failure as it may be told: without the values.
    pub(crate) async fn blank(&self, failure: Failure, values: &[SecretBytes]) -> Failure {
        let is_small = compute::are_few(values) && failure.causes.len() <= NAMED_CAUSES;
        self.compute(is_small, || blank(failure, values)).await
    }

    /// Reads the objects that templates are taken from; answers what they hold, and at which version each was read.
    async fn sources(&self, kept: &mut Kept) -> Result<(Sources, Versions), Failure> {
        let namespace = self.es.metadata.namespace.as_deref().unwrap_or_default();
        let asking =
            kept.asking.get_or_insert_with(|| Asking::in_lane(namespace, self.is_asked_for, self.budget.clone()));
        let (template, mut versions) = (self.es.spec.target.template.as_ref(), Versions::new());
        let read = sources::read(self.ports, template, asking, &mut kept.turn, &mut versions).await;
        let sources = read.map_err(|(cause, retry)| Failure::new(Headline::Update, cause, retry))?;
        Ok((sources, versions))
    }
}
