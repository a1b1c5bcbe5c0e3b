//! What the frames of the other side do (RFC 9113 section 6).

use super::frame::{self, Code, ConnectionFault, FRAME, FrameHead, LARGEST, flag, kind, setting};
use super::head::{Fault, Fields, Part};
use super::state::{Closing, Core, Role};
use super::stream::{Awaited, Stream, StreamFault, Way};

/// Interim answers that are kept for who waits for the answer.
const INTERIM: usize = 8;
const INTERIM_OCTETS: usize = 16 * 1024;

/// A header block that has not come whole.
#[derive(Debug)]
pub struct Block {
    stream: u32,
    ends: bool,
    octets: Vec<u8>,
}

/// What somebody has to do something about.
#[derive(Debug)]
pub enum Event {
    /// A client asks.
    Request {
        /// Its stream.
        stream: u32,
        /// The head.
        fields: Box<Fields>,
        /// Nothing follows.
        ends: bool,
    },
    /// A client asks with a list of fields that is too long.
    TooLong {
        /// Its stream.
        stream: u32,
    },
}

fn broken(code: Code, why: &'static str) -> ConnectionFault {
    ConnectionFault { code, why }
}

fn protocol(why: &'static str) -> ConnectionFault {
    broken(Code::PROTOCOL_ERROR, why)
}

fn size(why: &'static str) -> ConnectionFault {
    broken(Code::FRAME_SIZE_ERROR, why)
}

impl Core {
    /// Takes a frame that has come whole.
    ///
    /// # Errors
    /// If the connection has to end.
    pub fn receive(&mut self, head: &FrameHead, payload: &[u8]) -> Result<Option<Event>, ConnectionFault> {
        self.check_order(head)?;
        match head.kind {
            kind::DATA => self.receive_data(head, payload)?,
            kind::HEADERS => return self.receive_headers(head, payload),
            kind::CONTINUATION => return self.receive_continuation(head, payload),
            kind::PRIORITY => receive_priority(head, payload)?,
            kind::RST_STREAM => self.receive_reset(head, payload)?,
            kind::SETTINGS => self.receive_settings(head, payload)?,
            // Clients may not push (RFC 9113 section 8.4), and endpoints were told not to.
            kind::PUSH_PROMISE => return Err(protocol("PUSH_PROMISE")),
            kind::PING => self.receive_ping(head, payload)?,
            kind::GOAWAY => self.receive_goaway(head, payload)?,
            kind::WINDOW_UPDATE => self.receive_window(head, payload)?,
            // RFC 9113 section 4.1: what is not known is ignored.
            _ => {}
        }
        Ok(None)
    }

    fn check_order(&self, head: &FrameHead) -> Result<(), ConnectionFault> {
        // RFC 9113 section 3.4.
        if !self.has_settings && (head.kind != kind::SETTINGS || head.has(flag::ACK)) {
            return Err(protocol("the first frame is no SETTINGS"));
        }
        // RFC 9113 section 6.10.
        match (&self.block, head.kind) {
            (Some(block), kind::CONTINUATION) if block.stream == head.stream => Ok(()),
            (None, kind::CONTINUATION) => Err(protocol("CONTINUATION without HEADERS")),
            (Some(_), _) => Err(protocol("another frame within a header block")),
            (None, _) => Ok(()),
        }
    }

    /// Whether nobody has opened the stream yet (RFC 9113 section 5.1).
    fn is_idle(&self, id: u32) -> bool {
        match self.role {
            Role::Server => id.is_multiple_of(2) || id > self.newest,
            Role::Client => id.is_multiple_of(2) || id >= self.next_stream(),
        }
    }

    /// Whether a client has opened the stream, as far as is remembered.
    fn was_opened(&self, id: u32) -> bool {
        let back = (self.newest - id) / 2;
        back >= u128::BITS || self.opened >> back & 1 == 1
    }

