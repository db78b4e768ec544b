//! Who clouds say that we are, to servers that are none of theirs and take their word: a call that is signed and left to the
//! server to make, a JWT, a signature. Without an SDK, which would be in builds without that cloud's stores.
//!
//! Modules, in reading order: [`cloud`] calls to clouds on the way to a login, [`sign`] AWS's signature, [`aws`] and
//! [`google`] their word, [`oracle`] Oracle's signature of requests, [`principal`] its
//! machines.
//!
//! What is zeroed: keys, tokens, bodies of answers. What is not ours to zero: the buffers of TLS, HTTP and the kernel, a
//! private key inside the library that signs, and header values, while a request is on its way.

#![forbid(unsafe_code)]

pub mod cloud;
pub mod sign;
pub mod aws;
pub mod google;
pub mod oracle;
pub mod principal;
