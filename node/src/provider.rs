//! The Secrets Store CSI Driver's way to us: it mounts, and asks what belongs into a volume. What is read, who may, and what is due
//! is as for volumes of our own; what is answered the driver writes. It never says that a volume has ended: what is known of one
//! goes, and what was made for it is revoked, some moments after its folder has.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tonic::{Request, Response, Status};

use crate::answer::Answer;
use crate::class::asked;
use crate::life::{LONGEST, alone};
use crate::look::Visit;
use crate::node::Node;
use crate::place;
use crate::refusal::Refusal;
use crate::rpc::provider::csi_driver_provider_server::CsiDriverProvider;
use crate::rpc::provider::{MountRequest, MountResponse, VersionRequest, VersionResponse};
use crate::target::Writer;

/// The name of the provider, which a class has as `spec.provider`, and its socket.
pub const PROVIDER: &str = "keyferry";

/// The version of the interface.
const INTERFACE: &str = "v1alpha1";

/// How often it is looked which volumes have ended. The sooner that is seen, the likelier the pod's login still counts.
const SWEEP: Duration = Duration::from_secs(10);

/// A provider of the driver.
#[derive(Clone)]
pub struct Provider {
    node: Arc<Node>,
}

impl Provider {
    /// By a node that has volumes and marks of its own for this. While that is there, volumes that have ended are looked for.
    pub fn begin(node: Arc<Node>) -> Self {
        node.begin_beside();
        let swept = Arc::downgrade(&node);
        tokio::spawn(async move {
            while let Some(node) = swept.upgrade() {
                node.sweep().await;
                drop(node);
                tokio::time::sleep(SWEEP).await;
            }
        });
        Self { node }
    }

    /// What belongs into a volume.
    async fn answer(&self, mut request: MountRequest) -> Result<MountResponse, Refusal> {
        let until = Instant::now() + LONGEST;
        let node = &self.node;
        let place = place::target(&request.target_path, &node.kubelet)?;
        let (pod, asked) = asked(&mut request);
        let volume = node.volumes.of(&place);
        let mut volume = alone(&volume, until).await?;
        let mark = node.marks.read(&place);
        let is_ours = mark.as_ref().is_some_and(|mark| mark.is_delivered);
        let answer = Answer::new(&request.current_object_version, is_ours);
        let visit = Visit { place: &place, writer: Writer::Another(&answer), stands: answer.stands(&place), until };
        // The driver asks anew for what it could not write.
        if is_ours && !visit.stands {
            node.metrics.mounts.dec();
        }
        let came = match asked {
            Ok(asked) => node.look(visit, &mut volume, asked, mark).await,
            Err(refusal) => Err(refusal),
        };
        match node.conclude(visit, &mut volume, pod.as_ref(), came) {
            Err(refusal) if !answer.takes_away() => {
                if !visit.stands {
                    node.tending.ledger.end(&place);
                    let _ = node.marks.remove(&place).inspect_err(|refusal| tracing::warn!("{}", refusal.message));
                    node.volumes.forget(&place);
                }
                Err(refusal)
            }
            _ => Ok(answer.into_response()),
        }
    }
}

#[tonic::async_trait]
impl CsiDriverProvider for Provider {
    async fn version(&self, _: Request<VersionRequest>) -> Result<Response<VersionResponse>, Status> {
        Ok(Response::new(VersionResponse {
            version: INTERFACE.to_owned(),
            runtime_name: PROVIDER.to_owned(),
            runtime_version: env!("CARGO_PKG_VERSION").to_owned(),
        }))
    }

    async fn mount(&self, request: Request<MountRequest>) -> Result<Response<MountResponse>, Status> {
        // Whoever asked may be gone: what has begun is ended all the same, and answered to nobody.
        let (provider, request) = (self.clone(), request.into_inner());
        let done = tokio::spawn(async move { provider.answer(request).await }).await;
        Ok(Response::new(done.map_err(|_| Status::internal("a bug of keyferry ended it; please report it"))??))
    }
}
