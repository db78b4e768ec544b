//! What a rig has for watches: a test tells of changes, and a list made anew has what was told last.

use async_trait::async_trait;
use futures::stream::StreamExt as _;
use keyferry_crds::ExternalSecret;
use keyferry_sync::dependency::Kind;
use keyferry_sync::ports::Problem;

use super::change::{Change, Changes, Cursor, List, Target, Watches};
use super::index::SubjectKind;
use super::relist::Update;
use super::rig::{Ports, World};
use super::samples::put;
use super::subject::{Own, Told};

impl World {
    /// Takes what is told of an ExternalSecret.
    pub(super) fn take(&mut self, update: &Update<Told<Own>>) {
        match update {
            Update::Put(Told { name, object }) => {
                let es = object.as_ref().ok().and_then(|object| object.downcast_ref::<ExternalSecret>());
                self.objects.insert(name.clone(), es.cloned());
            }
            Update::Gone(told) => _ = self.objects.remove(&told.name),
            Update::Listed(_) => {}
        }
    }
}

#[async_trait]
impl Watches for Ports {
    fn looked_after(&self) -> Vec<(List, Changes)> {
        let mut told = self.changes.lock().unwrap().take().unwrap();
        let told = futures::stream::poll_fn(move |context| told.poll_recv(context)).boxed();
        let silent = || futures::stream::pending().boxed();
        let mut lists = vec![
            (List::Subject(SubjectKind::ExternalSecret), told),
            (List::Subject(SubjectKind::SecretStore), silent()),
        ];
        if self.cluster_stores {
            lists.push((List::Subject(SubjectKind::ClusterSecretStore), silent()));
            lists.push((List::Namespaces, silent()));
        }
        if self.copiers {
            lists.push((List::Subject(SubjectKind::ClusterExternalSecret), silent()));
            lists.push((List::Subject(SubjectKind::ClusterPushSecret), silent()));
            lists.push((List::PushSecrets, silent()));
        }
        lists
    }

    fn list_again(&self) {
        let again = self.again.as_ref().expect("it was made with a rig");
        let world = self.world();
        for es in world.objects.values().flatten() {
            again.send(put(es.clone())).unwrap();
        }
        let listed = Update::Listed(world.objects.keys().cloned().collect());
        again.send(Change::Subject(SubjectKind::ExternalSecret, listed)).unwrap();
    }

    fn referred_to(&self) -> Vec<(List, Changes)> {
        [Kind::Secret, Kind::ConfigMap].map(|kind| (List::Objects(kind), futures::stream::pending().boxed())).into()
    }

    fn kind(&self, kind: &Kind) -> Option<Changes> {
        let mut world = self.world();
        if !world.known_kinds.contains(kind) {
            return None;
        }
        world.log.push(format!("watch {kind}"));
        Some(futures::stream::pending().boxed())
    }

    fn forget(&self, kind: &Kind) {
        self.world().log.push(format!("forget {kind}"));
    }

    async fn targets(&self, from: Cursor) -> Result<(Vec<Target>, Option<Cursor>), Problem> {
        let mut world = self.world();
        let Some(page) = world.pages.pop() else { return Ok((Vec::new(), None)) };
        world.log.push(format!("targets {}", from.token.as_deref().unwrap_or("at start")));
        let rest = world.pages.len();
        let next = Cursor { place: 0, token: Some(format!("{rest} before the end")) };
        Ok((page?, (rest > 0).then_some(next)))
    }
}
