//! Ways across the border of a node's network, which has no other. In: the API server dials the kubelet, pods and
//! Services through a proxy on a Unix socket, as its egress selector has it. Out: a port of the machine's loopback is to
//! be had at the node's address too. Bytes are copied; nothing is dialed in the machine's own network but loopback.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::runtime::{Builder, Handle, Runtime};

use super::ADDRESS;
use super::inside::{Inside, enter_network};

const DIALED_WITHIN: Duration = Duration::from_secs(10);
/// A request to the proxy is two lines.
const REQUEST_LIMIT: usize = 4096;

/// Open until dropped.
#[derive(Debug)]
pub(crate) struct Ways {
    /// Of a thread in the node's network: a socket is where the thread was that made it.
    inside: Handle,
    outside: Option<Runtime>,
}

impl Ways {
    /// Opens the way in, at the Unix socket `proxy`.
    pub fn open(node: &Inside, proxy: &Path) -> Result<Self> {
        let outside = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let inside = runtime_in(node)?;
        let listener = {
            let _entered = inside.enter();
            UnixListener::bind(proxy).with_context(|| format!("cannot listen on {}", proxy.display()))?
        };
        inside.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    // Who dialed sees the end of the connection.
                    let _ = connect(client).await;
                });
            }
        });
        Ok(Self { inside, outside: Some(outside) })
    }

    /// Opens a way out: what listens at this port of the machine's loopback is at the node's address too.
    pub async fn let_out(&self, port: u16) -> Result<()> {
        let address: SocketAddr = format!("{ADDRESS}:{port}").parse()?;
        let bound = self.inside.spawn(async move { TcpListener::bind(address).await?.into_std() });
        let listener = bound.await?.with_context(|| format!("cannot listen on {address} of the node"))?;
        let outside = self.outside.as_ref().ok_or_else(|| anyhow!("the ways are closed"))?;
        outside.spawn(async move {
            let Ok(listener) = TcpListener::from_std(listener) else { return };
            while let Ok((mut client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    if let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
                        let _ = copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        });
        Ok(())
    }
}

impl Drop for Ways {
    /// Where others are served too, nobody may wait for the end of connections.
    fn drop(&mut self) {
        if let Some(outside) = self.outside.take() {
            outside.shutdown_background();
        }
    }
}

/// A runtime on a thread in the node's network. It lasts as long as the process: nobody asks it to end.
fn runtime_in(node: &Inside) -> Result<Handle> {
    let init = node.init().try_clone_to_owned()?;
    let (made, answer) = channel();
    std::thread::spawn(move || {
        let runtime = enter_network(init.as_fd()).and_then(|()| Builder::new_current_thread().enable_all().build());
        match runtime {
            Ok(runtime) => {
                let _ = made.send(Ok(runtime.handle().clone()));
                runtime.block_on(std::future::pending::<()>());
            }
            Err(error) => {
                let _ = made.send(Err(error));
            }
        }
    });
    let answer = answer.recv().map_err(|_| anyhow!("the thread in the node's network is gone"))?;
    answer.context("cannot enter the node's network")
}

/// Serves one `CONNECT` of HTTP.
async fn connect(mut client: UnixStream) -> io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if request.len() >= REQUEST_LIMIT {
            return client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
        request.push(client.read_u8().await?);
    }
    let request = String::from_utf8_lossy(&request);
    let asked = request.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next());
    let Some(address) = asked.and_then(|asked| asked.parse::<SocketAddr>().ok()) else {
        return client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    };
    match tokio::time::timeout(DIALED_WITHIN, TcpStream::connect(address)).await {
        Ok(Ok(mut server)) => {
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
            copy_bidirectional(&mut client, &mut server).await.map(|_| ())
        }
        _ => client.write_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n").await,
    }
}
