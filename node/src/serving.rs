//! The sockets: the driver's, the one by which the kubelet learns of it, and that of the provider. Nobody but root may use any, from their first moment
//! on, and each is there only when somebody answers.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::{Stream, StreamExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

use crate::DRIVER;
use crate::authority::Renamed;
use crate::driver::{Driver, Registrar};
use crate::node::Node;
use crate::provider::{PROVIDER, Provider};
use crate::rpc::csi::identity_server::IdentityServer;
use crate::rpc::csi::node_server::NodeServer;
use crate::rpc::provider::csi_driver_provider_server::CsiDriverProviderServer;
use crate::rpc::registration::registration_server::RegistrationServer;

/// The largest request that is read: the pod's tokens and the volume's attributes.
const LARGEST: usize = 4 << 20;

/// Where sockets and marks are, below the kubelet's folder.
#[derive(Clone, Debug)]
pub struct Paths {
    /// The driver's socket.
    pub socket: PathBuf,
    /// What the kubelet watches for sockets of plugins.
    pub registration: PathBuf,
    /// What is written down.
    pub state: PathBuf,
    /// Where the Secrets Store CSI Driver looks for the sockets of its providers, where we are one.
    pub providers: Option<PathBuf>,
}

impl Paths {
    /// The usual ones.
    pub fn below(kubelet: &Path) -> Self {
        let own = kubelet.join("plugins").join(DRIVER);
        Self {
            socket: own.join("csi.sock"),
            registration: kubelet.join("plugins_registry").join(format!("{DRIVER}-reg.sock")),
            state: own.join("volumes"),
            providers: None,
        }
    }
}

/// Listens at a path, in the place of whoever did before.
fn listen(path: &Path) -> Result<UnixListener, String> {
    let failed = |error: io::Error| format!("can't listen at {}: {}", path.display(), error.kind());
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Err(format!("{} is no path of a socket", path.display()));
    };
    fs::DirBuilder::new().recursive(true).mode(0o750).create(folder).map_err(failed)?;
    // The kubelet passes over names that begin so: it is seen once its mode is set.
    let new = folder.join(format!(".{name}"));
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&new).map_err(failed)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    fs::rename(&new, path).map_err(failed)?;
    Ok(listener)
}

/// Those who connect, whatever they call us.
fn connections(listener: UnixListener) -> impl Stream<Item = io::Result<Renamed<UnixStream>>> {
    UnixListenerStream::new(listener).map(|accepted| accepted.map(Renamed::new))
}

/// Serves until `stopped`; what is under way then is ended. The sockets stay: the kubelet waits there for the next process.
pub async fn serve(
    node: Arc<Node>,
    provider: Option<Provider>,
    name: String,
    paths: &Paths,
    stopped: impl Fn() -> futures::future::BoxFuture<'static, ()>,
) -> Result<(), String> {
    let driver = Driver { node, name };
    let listener = listen(&paths.socket)?;
    let services = Server::builder()
        .add_service(IdentityServer::new(driver.clone()))
        .add_service(NodeServer::new(driver).max_decoding_message_size(LARGEST))
        .serve_with_incoming_shutdown(connections(listener), stopped());
    // The driver answers before the kubelet hears of it.
    let registrar = Registrar { endpoint: paths.socket.display().to_string() };
    let listener = listen(&paths.registration)?;
    let registration = Server::builder()
        .add_service(RegistrationServer::new(registrar))
        .serve_with_incoming_shutdown(connections(listener), stopped());
    let provider = provide(provider, paths, stopped())?;
    tracing::info!(socket = %paths.socket.display(), "serving the kubelet");
    let (services, registration, provider) = futures::future::join3(services, registration, provider).await;
    services.and(registration).and(provider).map_err(|_| "the sockets can't be served any more".to_owned())
}

/// Serves the Secrets Store CSI Driver, where that is asked for.
fn provide(
    provider: Option<Provider>,
    paths: &Paths,
    stopped: futures::future::BoxFuture<'static, ()>,
) -> Result<impl Future<Output = Result<(), tonic::transport::Error>> + use<>, String> {
    let serving = match (provider, &paths.providers) {
        (Some(provider), Some(folder)) => {
            let socket = folder.join(format!("{PROVIDER}.sock"));
            let listener = listen(&socket)?;
            tracing::info!(socket = %socket.display(), "serving the Secrets Store CSI Driver");
            let service = CsiDriverProviderServer::new(provider).max_decoding_message_size(LARGEST);
            let server = Server::builder().add_service(service);
            Some(server.serve_with_incoming_shutdown(connections(listener), stopped))
        }
        _ => None,
    };
    Ok(async move {
        match serving {
            Some(serving) => serving.await,
            None => Ok(()),
        }
    })
}
