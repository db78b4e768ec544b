//! How an object was last seen. Pure.
//!
//! Two ask, and need not be told the same. Who reads the object compares what a watch told last with what it read
//! itself. Who writes it wants to know how it stands now: our own looks know of a write before the watch tells of it, and
//! a watch may have told of an edit, or of the end, while the look went on.

use keyferry_sync::dependency::Version;
use keyferry_sync::look::Seen;

/// What a watch tells of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// It is there, at this version.
    There(Version),
    /// The object of this UID has gone.
    Gone(Option<String>),
    /// A list leaves it out: there is none, or none was there yet when the list was made.
    LeftOut,
}

/// For whom a sighting is news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct News {
    /// For those who write the object; whether they know it already, they know best.
    pub for_writers: bool,
    /// For those who read it.
    pub for_readers: bool,
}

/// How an object was last seen.
#[derive(Clone, Debug)]
pub struct Sight {
    /// As a watch told last.
    told: Seen,
    /// As it stands by all that is known.
    now: Seen,
    /// The UID of the last object whose end was told: what a look tells of that one is old news.
    gone: Option<String>,
}

impl Default for Sight {
    fn default() -> Self {
        Self { told: Seen::Unknown, now: Seen::Unknown, gone: None }
    }
}

impl Sight {
    /// As it stands by all that is known: what who writes it asks.
    pub fn now(&self) -> &Seen {
        &self.now
    }

    /// As a watch told last, or a reader found it where no watch has: what one asks who read it at this version. The watch
    /// may lag behind that.
    pub fn told(&self, read: Option<&Version>) -> Seen {
        match (&self.told, read) {
            (Seen::At(last), Some(read)) if last.is_older(read) => Seen::At(read.clone()),
            (told, _) => told.clone(),
        }
    }

    /// Takes what a watch tells; `is_looked_at` says whether a look is under way that may write the object.
    pub fn saw(&mut self, sighting: &Sighting, is_looked_at: bool) -> News {
        match sighting {
            Sighting::There(version) => self.is_there(version),
            Sighting::Gone(uid) => self.is_gone(uid.as_ref()),
            Sighting::LeftOut => self.is_left_out(is_looked_at),
        }
    }

    fn is_there(&mut self, version: &Version) -> News {
        let is_old = |seen: &Seen| matches!(seen, Seen::At(last) if version.is_older(last));
        let (for_writers, for_readers) = (!is_old(&self.now), !is_old(&self.told));
        // One that is known already, to whoever wrote it too, is kept once.
        let is_known = matches!(&self.now, Seen::At(last) if last == version);
        let seen = if is_known { self.now.clone() } else { Seen::At(version.clone()) };
        if for_writers {
            self.now = seen.clone();
        }
        let for_readers = for_readers && self.tell(seen);
        News { for_writers, for_readers }
    }

    fn is_gone(&mut self, uid: Option<&String>) -> News {
        // The end of one that another has replaced since is old news.
        let is_replaced = |seen: &Seen| matches!(seen, Seen::At(last) if uid.map(String::as_str) != Some(&*last.uid));
        let for_readers = !is_replaced(&self.told) && self.tell(Seen::Absent);
        // What was never seen may have been replaced, too.
        if self.now != Seen::Unknown && !is_replaced(&self.now) {
            self.now = Seen::Absent;
        }
        self.gone = uid.cloned();
        News { for_writers: true, for_readers }
    }

    /// Is a look under way that may write it, or has one written what no watch has told of, then that may have been
    /// after the list was made.
    fn is_left_out(&mut self, is_looked_at: bool) -> News {
        let unsure = is_looked_at || self.now != self.told;
        let for_writers = unsure || matches!(self.now, Seen::At(_));
        self.now = if unsure { Seen::Unknown } else { Seen::Absent };
        News { for_writers, for_readers: self.tell(Seen::Absent) }
    }

    fn tell(&mut self, seen: Seen) -> bool {
        let is_news = self.told != seen;
        self.told = seen;
        is_news
    }

