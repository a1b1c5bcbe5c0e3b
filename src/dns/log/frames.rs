//! Frame Streams, by which dnstap is sent: frames with a length before each, between two control frames; over a socket,
//! both ends agree first on what the frames are.

use std::io::{self, Read, Write};

/// What the frames of a stream are.
pub(super) const CONTENT: &[u8] = b"protobuf:dnstap.Dnstap";

const ACCEPT: u32 = 1;
const START: u32 = 2;
const STOP: u32 = 3;
const READY: u32 = 4;
const FINISH: u32 = 5;

/// The field of a control frame that names what frames are.
const CONTENT_TYPE: u32 = 1;

/// The longest control frame of the other end.
const MOST: u32 = 512;

/// Begins a stream in a file.
pub(super) fn begin(out: &mut impl Write) -> io::Result<()> {
    control(out, START, true)
}

/// Begins a stream with somebody who answers.
pub(super) fn agree(stream: &mut (impl Read + Write)) -> io::Result<()> {
    control(stream, READY, true)?;
    let accepted = read_control(stream)?;
    let is_ours = accepted.windows(CONTENT.len()).any(|octets| octets == CONTENT);
    if accepted.get(..4) != Some(&ACCEPT.to_be_bytes()) || !is_ours {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the other end does not take dnstap"));
    }
    control(stream, START, true)
}

/// Appends a frame.
pub(super) fn frame(data: &[u8], out: &mut Vec<u8>) {
    out.extend(u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(data);
}

/// Ends a stream.
pub(super) fn end(out: &mut impl Write) -> io::Result<()> {
    control(out, STOP, false)
}

/// Waits for the other end to have read everything.
pub(super) fn wait_for_finish(stream: &mut impl Read) -> io::Result<()> {
    match read_control(stream)?.get(..4) == Some(&FINISH.to_be_bytes()) {
        true => Ok(()),
        false => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// An escape (a frame of no octets), the length, the kind, and the content where it belongs.
fn control(out: &mut impl Write, kind: u32, with_content: bool) -> io::Result<()> {
    let mut data = kind.to_be_bytes().to_vec();
    if with_content {
        data.extend(CONTENT_TYPE.to_be_bytes());
        frame(CONTENT, &mut data);
    }
    let mut octets = vec![0; 4];
    frame(&data, &mut octets);
    out.write_all(&octets)?;
    out.flush()
}

fn read_control(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = [0; 8];
    stream.read_exact(&mut head)?;
    let [a, b, c, d, length @ ..] = head;
    let length = u32::from_be_bytes(length);
    if [a, b, c, d] != [0; 4] || length > MOST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut data = vec![0; usize::try_from(length).unwrap_or_default()];
    stream.read_exact(&mut data)?;
    Ok(data)
}
