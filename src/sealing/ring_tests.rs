use std::sync::atomic::{AtomicUsize, Ordering};

use keyferry_sealing::seal;
use keyferry_sync::compute::Here;

use super::*;

/// What is kept, which grows, and how often it was read.
#[derive(Clone, Default)]
struct Kept(Arc<(Mutex<Vec<Pair>>, AtomicUsize)>);

#[async_trait]
impl Keep for Kept {
    async fn all(&self) -> Result<Vec<Pair>, Problem> {
        self.0.1.fetch_add(1, Ordering::Relaxed);
        Ok(self.0.0.lock().unwrap().clone())
    }
}

fn pair(since: i64) -> Pair {
    let made = Generated::new(Timestamp::from_second(1_700_000_000).unwrap(), 2048).unwrap();
    let certificate = SecretBytes::from(made.certificate.as_str());
    Pair { name: format!("pair-{since}"), since, certificate, private: made.private }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_has_just_come_opens_at_once_and_what_never_opens_reads_no_more() {
    let kept = Kept::default();
    kept.0.0.lock().unwrap().push(pair(1));
    let ring = Ring::new(kept.clone(), Arc::new(Here));
    ring.read(READ_EVERY).await.unwrap();
    tokio::time::advance(READ_AGAIN).await;
    let new = pair(2);
    let key = SealingKey::of_pem(new.certificate.expose(), new.private.expose(), None).unwrap();
    let broken = Pair { name: "broken".into(), certificate: SecretBytes::from("x"), ..new.clone() };
    kept.0.0.lock().unwrap().extend([new, broken]);
    let scope = Scope::Namespace("a".into());
    let sealed = vec![seal(key.public(), &scope, b"x").unwrap()];
    let opened = ring.unseal("a", &scope, sealed.clone()).await.unwrap().remove(0).unwrap();
    assert!(opened.expose() == b"x");
    let reads = kept.0.1.load(Ordering::Relaxed);
    assert_eq!((reads, ring.keys().all().len()), (2, 2), "what is no pair is passed over");
    for _ in 0..3 {
        let opened = ring.unseal("b", &Scope::Namespace("b".into()), sealed.clone()).await.unwrap().remove(0);
        assert_eq!(opened.unwrap_err().kind(), ErrorKind::Denied);
    }
    assert_eq!(kept.0.1.load(Ordering::Relaxed), reads, "who has nothing that opens has nobody read");
    let account = Scope::ServiceAccount("a".into(), "app".into());
    let error = ring.unseal("a", &account, sealed).await.unwrap_err();
    assert!(error.to_string().contains("not for an operator"), "{error}");
}

#[test]
fn a_key_is_made_where_there_is_none_and_when_the_latest_is_old() {
    let (now, day) = (Timestamp::from_second(1_000_000).unwrap(), Some(Duration::from_secs(86_400)));
    assert!(is_due(None, None, now));
    assert!(!is_due(Some(0), None, now), "no period");
    assert!(is_due(Some(1_000_000 - 86_400), day, now));
    assert!(!is_due(Some(1_000_000 - 86_399), day, now));
    assert!(!is_due(Some(2_000_000), day, now), "made by a clock that was ahead");
}