    /// Takes how a look left the object, or found it: `None` where there is none.
    pub fn left(&mut self, version: Option<&Version>) {
        let now = match (version, &self.now) {
            (Some(version), _) if self.gone.as_deref() == Some(&*version.uid) => return,
            (Some(version), Seen::At(last)) if version.is_older(last) => return,
            (Some(version), Seen::At(last)) if last.uid == version.uid => Seen::At(version.clone()),
            // Which of two is there now, only a reader or the watch can tell.
            (Some(_), Seen::At(_)) => Seen::Unknown,
            (Some(_), Seen::Absent) if self.gone.is_some() => Seen::Unknown,
            (Some(version), Seen::Absent | Seen::Unknown) => Seen::At(version.clone()),
            (None, Seen::Unknown) => Seen::Absent,
            // The watch will tell of its end.
            (None, _) => return,
        };
        self.now = now;
    }

    /// Takes the state that the list at start has the object in. Answers whether nothing later is known.
    pub fn examined(&mut self, version: &Version) -> bool {
        let is_latest = !matches!(&self.now, Seen::At(last) if version.is_older(last));
        if is_latest {
            self.now = Seen::At(version.clone());
        }
        is_latest
    }

    /// Takes how somebody who only reads it found the object, where no watch has told of it: one that does not change
    /// is not told of.
    pub fn found(&mut self, version: Option<&Version>) {
        if self.told == Seen::Unknown {
            self.told = version.cloned().map_or(Seen::Absent, Seen::At);
        }
    }

