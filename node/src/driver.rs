//! The services of the interface. What a request holds is never logged.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::DRIVER;
use crate::mounts::Room;
use crate::node::Node;
use crate::refusal::Refusal;
use crate::rpc::csi::identity_server::Identity;
use crate::rpc::csi::node_server;
use crate::rpc::csi::node_service_capability::rpc::Type as Can;
use crate::rpc::csi::node_service_capability::{Rpc, Type};
use crate::rpc::csi::volume_usage::Unit;
use crate::rpc::csi::{
    GetPluginCapabilitiesRequest, GetPluginCapabilitiesResponse, GetPluginInfoRequest, GetPluginInfoResponse,
    NodeGetCapabilitiesRequest, NodeGetCapabilitiesResponse, NodeGetInfoRequest, NodeGetInfoResponse,
    NodeGetVolumeStatsRequest, NodeGetVolumeStatsResponse, NodePublishVolumeRequest, NodePublishVolumeResponse,
    NodeServiceCapability, NodeUnpublishVolumeRequest, NodeUnpublishVolumeResponse, ProbeRequest, ProbeResponse,
    VolumeUsage,
};
use crate::rpc::registration::registration_server::Registration;
use crate::rpc::registration::{InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse};

/// The driver: who it is, and what it does on this node.
#[derive(Clone)]
pub struct Driver {
    /// What a node does.
    pub node: Arc<Node>,
    /// Its name.
    pub name: String,
}

#[tonic::async_trait]
impl Identity for Driver {
    async fn get_plugin_info(
        &self,
        _: Request<GetPluginInfoRequest>,
    ) -> Result<Response<GetPluginInfoResponse>, Status> {
        let vendor_version = env!("CARGO_PKG_VERSION").to_owned();
        Ok(Response::new(GetPluginInfoResponse { name: DRIVER.to_owned(), vendor_version }))
    }

    async fn get_plugin_capabilities(
        &self,
        _: Request<GetPluginCapabilitiesRequest>,
    ) -> Result<Response<GetPluginCapabilitiesResponse>, Status> {
        Ok(Response::new(GetPluginCapabilitiesResponse {}))
    }

    async fn probe(&self, _: Request<ProbeRequest>) -> Result<Response<ProbeResponse>, Status> {
        Ok(Response::new(ProbeResponse {}))
    }
}

fn needed(what: &str, text: &str) -> Result<(), Status> {
    if text.is_empty() { Err(Refusal::invalid(format!("no {what} is given")).into()) } else { Ok(()) }
}

#[tonic::async_trait]
impl node_server::Node for Driver {
    async fn node_publish_volume(
        &self,
        request: Request<NodePublishVolumeRequest>,
    ) -> Result<Response<NodePublishVolumeResponse>, Status> {
        let request = request.into_inner();
        needed("volume id", &request.volume_id)?;
        self.node.clone().publish(request).await?;
        Ok(Response::new(NodePublishVolumeResponse {}))
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<NodeUnpublishVolumeRequest>,
    ) -> Result<Response<NodeUnpublishVolumeResponse>, Status> {
        let NodeUnpublishVolumeRequest { volume_id, target_path } = request.into_inner();
        needed("volume id", &volume_id)?;
        let node = self.node.clone();
        let done = tokio::spawn(async move { node.unpublish(&target_path).await }).await;
        done.map_err(|_| Status::internal("a bug of keyferry ended it; please report it"))??;
        Ok(Response::new(NodeUnpublishVolumeResponse {}))
    }

    async fn node_get_volume_stats(
        &self,
        request: Request<NodeGetVolumeStatsRequest>,
    ) -> Result<Response<NodeGetVolumeStatsResponse>, Status> {
        let NodeGetVolumeStatsRequest { volume_id, volume_path } = request.into_inner();
        needed("volume id", &volume_id)?;
        needed("volume path", &volume_path)?;
        let usage = self.node.usage(&volume_path)?;
        let of = |unit: Unit, Room { total, available }: Room| VolumeUsage {
            unit: unit.into(),
            total: i64::try_from(total).unwrap_or(i64::MAX),
            available: i64::try_from(available).unwrap_or(i64::MAX),
            used: i64::try_from(total.saturating_sub(available)).unwrap_or(i64::MAX),
        };
        let usage = vec![of(Unit::Bytes, usage.bytes), of(Unit::Inodes, usage.inodes)];
        Ok(Response::new(NodeGetVolumeStatsResponse { usage }))
    }

    async fn node_get_capabilities(
        &self,
        _: Request<NodeGetCapabilitiesRequest>,
    ) -> Result<Response<NodeGetCapabilitiesResponse>, Status> {
        let capability = |can: Can| NodeServiceCapability { r#type: Some(Type::Rpc(Rpc { r#type: can.into() })) };
        let capabilities = [Can::GetVolumeStats, Can::VolumeMountGroup].map(capability).into();
        Ok(Response::new(NodeGetCapabilitiesResponse { capabilities }))
    }

    async fn node_get_info(&self, _: Request<NodeGetInfoRequest>) -> Result<Response<NodeGetInfoResponse>, Status> {
        Ok(Response::new(NodeGetInfoResponse { node_id: self.name.clone() }))
    }
}

/// What makes the driver known to the kubelet.
#[derive(Clone, Debug)]
pub struct Registrar {
    /// The path of the driver's socket, as the kubelet sees it.
    pub endpoint: String,
}

#[tonic::async_trait]
impl Registration for Registrar {
    async fn get_info(&self, _: Request<InfoRequest>) -> Result<Response<PluginInfo>, Status> {
        Ok(Response::new(PluginInfo {
            r#type: "CSIPlugin".to_owned(),
            name: DRIVER.to_owned(),
            endpoint: self.endpoint.clone(),
            supported_versions: vec!["1.0.0".to_owned()],
        }))
    }

    async fn notify_registration_status(
        &self,
        request: Request<RegistrationStatus>,
    ) -> Result<Response<RegistrationStatusResponse>, Status> {
        let RegistrationStatus { plugin_registered, error } = request.into_inner();
        if plugin_registered {
            tracing::info!("the kubelet knows the driver");
        } else {
            tracing::error!(error, "the kubelet does not take the driver");
        }
        Ok(Response::new(RegistrationStatusResponse {}))
    }
}
