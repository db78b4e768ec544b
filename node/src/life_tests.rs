use futures::FutureExt as _;
use keyferry_limits::MOUNTS_AT_ONCE;

use super::*;
use crate::volumes::Volumes;

#[tokio::test]
async fn what_stands_is_answered_for_whatever_happens() {
    let refused = || Err(Refusal::of_node("no file can be opened"));
    for stands in [true, false] {
        let panicked = tokio::spawn(async { panic!("a bug") }).await;
        assert_eq!(answered(panicked, stands).is_ok(), stands);
        assert_eq!(answered(Ok(refused()), stands).is_ok(), stands);
        assert!(answered(Ok(Ok(())), stands).is_ok());
    }
    let (volumes, place) = (Volumes::default(), Path::new("/v"));
    volumes.stands(place, true);
    assert!(volumes.is_standing(place));
    volumes.stands(place, false);
    assert!(!volumes.is_standing(place));
}

/// Hundreds wait while a few have their turns: what a look works in is there for those few.
#[test]
fn a_call_that_waits_for_its_turn_takes_little() {
    fn size<'a, Call, Done>(_: impl FnOnce(&'a Node, Call) -> Done) -> usize {
        size_of::<Done>()
    }
    let bytes = size(Node::have);
    assert!(bytes < 8192, "{bytes} bytes");
}

#[tokio::test(start_paused = true)]
async fn so_many_volumes_are_asked_for_at_once_and_the_next_waits() {
    let volumes = Volumes::default();
    let until = Instant::now() + LONGEST;
    let mut taken = Vec::new();
    while let Some(Ok(turn)) = volumes.turn("team", until).now_or_never() {
        taken.push(turn);
    }
    assert_eq!(taken.len(), MOUNTS_AT_ONCE.size() / 2);
    let refused = volumes.turn("team", until).await.err().expect("nobody leaves");
    assert!(refused.message.as_str().contains("limit mounts-at-once"), "{}", refused.message);
    assert_eq!(Instant::now(), until, "the whole call has one end");
    assert!(volumes.turn("another", until).now_or_never().is_some_and(|turn| turn.is_ok()), "it has a turn of its own");
    let (next, ()) = tokio::join!(volumes.turn("team", until + LONGEST), async {
        tokio::time::sleep(LONGEST / 2).await;
        taken.pop();
    });
    assert!(next.is_ok());
}
