//! What clients of a socket call its host. grpc-go, told no more than a path, calls it by that path (`%2Frun%2F...`), and so does the
//! kubelet where it asks who registers; the HTTP library under our server refuses a request with such a name as malformed. Nobody
//! here looks at the name. So it is replaced on its way from the socket to the server, in each block of headers; all else passes
//! byte for byte.
//!
//! Nothing has to be decoded for that, and no state of the compression (HPACK, RFC 7541) kept: a name of one letter is never longer
//! than what it replaces. Client and server then have the same headers in their tables, which both count from the newest, and
//! the server's are dropped no sooner than the client's.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;
use zeroize::Zeroizing;

/// What a client sends before its first frame.
const PREFACE: usize = 24;

/// How long the head of a frame is (RFC 9113, 4.1).
const HEAD: usize = 9;

/// How long one block of headers may be, with the heads of its frames. What is left of it always fits into one frame.
const LARGEST: usize = 16 << 10;

/// How much is read at once.
const READ: usize = 8 << 10;

/// Types of frames.
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;

/// Flags of frames with headers.
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// The place of `:authority` in the table of headers that everybody has.
const AUTHORITY: usize = 1;

/// What it is replaced by: a string of one letter.
const NAME: [u8; 2] = [1, b'k'];

/// A connection on which the client's name for the host is replaced. The kubelet has one for each call, and hundreds of calls wait
/// for their turn: one that has nothing to read holds no more than this.
pub struct Renamed<S> {
    stream: S,
    frames: Frames,
    /// What is for the server, tokens of pods among it, and how much of it the server has.
    ready: Zeroizing<Vec<u8>>,
    taken: usize,
}

impl<S> Renamed<S> {
    /// That of a client which has said nothing yet.
    pub fn new(stream: S) -> Self {
        Self { stream, frames: Frames::default(), ready: Zeroizing::default(), taken: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Renamed<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.taken == this.ready.len() {
            let mut bytes = Zeroizing::new([0; READ]);
            let mut read = ReadBuf::new(&mut *bytes);
            ready!(Pin::new(&mut this.stream).poll_read(context, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            // As much as one reading leads to, and a block of headers that was held: so it never grows, which would leave a copy.
            let mut ready = Zeroizing::new(Vec::with_capacity(READ + LARGEST));
            this.frames.follow(read.filled(), &mut ready)?;
            (this.ready, this.taken) = (ready, 0);
        }
        let left = &this.ready[this.taken..];
        let some = &left[..left.len().min(into.remaining())];
        into.put_slice(some);
        this.taken += some.len();
        if this.taken == this.ready.len() {
            (this.ready, this.taken) = (Zeroizing::default(), 0);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Renamed<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

impl<S: Connected> Connected for Renamed<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.stream.connect_info()
    }
}

/// Where in the client's frames we are.
struct Frames {
    /// How much passes before the head of the next frame.
    passing: usize,
    /// What there is of the next head, or of a frame with headers.
    held: Vec<u8>,
    /// The block of headers that is not at its end.
    block: Option<Block>,
}

/// A block of headers.
struct Block {
    /// The stream, as in the heads of frames.
    stream: [u8; 4],
    /// The flags of its first frame.
    flags: u8,
    /// What that frame says of priority.
    priority: Vec<u8>,
    /// The headers.
    headers: Vec<u8>,
    /// How long its frames are together.
    length: usize,
}

fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

impl Default for Frames {
    fn default() -> Self {
        Self { passing: PREFACE, held: Vec::new(), block: None }
    }
}

impl Frames {
    /// Takes what the client has sent, and adds to `out` what the server is to read. An error ends the connection.
    fn follow(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.passing > 0 {
                let (passed, rest) = bytes.split_at(self.passing.min(bytes.len()));
                out.extend(passed);
                self.passing -= passed.len();
                bytes = rest;
                continue;
            }
            let wanted = self.wanted()?;
            let (more, rest) = bytes.split_at((wanted - self.held.len()).min(bytes.len()));
            self.held.extend(more);
            bytes = rest;
            // A head alone may be all of a frame, or say that more is held.
            if self.held.len() == self.wanted()? {
                let frame = std::mem::take(&mut self.held);
                self.frame(&frame, out)?;
            }
        }
        Ok(())
    }

    /// How much of a frame is held before it is looked at: all of one with headers, the head of any other.
    fn wanted(&self) -> io::Result<usize> {
        let Some(head) = self.held.get(..HEAD) else { return Ok(HEAD) };
        let kind = head[3];
        if kind != HEADERS && self.block.is_none() {
            return Ok(HEAD);
        }
        if self.block.as_ref().is_some_and(|block| kind != CONTINUATION || block.stream != head[5..HEAD]) {
            return Err(refused("a block of headers is interrupted"));
        }
        let length = HEAD + payload(head);
        if self.block.as_ref().map_or(0, |block| block.length) + length > LARGEST {
            return Err(refused("a block of headers is too long"));
        }
        Ok(length)
    }

    /// Takes what was held of a frame.
    fn frame(&mut self, frame: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        let (head, rest) = frame.split_at(HEAD);
        let mut block = match self.block.take() {
            Some(mut block) => {
                block.headers.extend(rest);
                block.length += frame.len();
                block
            }
            None if head[3] == HEADERS => Block::begin(head, rest).ok_or_else(|| refused("a padding is too long"))?,
            None => {
                out.extend(head);
                self.passing = payload(head);
                return Ok(());
            }
        };
        if head[4] & END_HEADERS == 0 {
            self.block = Some(block);
            return Ok(());
        }
        // Whatever is no block of headers the server itself refuses.
        if let Some(headers) = renamed(&block.headers) {
            block.headers = headers;
        }
        block.write(out);
        Ok(())
    }
}

/// How much follows this head.
fn payload(head: &[u8]) -> usize {
    usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])
}

impl Block {
    /// What its first frame says; `None` where its padding is longer than that.
    fn begin(head: &[u8], rest: &[u8]) -> Option<Self> {
        let (flags, stream) = (head[4], [head[5], head[6], head[7], head[8]]);
        let length = head.len() + rest.len();
        let mut rest = rest;
        if flags & PADDED != 0 {
            let (&padding, padded) = rest.split_first()?;
            rest = padded.get(..padded.len().checked_sub(usize::from(padding))?)?;
        }
        let (priority, headers) = rest.split_at_checked(if flags & PRIORITY == 0 { 0 } else { 5 })?;
        Some(Self { stream, flags, priority: priority.to_vec(), headers: headers.to_vec(), length })
    }

