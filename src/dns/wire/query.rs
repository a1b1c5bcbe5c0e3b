//! Reading queries.
//!
//! Everything a client can send comes to one of three things: nothing (no answer at all), a rejection (an answer
//! that only says what is wrong), or a query. Bounded by the message's own length; nothing is allocated.

use super::name::{self, NameText};
use super::option::Options;
use super::{CLASS_ANY, HEADER_LEN, OPCODE_QUERY, Rcode, flags, read_u16, record_type};

/// What is kept of a query's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Echoed.
    pub id: u16,
    /// As received.
    pub flags: u16,
}

impl Header {
    /// What is asked to be done.
    pub fn opcode(self) -> u8 {
        ((self.flags & flags::OPCODE_MASK) >> flags::OPCODE_SHIFT) as u8
    }
}

/// The one question of a query.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// As received, to be echoed.
    pub wire: &'a [u8],
    /// The name that is looked up, as a [`NameText`] has it.
    pub name: &'a str,
    /// The type asked for.
    pub record_type: u16,
    /// The class asked for.
    pub class: u16,
}

/// What a query says by EDNS (RFC 6891).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edns {
    /// The largest answer that the client takes over UDP.
    pub udp_size: u16,
    /// The version it speaks.
    pub version: u8,
    /// "DNSSEC OK", to be echoed (RFC 3225 §3).
    pub dnssec_ok: bool,
    /// Its options; none in another version than 0, where they may mean something else.
    pub options: Options,
}

/// A signature that nobody here can check (RFC 8945): what the refusal must repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tsig {
    /// Where the key's name begins in the message.
    pub key_name: usize,
    /// Where the record's data begins in the message.
    pub data: usize,
    /// Octets of the record's data.
    pub data_len: usize,
}

/// A query that can be answered.
#[derive(Clone)]
pub struct Query<'a> {
    /// Its header.
    pub header: Header,
    /// Its question.
    pub question: Question<'a>,
    /// What it says by EDNS, if it has an OPT record.
    pub edns: Option<Edns>,
    /// Its signature, if it has one.
    pub tsig: Option<Tsig>,
    /// The serial of the version that a client has which asks for an incremental transfer.
    pub known_serial: Option<u32>,
}

/// A query that can only be rejected.
#[derive(Clone)]
pub struct Rejection<'a> {
    /// Its header.
    pub header: Header,
    /// Its question, where it could be read.
    pub question: Option<Question<'a>>,
    /// What it says by EDNS, where it could be read.
    pub edns: Option<Edns>,
    /// Why.
    pub rcode: Rcode,
}

/// Why a message gets no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// Too short to have an id that an answer could carry.
    Short,
    /// A response: answering it would let two servers talk to one another for ever.
    Response,
}

/// What a message is.
#[derive(Clone)]
pub enum Incoming<'a> {
    /// To be ignored.
    Ignored(Ignored),
    /// To be rejected.
    Rejected(Rejection<'a>),
    /// To be answered.
    Query(Query<'a>),
}

/// Reads a message. The question's name is read into `text`.
pub fn parse<'a>(message: &'a [u8], text: &'a mut NameText) -> Incoming<'a> {
    let Some(counts) = Counts::read(message) else { return Incoming::Ignored(Ignored::Short) };
    let header = Header { id: counts.id, flags: counts.flags };
    if header.flags & flags::QR != 0 {
        return Incoming::Ignored(Ignored::Response);
    }
    let reject = |question, edns, rcode| Incoming::Rejected(Rejection { header, question, edns, rcode });
    // RFC 8906 §3.1.3: what follows the header of an unknown opcode has no meaning that could be echoed.
    if header.opcode() != OPCODE_QUERY {
        return reject(None, None, Rcode::NotImp);
    }
    // RFC 9619 §4: a query has one question.
    if counts.questions != 1 {
        let is_for_a_cookie = asks_for_a_cookie(message, &counts);
        let rcode = if is_for_a_cookie { Rcode::NoError } else { Rcode::FormErr };
        return reject(None, edns_behind(message, &counts), rcode);
    }
    let Some((question, at)) = read_question(message, text) else { return reject(None, None, Rcode::FormErr) };
    let Some((at, known_serial)) = read_prerequisites(message, at, &counts, question.record_type) else {
        return reject(Some(question), edns_behind(message, &counts), Rcode::FormErr);
    };
    let mut extras = Extras::default();
    match extras.read(message, at, counts.additionals) {
        Some(()) => Incoming::Query(Query { header, question, edns: extras.edns, tsig: extras.tsig, known_serial }),
        None => reject(Some(question), extras.edns, Rcode::FormErr),
    }
}

/// RFC 7873 §5.4: a client may ask for nothing but a cookie, without a question.
fn asks_for_a_cookie(message: &[u8], counts: &Counts) -> bool {
    let mut extras = Extras::default();
    (counts.questions, counts.answers, counts.authorities) == (0, 0, 0)
        && extras.read(message, HEADER_LEN, counts.additionals).is_some()
        && extras.edns.is_some_and(|edns| edns.options.cookie.is_some())
}

/// RFC 6891 §7: who speaks EDNS is answered so, also where the rest of the query is none. Each step goes forwards, so that the
/// message's length bounds them whatever its counts say.
fn edns_behind(message: &[u8], counts: &Counts) -> Option<Edns> {
    let mut at = HEADER_LEN;
    for _ in 0..counts.questions {
        at = name::skip(message, at)? + 4;
    }
    for _ in 0..u32::from(counts.answers) + u32::from(counts.authorities) {
        at = Extra::read(message, at)?.end;
    }
    let mut extras = Extras::default();
    let _ = extras.read(message, at, counts.additionals);
    extras.edns
}

/// The header as received.
struct Counts {
    id: u16,
    flags: u16,
    questions: u16,
    answers: u16,
    authorities: u16,
    additionals: u16,
}

impl Counts {
    fn read(message: &[u8]) -> Option<Self> {
        let header = message.get(..HEADER_LEN)?;
        let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        Some(Self {
            id: word(0),
            flags: word(2),
            questions: word(4),
            answers: word(6),
            authorities: word(8),
            additionals: word(10),
        })
    }
}

fn read_question<'a>(message: &'a [u8], text: &'a mut NameText) -> Option<(Question<'a>, usize)> {
    let end = text.fill(message, HEADER_LEN)?;
    let record_type = read_u16(message, end)?;
    let class = read_u16(message, end + 2)?;
    let question = Question { wire: message.get(HEADER_LEN..end + 4)?, name: text.as_str(), record_type, class };
    Some((question, end + 4))
}

