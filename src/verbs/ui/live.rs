//! Keeps the table current, and tells a page what changes in it (server-sent events).

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Extension, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use futures::StreamExt as _;
use futures::stream;
use kube::Client;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::board::Board;
use super::door::Door;
use super::users;
use crate::clock;
use crate::server::{Connection, Hold};
use crate::verbs::follow::{self, Change};
use crate::verbs::gather::{self, MetricsFrom};

/// What changes within this time is told together.
const GATHER: Duration = Duration::from_millis(150);

/// For so long a page is told on one connection, which the server gives up after a minute; then it asks again, which is after [`RETRY`].
const TELL: Duration = Duration::from_secs(45);
const RETRY: Duration = Duration::from_millis(300);

/// While somebody looks and something failed, metrics are read anew when they are older than this.
const METRICS_AGE: Duration = Duration::from_secs(15);

/// How often it is seen whether somebody does.
const LOOK: Duration = Duration::from_secs(1);

/// After how long what was refused is asked for again: a right to it may have been granted.
const AGAIN: Duration = Duration::from_secs(30);

/// For so long after a page asked for it, it is watched who uses Secrets in a namespace: it asks again before that is over.
const SHOWN: Duration = Duration::from_secs(90);

/// What helps where all namespaces may not be read.
const HINT: &str = "; `keyferry ui --namespace NAME` asks for those of one namespace only";

/// The table, and who waits for it to change.
pub struct Live {
    client: Client,
    namespace: Option<String>,
    metrics: MetricsFrom,
    board: Mutex<Board>,
    /// The number of the last change.
    revision: watch::Sender<u64>,
    /// The namespaces in which it is watched who uses Secrets, by when a page asked for that last.
    shown: Mutex<HashMap<String, Instant>>,
}

impl Live {
    /// With nothing in it yet.
    pub fn new(client: Client, namespace: Option<String>, metrics: MetricsFrom) -> Self {
        Self {
            client,
            namespace,
            metrics,
            board: Mutex::default(),
            revision: watch::channel(0).0,
            shown: Mutex::default(),
        }
    }

    /// Asks the table something.
    pub fn read<T>(&self, ask: impl FnOnce(&Board) -> T) -> T {
        ask(&self.board.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, change: impl FnOnce(&mut Board)) {
        let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut board);
        self.revision.send_replace(board.revision());
    }

    /// A page shows who uses the Secrets of this namespace: it is told when that changes, for a while.
    pub fn show(self: &Arc<Self>, namespace: &str) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.insert(namespace.to_owned(), Instant::now()).is_none() {
            let (live, namespace) = (self.clone(), namespace.to_owned());
            tokio::spawn(async move {
                let wanted_until = || live.wanted_until(&namespace);
                let changed = || live.change(|board| board.users_changed(&namespace));
                users::follow(&live.client, &namespace, wanted_until, changed).await;
            });
        }
    }

    /// Until when that is wanted; `None`, and it is forgotten, where that is over.
    fn wanted_until(&self, namespace: &str) -> Option<Instant> {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let until = shown.get(namespace).map(|asked| *asked + SHOWN).filter(|until| *until > Instant::now());
        if until.is_none() {
            shown.remove(namespace);
            self.change(|board| board.forget_users(namespace));
        }
        until
    }

    /// Keeps it current, for ever.
    pub async fn follow(&self) {
        tokio::join!(self.watch(), self.ask_for_tries(), self.look_for_namespace());
    }

    /// A namespace that is not there has nothing to show.
    async fn look_for_namespace(&self) {
        let mut notes = Vec::new();
        if let Some(namespace) = &self.namespace {
            gather::note_absent(&self.client, namespace, &mut notes).await;
        }
        for why in notes {
            let change = Change::Unread { kind: "Namespace", why, is_refused: false };
            self.change(|board| board.take(change, "", clock::now()));
        }
    }

    async fn watch(&self) {
        let hint = if self.namespace.is_some() { "" } else { HINT };
        let mut changes = follow::all(&self.client, self.namespace.as_deref(), Some(AGAIN));
        while let Some(change) = changes.next().await {
            self.change(|board| board.take(change, hint, clock::now()));
        }
    }

    async fn ask_for_tries(&self) {
        let mut asked: Option<Instant> = None;
        loop {
            sleep(LOOK).await;
            let is_old = asked.is_none_or(|asked| asked.elapsed() > METRICS_AGE);
            if !is_old || self.revision.receiver_count() == 0 || !self.read(Board::wants_tries) {
                continue;
            }
            let mut notes = Vec::new();
            let tries = self.metrics.tries(&self.client, &mut notes).await.unwrap_or_else(|why| {
                notes.push(why);
                None
            });
            asked = Some(Instant::now());
            self.change(|board| board.take_tries(tries, notes.pop(), clock::now()));
        }
    }
}