    /// An error of one stream (RFC 9113 section 5.4.2). Each makes us send something: there is a bound (CVE-2025-8671).
    fn stream_fault(&mut self, id: u32, code: Code) -> Result<(), ConnectionFault> {
        self.faults += 1;
        if self.faults > self.limits.faults {
            return Err(broken(Code::ENHANCE_YOUR_CALM, "too many errors of streams"));
        }
        match self.streams.get(&id).is_some_and(|stream| !stream.is_closed()) {
            true => self.fail(id, code, StreamFault::Broken(code)),
            false => {
                frame::write_reset(id, code, &mut self.out);
                self.remember_reset(id);
            }
        }
        Ok(())
    }

    /// The same, but for what was on its way when we reset the stream (RFC 9113 section 5.4.2).
    fn stream_fault_unless_reset(&mut self, id: u32, code: Code) -> Result<(), ConnectionFault> {
        if self.was_reset(id) { Ok(()) } else { self.stream_fault(id, code) }
    }

    /// A request turned out not to be one (RFC 9113 section 8.1.1), which may be one fault too many.
    pub fn is_malformed(&mut self, id: u32) {
        if let Err(fault) = self.stream_fault(id, Code::PROTOCOL_ERROR) {
            self.doom = Some(fault);
            self.wake_task();
        }
    }

    fn receive_data(&mut self, head: &FrameHead, payload: &[u8]) -> Result<(), ConnectionFault> {
        let id = head.stream;
        if id == 0 || self.is_idle(id) {
            return Err(protocol("DATA on a stream that is not open"));
        }
        let content = frame::without_padding(head, payload).ok_or(protocol("padding beyond the frame"))?;
        // RFC 9113 section 6.9.1: padding counts, too.
        let whole = payload.len();
        self.receive_window -= i64::try_from(whole).unwrap_or(i64::MAX);
        if self.receive_window < 0 {
            return Err(broken(Code::FLOW_CONTROL_ERROR, "more than the connection's window"));
        }
        self.announce();
        let Some(stream) = self.streams.get_mut(&id) else {
            self.release_connection(whole);
            return self.stream_fault_unless_reset(id, Code::STREAM_CLOSED);
        };
        if stream.receives != Way::Open || (self.role == Role::Client && !stream.is_answered) {
            let code = match stream.receives {
                Way::Failed(_) | Way::Ended => Code::STREAM_CLOSED,
                Way::Open => Code::PROTOCOL_ERROR,
            };
            self.release_connection(whole);
            return self.stream_fault_unless_reset(id, code);
        }
        stream.receive_window -= i64::try_from(whole).unwrap_or(i64::MAX);
        if stream.receive_window < 0 {
            self.release_connection(whole);
            return self.stream_fault(id, Code::FLOW_CONTROL_ERROR);
        }
        let ends = head.has(flag::END_STREAM);
        if !is_expected(stream, content.len(), ends) {
            self.release_connection(whole);
            return self.stream_fault(id, Code::PROTOCOL_ERROR);
        }
        self.take_data(id, content, whole, ends);
        Ok(())
    }

