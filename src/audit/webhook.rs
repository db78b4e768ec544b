//! The audit log at a webhook: whoever collects it takes batches of JSON lines, one after the other. Lines that are not taken
//! wait, and are sent again: the receiver may see some twice, and knows them by their process and number.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderValue, Request, StatusCode, Uri, header};
use clap::Args;
use futures::StreamExt as _;
use keyferry_way::Fault;
use kube::{Client, Config};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use super::{Account, Line, TELL_EVERY};

/// How long a batch may take, from the connection to the answer's headers.
const TIME: Duration = Duration::from_secs(5);

/// What is read of an answer's body, and for how long: only so that the connection can be used again.
const ANSWER: usize = 64 << 10;
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// What a batch holds at most; a longer line goes alone.
const LINES: usize = 1000;
const BYTES: usize = 512 << 10;

/// How long it is waited until lines are sent again: twice as long each time, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// No longer at the end, when all is to be sent within seconds.
const LAST_PAUSE: Duration = Duration::from_millis(500);

/// The flags that say where it is.
#[derive(Args, Clone, Debug, Default)]
pub struct Webhook {
    /// POST the lines of the audit log to this URL, too, in batches (application/x-ndjson), in order; sent again until they are taken: docs/cli.md
    #[arg(long, value_name = "URL")]
    pub audit_webhook: Option<String>,
    /// Authorities to trust there, in PEM, in place of the system's
    #[arg(long, value_name = "FILE", requires = "audit_webhook")]
    pub audit_webhook_ca_file: Option<PathBuf>,
    /// A token to show there (Authorization: Bearer); it is read for each batch
    #[arg(long, value_name = "FILE", requires = "audit_webhook")]
    pub audit_webhook_token_file: Option<PathBuf>,
    /// Let that URL be one of http elsewhere than on this machine: anybody on the way can read who was given what. A token is never shown there
    #[arg(long, requires = "audit_webhook", default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub audit_webhook_allow_http: bool,
}

/// Who takes the lines.
#[derive(Debug)]
pub(super) struct Receiver {
    server: Uri,
    /// With its query.
    path: String,
    /// For messages: paths and queries of some hold a key.
    name: String,
    authorities: Option<PathBuf>,
    token: Option<PathBuf>,
}

/// Why a batch was not taken.
enum Refusal {
    /// Not now: why, and for how long nobody is to ask again, where the receiver says that.
    Later(String, Option<Duration>),
    /// It never takes what was sent.
    Never(StatusCode),
}

impl Webhook {
    /// Who takes the lines, where somebody does. The error is for a person.
    pub(super) fn receiver(&self) -> Result<Option<Receiver>, String> {
        let Some(url) = &self.audit_webhook else { return Ok(None) };
        let form = || "--audit-webhook is not a URL: write it like https://collector.example/audit".to_owned();
        let uri: Uri = url.parse().map_err(|_| form())?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Err(form()) };
        if authority.as_str().contains('@') {
            return Err(
                "--audit-webhook has credentials in its URL: give --audit-webhook-token-file instead".to_owned()
            );
        }
        match scheme {
            "https" => {}
            "http" if is_loopback(authority.host()) => {}
            "http" if self.audit_webhook_token_file.is_some() => {
                return Err("--audit-webhook: a token is shown over https only".to_owned());
            }
            "http" if self.audit_webhook_allow_http => {}
            "http" => {
                return Err(
                    "--audit-webhook: over http anybody on the way can read who was given what: use https, or \
                            say --audit-webhook-allow-http"
                        .to_owned(),
                );
            }
            _ => return Err(form()),
        }
        let server = Uri::builder().scheme(scheme).authority(authority.clone()).path_and_query("/").build();
        let receiver = Receiver {
            server: server.map_err(|_| form())?,
            path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
            name: authority.to_string(),
            authorities: self.audit_webhook_ca_file.clone(),
            token: self.audit_webhook_token_file.clone(),
        };
        // What is wrong from the start is told at the start.
        receiver.config()?;
        receiver.bearer()?;
        Ok(Some(receiver))
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.parse::<IpAddr>().map_or(host == "localhost", |address| address.is_loopback())
}

impl Receiver {
    fn config(&self) -> Result<Config, String> {
        let mut config = Config::new(self.server.clone());
        (config.connect_timeout, config.read_timeout, config.write_timeout) = (Some(TIME), Some(TIME), Some(TIME));
        (config.default_retry, config.proxy_url) = (false, None);
        if let Some(file) = &self.authorities {
            config.root_cert = Some(authorities(file)?);
        }
        Ok(config)
    }

