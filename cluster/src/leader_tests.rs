use super::*;
use crate::fake_leases::{Server, election};

/// Waits until the Lease is ours, however long that takes.
async fn begin_to_lead(client: &kube::Client, election: &Election) -> Leadership {
    let never = std::future::pending::<std::convert::Infallible>();
    acquire(client, election, &Lead::not_yet(), never).await.unwrap_or_else(|never| match never {})
}

#[tokio::test(start_paused = true)]
async fn who_is_stopped_while_it_gets_the_lease_gives_it_back() {
    let (server, cut) = (Server::default(), Arc::default());
    // The Lease is ours on the server, and the answer is still to come.
    server.held().answers_after = Duration::from_secs(2);
    let stop = async {
        // The first question, whether there is one, is answered; the second is what makes it ours.
        sleep(Duration::from_secs(3)).await;
        assert_eq!(server.holder("lease").unwrap(), "first");
        "stopped"
    };
    let lead = Lead::not_yet();
    let why = acquire(&server.client(&cut), &election("first"), &lead, stop).await.err();
    assert_eq!((why, lead.check()), (Some("stopped"), Err(ApiProblem::NotLeading)));
    assert_eq!(server.holder("lease").unwrap(), "", "it is given back");
    // Who stands by while another holds it stops at once.
    server.held().answers_after = Duration::ZERO;
    let _holder = begin_to_lead(&server.client(&cut), &election("other")).await;
    let before = Instant::now();
    let stopped = acquire(&server.client(&cut), &election("first"), &lead, sleep(Duration::from_secs(3))).await;
    assert!(stopped.is_err() && before.elapsed() <= Duration::from_secs(3));
    assert_eq!(server.holder("lease").unwrap(), "other");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_stands_still_writes_nothing_once_another_may_lead() {
    let (server, cut, open) = (Server::default(), Arc::default(), Arc::default());
    let mut first = begin_to_lead(&server.client(&cut), &election("first")).await;
    let lead = first.lead.clone();
    assert_eq!(lead.check(), Ok(()));
    // It stands still: nothing renews. Another sees the Lease not move for as long as it lasts.
    let other = server.client(&open);
    let its = election("second");
    let second = begin_to_lead(&other, &its);
    let watching = async {
        sleep(Duration::from_secs(11)).await;
        assert_eq!(lead.check(), Err(ApiProblem::NotLeading), "well before anybody may take it");
    };
    let before = Instant::now();
    let (second, ()) = tokio::join!(second, watching);
    let lasts = its.lease_duration..its.lease_duration + Duration::from_millis(100);
    assert!(lasts.contains(&before.elapsed()), "it does not wait for its next look: {:?}", before.elapsed());
    // It wakes, and learns of it before it sends anything.
    tokio::time::timeout(Duration::from_millis(100), first.hold()).await.expect("it knows by its own clock");
    assert_eq!(lead.check(), Err(ApiProblem::NotLeading));
    assert_eq!(second.lead.clone().check(), Ok(()));
    assert_eq!(server.holder("lease").unwrap(), "second");
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_lease_begins_when_it_was_asked_for() {
    let (server, cut) = (Server::default(), Arc::default());
    server.held().answers_after = Duration::from_secs(4);
    let mut leadership = begin_to_lead(&server.client(&cut), &election("slow")).await;
    let lead = leadership.lead.clone();
    // Of ten seconds four went by before the answer came.
    tokio::time::advance(Duration::from_millis(5900)).await;
    assert_eq!(lead.check(), Ok(()));
    tokio::time::advance(Duration::from_millis(200)).await;
    assert_eq!(lead.check(), Err(ApiProblem::NotLeading));
    tokio::time::timeout(Duration::from_millis(100), leadership.hold()).await.expect("it is over");
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_renewed_and_one_that_is_cut_off_stops_in_time() {
    let (server, cut) = (Server::default(), Arc::<std::sync::atomic::AtomicBool>::default());
    let mut leadership = begin_to_lead(&server.client(&cut), &election("first")).await;
    let lead = leadership.lead.clone();
    let cutting = async {
        sleep(Duration::from_secs(60)).await;
        assert_eq!(lead.check(), Ok(()));
        cut.store(true, Ordering::Relaxed);
        Instant::now()
    };
    let holding = async {
        leadership.hold().await;
        Instant::now()
    };
    let (lost, since) = tokio::join!(holding, cutting);
    assert!(lost.duration_since(since) <= Duration::from_secs(10));
    assert_eq!(lead.check(), Err(ApiProblem::NotLeading));
}

#[tokio::test(start_paused = true)]
async fn one_renewal_that_hangs_and_one_that_is_slow_lose_nothing() {
    let (server, cut) = (Server::default(), Arc::<std::sync::atomic::AtomicBool>::default());
    let mut leadership = begin_to_lead(&server.client(&cut), &election("first")).await;
    let lead = leadership.lead.clone();
    cut.store(true, Ordering::Relaxed);
    let mending = async {
        // The first was sent after two seconds, and is given up after seven.
        sleep(Duration::from_secs(6)).await;
        server.held().answers_after = Duration::from_secs(2);
        cut.store(false, Ordering::Relaxed);
        sleep(Duration::from_secs(10)).await;
    };
    tokio::select! {
        () = leadership.hold() => panic!("it was lost"),
        () = mending => assert_eq!(lead.check(), Ok(())),
    }
}

#[tokio::test(start_paused = true)]
async fn who_took_it_is_believed_at_once() {
    let (server, cut) = (Server::default(), Arc::default());
    let mut leadership = begin_to_lead(&server.client(&cut), &election("first")).await;
    let lead = leadership.lead.clone();
    server.held().change("lease", |lease| lease["spec"]["holderIdentity"] = "second".into());
    let before = Instant::now();
    leadership.hold().await;
    assert!(before.elapsed() <= Duration::from_secs(3));
    assert_eq!(lead.check(), Err(ApiProblem::NotLeading), "though its own time is not over");
}