    /// As one frame without padding.
    fn write(&self, out: &mut Vec<u8>) {
        let length = self.priority.len() + self.headers.len();
        // Three bytes are enough for what LARGEST allows.
        out.extend(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes()[1..]);
        out.extend([HEADERS, self.flags & !PADDED | END_HEADERS]);
        out.extend(self.stream);
        out.extend(&self.priority);
        out.extend(&self.headers);
    }
}

/// A block of headers with the host's name replaced; `None` where it is none. An empty name stays.
fn renamed(block: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(block.len());
    let mut at = 0;
    while let Some(&first) = block.get(at) {
        let begin = at;
        // How a header is written (RFC 7541, 6): one of a table; one that the table takes; a size of the table; one that it doesn't take.
        let (bits, has_value) = match first {
            0x80.. => (7, false),
            0x40.. => (6, true),
            0x20.. => (5, false),
            _ => (4, true),
        };
        let name = integer(block, &mut at, bits)?;
        if has_value && name == 0 {
            pass_string(block, &mut at)?;
        }
        let value = at;
        if has_value {
            pass_string(block, &mut at)?;
        }
        if has_value && name == AUTHORITY && at - value >= NAME.len() {
            out.extend(&block[begin..value]);
            out.extend(NAME);
        } else {
            out.extend(&block[begin..at]);
        }
    }
    Some(out)
}

/// Reads a number that begins in the lower bits of a byte (RFC 7541, 5.1); one of more than five bytes is none.
fn integer(block: &[u8], at: &mut usize, bits: u32) -> Option<usize> {
    let all = (1 << bits) - 1;
    let mut value = usize::from(block.get(*at)? & all);
    *at += 1;
    if value < usize::from(all) {
        return Some(value);
    }
    for shift in [0, 7, 14, 21] {
        let byte = block.get(*at)?;
        *at += 1;
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Passes over a string, compressed or not.
fn pass_string(block: &[u8], at: &mut usize) -> Option<()> {
    let length = integer(block, at, 7)?;
    *at += length;
    (*at <= block.len()).then_some(())
}

#[cfg(test)]
#[path = "authority_tests.rs"]
mod tests;
