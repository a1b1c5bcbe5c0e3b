//! What is said on the socket: JSON with its length before it, and descriptors beside single octets.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Place;
use super::balance::EndpointRecord;

/// The largest message: some hundred thousand endpoints.
const MOST: usize = 256 << 20;
/// Descriptors beside one octet; the kernel takes 253.
const BATCH: usize = 64;

/// What the one that takes over says first.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) format: u32,
    /// Its version, for the log.
    pub(crate) version: String,
    pub(crate) process: u32,
    pub(crate) workers: usize,
}

/// What the running one answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// It does not hand over, and why.
    Refused(String),
    /// These sockets follow, in this order.
    Offered(Offer),
}

/// What is handed over.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Offer {
    pub(crate) sockets: Vec<Place>,
    pub(crate) endpoints: Vec<EndpointRecord>,
}

/// The one that takes over serves on these.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Serving {
    pub(crate) places: Vec<Place>,
}

/// The running one accepts no more, and what only one can have is free.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Released;

pub(crate) fn write<T: Serialize>(mut stream: impl Write, message: &T) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    let length = u32::try_from(text.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(&text)
}

pub(crate) fn read<T: DeserializeOwned>(mut stream: impl Read) -> io::Result<T> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > MOST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut text = Vec::new();
    stream.take(length as u64).read_to_end(&mut text)?;
    if text.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(&text)?)
}

/// Sends descriptors; the other side gets descriptors of its own for the same sockets.
pub(crate) fn send_sockets(stream: &UnixStream, sockets: &[OwnedFd]) -> io::Result<()> {
    for batch in sockets.chunks(BATCH) {
        let borrowed: Vec<BorrowedFd<'_>> = batch.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        beside.push(SendAncillaryMessage::ScmRights(&borrowed));
        rustix::net::sendmsg(stream, &[IoSlice::new(&[0])], &mut beside, SendFlags::NOSIGNAL)?;
    }
    Ok(())
}

/// Receives so many descriptors.
pub(crate) fn receive_sockets(stream: &UnixStream, count: usize) -> io::Result<Vec<OwnedFd>> {
    let mut sockets = Vec::new();
    while sockets.len() < count {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let mut octet = [0];
        let read =
            rustix::net::recvmsg(stream, &mut [IoSliceMut::new(&mut octet)], &mut beside, RecvFlags::CMSG_CLOEXEC)?;
        if read.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let received = beside.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(received) => Some(received),
            _ => None,
        });
        sockets.extend(received.flatten());
    }
    Ok(sockets)
}

/// What fuzzing feeds, as it comes and with the length that it has before it: no more is read than was announced, and what is
/// understood is written so that it is understood again.
pub(crate) fn fuzz(data: &[u8]) {
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes();
    for stream in [data, &[&length, data].concat()] {
        check::<Hello>(stream);
        check::<Answer>(stream);
        check::<Serving>(stream);
        check::<Released>(stream);
    }
}

fn check<T: Serialize + DeserializeOwned>(stream: &[u8]) {
    let mut rest = stream;
    let message = read::<T>(&mut rest);
    let announced = stream.first_chunk().map(|length| u32::from_be_bytes(*length) as usize);
    let is_whole = announced.is_some_and(|length| stream.len() - 4 >= length);
    assert!(is_whole || message.is_err());
    if let Some(length) = announced {
        let body = if length > MOST { 0 } else { length.min(stream.len() - 4) };
        assert_eq!(rest.len(), stream.len() - 4 - body);
    }
    let Ok(message) = message else { return };
    let write = |message: &T| {
        let mut octets = Vec::new();
        write(&mut octets, message).map(|()| octets)
    };
    let once = write(&message).expect("what was read can be written");
    let message = read::<T>(&*once).expect("what was written can be read");
    let twice = write(&message).expect("what was read can be written");
    // The last digit of a latency may be another.
    let value = |octets: &[u8]| serde_json::from_slice(&octets[4..]).expect("it is JSON");
    assert!(is_alike(&value(&once), &value(&twice)));
}

/// Whether two values are the same, but for what the last digits of fractions say.
fn is_alike(one: &serde_json::Value, other: &serde_json::Value) -> bool {
    use serde_json::Value;
    match (one, other) {
        (Value::Number(one), Value::Number(other)) if one.is_f64() => {
            let (one, other) = (one.as_f64().unwrap_or(f64::NAN), other.as_f64().unwrap_or(f64::NAN));
            (one - other).abs() <= one.abs() * 1e-12 + f64::MIN_POSITIVE
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_alike(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let is_there =
                |(name, value): (&String, &Value)| other.get(name).is_some_and(|found| is_alike(value, found));
            one.len() == other.len() && one.iter().all(is_there)
        }
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_arrive_as_they_were_sent() {
        let (one, other) = UnixStream::pair().unwrap();
        let listeners: Vec<_> = (0..130).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let addresses: Vec<_> = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
        let sent: Vec<OwnedFd> = listeners.into_iter().map(Into::into).collect();
        let sending = std::thread::spawn(move || {
            write(&one, &Released).unwrap();
            send_sockets(&one, &sent).unwrap();
            write(&one, &"after").unwrap();
        });
        read::<Released>(&other).unwrap();
        let received = receive_sockets(&other, 130).unwrap();
        let got: Vec<_> =
            received.into_iter().map(|socket| std::net::TcpListener::from(socket).local_addr().unwrap()).collect();
        assert_eq!(got, addresses);
        assert_eq!(read::<String>(&other).unwrap(), "after");
        sending.join().unwrap();
        assert!(read::<Released>(&other).is_err(), "the other side has gone");
    }
}