    fn client(&self) -> Result<Client, String> {
        Client::try_from(self.config()?)
            .map_err(|_| "no authorities to trust can be read: give --audit-webhook-ca-file".to_owned())
    }

    /// The header that shows the token, as it is now.
    fn bearer(&self) -> Result<Option<HeaderValue>, String> {
        let Some(file) = &self.token else { return Ok(None) };
        let why = |why: String| format!("can't read the token --audit-webhook-token-file {}: {why}", file.display());
        let text = std::fs::read_to_string(file).map(Zeroizing::new).map_err(|error| why(error.kind().to_string()))?;
        let token = text.trim();
        if token.is_empty() {
            return Err(why("it is empty".to_owned()));
        }
        let shown = Zeroizing::new(format!("Bearer {token}"));
        let mut shown = HeaderValue::from_str(&shown).map_err(|_| why("it is not of the form of one".to_owned()))?;
        shown.set_sensitive(true);
        Ok(Some(shown))
    }

    /// Has a batch taken.
    async fn post(&self, client: &mut Option<Client>, lines: Vec<u8>) -> Result<(), Refusal> {
        let later = |why: String| Refusal::Later(why, None);
        let mut request = Request::post(&self.path).header(header::CONTENT_TYPE, "application/x-ndjson");
        if let Some(bearer) = self.bearer().map_err(later)? {
            request = request.header(header::AUTHORIZATION, bearer);
        }
        let request = request.body(lines.into()).map_err(|_| later("its path is not of the form of one".to_owned()))?;
        let client = match client {
            Some(client) => client,
            None => client.insert(self.client().map_err(later)?),
        };
        let answer = match timeout(TIME, client.send(request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(later(unreached(Fault::of(&error)).to_owned())),
            Err(_) => return Err(later(format!("it did not answer within {} s", TIME.as_secs()))),
        };
        let (status, wait) = (answer.status(), retry_after(answer.headers().get(header::RETRY_AFTER)));
        let mut body = Body::new(answer.into_body()).into_data_stream();
        let read = async {
            let mut left = ANSWER;
            while let Some(Ok(part)) = body.next().await
                && part.len() < left
            {
                left -= part.len();
            }
        };
        let _ = timeout(ANSWER_TIME, read).await;
        judge(status, wait)
    }
}

/// What an answer means.
fn judge(status: StatusCode, wait: Option<Duration>) -> Result<(), Refusal> {
    match status.as_u16() {
        200..=299 => Ok(()),
        400 | 413 | 422 => Err(Refusal::Never(status)),
        401 | 403 => Err(Refusal::Later(
            format!("it does not let us in (status {}): check --audit-webhook-token-file", status.as_u16()),
            wait,
        )),
        300..=399 => Err(Refusal::Later(
            "it sends us elsewhere, which is not followed: name where it leads in --audit-webhook".to_owned(),
            None,
        )),
        code => Err(Refusal::Later(format!("it answered with status {code}"), wait)),
    }
}

/// For how long the receiver is not to be asked. Dates are not understood.
fn retry_after(header: Option<&HeaderValue>) -> Option<Duration> {
    let seconds = header?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_PAUSE))
}

fn authorities(file: &Path) -> Result<Vec<Vec<u8>>, String> {
    let failed = || format!("can't read certificates from --audit-webhook-ca-file {}", file.display());
    let all = CertificateDer::pem_file_iter(file).map_err(|_| failed())?;
    let all = all.map(|one| one.map(|one| one.to_vec())).collect::<Result<Vec<_>, _>>().map_err(|_| failed())?;
    if all.is_empty() { Err(failed()) } else { Ok(all) }
}

/// Why there was no answer.
fn unreached(fault: Option<Fault>) -> &'static str {
    match fault {
        Some(Fault::UnknownAuthority) => {
            "its certificate is signed by nobody we trust: name who signed it in --audit-webhook-ca-file"
        }
        Some(Fault::OtherName) => "its certificate is for another name: check --audit-webhook",
        Some(Fault::Expired | Fault::NotYetValid | Fault::Revoked | Fault::Certificate) => {
            "its certificate can't be accepted: renew it there"
        }
        Some(Fault::NoTls) => "it does not speak TLS there: check --audit-webhook",
        Some(Fault::ClientCertificate | Fault::NoAgreement | Fault::Handshake) => "the TLS handshake failed",
        Some(Fault::NoName) => "its name can't be resolved: check --audit-webhook",
        Some(Fault::Refused) => "nothing listens there",
        Some(Fault::NoRoute) => "there is no way to its network",
        Some(Fault::Timeout) => "no connection in time",
        None => "it can't be reached",
    }
}

