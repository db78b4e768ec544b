use super::*;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let read = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(read).collect()
}

/// What MS-NLMP has a server say in its examples (4.2.4): its domain, and its name.
const DESCRIBED: &str = "02000c00 44006f006d00610069006e00 01000c00 530065007200760065007200 00000000";

/// The `CHALLENGE_MESSAGE` of these examples, with this in the place of what it says of itself.
fn challenge(described: &[u8]) -> Vec<u8> {
    let length = u16::try_from(described.len()).unwrap().to_le_bytes();
    let mut message = bytes("4e544c4d53535000 02000000 0c000c0038000000 33828ae2 0123456789abcdef 0000000000000000");
    message.extend([length, length].concat());
    message.extend(bytes("44000000 060070170000000f 530065007200760065007200"));
    message.extend(described);
    message
}

const FRESH: Fresh = Fresh { nonce: [0xaa; 8], now: 0 };

const PEER: Peer<'static> = Peer { host: "server", certificate: None };

fn login() -> Login {
    Login::new("Domain\\User", "Password").unwrap()
}

fn authenticated(challenge: &[u8]) -> Result<Vec<u8>, Wrong> {
    login().authenticate(&negotiate(), challenge, &PEER, &FRESH).map(|message| message.expose().to_vec())
}

/// A field of an `AUTHENTICATE_MESSAGE`, by its place in the list of them.
fn field(message: &[u8], n: usize) -> &[u8] {
    let number =
        |at: usize, of: usize| message[at..at + of].iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    let at = number(12 + 8 * n + 4, 4);
    &message[at..at + number(12 + 8 * n, 2)]
}

#[test]
fn the_examples_of_the_specification_come_out() {
    let (key, asked) = (login().key, 0xefcd_ab89_6745_2301_u64.to_le_bytes());
    assert_eq!(key.expose(), bytes("0c868a403bfd7a93a3001ef22ef02e3f"));
    let made = keys::respond(&key, asked, &FRESH.nonce, &[0; 8], &bytes(DESCRIBED));
    assert_eq!(made.older.expose(), bytes("86c35097ac9cec102554764a57cccc19 aaaaaaaaaaaaaaaa"));
    let own = "0101000000000000 0000000000000000 aaaaaaaaaaaaaaaa 00000000";
    let response = format!("68cd0ab851e51c96aabc927bebef6a1c {own} {DESCRIBED} 00000000");
    assert_eq!(made.response.expose(), bytes(&response));
    assert_eq!(made.session.expose(), bytes("8de40ccadbc14a82f15cb0ad0de95ca3"));
    let read = Challenge::read(&challenge(&bytes(DESCRIBED))).map(|read| (read.nonce, read.flags, read.time()));
    assert_eq!(read, Ok((asked, 0xe28a_8233, None)));
}

#[test]
fn a_message_holds_what_is_asked_and_says_who_and_to_whom() {
    let message = authenticated(&challenge(&bytes(DESCRIBED))).unwrap();
    assert_eq!(message[..12], bytes("4e544c4d53535000 03000000"));
    // The older response where no time is told; and then no code that covers all.
    assert_eq!(field(&message, 0), bytes("86c35097ac9cec102554764a57cccc19 aaaaaaaaaaaaaaaa"));
    assert_eq!(message[CHECKED..PAYLOAD], [0; 16]);
    let target = keys::utf16("HTTP/server".chars());
    let described = [
        &bytes(DESCRIBED)[..32],
        &bytes("0a001000 00000000000000000000000000000000 09001600")[..],
        target.expose(),
        &[0; 4],
    ]
    .concat();
    assert_eq!(field(&message, 1)[44..], [&described[..], &[0; 4]].concat());
    let (domain, user) = (keys::utf16("Domain".chars()), keys::utf16("User".chars()));
    assert_eq!([field(&message, 2), field(&message, 3)], [domain.expose(), user.expose()]);
    assert!(field(&message, 4).is_empty() && field(&message, 5).is_empty());
    assert_eq!(message[60..64], (KNOWN & 0xe28a_8233).to_le_bytes());
}

