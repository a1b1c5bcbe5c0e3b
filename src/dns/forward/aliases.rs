//! Aliases of our own that lead to a name of others: what stands before the answer that others give.

use super::answer::Answer;
use crate::dns::wire::name;
use crate::dns::wire::{HEADER_LEN, read_u16, record_type};

/// The octets of a record between its owner and its data: type, class, time to live, length.
const FIXED: usize = 10;

/// An answer of ours that ends with an alias, without what stands behind its records.
#[derive(Clone, Debug)]
pub(crate) struct Aliases {
    octets: Box<[u8]>,
    /// Where the last alias' data stand: the name that others are asked for.
    target_at: u16,
}

impl Aliases {
    /// The aliases that an answer of ours consists of, and the name in wire form that they lead to. `None`: it does not
    /// consist of aliases.
    pub(crate) fn of(message: &[u8]) -> Option<(Self, Vec<u8>)> {
        let count = read_u16(message, 6).filter(|count| *count > 0)?;
        let mut at = name::skip(message, HEADER_LEN)? + 4;
        let mut data = at;
        for _ in 0..count {
            let fixed = name::skip(message, at)?;
            if read_u16(message, fixed) != Some(record_type::CNAME) {
                return None;
            }
            data = fixed + FIXED;
            at = data + usize::from(read_u16(message, fixed + FIXED - 2)?);
        }
        let mut target = Vec::new();
        name::copy(message, data, &mut target)?;
        // Pointers reach 14 bits far.
        let target_at = u16::try_from(data).ok().filter(|at| *at < 0x4000)?;
        Some((Self { octets: message.get(..at)?.into(), target_at }, target))
    }

    /// Appends the aliases, and behind them what others answered about their end; `aged` is `answer`'s message with the
    /// times to live that it has now. `None`: it cannot be read.
    pub(super) fn write(&self, answer: &Answer, aged: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let start = out.len();
        out.extend_from_slice(&self.octets);
        let mut target = Vec::new();
        name::copy(aged, HEADER_LEN, &mut target)?;
        let counts = [read_u16(aged, 6)?, read_u16(aged, 8)?];
        let mut at = answer.question_end;
        let mut owner = Vec::new();
        for _ in 0..usize::from(counts[0]) + usize::from(counts[1]) {
            owner.clear();
            let fixed = name::copy(aged, at, &mut owner)?;
            at = fixed + FIXED + usize::from(read_u16(aged, fixed + FIXED - 2)?);
            if owner == target {
                out.extend_from_slice(&(0xc000 | self.target_at).to_be_bytes());
            } else {
                out.extend_from_slice(&owner);
            }
            // No name in the data of an answer that is kept is compressed.
            out.extend_from_slice(aged.get(fixed..at)?);
        }
        let answers = read_u16(&self.octets, 6)?.saturating_add(counts[0]);
        for (at, count) in [(6, answers), (8, counts[1]), (10, 0)] {
            out[start + at..start + at + 2].copy_from_slice(&count.to_be_bytes());
        }
        Some(())
    }
}