/// Sends what is queued, until the queue ends.
pub(super) fn send(receiver: Receiver, queued: UnboundedReceiver<Line>, account: Account) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return tracing::error!("can't start the audit log's webhook: deliveries are not in it");
    };
    runtime.block_on(async {
        let mut sending = Sending::new(receiver, queued, account);
        while sending.gather().await {
            sending.go().await;
        }
    });
}

/// Lines on their way.
struct Sending {
    receiver: Receiver,
    /// Made anew after each failure: authorities may be others by then.
    client: Option<Client>,
    queued: UnboundedReceiver<Line>,
    is_ending: bool,
    pending: VecDeque<Line>,
    /// How many lines go together.
    together: usize,
    account: Account,
    /// How often it failed since it was last taken.
    failures: u32,
    told: Option<Instant>,
}

impl Sending {
    fn new(receiver: Receiver, queued: UnboundedReceiver<Line>, account: Account) -> Self {
        Self {
            receiver,
            client: None,
            queued,
            is_ending: false,
            pending: VecDeque::new(),
            together: LINES,
            account,
            failures: 0,
            told: None,
        }
    }

    /// Takes all that is queued, and waits until there is something; false where nothing will be.
    async fn gather(&mut self) -> bool {
        if self.pending.is_empty() && !self.is_ending {
            let first = self.queued.recv().await;
            self.take(first);
        }
        loop {
            match self.queued.try_recv() {
                Ok(line) => self.pending.push_back(line),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    self.is_ending = true;
                    break;
                }
            }
        }
        !self.pending.is_empty()
    }

    fn take(&mut self, line: Option<Line>) {
        match line {
            Some(line) => self.pending.push_back(line),
            None => self.is_ending = true,
        }
    }

    /// Has the first lines taken. A batch that is refused for what it holds is made smaller, until the line is alone that
    /// makes it so.
    async fn go(&mut self) {
        let (count, batch) = self.batch();
        match self.receiver.post(&mut self.client, batch).await {
            Ok(()) => {
                self.pending.drain(..count).for_each(|line| self.account.writes(&line));
                self.together = (2 * self.together).min(LINES);
                if std::mem::take(&mut self.failures) > 0 && self.told.take().is_some() {
                    tracing::info!(receiver = self.receiver.name, "the audit log's webhook takes lines again");
                }
            }
            Err(Refusal::Never(_)) if count > 1 => self.together = count / 2,
            Err(Refusal::Never(status)) => {
                self.pending.drain(..count).for_each(|line| self.account.drops(&line));
                let why = format!("it refuses what it is sent with status {}: a line is dropped", status.as_u16());
                self.tell(&why);
            }
            Err(Refusal::Later(why, wait)) => {
                self.client = None;
                self.tell(&why);
                self.pause(wait).await;
            }
        }
    }

    /// The first lines, and how many these are.
    fn batch(&self) -> (usize, Vec<u8>) {
        let (mut count, mut batch) = (0, Vec::new());
        for line in self.pending.iter().take(self.together) {
            if count > 0 && batch.len() + line.len() > BYTES {
                break;
            }
            count += 1;
            batch.extend_from_slice(line);
        }
        (count, batch)
    }

    /// Says why lines are not taken, once in a while.
    fn tell(&mut self, why: &str) {
        if self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            self.told = Some(Instant::now());
            let (receiver, waiting) = (&self.receiver.name, self.pending.len());
            tracing::warn!(receiver, waiting, why, "the audit log's webhook does not take lines");
        }
    }

    /// Waits before the next try; shortly, from when the end is near.
    async fn pause(&mut self, wait: Option<Duration>) {
        let doubled = FIRST_PAUSE.saturating_mul(1 << self.failures.min(10)).min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        // Many who were refused together are not to come back together.
        let pause = wait.unwrap_or(doubled).mul_f64(0.75 + rand::random::<f64>() / 2.0);
        let over = sleep(pause);
        tokio::pin!(over);
        while !self.is_ending {
            tokio::select! {
                () = &mut over => return,
                line = self.queued.recv() => self.take(line),
            }
        }
        sleep(pause.min(LAST_PAUSE)).await;
    }
}

#[cfg(test)]
#[path = "webhook_tests.rs"]
mod tests;