#[test]
fn who_tells_the_time_gets_a_code_that_covers_all_three_messages() {
    // The time, a flag of the server's own, and what is not its to say.
    let said = "07000800 0102030405060708 06000400 01000000 09000400 78007800 0a001000 ffffffffffffffffffffffffffffffff \
                00000000";
    let (negotiate, challenge) = (negotiate(), challenge(&bytes(said)));
    let mut message = authenticated(&challenge).unwrap();
    assert_eq!(field(&message, 0), [0; 24]);
    let response = field(&message, 1).to_vec();
    assert_eq!(response[24..32], bytes("0102030405060708"));
    let described = "07000800 0102030405060708 06000400 03000000 0a001000 00000000000000000000000000000000 09001600";
    let described = bytes(described);
    assert_eq!(response[44..44 + described.len()], described);
    let session = keys::mac(login().key.expose(), &[&response[..16]]);
    let code = message[CHECKED..PAYLOAD].to_vec();
    message[CHECKED..PAYLOAD].fill(0);
    assert_eq!(code, keys::mac(session.expose(), &[&negotiate, &challenge, &message]).expose());
}

#[test]
fn a_name_has_its_domain_before_it_or_for_the_server_to_find() {
    for (name, domain, user) in [
        ("DOMAIN\\user", "DOMAIN", "user"),
        ("user@domain.example", "", "user@domain.example"),
        ("user", "", "user"),
        ("a\\b\\c", "a", "b\\c"),
    ] {
        let login = Login::new(name, "p").unwrap();
        let read = |text: &str| keys::utf16(text.chars());
        assert_eq!((&login.domain, &login.user), (&read(domain), &read(user)), "{name}");
        // Of a user's name capitals make no difference; of a domain's they do.
        assert_eq!(login.key, Login::new(&format!("{domain}\\{}", user.to_uppercase()), "p").unwrap().key);
    }
    assert!(Login::new(&"x".repeat(LONGEST_NAME + 1), "p").is_none());
}

#[test]
fn a_hostile_challenge_is_refused_and_leads_nowhere() {
    let good = challenge(&bytes(DESCRIBED));
    let with = |at: usize, what: &[u8]| {
        let mut bad = good.clone();
        bad[at..at + what.len()].copy_from_slice(what);
        authenticated(&bad).map(drop)
    };
    for (at, what, wrong) in [
        (0, &b"X"[..], Wrong::NoChallenge),
        (8, &[1], Wrong::NoChallenge),
        (8, &[3], Wrong::NoChallenge),
        // It speaks an old code page.
        (20, &[0x32], Wrong::NoUnicode),
        // A place beyond the end, and one that overflows with its length.
        (44, &[0xff, 0, 0, 0], Wrong::Broken),
        (44, &[0xff; 4], Wrong::Broken),
        (40, &[0xff, 0xff], Wrong::Broken),
        // Cut off before the end, and a pair that is longer than all.
        (40, &[8, 0], Wrong::Broken),
        (70, &[0xff, 0xff], Wrong::Broken),
    ] {
        assert_eq!(with(at, what), Err(wrong), "{what:?} at {at}");
    }
    // The longest that a length can say: what we add does not fit any more.
    let pair = [&[1, 0, 0xf0, 0xff][..], &[0; 0xfff0], &[0; 4]].concat();
    assert_eq!(authenticated(&challenge(&pair)).map(drop), Err(Wrong::TooLong));
    // No beginning of a challenge, and none with any one byte changed, does more than that.
    for end in 0..good.len() {
        let _ = authenticated(&good[..end]);
    }
    for at in 0..good.len() {
        for byte in [0, 1, 0x7f, 0x80, 0xff] {
            let _ = with(at, &[byte]);
        }
    }
}
