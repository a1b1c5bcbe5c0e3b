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

pub(crate) fn write<T: Serialize>(mut stream: &UnixStream, message: &T) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    let length = u32::try_from(text.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(&text)
}

pub(crate) fn read<T: DeserializeOwned>(mut stream: &UnixStream) -> io::Result<T> {
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
