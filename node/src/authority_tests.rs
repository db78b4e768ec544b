use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::transport::Server;

use super::*;
use crate::driver::Registrar;
use crate::rpc::registration::registration_server::RegistrationServer;

const PRI: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

fn literal(form: u8, name: u8, value: &str) -> Vec<u8> {
    let length = u8::try_from(value.len()).unwrap();
    assert!(length < 127, "it has another form");
    [&[form | name, length], value.as_bytes()].concat()
}

/// The headers of a call, as grpc-go has them: the host in the table of both sides.
fn call(host: &str) -> Vec<u8> {
    let own = |name: &str, value: &str| {
        let (name, value) = (literal(0, 0, name), literal(0, 0, value));
        [&[0x40], &name[1..], &value[1..]].concat()
    };
    let path = literal(0x40, 4, "/pluginregistration.Registration/GetInfo");
    let kind = own("content-type", "application/grpc");
    [vec![0x83, 0x86], path, literal(0x40, 1, host), kind, own("te", "trailers")].concat()
}

/// What a server reads of what a client sends, in parts of this many bytes.
fn passed(sent: &[u8], step: usize) -> io::Result<Vec<u8>> {
    let (mut frames, mut out) = (Frames::default(), Vec::new());
    for part in sent.chunks(step) {
        frames.follow(part, &mut out)?;
    }
    Ok(out)
}

/// What becomes of frames; the same however they are cut.
fn all(sent: &[&[u8]]) -> Vec<u8> {
    let sent = [&[PRI], sent].concat().concat();
    let whole = passed(&sent, sent.len()).unwrap();
    for step in 1..sent.len() {
        assert_eq!(passed(&sent, step).unwrap(), whole, "in parts of {step}");
    }
    whole.strip_prefix(PRI).expect("the preface passes").to_vec()
}

fn why(sent: &[&[u8]]) -> String {
    passed(&[&[PRI], sent].concat().concat(), 7).unwrap_err().to_string()
}

#[test]
fn a_path_becomes_a_name_and_all_else_passes() {
    let settings = frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 16, 0]);
    let data = frame(DATA, END_STREAM, 1, &[0; 300]);
    let sent = frame(HEADERS, END_HEADERS, 1, &call("%2Frun%2Fkubelet%2Fx.sock"));
    // To the next call the host is a number of the table.
    let again = frame(HEADERS, END_HEADERS, 3, &[0x83, 0x86, 0x40 | 0x80, 0xbe, 0x3f, 0xe1, 0x1f]);
    let is = all(&[&settings, &sent, &data, &again, &data]);
    assert_eq!(is, [settings, frame(HEADERS, END_HEADERS, 1, &call("k")), data.clone(), again, data].concat());
}

#[test]
fn every_way_to_write_the_host_is_known() {
    for form in [0x40, 0x00, 0x10] {
        let block = [vec![0x20, 0x82], literal(form, 1, "/run/x"), vec![0x84]].concat();
        assert_eq!(renamed(&block).unwrap(), [vec![0x20, 0x82], literal(form, 1, "k"), vec![0x84]].concat());
    }
    // Compressed, and so long that its length takes two bytes more.
    assert_eq!(renamed(&[0x41, 0x82, 0xf1, 0xe3, 0x82]).unwrap(), [0x41, 1, b'k', 0x82]);
    let long = [&[0x41, 0x7f, 0x80, 0x01][..], &[b'/'; 255], &[0x82]].concat();
    assert_eq!(renamed(&long).unwrap(), [0x41, 1, b'k', 0x82]);
    assert_eq!(renamed(&[0x41, 0]).unwrap(), [0x41, 0], "it would be longer");
}

#[test]
fn what_is_no_block_of_headers_is_the_servers_to_refuse() {
    for broken in [&[0x41][..], &[0x41, 5, b'/'], &[0x40, 9], &[0xff], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff]] {
        assert_eq!(renamed(broken), None);
        let sent = frame(HEADERS, END_HEADERS, 1, broken);
        assert_eq!(all(&[&sent]), sent);
    }
}

#[test]
fn a_block_in_parts_becomes_one_frame() {
    let whole = call("%2Frun%2Fx.sock");
    let expected = frame(HEADERS, END_HEADERS | END_STREAM, 1, &call("k"));
    for cut in 0..=whole.len() {
        let (first, second) = whole.split_at(cut);
        let first = frame(HEADERS, END_STREAM, 1, first);
        let second = frame(CONTINUATION, END_HEADERS, 1, second);
        assert_eq!(all(&[&first, &frame(CONTINUATION, 0, 1, &[]), &second]), expected, "cut at {cut}");
    }
}

