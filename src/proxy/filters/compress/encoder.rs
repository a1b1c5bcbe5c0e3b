//! Encoders of the three codings over one interface: octets in, octets out as far as there are any.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::config::filter::Coding;

/// What each coding does on the way: a proxy compresses once what many sites compress beforehand, so it does not take its
/// time. The windows keep an encoder below 2 MiB.
const GZIP_LEVEL: u32 = 4;
const BROTLI_QUALITY: u32 = 4;
const BROTLI_WINDOW: u32 = 18;
const ZSTD_LEVEL: i32 = 3;
const ZSTD_WINDOW: u32 = 18;
/// A buffer inside the encoder of brotli.
const BROTLI_BUFFER: usize = 4096;

/// An encoder.
pub struct Encoder {
    out: Out,
    kind: Kind,
}

/// What an encoder writes to.
#[derive(Clone, Debug, Default)]
struct Out(Rc<RefCell<Vec<u8>>>);

enum Kind {
    Gzip(Box<GzEncoder<Out>>),
    Brotli(Box<brotli::CompressorWriter<Out>>),
    Zstd(Box<zstd::stream::write::Encoder<'static, Out>>),
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

impl Write for Out {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Encoder {
    /// An encoder that has seen nothing.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn new(coding: Coding) -> io::Result<Self> {
        let out = Out::default();
        let kind = match coding {
            Coding::Gzip => Kind::Gzip(Box::new(GzEncoder::new(out.clone(), Compression::new(GZIP_LEVEL)))),
            Coding::Brotli => {
                let writer = brotli::CompressorWriter::new(out.clone(), BROTLI_BUFFER, BROTLI_QUALITY, BROTLI_WINDOW);
                Kind::Brotli(Box::new(writer))
            }
            Coding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(out.clone(), ZSTD_LEVEL)?;
                encoder.window_log(ZSTD_WINDOW)?;
                Kind::Zstd(Box::new(encoder))
            }
        };
        Ok(Self { out, kind })
    }

    /// Takes octets in.
    ///
    /// # Errors
    /// There is no memory.
    pub fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        match &mut self.kind {
            Kind::Gzip(encoder) => encoder.write_all(octets),
            Kind::Brotli(encoder) => encoder.write_all(octets),
            Kind::Zstd(encoder) => encoder.write_all(octets),
        }
    }

    /// Makes everything that was taken in readable for the client.
    ///
    /// # Errors
    /// There is no memory.
    pub fn flush(&mut self) -> io::Result<()> {
        match &mut self.kind {
            Kind::Gzip(encoder) => encoder.flush(),
            Kind::Brotli(encoder) => encoder.flush(),
            Kind::Zstd(encoder) => encoder.flush(),
        }
    }

    /// What there is to send.
    pub fn take(&mut self) -> Vec<u8> {
        self.out.0.take()
    }

    /// Ends the coding; the last octets.
    ///
    /// # Errors
    /// There is no memory.
    pub fn finish(self) -> io::Result<Vec<u8>> {
        match self.kind {
            Kind::Gzip(encoder) => drop(encoder.finish()?),
            Kind::Brotli(encoder) => drop(encoder.into_inner()),
            Kind::Zstd(encoder) => drop(encoder.finish()?),
        }
        Ok(self.out.0.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn decode(coding: Coding, octets: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        match coding {
            Coding::Gzip => drop(flate2::read::GzDecoder::new(octets).read_to_end(&mut plain)),
            Coding::Brotli => drop(brotli::Decompressor::new(octets, 4096).read_to_end(&mut plain)),
            Coding::Zstd => drop(zstd::stream::read::Decoder::new(octets).unwrap().read_to_end(&mut plain)),
        }
        plain
    }

    #[test]
    fn what_is_flushed_can_be_read_and_the_whole_is_whole() {
        for coding in Coding::ALL {
            let mut encoder = Encoder::new(coding).unwrap();
            let mut sent = Vec::new();
            let mut said = Vec::new();
            for piece in ["first ", "second ", &"long ".repeat(10_000)] {
                encoder.write(piece.as_bytes()).unwrap();
                encoder.flush().unwrap();
                sent.extend(encoder.take());
                said.extend_from_slice(piece.as_bytes());
                assert!(decode(coding, &sent) == said, "{coding:?}");
            }
            let length = sent.len();
            assert!(length < said.len() / 20, "{coding:?}: {length}");
            sent.extend(encoder.finish().unwrap());
            assert!(sent.len() > length && decode(coding, &sent) == said, "{coding:?}");
        }
    }
}
