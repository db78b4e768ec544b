//! Prolongs and revokes what generators made for volumes, as the ServiceAccount that it was made for: with a pod's token while one
//! is at hand.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use keyferry_provider_core::Error;
use keyferry_sync::audit::{Action, Audit, Delivery, Object, Source, Workload};
use keyferry_sync::ports::Stores;
use keyferry_sync::states::Marks;
use keyferry_sync::told::Told;
use tokio::time::{Instant, timeout_at};

use crate::identity::{Identity, Login};
use crate::leases::{Held, Lease, Ledger};

/// How long the end of a volume waits for what is revoked with it: right after that the pod is gone, and its token counts for
/// nothing.
pub const AT_THE_END: Duration = Duration::from_secs(10);

/// At most so many volumes that left something are seen to for one call.
const AT_ONCE: usize = 8;

/// What it takes.
pub struct Tending {
    /// What is written down.
    pub ledger: Arc<Ledger>,
    /// Where it is written down what was revoked.
    pub audit: Arc<dyn Audit>,
    /// The clock.
    pub now: fn() -> Timestamp,
}

impl Tending {
    /// Does what is due of one volume's, and of what others left that the same ServiceAccount had; the first failure is told. What
    /// could not be done in time is done for the next call.
    pub async fn tend(&self, target: &Path, identity: &Identity, until: Instant) -> Result<(), Told> {
        self.ledger.tidy();
        let done = self.volume(target, identity, until).await;
        let (namespace, account) = (&identity.namespace, &identity.account);
        for _ in 0..AT_ONCE {
            if Instant::now() >= until {
                break;
            }
            let Some(other) = self.ledger.next_owed(namespace, account) else { break };
            if let Err(why) = self.volume(&other, identity, until).await {
                self.ledger.is_left(&other, why);
            }
        }
        // What is passed over is as wrong as it was: it is no news when it is tried again.
        done.and(self.ledger.why_owed(namespace, account).map_or(Ok(()), Err))
    }

    /// Does what is due of one volume's.
    pub async fn volume(&self, target: &Path, identity: &Identity, until: Instant) -> Result<(), Told> {
        let Some(held) = self.ledger.held(target) else { return Ok(()) };
        let stores = identity.stores(if held.by_mount { Login::ByMount } else { Login::AsWritten });
        let (ended, renewed) = self.ledger.due(target);
        let mut done = Ok(());
        for lease in renewed {
            let Ok(tended) = timeout_at(until, self.renew(&*stores, &held, &lease)).await else { return done };
            done = done.and(tended.map_err(|error| told(&lease, &held, &error.context("can't be prolonged"))));
        }
        for lease in ended {
            let Ok(tended) = timeout_at(until, self.revoke(&*stores, &held, &lease)).await else { return done };
            done = done.and(tended.map_err(|error| told(&lease, &held, &error.context("can't be revoked"))));
        }
        done
    }

    async fn renew(&self, stores: &dyn Stores, held: &Held, lease: &Lease) -> Result<(), Error> {
        let now = (self.now)();
        let (state, marks) = match stores.renew(&lease.generator(&held.namespace), &lease.state).await? {
            Some((state, term)) => {
                let marks = Marks::of(Some(term), now);
                // What could not be prolonged beyond now is replaced at once.
                (state, Marks { refresh_by: marks.refresh_by.or(Some(now)), ..marks })
            }
            None => (lease.state.clone(), Marks { refresh_by: lease.refresh_by, renew_at: None }),
        };
        self.ledger.renewed(&held.target, &lease.name, &state, &marks);
        Ok(())
    }

    async fn revoke(&self, stores: &dyn Stores, held: &Held, lease: &Lease) -> Result<(), Error> {
        let generator = lease.generator(&held.namespace);
        let revoked = stores.revoke(&generator, &lease.state).await;
        let part = |kind: &str, name: &str| Object {
            kind: kind.to_owned(),
            namespace: held.namespace.clone(),
            name: name.to_owned(),
            uid: None,
        };
        let sources = vec![Source { object: part(generator.kind, generator.name), keys: Vec::new() }];
        let object = part("ExternalSecret", &held.external_secret);
        let workload = Workload { pod: held.pod.clone(), service_account: held.service_account.clone() };
        let delivery =
            Delivery { sources, workload: Some(workload), ..Delivery::new((self.now)(), Action::Revoked, object) };
        match revoked {
            Ok(()) => {
                self.audit.take(delivery);
                self.ledger.forget(&held.target, &lease.name);
                Ok(())
            }
            Err(error) => {
                self.audit.take(delivery.failed(&Told::from(&error)));
                Err(error)
            }
        }
    }
}

fn told(lease: &Lease, held: &Held, error: &Error) -> Told {
    let generator = lease.generator(&held.namespace);
    let what = Told::without_values(format!("what generator {} {:?} made", generator.kind, generator.name));
    keyferry_sync::told!("{} {}", what, Told::from(error))
}
