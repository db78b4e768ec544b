//! The way to a cluster: of commands that a person runs, and of the operator.

use std::path::{Path, PathBuf};

use clap::Args;
use keyferry_provider_core::SecretBytes;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

/// The flags that say which cluster.
#[derive(Args, Clone, Debug, Default)]
pub struct Connection {
    /// Kubeconfig file; without it $KUBECONFIG, then ~/.kube/config, then the pod's ServiceAccount
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; without it the current one
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
}

impl Connection {
    /// A client of its API server; the error is for a person.
    pub async fn client(&self) -> Result<Client, String> {
        let options = KubeConfigOptions { context: self.context.clone(), ..Default::default() };
        // The library's own errors may quote the file.
        let named = match &self.kubeconfig {
            Some(file) => Some((
                Kubeconfig::read_from(file).map_err(|_| format!("can't read the kubeconfig {}", file.display()))?,
                format!("the kubeconfig {}", file.display()),
            )),
            None => match Kubeconfig::read() {
                Ok(read) => Some((read, "the kubeconfig".to_owned())),
                Err(KubeconfigError::FindPath) => None,
                Err(KubeconfigError::ReadConfig(error, _)) if error.kind() == std::io::ErrorKind::NotFound => None,
                Err(_) => return Err("can't read the kubeconfig of $KUBECONFIG or ~/.kube/config".to_owned()),
            },
        };
        let config = match named {
            Some((read, what)) => {
                let known: Vec<String> = read.contexts.iter().map(|context| context.name.clone()).collect();
                match &self.context {
                    Some(context) if !known.contains(context) => {
                        return Err(format!("{what} has no context {context:?}; it has: {}", known.join(", ")));
                    }
                    _ => {}
                }
                Config::from_custom_kubeconfig(read, &options)
                    .await
                    .map_err(|_| format!("{what} is not complete: `kubectl config view` tells more"))?
            }
            None if self.context.is_some() => return Err("there is no kubeconfig to find the context in".to_owned()),
            None => {
                Config::infer().await.map_err(|_| "found no way to the API server: give --kubeconfig".to_owned())?
            }
        };
        client(config)
    }
}

/// A client for the operator: by this kubeconfig, or else by what a pod, or the environment, gives. The error is for a
/// person.
pub async fn of_operator(kubeconfig: Option<&Path>) -> Result<Client, String> {
    config_of_operator(kubeconfig).await.and_then(client)
}

/// Makes clients of one API server, each with the token of somebody else.
#[derive(Clone)]
pub struct Bearers(Config);

impl Bearers {
    /// The API server that the operator has; of its credentials nothing is taken over.
    pub async fn of_operator(kubeconfig: Option<&Path>) -> Result<Self, String> {
        let mut config = config_of_operator(kubeconfig).await?;
        config.auth_info = AuthInfo::default();
        Ok(Self(past_proxies(config)))
    }

    /// A client with this token. The error is for a person.
    pub fn bearing(&self, token: &SecretBytes) -> Result<Client, String> {
        let text = token.expose_str().ok_or("a token of the pod is no text")?;
        let mut config = self.0.clone();
        config.auth_info.token = Some(text.to_owned().into());
        client(config)
    }
}

fn client(config: Config) -> Result<Client, String> {
    Client::try_from(past_proxies(config))
        .map_err(|_| "can't make a client from the kubeconfig: check its certificates and credentials".to_owned())
}

async fn config_of_operator(kubeconfig: Option<&Path>) -> Result<Config, String> {
    Ok(match kubeconfig {
        Some(path) => {
            let read =
                Kubeconfig::read_from(path).map_err(|_| format!("can't read the kubeconfig {}", path.display()))?;
            Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await.map_err(|_| {
                format!(
                    "the kubeconfig {} is not complete: `kubectl --kubeconfig {0} version` tells more",
                    path.display()
                )
            })?
        }
        None => Config::infer()
            .await
            .map_err(|_| "found no way to the API server: run in a pod, or give --kubeconfig".to_owned())?,
    })
}

/// Without the proxy of the environment, which is for stores: to an API server there leads what its kubeconfig says.
fn past_proxies(mut config: Config) -> Config {
    let of_environment = ["HTTPS_PROXY", "https_proxy"].into_iter().filter_map(std::env::var_os);
    let mut of_environment = of_environment.filter_map(|text| text.into_string().ok());
    let named = config.proxy_url.as_ref().map(ToString::to_string).unwrap_or_default();
    if of_environment.any(|text| text.trim_end_matches('/') == named.trim_end_matches('/')) {
        config.proxy_url = None;
    }
    config
}
