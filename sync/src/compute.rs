//! Where what may take long is computed: by turns of namespaces, apart from the threads that serve everybody. What is small
//! is computed where it stands, since a turn costs more.

use std::sync::Arc;

use async_trait::async_trait;
use keyferry_crds::ExternalSecret;
use keyferry_limits::Budget;
use keyferry_provider_core::SecretBytes;

use crate::data::StringMap;
use crate::ports::{Compute, Turn};
use crate::render::Answers;
use crate::request::{Origin, Request, Wanted};

/// So many entries and bytes take less time than handing them over.
const FEW: usize = 32;
const LITTLE: usize = 64 << 10;

/// So many windows are gone through in no time, however often they open.
const FEW_WINDOWS: usize = 2;

/// Computes something in a turn of this namespace, which the budget is stopped for where it takes too long.
pub async fn in_turn<T: Send>(
    port: &dyn Compute,
    namespace: &str,
    budget: &Arc<Budget>,
    work: impl FnOnce() -> T + Send,
) -> T {
    let _turn = port.turn(namespace, budget).await;
    let (mut work, mut done) = (Some(work), None);
    port.run(&mut || done = work.take().map(|work| work()));
    done.expect("`Compute::run` runs what it is given")
}

/// Whether rendering the answers is certain to be quick: a few small values, none of which is taken apart by patterns or
/// queries.
pub fn is_small(requests: &[Request], answers: &Answers) -> bool {
    let is_plain = |request: &Request| {
        request.rewrite.is_empty()
            && matches!(&request.origin, Origin::Store(_, Wanted::Key(_)))
            && request.remote.property.as_deref().is_none_or(is_plain_path)
    };
    requests.len() <= FEW && requests.iter().all(is_plain) && are_small(answers.values.values().flatten())
}

/// Whether a property is names and dots alone, for which a value is gone through once for each of them.
pub fn is_plain_path(property: &str) -> bool {
    const SHORT: usize = 256;
    property.len() <= SHORT && property.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte))
}

/// Whether making content of these is certain to be quick: there is no template.
pub fn is_plain<'a>(es: &ExternalSecret, data: impl Iterator<Item = &'a SecretBytes>) -> bool {
    es.spec.target.template.is_none() && es.target_manifest().is_none() && are_small(data)
}

/// Whether going through the bytes of these, once or twice, is certain to be quick.
pub fn is_little<'a>(data: impl Iterator<Item = &'a SecretBytes>) -> bool {
    are_small(data)
}

/// Whether it is certain to be quick to find out what is to do: a few entries, none with a pattern, and hardly a window.
pub fn is_short(es: &ExternalSecret) -> bool {
    let spec = &es.spec;
    let windows = spec.sync_windows.as_ref().map_or(0, |windows| windows.windows.len());
    spec.data.len() + spec.data_from.len() <= FEW
        && spec.data_from.iter().all(|entry| entry.find.is_none())
        && windows <= FEW_WINDOWS
}

/// Whether going through these labels or annotations, once or twice, is certain to be quick.
pub fn are_short(marks: &StringMap) -> bool {
    marks.iter().try_fold(LITTLE, |left, (key, text)| left.checked_sub(key.len() + text.len())).is_some()
}

/// Whether blanking these out of a few words is certain to be quick.
pub fn are_few(values: &[SecretBytes]) -> bool {
    values.len() <= FEW && are_small(values.iter())
}

fn are_small<'a>(mut values: impl Iterator<Item = &'a SecretBytes>) -> bool {
    values.try_fold(LITTLE, |left, value| left.checked_sub(value.len())).is_some()
}

/// Computes where it stands, for who has nobody else to serve.
pub struct Here;

#[async_trait]
impl Compute for Here {
    async fn turn(&self, _: &str, _: &Arc<Budget>) -> Turn {
        Box::new(())
    }

    fn run(&self, work: &mut dyn FnMut()) {
        work();
    }
}