    /// Whether the object may still be as it was when it was read at this version: nobody has told otherwise.
    pub fn may_be_at(&self, read: Option<&Version>) -> bool {
        match self.told(read) {
            Seen::Unknown => true,
            Seen::Absent => read.is_none(),
            Seen::At(version) => read == Some(&version),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(uid: &str, revision: &str) -> Version {
        Version { uid: uid.into(), revision: revision.into() }
    }

    fn there(sight: &mut Sight, version: Version) -> News {
        sight.saw(&Sighting::There(version), false)
    }

    fn gone(sight: &mut Sight, uid: &str) -> News {
        sight.saw(&Sighting::Gone(Some(uid.into())), false)
    }

    const ALL: News = News { for_writers: true, for_readers: true };
    const WRITERS: News = News { for_writers: true, for_readers: false };
    const NOBODY: News = News { for_writers: false, for_readers: false };

    #[test]
    fn an_edit_is_news_and_old_news_is_none() {
        let mut sight = Sight::default();
        assert_eq!(there(&mut sight, at("u", "5")), ALL);
        assert_eq!(there(&mut sight, at("u", "5")), WRITERS, "as lists do; a writer that knows it is not woken");
        assert_eq!(there(&mut sight, at("u", "6")), ALL);
        assert_eq!(there(&mut sight, at("u", "4")), NOBODY);
        assert_eq!(gone(&mut sight, "u"), ALL);
        assert_eq!((sight.now(), &sight.told), (&Seen::Absent, &Seen::Absent));
        assert_eq!(there(&mut sight, at("v", "1")), ALL, "another object counts from where it likes");
        assert_eq!(gone(&mut sight, "u"), WRITERS, "the end of the one before, late");
        assert_eq!((sight.now(), &sight.told), (&Seen::At(at("v", "1")), &Seen::At(at("v", "1"))));
    }

    #[test]
    fn our_own_write_is_known_before_the_watch_tells_and_news_to_readers_when_it_does() {
        let mut sight = Sight::default();
        there(&mut sight, at("u", "5"));
        sight.left(Some(&at("u", "6")));
        assert_eq!((sight.now(), &sight.told), (&Seen::At(at("u", "6")), &Seen::At(at("u", "5"))));
        assert_eq!(there(&mut sight, at("u", "5")), NOBODY, "from before the write");
        assert_eq!(sight.now(), &Seen::At(at("u", "6")));
        assert_eq!(there(&mut sight, at("u", "6")), ALL);
    }

    #[test]
    fn what_a_watch_told_during_a_look_is_newer_than_what_the_look_left() {
        let mut sight = Sight::default();
        there(&mut sight, at("u", "4"));
        // Written, and gone before the look ended.
        gone(&mut sight, "u");
        sight.left(Some(&at("u", "5")));
        assert_eq!(sight.now(), &Seen::Absent);
        // Even where somebody else's is there by now.
        there(&mut sight, at("another", "7"));
        sight.left(Some(&at("u", "5")));
        assert_eq!(sight.now(), &Seen::At(at("another", "7")));
        // The look made one, another watch event of which is still to come: which came last?
        sight.left(Some(&at("later", "9")));
        assert_eq!(sight.now(), &Seen::Unknown);
        assert_eq!(there(&mut sight, at("later", "9")), ALL);
        assert_eq!(gone(&mut sight, "another"), WRITERS);
        assert_eq!(sight.now(), &Seen::At(at("later", "9")));
        // An end was told, and the look found something else there: before that, or after?
        gone(&mut sight, "later");
        sight.left(Some(&at("last", "11")));
        assert_eq!(sight.now(), &Seen::Unknown);
        // A look that found nothing knows, where nobody else does.
        sight.left(None);
        assert_eq!(sight.now(), &Seen::Absent);
        there(&mut sight, at("x", "12"));
        sight.left(None);
        assert_eq!(sight.now(), &Seen::At(at("x", "12")), "the watch will tell of its end");
    }

    #[test]
    fn what_a_list_leaves_out_is_gone_unless_a_look_may_have_made_it_since() {
        let sight = |told: Option<&str>, left: Option<&str>| {
            let mut sight = Sight::default();
            told.iter().for_each(|revision| _ = there(&mut sight, at("u", revision)));
            left.iter().for_each(|revision| sight.left(Some(&at("u", revision))));
            sight
        };
        for (told, left, is_looked_at, now, news) in [
            (None, None, false, Seen::Absent, News { for_writers: false, for_readers: true }),
            (None, None, true, Seen::Unknown, ALL),
            (Some("5"), None, false, Seen::Absent, ALL),
            (Some("5"), None, true, Seen::Unknown, ALL),
            (Some("5"), Some("6"), false, Seen::Unknown, ALL),
            (None, Some("6"), false, Seen::Unknown, ALL),
        ] {
            let mut sight = sight(told, left);
            assert_eq!(sight.saw(&Sighting::LeftOut, is_looked_at), news, "{told:?} {left:?} {is_looked_at}");
            assert_eq!((sight.now(), &sight.told), (&now, &Seen::Absent), "{told:?} {left:?} {is_looked_at}");
        }
        let mut sight = Sight::default();
        sight.saw(&Sighting::LeftOut, false);
        assert_eq!(sight.saw(&Sighting::LeftOut, false), NOBODY, "it is known to be absent");
    }

    #[test]
    fn what_was_never_seen_may_have_been_replaced_when_its_end_is_told() {
        let mut sight = Sight::default();
        assert_eq!(gone(&mut sight, "u"), ALL);
        assert_eq!((sight.now(), &sight.told), (&Seen::Unknown, &Seen::Absent));
        assert!(!sight.may_be_at(Some(&at("u", "5"))), "who read that one must read again");
    }

    #[test]
    fn what_somebody_read_holds_until_a_watch_tells_otherwise() {
        let mut sight = Sight::default();
        assert!(sight.may_be_at(None) && sight.may_be_at(Some(&at("u", "5"))));
        sight.found(Some(&at("u", "5")));
        assert!(!there(&mut sight, at("u", "5")).for_readers, "that is how it was found");
        assert!(!there(&mut sight, at("u", "4")).for_readers, "the watch lags behind");
        sight.found(Some(&at("u", "9")));
        assert_eq!(sight.told(None), Seen::At(at("u", "5")), "once a watch has told, its word counts");
        assert!(sight.may_be_at(Some(&at("u", "6"))), "the watch will tell");
        assert_eq!(sight.told(Some(&at("u", "6"))), Seen::At(at("u", "6")));
        assert!(!sight.may_be_at(Some(&at("u", "4"))) && !sight.may_be_at(Some(&at("v", "5"))));
        assert!(!sight.may_be_at(None));
        gone(&mut sight, "u");
        assert!(sight.may_be_at(None) && !sight.may_be_at(Some(&at("u", "6"))));
        let mut absent = Sight::default();
        absent.found(None);
        assert!(there(&mut absent, at("u", "1")).for_readers);
    }
}