#[test]
fn padding_goes_and_priority_stays() {
    let priority = [0x80, 0, 0, 3, 7];
    let block = call("%2Frun%2Fx.sock");
    let flags = PADDED | PRIORITY | END_HEADERS;
    let sent = frame(HEADERS, flags, 5, &[&[4][..], &priority, &block, &[0; 4]].concat());
    let expected = frame(HEADERS, PRIORITY | END_HEADERS, 5, &[&priority[..], &call("k")].concat());
    assert_eq!(all(&[&sent]), expected);
    for short in [&[][..], &[1], &[9, 0, 0]] {
        let short = frame(HEADERS, PADDED | END_HEADERS, 1, short);
        assert_eq!(why(&[&short]), "a padding is too long");
    }
}

#[test]
fn what_has_no_end_is_refused() {
    let begin = frame(HEADERS, 0, 1, &[0x82]);
    let more = frame(CONTINUATION, 0, 1, &[]);
    assert_eq!(why(&[&begin, &more.repeat(LARGEST / HEAD)]), "a block of headers is too long");
    assert_eq!(why(&[&frame(HEADERS, END_HEADERS, 1, &[0x82; LARGEST])[..HEAD]]), "a block of headers is too long");
    assert_eq!(why(&[&begin, &frame(DATA, 0, 1, &[])]), "a block of headers is interrupted");
    assert_eq!(why(&[&begin, &frame(CONTINUATION, END_HEADERS, 3, &[])]), "a block of headers is interrupted");
}

/// What a server answers to a call of this host: its data, or the number of an error.
async fn answer<S>(host: &str, wrap: fn(tokio::io::DuplexStream) -> S) -> Result<Vec<u8>, u8>
where
    S: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let (mut client, server) = tokio::io::duplex(LARGEST);
    let registrar = RegistrationServer::new(Registrar { endpoint: "/its/csi.sock".to_owned() });
    let connections = tokio_stream::once(Ok::<_, io::Error>(wrap(server)));
    let _server = tokio::spawn(Server::builder().add_service(registrar).serve_with_incoming(connections));
    let headers = frame(HEADERS, END_HEADERS, 1, &call(host));
    let sent = [PRI, &frame(SETTINGS, 0, 0, &[]), &headers, &frame(DATA, END_STREAM, 1, &[0; 5])].concat();
    client.write_all(&sent).await.unwrap();
    loop {
        let mut head = [0; HEAD];
        client.read_exact(&mut head).await.unwrap();
        let mut rest = vec![0; payload(&head)];
        client.read_exact(&mut rest).await.unwrap();
        match head[3] {
            DATA => return Ok(rest),
            RESET => return Err(rest[3]),
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_server_answers_whatever_its_host_is_called() {
    let path = "%2Frun%2Fkubelet%2Fx.sock";
    let protocol_error = 1;
    assert_eq!(answer(path, |stream| stream).await, Err(protocol_error), "else nothing of this is needed");
    for host in [path, "/run/kubelet/x.sock", "localhost", "localhost:80"] {
        let data = answer(host, Renamed::new).await.unwrap_or_else(|error| panic!("{host}: error {error}"));
        assert!(data.windows(13).any(|window| window == b"/its/csi.sock"), "{host}: {data:?}");
    }
    assert_eq!(
        answer("localhost", Renamed::new).await,
        answer("localhost", |stream| stream).await,
        "who has a name is answered as ever"
    );
}

#[tokio::test]
async fn tokens_that_passed_are_zeroed_and_no_copy_of_them_is_left() {
    let (mut client, server) = tokio::io::duplex(1 << 16);
    let mut renamed = Renamed::new(server);
    // The longest block that is held, and a call behind it.
    let block = [0x82; LARGEST / 2 - HEAD];
    let frames = [frame(HEADERS, 0, 1, &block), frame(CONTINUATION, END_HEADERS, 1, &block)];
    let call = frame(DATA, END_STREAM, 1, &[b't'; READ]);
    client.write_all(&[PRI, &frames.concat(), &call].concat()).await.unwrap();
    drop(client);
    let (mut passed, mut part) = (0, [0; 5000]);
    loop {
        let read = renamed.read(&mut part).await.unwrap();
        if read == 0 {
            break;
        }
        passed += read;
        assert!([0, READ + LARGEST].contains(&renamed.ready.capacity()), "it has never grown");
    }
    assert_eq!(passed, PRI.len() + HEAD + 2 * block.len() + call.len());
    assert_eq!(renamed.ready.capacity(), 0, "what is connected and says nothing holds nothing");
    // It is zeroed where it ends, and where that is before all is taken, too.
    let _: Zeroizing<Vec<u8>> = renamed.ready;
}

/// The server keeps it in what it keeps of each connection, more than once.
#[test]
fn a_connection_takes_little() {
    assert!(size_of::<Renamed<tokio::net::UnixStream>>() < 512);
}
