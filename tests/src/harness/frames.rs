//! The frames of HTTP/2 and the fields of HPACK, byte by byte.

use bytes::{BufMut, Bytes, BytesMut};

/// The first bytes that a client sends.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Part of a body.
pub const DATA: u8 = 0;
/// Headers or trailers.
pub const HEADERS: u8 = 1;
/// A stream's priority.
pub const PRIORITY: u8 = 2;
/// Ends a stream with an error.
pub const RST_STREAM: u8 = 3;
/// The settings of one side.
pub const SETTINGS: u8 = 4;
/// Asks for an answer.
pub const PING: u8 = 6;
/// Ends the connection.
pub const GOAWAY: u8 = 7;
/// Enlarges a window.
pub const WINDOW_UPDATE: u8 = 8;
/// Continues a block of headers.
pub const CONTINUATION: u8 = 9;

/// The flag of the last frame of a stream's side.
pub const END_STREAM: u8 = 1;
/// The flag of the last frame of a block of headers.
pub const END_HEADERS: u8 = 4;
/// The flag of a frame that begins with the length of its padding.
pub const PADDED: u8 = 8;
/// The flag of an answer to `SETTINGS` or `PING`.
pub const ACK: u8 = 1;

/// The setting of a stream's initial window.
pub const INITIAL_WINDOW_SIZE: u16 = 4;
/// The setting of the largest frame payload.
pub const MAX_FRAME_SIZE: u16 = 5;

/// A frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_uint(payload.len() as u64, 3);
    frame.put_slice(&[kind, flags]);
    frame.put_u32(stream);
    frame.put_slice(payload);
    frame.freeze()
}

/// Data of a stream; with `ends`, the last of its side.
pub fn data(stream: u32, bytes: &[u8], ends: bool) -> Bytes {
    frame(DATA, if ends { END_STREAM } else { 0 }, stream, bytes)
}

/// Trailers that end a stream's side.
pub fn trailers(stream: u32) -> Bytes {
    let mut block = vec![0];
    text(&mut block, "x-last");
    text(&mut block, "words");
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block)
}

/// Resets a stream.
pub fn reset(stream: u32, code: u32) -> Bytes {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

/// Enlarges the peer's window of a stream, or, with 0, of the connection.
pub fn window(stream: u32, bytes: u32) -> Bytes {
    frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())
}

/// Sets the peer's window of each stream, also of the open ones.
pub fn stream_windows(bytes: u32) -> Bytes {
    let mut settings = INITIAL_WINDOW_SIZE.to_be_bytes().to_vec();
    settings.extend(bytes.to_be_bytes());
    frame(SETTINGS, 0, 0, &settings)
}

/// A gRPC message.
pub fn message(message: &impl prost::Message) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.encoded_len()).unwrap());
    message.encode(&mut bytes).unwrap();
    bytes.freeze()
}

/// A header field whose name is in HPACK's static table, neither indexed nor compressed.
pub fn literal(block: &mut Vec<u8>, name: usize, value: &str) {
    integer(block, 0x0f, name);
    text(block, value);
}

/// A text, not compressed.
pub fn text(block: &mut Vec<u8>, text: &str) {
    integer(block, 0x7f, text.len());
    block.extend_from_slice(text.as_bytes());
}

/// A number as in RFC 7541, section 5.1, with zeros in the bits before its prefix.
pub fn integer(block: &mut Vec<u8>, prefix: usize, mut number: usize) {
    if number < prefix {
        return block.push(u8::try_from(number).unwrap());
    }
    block.push(u8::try_from(prefix).unwrap());
    number -= prefix;
    while number >= 128 {
        block.push(u8::try_from(number % 128 + 128).unwrap());
        number /= 128;
    }
    block.push(u8::try_from(number).unwrap());
}
