//! HTTP/1.1 by hand: a library would not let us break it.

use std::sync::Arc;
use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::{Decision, Shared};

/// Longer than any request of a client that is well.
const LONGEST: usize = 1 << 20;

/// What came in.
#[derive(Debug, Default)]
pub(super) struct Request {
    pub method: String,
    /// With its query.
    pub path: String,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    /// A header by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What goes out.
#[derive(Debug)]
pub(super) enum Reply {
    /// An answer; header lines each end with a line break.
    Http { status: u16, headers: String, body: Vec<u8> },
    /// These bytes, and the end of the connection.
    Bytes(Vec<u8>),
    /// The end of the connection, without a word.
    Reset,
    /// Nothing.
    Hang,
}

impl Reply {
    /// An answer of this type.
    pub fn text(status: u16, kind: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::Http { status, headers: format!("content-type: {kind}\r\n"), body: body.into() }
    }
}

/// Serves until all handles are gone. On one thread: it is fast enough, and answers are in order.
pub(super) fn run(listener: std::net::TcpListener, shared: Arc<Shared>, ended: oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        listener.set_nonblocking(true).expect("a socket");
        let listener = TcpListener::from_std(listener).expect("a socket");
        let accept = async {
            loop {
                if let Ok((stream, _)) = listener.accept().await {
                    // Without this small answers wait for the acknowledgement of earlier ones.
                    let _ = stream.set_nodelay(true);
                    tokio::spawn(serve(stream, shared.clone()));
                }
            }
        };
        tokio::select! {
            () = accept => {}
            _ = ended => {}
        }
    });
}

/// One connection. `None` when it ended.
async fn serve(mut stream: TcpStream, shared: Arc<Shared>) -> Option<()> {
    let mut buffer = Vec::with_capacity(8 * 1024);
    loop {
        let request = read(&mut stream, &mut buffer).await?;
        let Decision { delay, reply, at } = shared.answer(&request);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        match reply {
            Reply::Http { status, headers, body } => {
                let mut answer = format!("HTTP/1.1 {status} x\r\n{headers}content-length: {}\r\n\r\n", body.len());
                answer.reserve(body.len());
                let answer = [answer.into_bytes(), body].concat();
                shared.ended(at, Instant::now());
                stream.write_all(&answer).await.ok()?;
            }
            Reply::Bytes(bytes) => {
                shared.ended(at, Instant::now());
                stream.write_all(&bytes).await.ok()?;
                stream.shutdown().await.ok()?;
                return None;
            }
            Reply::Reset => {
                shared.ended(at, Instant::now());
                stream.set_zero_linger().ok()?;
                return None;
            }
            // Until the other side has had enough.
            Reply::Hang => while stream.read_buf(&mut buffer).await.is_ok_and(|length| length > 0) {},
        }
    }
}

/// The next request of a connection; what follows it stays in `buffer`.
async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Request> {
    let (head, mut request) = loop {
        match buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            Some(at) => break (at + 4, parse(&buffer[..at])?),
            None => more(stream, buffer).await?,
        }
    };
    let length: usize = request.header("content-length").map_or(Some(0), |length| length.parse().ok())?;
    while buffer.len() < head + length {
        more(stream, buffer).await?;
    }
    request.body = buffer[head..head + length].to_vec();
    buffer.drain(..head + length);
    Some(request)
}

async fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    let length = stream.read_buf(buffer).await.ok()?;
    (length > 0 && buffer.len() < LONGEST).then_some(())
}

fn parse(head: &[u8]) -> Option<Request> {
    let head = std::str::from_utf8(head).ok()?;
    let mut lines = head.split("\r\n");
    let mut line = lines.next()?.split(' ');
    let (method, path) = (line.next()?.to_owned(), line.next()?.to_owned());
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Some(Request { method, path, headers, body: Vec::new() })
}