/// The way to be told.
pub fn routes(door: &Door, live: Arc<Live>) -> Router {
    Router::new().route(&door.path("news"), get(tell)).with_state(live)
}

async fn tell(
    State(live): State<Arc<Live>>,
    Extension(connection): Extension<Connection>,
    headers: HeaderMap,
) -> Response {
    // A browser that was told before says up to where.
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.parse().ok());
    let seen = live.revision.subscribe();
    let ends = Instant::now() + TELL;
    let reader = Reader { live, seen, since: last.unwrap_or(0), is_first: true, ends, _hold: connection.hold() };
    let events = stream::unfold(reader, async |mut reader| Some((Ok::<_, Infallible>(reader.next().await?), reader)));
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}

/// A page that is being told.
struct Reader {
    live: Arc<Live>,
    seen: watch::Receiver<u64>,
    /// Up to where it was told.
    since: u64,
    is_first: bool,
    ends: Instant,
    /// Nobody else's connection is preferred.
    _hold: Hold,
}

impl Reader {
    /// What changed; `None` at the end.
    async fn next(&mut self) -> Option<Event> {
        loop {
            let is_news = *self.seen.borrow_and_update() != self.since;
            if self.is_first || is_news {
                let (upto, text) = self.live.read(|board| {
                    let (upto, news) = board.news(self.since);
                    (upto, serde_json::to_string(&news))
                });
                let event = Event::default().id(upto.to_string()).data(text.ok()?);
                (self.since, self.is_first) = (upto, false);
                return Some(event.retry(RETRY));
            }
            match timeout_at(self.ends, self.seen.changed()).await {
                Ok(Ok(())) => sleep(GATHER).await,
                _ => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn live() -> Arc<Live> {
        let client = Client::new(axum::Router::new(), "ns");
        Arc::new(Live::new(client, None, MetricsFrom::default()))
    }

    fn reader(live: &Arc<Live>, since: u64) -> Reader {
        let (live, seen) = (live.clone(), live.revision.subscribe());
        let (ends, _hold) = (Instant::now() + TELL, Connection::default().hold());
        Reader { live, seen, since, is_first: true, ends, _hold }
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_is_told_at_once_then_of_what_changes_and_ends_before_its_connection() {
        let live = live();
        let mut reader = reader(&live, 0);
        assert!(reader.next().await.is_some(), "it is told even that there is nothing");
        let began = Instant::now();
        let later = live.clone();
        tokio::spawn(async move {
            for kind in ["ExternalSecret", "PushSecret"] {
                sleep(Duration::from_millis(50)).await;
                later.change(|board| board.take(Change::All(kind, BTreeSet::new()), "", clock::now()));
            }
        });
        assert!(reader.next().await.is_some());
        assert_eq!(reader.since, 2, "what changes soon after is told along with it");
        assert!(began.elapsed() < Duration::from_secs(1));
        assert!(reader.next().await.is_none());
        assert!(began.elapsed() < Duration::from_secs(50));
    }

    #[tokio::test(start_paused = true)]
    async fn metrics_are_left_alone_while_nobody_looks() {
        let live = live();
        let waited = tokio::time::timeout(Duration::from_secs(60), live.ask_for_tries()).await;
        assert!(
            waited.is_err()
                && live.read(|board| !board.news(0).1.knows_tries && board.news(0).1.tries_unread.is_none())
        );
    }
}