/// A query has no answers, and authority records only where it asks for an incremental transfer (RFC 1995 §3).
fn read_prerequisites(message: &[u8], at: usize, counts: &Counts, record_type: u16) -> Option<(usize, Option<u32>)> {
    match (counts.answers, counts.authorities) {
        (0, 0) => Some((at, None)),
        (0, 1) if record_type == record_type::IXFR => {
            let soa = Extra::read(message, at)?;
            // Two names, then the serial.
            let serial = name::skip(message, name::skip(message, soa.data)?)?;
            let octets = message.get(serial..serial + 4).filter(|_| serial + 20 == soa.end)?;
            (soa.record_type == record_type::SOA).then_some(())?;
            Some((soa.end, Some(u32::from_be_bytes(octets.try_into().ok()?))))
        }
        _ => None,
    }
}

/// What the additional section of a query says.
#[derive(Default)]
struct Extras {
    edns: Option<Edns>,
    tsig: Option<Tsig>,
}

impl Extras {
    fn read(&mut self, message: &[u8], mut at: usize, count: u16) -> Option<()> {
        for _ in 0..count {
            // RFC 8945 §5.1: TSIG is the last record.
            if self.tsig.is_some() {
                return None;
            }
            let extra = Extra::read(message, at)?;
            match extra.record_type {
                record_type::OPT => self.read_opt(message, at, &extra)?,
                record_type::TSIG if extra.class != CLASS_ANY => return None,
                record_type::TSIG => {
                    let data_len = extra.end - extra.data;
                    self.tsig = Some(Tsig { key_name: at, data: extra.data, data_len });
                }
                _ => {}
            }
            at = extra.end;
        }
        // Octets that no count accounts for: whoever wrote this means something else than we read.
        (at == message.len()).then_some(())
    }

    fn read_opt(&mut self, message: &[u8], at: usize, extra: &Extra) -> Option<()> {
        // RFC 6891 §6.1.1: at most one, and its name is the root.
        if self.edns.is_some() || message.get(at) != Some(&0) {
            return None;
        }
        let [_, version, high, _] = extra.ttl;
        let options = Options::default();
        let edns = self.edns.insert(Edns { udp_size: extra.class, version, dnssec_ok: high & 0x80 != 0, options });
        if version == 0 {
            return edns.options.read(message.get(extra.data..extra.end)?).ok();
        }
        Some(())
    }
}

/// A record of the additional section, located but not interpreted.
struct Extra {
    record_type: u16,
    class: u16,
    ttl: [u8; 4],
    data: usize,
    end: usize,
}

impl Extra {
    fn read(message: &[u8], at: usize) -> Option<Self> {
        let name_end = name::skip(message, at)?;
        let fixed = message.get(name_end..name_end + 10)?;
        let data = name_end + 10;
        let end = data + usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
        (end <= message.len()).then_some(Self {
            record_type: u16::from_be_bytes([fixed[0], fixed[1]]),
            class: u16::from_be_bytes([fixed[2], fixed[3]]),
            ttl: [fixed[4], fixed[5], fixed[6], fixed[7]],
            data,
            end,
        })
    }
}
