use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use keyferry_seed::Seed;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinHandle;

use super::*;
use crate::fake_leases::{Server, election};
use crate::leader::acquire;

/// How long a Lease lasts, and two rounds.
const TAKEN_OVER: Duration = Duration::from_secs(15 + 4);

/// How long one lives of whom nothing is heard, and how long rounds take of whom the API server answers late.
const SILENT: Duration = Duration::from_secs(10);
const SLOW: Duration = Duration::from_secs(8);

/// A replica, with a controller that works on what it holds.
struct Replica {
    ours: watch::Receiver<Part>,
    work: watch::Sender<Work>,
    cut: Arc<AtomicBool>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Replica {
    fn start(server: &Server, name: &str, count: u32) -> Self {
        let (cut, all) = (Arc::<AtomicBool>::default(), Lead::not_yet());
        let (hold, ours) = watch::channel(Part::default());
        let (work, works) = watch::channel(Work::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let identity = format!("pod_{name}");
        let shards = Shards::new(server.client(&cut), election(&identity), count, all, hold, works);
        let task = tokio::spawn(shards.hold(stopped));
        Self { ours, work, cut, stop: Some(stop), task }
    }

    fn held(&self) -> Held {
        self.ours.borrow().held.clone()
    }

    /// Something is under way in these shards, and in no others.
    fn works_on(&self, shards: &[u32]) {
        self.work.send_modify(|work| work.shards = shards.iter().copied().collect());
    }

    /// By the objects that it knows these stores are to be split.
    fn wants(&self, stores: &[&str]) {
        self.work.send_modify(|work| work.wanted = Some(names(stores)));
    }

    /// The division that it knows of is taken.
    fn takes(&self) {
        let number = self.division().number;
        self.work.send_modify(|work| work.taken = number);
    }

    fn division(&self) -> Division {
        (*self.ours.borrow().division).clone()
    }

    /// The stores that are split, and those of which nobody works on any object, as it knows.
    fn splits(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        let division = self.division();
        (division.split.clone(), division.moving())
    }

    /// The shards that it may write for.
    fn holds(&self) -> Vec<u32> {
        let part = self.ours.borrow();
        part.held.iter().filter(|(_, lead)| lead.check().is_ok()).map(|(shard, _)| *shard).collect()
    }

    /// kill -9.
    fn kill(self) {
        self.task.abort();
    }

    async fn stop(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        self.task.await.unwrap();
    }
}

fn names(stores: &[&str]) -> BTreeSet<String> {
    stores.iter().map(|store| (*store).to_owned()).collect()
}

async fn seconds(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn replicas_share_all_shards_and_whoever_is_killed_leaves_its_own_to_the_others() {
    let server = Server::default();
    let first = Replica::start(&server, "a", 4);
    seconds(1).await;
    assert_eq!(first.holds(), [0, 1, 2, 3]);
    assert_eq!(server.holder("lease").unwrap(), "4-shards");
    assert_eq!(server.holder("lease-shard-3").unwrap(), "pod_a");
    let leads = first.held();
    let second = Replica::start(&server, "b", 4);
    seconds(6).await;
    let holders: Vec<_> = (0..4).map(|shard| server.holder(&lease_of("lease", shard))).collect();
    assert_eq!((first.holds(), second.holds()), (vec![0, 1], vec![2, 3]), "{holders:?}");
    assert!(first.held().values().zip(leads.values()).all(|(now, before)| now.is(before)), "what stays is kept");
    assert!(leads[&3].check().is_err(), "nothing is written for what was given up");
    first.kill();
    sleep(TAKEN_OVER).await;
    assert_eq!(second.holds(), [0, 1, 2, 3]);
    let third = Replica::start(&server, "c", 4);
    // The one that was killed may live, for all that a new one knows: it waits to hear of it, and nothing waits for it.
    for _ in 0..150 {
        sleep(Duration::from_millis(100)).await;
        assert!(second.holds().len() >= 2);
    }
    assert_eq!((second.holds(), third.holds()), (vec![0, 1], vec![2, 3]));
    // One that ends gives all back at once.
    second.stop().await;
    seconds(3).await;
    assert_eq!(third.holds(), [0, 1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_shard_is_given_up_when_what_is_under_way_has_ended() {
    let server = Server::default();
    let first = Replica::start(&server, "a", 2);
    first.works_on(&[0, 1]);
    seconds(3).await;
    let lead = first.held()[&1].clone();
    let second = Replica::start(&server, "b", 2);
    seconds(10).await;
    assert_eq!(first.holds(), [0], "nothing new is begun");
    assert_eq!((lead.check(), second.holds()), (Ok(()), vec![]), "what was begun may be written");
    first.works_on(&[0]);
    seconds(3).await;
    assert_eq!((lead.check(), second.holds()), (Err(ApiProblem::NotLeading), vec![1]));
    // Nobody waits for ever.
    second.works_on(&[1]);
    let third = Replica::start(&server, "c", 2);
    first.kill();
    sleep(TAKEN_OVER).await;
    assert_eq!((second.holds(), third.holds()), (vec![1], vec![0]));
}

#[tokio::test(start_paused = true)]
async fn who_is_cut_off_writes_nothing_once_others_may() {
    let server = Server::default();
    let (first, second) = (Replica::start(&server, "a", 2), Replica::start(&server, "b", 2));
    seconds(15).await;
    assert_eq!((first.holds().len(), second.holds().len()), (1, 1));
    first.cut.store(true, Ordering::Relaxed);
    let cut = Instant::now();
    while cut.elapsed() < TAKEN_OVER {
        let (a, b) = (first.holds(), second.holds());
        assert!(a.iter().all(|shard| !b.contains(shard)), "{a:?} and {b:?}");
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!((first.holds(), second.holds()), (vec![], vec![0, 1]));
    first.cut.store(false, Ordering::Relaxed);
    seconds(30).await;
    assert_eq!((first.holds().len(), second.holds().len()), (1, 1), "it is back");
}

#[tokio::test(start_paused = true)]
async fn who_runs_without_shards_and_who_runs_with_them_never_work_at_once() {
    let (server, cut) = (Server::default(), Arc::default());
    let client = server.client(&cut);
    let (alone, lead) = (election("old_1"), Lead::not_yet());
    let mut old = acquire(&client, &alone, &lead, std::future::pending::<()>()).await.unwrap();
    let (first, second) = (Replica::start(&server, "a", 4), Replica::start(&server, "b", 4));
    tokio::select! { () = old.hold() => panic!("it was lost"), () = seconds(60) => {} }
    assert_eq!((first.holds(), second.holds()), (vec![], vec![]), "the one without shards works");
    assert!(server.holder("lease-shard-1").is_none());
    old.release().await;
    seconds(8).await;
    let mut all = [first.holds(), second.holds()].concat();
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3]);
    // And back: while one of them lives, the other waits.
    let lead = Lead::not_yet();
    let back = async { acquire(&client, &alone, &lead, std::future::pending::<()>()).await.ok().unwrap() };
    let mut back = pin!(back);
    let others = async {
        seconds(40).await;
        first.stop().await;
        seconds(40).await;
        assert_eq!(second.holds(), [0, 1, 2, 3]);
        second.stop().await;
        Instant::now()
    };
    let stopped =
        tokio::select! { _ = &mut back => panic!("it works beside those of shards"), stopped = others => stopped };
    back.await;
    let waited = stopped.elapsed();
    assert!(waited > Duration::from_secs(10) && waited < TAKEN_OVER, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn another_number_of_shards_waits_for_the_last_of_the_old() {
    let server = Server::default();
    let old = Replica::start(&server, "a", 4);
    seconds(3).await;
    let new = Replica::start(&server, "b", 8);
    seconds(60).await;
    assert_eq!((old.holds().len(), new.holds().len()), (4, 0));
    old.stop().await;
    sleep(TAKEN_OVER).await;
    assert_eq!(new.holds().len(), 8);
}

#[tokio::test(start_paused = true)]
async fn whoever_joins_and_leaves_no_shard_has_two_holders_and_none_is_left_for_long() {
    let seed = Seed::new("joins and kills");
    let mut random = StdRng::seed_from_u64(seed.number());
    let (server, count) = (Server::default(), 6);
    let mut replicas: Vec<Replica> = Vec::new();
    let (mut orphaned, mut killed) = (vec![Instant::now(); count as usize], Instant::now());
    for step in 0..60 {
        let before = replicas.len();
        match random.random_range(0..5) {
            0 | 1 if replicas.len() < 5 => replicas.push(Replica::start(&server, &format!("r{step}"), count)),
            2 if replicas.len() > 1 => replicas.swap_remove(random.random_range(0..replicas.len())).kill(),
            3 if replicas.len() > 1 => replicas.swap_remove(random.random_range(0..replicas.len())).stop().await,
            4 => server.held().answers_after = Duration::from_millis(random.random_range(0..800)),
            _ => {}
        }
        if replicas.len() < before {
            killed = Instant::now();
        }
        let until = Instant::now() + Duration::from_millis(random.random_range(100..40_000));
        while Instant::now() < until {
            sleep(Duration::from_millis(100)).await;
            for shard in 0..count {
                let holders = replicas.iter().filter(|replica| replica.holds().contains(&shard)).count();
                assert!(holders < 2, "shard {shard} has {holders} holders");
                let since = &mut orphaned[shard as usize];
                if holders == 1 || replicas.is_empty() {
                    *since = Instant::now();
                }
                // Whoever is killed just after a shard was to be its own has it wait once more, for as long as it may live.
                let waits = since.elapsed().min(killed.elapsed());
                assert!(waits < TAKEN_OVER + SILENT + SLOW, "nobody holds shard {shard} for {waits:?}");
            }
        }
    }
    server.held().answers_after = Duration::ZERO;
    sleep(2 * TAKEN_OVER).await;
    let counts: Vec<usize> = replicas.iter().map(|replica| replica.holds().len()).collect();
    assert_eq!(counts.iter().sum::<usize>(), count as usize, "{counts:?}");
    assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_store_is_split_once_nobody_works_on_what_moves_and_joined_no_sooner_than_minutes_later() {
    let server = Server::default();
    let (first, second) = (Replica::start(&server, "a", 4), Replica::start(&server, "b", 4));
    seconds(15).await;
    let (decides, follows) = if first.holds().contains(&FIRST) { (&first, &second) } else { (&second, &first) };
    let (none, store) = (names(&[]), names(&["ns/s"]));
    follows.wants(&["ns/s"]);
    seconds(10).await;
    assert_eq!(first.splits(), (none.clone(), none.clone()), "who has the first shard says so");
    let leads = first.held();
    decides.wants(&["ns/s"]);
    seconds(5).await;
    for replica in [&first, &second] {
        assert_eq!(replica.splits(), (none.clone(), store.clone()));
    }
    decides.takes();
    seconds(60).await;
    assert_eq!(first.splits(), (none.clone(), store.clone()), "something is under way still");
    let taken = Instant::now();
    follows.takes();
    while first.splits().0.is_empty() || second.splits().0.is_empty() {
        sleep(Duration::from_millis(100)).await;
    }
    assert!(taken.elapsed() < Duration::from_secs(5), "{:?}", taken.elapsed());
    assert_eq!(first.splits(), (store.clone(), none.clone()));
    assert!(
        first.held().values().zip(leads.values()).all(|(now, before)| now.is(before)),
        "shards stay where they are"
    );
    first.takes();
    second.takes();
    decides.wants(&[]);
    seconds(280).await;
    assert_eq!(first.splits(), (store.clone(), none.clone()));
    seconds(30).await;
    assert_eq!(first.splits(), (store.clone(), store.clone()));
    // Whoever comes knows it, and whoever comes back.
    let third = Replica::start(&server, "c", 4);
    seconds(15).await;
    assert_eq!(third.splits(), (store.clone(), store));
    assert!(!third.holds().is_empty());
    first.takes();
    second.takes();
    seconds(10).await;
    assert_eq!(third.division().number, 3, "it has not taken it yet");
    third.takes();
    seconds(10).await;
    for replica in [&first, &second, &third] {
        assert_eq!(replica.splits(), (none.clone(), none.clone()));
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_cut_off_while_stores_are_split_is_not_waited_for_and_writes_nothing_by_what_was_before() {
    let server = Server::default();
    let (first, second) = (Replica::start(&server, "a", 4), Replica::start(&server, "b", 4));
    seconds(15).await;
    let (stays, goes) = if first.holds().contains(&FIRST) { (&first, &second) } else { (&second, &first) };
    let leads = goes.held();
    assert!(!leads.is_empty() && leads.values().all(|lead| lead.check().is_ok()));
    goes.cut.store(true, Ordering::Relaxed);
    stays.wants(&["ns/s"]);
    let cut = Instant::now();
    while stays.splits().0.is_empty() {
        stays.takes();
        sleep(Duration::from_millis(100)).await;
        assert!(cut.elapsed() < TAKEN_OVER + SLOW, "it waits for one that is gone");
    }
    assert!(leads.values().all(|lead| lead.check().is_err()), "it could write for {:?}", cut.elapsed());
    assert_eq!(goes.splits(), (names(&[]), names(&[])), "it knows of nothing");
    stays.takes();
    goes.cut.store(false, Ordering::Relaxed);
    seconds(30).await;
    assert_eq!(goes.splits(), (names(&["ns/s"]), names(&[])));
    assert_eq!(goes.holds().len(), 2, "it is back");
    assert!(leads.values().all(|lead| lead.check().is_err()));
}
