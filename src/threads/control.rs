//! A thread of its own for what must never wait: signals, the Lease, health and metrics. All else may be busy computing,
//! on every other thread there is; here nothing computes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// How long an end may take that was asked for. Kubernetes kills after 30 s; what ends by itself says why.
const LONGEST_END: Duration = Duration::from_secs(28);

/// The exit code of whoever was stopped by a signal, before the number of the signal, as shells count.
const BY_SIGNAL: i32 = 128;

/// The thread. It runs until the process ends.
#[derive(Clone)]
pub struct Control {
    handle: Handle,
    /// The exit code of a stop by the signal that came, once one has.
    signalled: watch::Receiver<Option<i32>>,
    /// Where it is told.
    told: watch::Sender<Option<i32>>,
    /// Whether SIGINT is somebody else's.
    interrupts: Arc<AtomicBool>,
}

impl Control {
    /// Starts it. From here on SIGTERM and SIGINT end nothing by themselves: until a verb has said what they are to do,
    /// they are remembered.
    pub fn start() -> Result<Self, String> {
        let failed = |what: &str| format!("can't {what}");
        let runtime = Builder::new_current_thread().enable_all().build().map_err(|_| failed("start threads"))?;
        let signals = {
            let _in_runtime = runtime.enter();
            let listen = |kind, name| signal(kind).map_err(|_| failed(&format!("listen for {name}")));
            [
                (listen(SignalKind::terminate(), "SIGTERM")?, SignalKind::terminate()),
                (listen(SignalKind::interrupt(), "SIGINT")?, SignalKind::interrupt()),
            ]
        };
        let (told, signalled) = watch::channel(None);
        let interrupts = Arc::new(AtomicBool::new(false));
        let left = interrupts.clone();
        let tells = told.clone();
        let handle = runtime.handle().clone();
        let spawned = std::thread::Builder::new().name("control".to_owned()).spawn(move || {
            runtime.block_on(listen(signals, tells, &left));
        });
        spawned.map_err(|_| failed("start threads"))?;
        Ok(Self { handle, signalled, told, interrupts })
    }

    /// Runs something here, and waits for what it comes to. What lives on, a client's connections say, stays here.
    pub async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T, String> {
        let bug = |_| "a bug of keyferry on its control thread; please report it".to_owned();
        self.handle.spawn(work).await.map_err(bug)
    }

    /// Runs something here, and waits for nothing.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.handle.spawn(work);
    }

    /// A signal ends the process at once, wherever it is: for verbs that have nothing to finish.
    pub fn end_at_once(&self) {
        let mut signalled = self.signalled.clone();
        self.handle.spawn(async move {
            if let Ok(code) = signalled.wait_for(Option::is_some).await {
                std::process::exit(code.unwrap_or(BY_SIGNAL));
            }
        });
    }

    /// SIGINT ends nothing from now on: who presses Ctrl-C in an editor means the editor. SIGTERM is as ever, and SIGHUP as
    /// the first SIGTERM: a terminal that closes sends it more than once.
    pub fn leave_interrupts_to_the_child(&self) {
        self.interrupts.store(true, Ordering::Relaxed);
        let told = self.told.clone();
        let _in_runtime = self.handle.enter();
        let Ok(mut hangups) = signal(SignalKind::hangup()) else { return };
        self.handle.spawn(async move {
            hangups.recv().await;
            told.send_if_modified(|code| {
                let is_first = code.is_none();
                *code = code.or(Some(BY_SIGNAL + SignalKind::hangup().as_raw_value()));
                is_first
            });
        });
    }

    /// A signal asks for an end; the answer waits for it, and can be asked again. Whoever was asked and does not end in
    /// time is ended; a second signal ends at once.
    pub fn ends_when_asked(&self) -> impl Fn() -> BoxedEnd + Send + Sync + use<> {
        let signalled = self.signalled.clone();
        let mut watched = signalled.clone();
        self.handle.spawn(async move {
            if watched.wait_for(Option::is_some).await.is_ok() {
                tokio::time::sleep(LONGEST_END).await;
                tracing::error!(seconds = LONGEST_END.as_secs(), "did not end in time");
                std::process::exit(1);
            }
        });
        move || {
            let mut signalled = signalled.clone();
            Box::pin(async move {
                if signalled.wait_for(Option::is_some).await.is_err() {
                    // The thread that listens lives as long as the process.
                    std::future::pending::<()>().await;
                }
            })
        }
    }
}

/// Waits for the end to be asked for.
pub type BoxedEnd = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// Listens for ever. The second signal of those who were asked to end is for the impatient.
async fn listen(signals: [(Signal, SignalKind); 2], told: watch::Sender<Option<i32>>, left: &AtomicBool) {
    let [(mut term, terminate), (mut int, interrupt)] = signals;
    loop {
        let kind = tokio::select! { _ = term.recv() => terminate, _ = int.recv() => interrupt };
        if kind == interrupt && left.load(Ordering::Relaxed) {
            continue;
        }
        let code = BY_SIGNAL + kind.as_raw_value();
        if told.borrow().is_some() {
            std::process::exit(code);
        }
        told.send_replace(Some(code));
    }
}