    fn take_data(&mut self, id: u32, content: &[u8], whole: usize, ends: bool) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if stream.has_reader {
            if !content.is_empty() {
                stream.enqueue(content);
                self.queued += content.len();
            }
            if ends {
                stream.receives = Way::Ended;
            }
            if let Some(reader) = stream.reader.take() {
                reader.wake();
            }
            let padding = whole - content.len();
            if padding > 0 {
                self.release_connection(padding);
                self.release_stream(id, padding);
            }
        } else {
            if ends {
                stream.receives = Way::Ended;
            }
            self.release_connection(whole);
        }
        if ends {
            self.settle(id);
        }
    }

    fn receive_headers(&mut self, head: &FrameHead, payload: &[u8]) -> Result<Option<Event>, ConnectionFault> {
        if head.stream == 0 {
            return Err(protocol("HEADERS on the connection"));
        }
        let mut block = frame::without_padding(head, payload).ok_or(protocol("padding beyond the frame"))?;
        if head.has(flag::PRIORITY) {
            let (priority, rest) = block.split_at_checked(5).ok_or(size("HEADERS without room for its priority"))?;
            check_dependency(head.stream, priority)?;
            block = rest;
        }
        let ends = head.has(flag::END_STREAM);
        if head.has(flag::END_HEADERS) {
            return self.take_block(head.stream, ends, block);
        }
        self.block = Some(Block { stream: head.stream, ends, octets: block.to_vec() });
        Ok(None)
    }

    fn receive_continuation(&mut self, head: &FrameHead, payload: &[u8]) -> Result<Option<Event>, ConnectionFault> {
        let Some(mut block) = self.block.take() else { return Ok(None) };
        block.octets.extend_from_slice(payload);
        if head.has(flag::END_HEADERS) {
            return self.take_block(block.stream, block.ends, &block.octets);
        }
        // What is compressed is shorter than what it stands for, as a rule; by much longer it is never (CVE-2024-27316).
        if block.octets.len() > self.limits.list.saturating_mul(4).max(2 * FRAME) {
            return Err(broken(Code::ENHANCE_YOUR_CALM, "a header block without end"));
        }
        self.block = Some(block);
        Ok(None)
    }

    /// A header block has come whole. Whatever becomes of it, it is decoded: the compression's state goes on
    /// (RFC 9113 section 4.3).
    fn take_block(&mut self, id: u32, ends: bool, block: &[u8]) -> Result<Option<Event>, ConnectionFault> {
        let is_new = self.role == Role::Server && !id.is_multiple_of(2) && id > self.newest;
        let part = match (self.role, self.streams.get(&id)) {
            _ if is_new => Part::Request,
            (Role::Client, Some(stream)) if !stream.is_answered => match stream.awaited {
                Awaited::Tunnel => Part::TunnelAnswer,
                Awaited::Content | Awaited::HeadAlone => Part::Answer,
            },
            _ => Part::Trailers,
        };
        // Boxed: it is moved from hand to hand.
        let mut fields = Box::new(Fields::new(part, self.limits.list, block.len()));
        let decoded = self.decoder.decode(block, |name, value, sensitive| fields.add(name, value, sensitive));
        if decoded.is_err() {
            return Err(broken(Code::COMPRESSION_ERROR, "a header block that cannot be decoded"));
        }
        let fault = fields.fault();
        if fault == Some(Fault::Hostile) {
            return Err(broken(Code::ENHANCE_YOUR_CALM, "a list of fields without end"));
        }
        if is_new {
            return self.take_request(id, ends, fields, fault);
        }
        if self.is_idle(id) {
            return Err(protocol("HEADERS on a stream that cannot be opened"));
        }
        match part {
            Part::Answer | Part::TunnelAnswer => self.take_answer(id, ends, fields, fault)?,
            _ => self.take_trailers(id, ends, &fields, fault)?,
        }
        Ok(None)
    }

    fn take_request(
        &mut self,
        id: u32,
        ends: bool,
        fields: Box<Fields>,
        fault: Option<Fault>,
    ) -> Result<Option<Event>, ConnectionFault> {
        let step = (id - self.newest).div_ceil(2);
        self.opened = self.opened.checked_shl(step).unwrap_or(0) | 1;
        self.newest = id;
        // RFC 9113 section 6.8: it is not looked at.
        if matches!(self.closing, Closing::After(last) if id > last) || self.has_ended() {
            self.remember_reset(id);
            return Ok(None);
        }
        // Those that are over may still be served for a moment, which is no reason to have any number of them.
        let most = usize::try_from(self.limits.streams).unwrap_or(usize::MAX);
        if self.open >= self.limits.streams || self.streams.len() > most.saturating_mul(2) {
            // RFC 9113 section 8.7: it may be sent again.
            frame::write_reset(id, Code::REFUSED_STREAM, &mut self.out);
            self.remember_reset(id);
            return Ok(None);
        }
        let is_short = fields.length().is_some_and(|length| length > 0) && ends;
        match fault {
            Some(Fault::Malformed(_)) => {
                self.stream_fault(id, Code::PROTOCOL_ERROR)?;
                return Ok(None);
            }
            None if is_short => {
                self.stream_fault(id, Code::PROTOCOL_ERROR)?;
                return Ok(None);
            }
            _ => {}
        }
        let mut stream = Box::new(Stream::new(self.limits.stream_window, self.peer.window));
        stream.expected = fields.length();
        stream.expects = !ends && fields.expects();
        (stream.has_reader, stream.has_writer) = (!ends && fault.is_none(), true);
        if ends {
            stream.receives = Way::Ended;
        }
        self.streams.insert(id, stream);
        self.open += 1;
        Ok(Some(match fault {
            None => Event::Request { stream: id, fields, ends },
            Some(_) => Event::TooLong { stream: id },
        }))
    }

    fn take_answer(
        &mut self,
        id: u32,
        ends: bool,
        fields: Box<Fields>,
        fault: Option<Fault>,
    ) -> Result<(), ConnectionFault> {
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(()) };
        if stream.receives != Way::Open {
            return Ok(());
        }
        let status = fields.status().filter(|_| fault.is_none());
        let Some(status) = status else { return self.stream_fault(id, Code::PROTOCOL_ERROR) };
        if status.is_informational() {
            // RFC 9113 sections 8.1 and 8.6: it ends nothing, and 101 has no meaning.
            if ends || status.as_u16() == 101 {
                return self.stream_fault(id, Code::PROTOCOL_ERROR);
            }
            if stream.interim.len() < INTERIM && fields.size() < INTERIM_OCTETS {
                stream.interim.push_back(fields);
            }
        } else {
            stream.is_answered = true;
            // RFC 9113 section 8.1.1: of these the length is that of something else.
            let has_content = match stream.awaited {
                Awaited::HeadAlone => false,
                // RFC 9110 section 9.3.6: "Any 2xx (Successful) response indicates" the tunnel, 204 as well.
                Awaited::Tunnel if status.is_success() => true,
                Awaited::Tunnel | Awaited::Content => !matches!(status.as_u16(), 204 | 304),
            };
            stream.expected = fields.length().filter(|_| has_content);
            // RFC 9110 section 6.4.1: nor any content.
            if !has_content {
                stream.awaited = Awaited::HeadAlone;
            }
            if ends && stream.expected.is_some_and(|length| length > 0) {
                return self.stream_fault(id, Code::PROTOCOL_ERROR);
            }
            stream.answer = Some(fields);
            if ends {
                stream.receives = Way::Ended;
            }
        }
        if let Some(reader) = stream.reader.take() {
            reader.wake();
        }
        if ends {
            self.settle(id);
        }
        Ok(())
    }

    fn take_trailers(
        &mut self,
        id: u32,
        ends: bool,
        fields: &Fields,
        fault: Option<Fault>,
    ) -> Result<(), ConnectionFault> {
        let Some(stream) = self.streams.get_mut(&id) else {
            return match self.was_reset(id) || self.role == Role::Client {
                // Of those that we opened, which is all that an endpoint can answer, we have given this one up.
                true => Ok(()),
                // RFC 9113 section 5.1: closed; or section 5.1.1: left out.
                false if self.was_opened(id) => Err(broken(Code::STREAM_CLOSED, "HEADERS on a stream that is closed")),
                false => Err(protocol("HEADERS on a stream that was left out")),
            };
        };
        if stream.receives != Way::Open {
            return self.stream_fault_unless_reset(id, Code::STREAM_CLOSED);
        }
        // RFC 9113 section 8.1: the trailers are the end.
        if !ends || fault.is_some() || stream.expected.is_some_and(|length| length > 0) {
            return self.stream_fault(id, Code::PROTOCOL_ERROR);
        }
        let Ok(map) = fields.map() else { return self.stream_fault(id, Code::PROTOCOL_ERROR) };
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(()) };
        stream.trailers = Some(map);
        stream.receives = Way::Ended;
        if let Some(reader) = stream.reader.take() {
            reader.wake();
        }
        self.settle(id);
        Ok(())
    }

    fn receive_reset(&mut self, head: &FrameHead, payload: &[u8]) -> Result<(), ConnectionFault> {
        let code = payload.try_into().map(u32::from_be_bytes).map_err(|_| size("RST_STREAM"))?;
        if head.stream == 0 || self.is_idle(head.stream) {
            return Err(protocol("RST_STREAM on a stream that is not open"));
        }
        let Some(stream) = self.streams.get_mut(&head.stream) else { return Ok(()) };
        let code = Code(code);
        // RFC 9113 section 8.1: the answer is whole, and no more of the request is wanted.
        if self.role == Role::Client && code == Code::NO_ERROR && stream.receives == Way::Ended {
            if stream.sends == Way::Open {
                stream.sends = Way::Failed(StreamFault::Reset(code));
            }
            stream.wake();
        } else {
            stream.fail(if code == Code::REFUSED_STREAM { StreamFault::Unprocessed } else { StreamFault::Reset(code) });
        }
        self.settle(head.stream);
        Ok(())
    }

    fn receive_settings(&mut self, head: &FrameHead, payload: &[u8]) -> Result<(), ConnectionFault> {
        if head.stream != 0 {
            return Err(protocol("SETTINGS on a stream"));
        }
        if head.has(flag::ACK) {
            return if payload.is_empty() { Ok(()) } else { Err(size("SETTINGS with ACK")) };
        }
        if !payload.len().is_multiple_of(6) {
            return Err(size("SETTINGS"));
        }
        for [a, b, value @ ..] in payload.as_chunks::<6>().0 {
            self.set(u16::from_be_bytes([*a, *b]), u32::from_be_bytes(*value))?;
        }
        self.has_settings = true;
        frame::write(kind::SETTINGS, flag::ACK, 0, &[], &mut self.out);
        Ok(())
    }

    /// RFC 9113 section 6.5.2.
    fn set(&mut self, name: u16, value: u32) -> Result<(), ConnectionFault> {
        match name {
            setting::HEADER_TABLE_SIZE => self.encoder.set_table_size(value),
            setting::ENABLE_PUSH if value > 1 || (value == 1 && self.role == Role::Client) => {
                return Err(protocol("ENABLE_PUSH"));
            }
            setting::MAX_CONCURRENT_STREAMS => {
                self.peer.streams = Some(value);
                self.wake_openers();
            }
            setting::INITIAL_WINDOW_SIZE => {
                if value > LARGEST {
                    return Err(broken(Code::FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE"));
                }
                self.change_windows(value)?;
            }
            setting::MAX_FRAME_SIZE => {
                if !(16_384..=16_777_215).contains(&value) {
                    return Err(protocol("MAX_FRAME_SIZE"));
                }
                self.peer.frame = value as usize;
            }
            setting::ENABLE_CONNECT_PROTOCOL => {
                // RFC 8441 section 3: not taken back.
                if value > 1 || (value == 0 && self.peer.takes_protocols) {
                    return Err(protocol("ENABLE_CONNECT_PROTOCOL"));
                }
                self.peer.takes_protocols = value == 1;
            }
            _ => {}
        }
        Ok(())
    }

    /// RFC 9113 section 6.9.2: it changes the windows of streams that are open, which may become negative.
    fn change_windows(&mut self, window: u32) -> Result<(), ConnectionFault> {
        let change = i64::from(window) - i64::from(self.peer.window);
        self.peer.window = window;
        for stream in self.streams.values_mut() {
            stream.send_window += change;
            if stream.send_window > i64::from(LARGEST) {
                return Err(broken(Code::FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE"));
            }
            if change > 0
                && let Some(writer) = stream.writer.take()
            {
                writer.wake();
            }
        }
        Ok(())
    }

    fn receive_ping(&mut self, head: &FrameHead, payload: &[u8]) -> Result<(), ConnectionFault> {
        if head.stream != 0 {
            return Err(protocol("PING on a stream"));
        }
        if payload.len() != 8 {
            return Err(size("PING"));
        }
        if !head.has(flag::ACK) {
            frame::write(kind::PING, flag::ACK, 0, payload, &mut self.out);
            return Ok(());
        }
        if self.closing == Closing::Asked {
            // What was on its way has come.
            self.closing = Closing::After(self.newest);
            frame::write_goaway(self.newest, Code::NO_ERROR, &mut self.out);
        }
        Ok(())
    }

    fn receive_goaway(&mut self, head: &FrameHead, payload: &[u8]) -> Result<(), ConnectionFault> {
        if head.stream != 0 {
            return Err(protocol("GOAWAY on a stream"));
        }
        let Some((last, _)) = payload.split_first_chunk::<4>().filter(|_| payload.len() >= 8) else {
            return Err(size("GOAWAY"));
        };
        let last = u32::from_be_bytes(*last) & LARGEST;
        // RFC 9113 section 6.8: it may be said again, and not with a larger one.
        if self.last.is_some_and(|former| last > former) {
            return Err(protocol("GOAWAY that takes something back"));
        }
        self.last = Some(last);
        if self.role == Role::Client {
            let lost: Vec<u32> = self.streams.keys().copied().filter(|id| *id > last).collect();
            for id in lost {
                if let Some(stream) = self.streams.get_mut(&id) {
                    stream.fail(StreamFault::Unprocessed);
                }
                self.settle(id);
            }
        }
        self.wake_openers();
        self.wake_task();
        Ok(())
    }

    fn receive_window(&mut self, head: &FrameHead, payload: &[u8]) -> Result<(), ConnectionFault> {
        let octets = payload.try_into().map(u32::from_be_bytes).map_err(|_| size("WINDOW_UPDATE"))? & LARGEST;
        let id = head.stream;
        if id == 0 {
            if octets == 0 {
                return Err(protocol("WINDOW_UPDATE of nothing"));
            }
            self.send_window += i64::from(octets);
            if self.send_window > i64::from(LARGEST) {
                return Err(broken(Code::FLOW_CONTROL_ERROR, "a window that is too large"));
            }
            self.wake_first();
            return Ok(());
        }
        if self.is_idle(id) {
            return Err(protocol("WINDOW_UPDATE on a stream that is not open"));
        }
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(()) };
        if octets == 0 {
            return self.stream_fault(id, Code::PROTOCOL_ERROR);
        }
        stream.send_window += i64::from(octets);
        if stream.send_window > i64::from(LARGEST) {
            return self.stream_fault(id, Code::FLOW_CONTROL_ERROR);
        }
        if let Some(writer) = stream.writer.take() {
            writer.wake();
        }
        Ok(())
    }
}

/// Whether so much content fits what was announced (RFC 9113 section 8.1.1).
fn is_expected(stream: &mut Stream, octets: usize, ends: bool) -> bool {
    if stream.awaited == Awaited::HeadAlone && octets > 0 {
        return false;
    }
    let Some(expected) = &mut stream.expected else { return true };
    match expected.checked_sub(octets as u64) {
        Some(left) => {
            *expected = left;
            !ends || left == 0
        }
        None => false,
    }
}

/// RFC 9113 section 6.3: read as far as it can be wrong, and otherwise ignored (section 5.3.2).
fn receive_priority(head: &FrameHead, payload: &[u8]) -> Result<(), ConnectionFault> {
    if head.stream == 0 {
        return Err(protocol("PRIORITY on the connection"));
    }
    if payload.len() != 5 {
        return Err(size("PRIORITY"));
    }
    check_dependency(head.stream, payload)
}

/// RFC 7540 section 5.3.1: "A stream cannot depend on itself."
fn check_dependency(stream: u32, priority: &[u8]) -> Result<(), ConnectionFault> {
    let depends_on = priority.first_chunk().map(|octets| u32::from_be_bytes(*octets) & LARGEST);
    if depends_on == Some(stream) { Err(protocol("a stream that depends on itself")) } else { Ok(()) }
}
