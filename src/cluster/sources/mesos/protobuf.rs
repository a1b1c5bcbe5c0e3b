//! Decodes one protobuf message as it arrives: walks through the messages that [`schema`](super::schema) names and
//! hands each element to prost by itself. Memory is bounded by the largest element that is accepted.
//!
//! Wire format: <https://protobuf.dev/programming-guides/encoding/>. Groups (wire types 3 and 4) are refused: no
//! message of Mesos has them.

use super::decode::DecodeError;
use super::schema::{Element, Item, Member, Node};

/// Walks through one message. Made anew for each.
#[derive(Debug)]
pub struct ProtobufDecoder {
    /// The messages we are inside of, outermost first, with the offset at which each ends.
    open: Vec<(Node, u64)>,
    state: State,
    offset: u64,
    scratch: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Reading a field's tag.
    Tag(Varint),
    /// Reading the number in a varint field.
    Number(Member, Varint),
    /// Reading the length of a length-delimited field.
    Length(Member, Varint),
    /// Gathering an element.
    Take { element: Element, left: u64 },
    /// Passing over a field.
    Skip { left: u64 },
}

#[derive(Clone, Copy, Debug, Default)]
struct Varint {
    value: u64,
    bytes: u32,
}

impl ProtobufDecoder {
    /// A decoder for a message of `length` bytes, or one that ends where the input does (`u64::MAX`).
    pub fn new(root: Node, length: u64) -> Self {
        Self { open: vec![(root, length)], state: State::Tag(Varint::default()), offset: 0, scratch: Vec::new() }
    }

    /// Takes in more of the message.
    ///
    /// # Errors
    /// The bytes are not a protobuf message; the rest of it is of no use.
    pub fn push(&mut self, mut input: &[u8], items: &mut Vec<Item>) -> Result<(), DecodeError> {
        loop {
            self.close_messages();
            if input.is_empty() {
                return Ok(());
            }
            match self.state {
                State::Tag(varint) => self.tag(varint, &mut input)?,
                State::Number(member, varint) => self.number(member, varint, &mut input, items)?,
                State::Length(member, varint) => self.length(member, varint, &mut input, items)?,
                State::Take { element, left } => self.take(element, left, &mut input, items),
                State::Skip { left } => self.skip(left, &mut input),
            }
        }
    }

    /// The message is complete.
    ///
    /// # Errors
    /// It ended within a field.
    pub fn finish(&mut self) -> Result<(), DecodeError> {
        self.close_messages();
        let between = matches!(self.state, State::Tag(Varint { bytes: 0, .. }));
        if between && self.open.len() <= 1 { Ok(()) } else { Err(self.malformed("it ends within a field")) }
    }

    /// Leaves every message that ends here. The outermost one stays.
    fn close_messages(&mut self) {
        if matches!(self.state, State::Tag(Varint { bytes: 0, .. })) {
            while self.open.len() > 1 && self.open.last().is_some_and(|(_, end)| *end == self.offset) {
                self.open.pop();
            }
        }
    }

    fn tag(&mut self, varint: Varint, input: &mut &[u8]) -> Result<(), DecodeError> {
        let Some(tag) = self.varint(varint, input, State::Tag)? else { return Ok(()) };
        let number = u32::try_from(tag >> 3).ok().filter(|n| (1..1 << 29).contains(n));
        let number = number.ok_or_else(|| self.malformed("a field number out of range"))?;
        let member = self.open.last().map_or(Member::Skip, |(node, _)| node.by_number(number));
        self.state = match tag & 7 {
            0 => State::Number(member, Varint::default()),
            1 => self.fixed(member, 8)?,
            2 => State::Length(member, Varint::default()),
            5 => self.fixed(member, 4)?,
            _ => return Err(self.malformed("a wire type that is not in use")),
        };
        Ok(())
    }

    fn fixed(&mut self, member: Member, bytes: u64) -> Result<State, DecodeError> {
        self.check_room(bytes)?;
        self.scratch.clear();
        Ok(match member {
            Member::Element(element @ Element::HeartbeatInterval) if bytes == 8 => State::Take { element, left: bytes },
            _ => State::Skip { left: bytes },
        })
    }

    fn number(
        &mut self,
        member: Member,
        varint: Varint,
        input: &mut &[u8],
        items: &mut Vec<Item>,
    ) -> Result<(), DecodeError> {
        let Some(number) = self.varint(varint, input, |v| State::Number(member, v))? else { return Ok(()) };
        if member == Member::Element(Element::EventType) {
            items.push(Item::UnknownEvent(i32::try_from(number).unwrap_or(-1)));
        }
        self.state = State::Tag(Varint::default());
        Ok(())
    }

    fn length(
        &mut self,
        member: Member,
        varint: Varint,
        input: &mut &[u8],
        items: &mut Vec<Item>,
    ) -> Result<(), DecodeError> {
        let Some(length) = self.varint(varint, input, |v| State::Length(member, v))? else { return Ok(()) };
        self.check_room(length)?;
        self.state = match member {
            Member::Descend(node) => {
                if node == Node::Subscribed {
                    items.push(Item::SnapshotStarted);
                }
                self.open.push((node, self.offset + length));
                State::Tag(Varint::default())
            }
            Member::Element(Element::EventType | Element::HeartbeatInterval) | Member::Each(_) | Member::Skip => {
                State::Skip { left: length }
            }
            Member::Element(element) if length > element.limit() => {
                items.push(element.too_large(length));
                State::Skip { left: length }
            }
            Member::Element(element) => {
                self.scratch.clear();
                State::Take { element, left: length }
            }
        };
        self.finish_empty(items);
        Ok(())
    }

    /// A field of no bytes is complete at once.
    fn finish_empty(&mut self, items: &mut Vec<Item>) {
        match self.state {
            State::Take { element, left: 0 } => {
                items.push(element.decode_protobuf(&[]));
                self.state = State::Tag(Varint::default());
            }
            State::Skip { left: 0 } => self.state = State::Tag(Varint::default()),
            _ => {}
        }
    }

    fn take(&mut self, element: Element, left: u64, input: &mut &[u8], items: &mut Vec<Item>) {
        let bytes = self.advance(left, input);
        let left = left - bytes.len() as u64;
        // The usual element lies whole in one piece of input: no copy then.
        let whole = left == 0 && self.scratch.is_empty();
        if !whole {
            self.scratch.extend_from_slice(bytes);
        }
        if left > 0 {
            self.state = State::Take { element, left };
            return;
        }
        items.push(element.decode_protobuf(if whole { bytes } else { &self.scratch }));
        if self.scratch.capacity() > KEPT_SCRATCH_BYTES {
            self.scratch = Vec::new();
        }
        self.scratch.clear();
        self.state = State::Tag(Varint::default());
    }

    fn skip(&mut self, left: u64, input: &mut &[u8]) {
        let left = left - self.advance(left, input).len() as u64;
        self.state = if left == 0 { State::Tag(Varint::default()) } else { State::Skip { left } };
    }

    fn advance<'a>(&mut self, most: u64, input: &mut &'a [u8]) -> &'a [u8] {
        let take = usize::try_from(most).map_or(input.len(), |most| most.min(input.len()));
        let (bytes, rest) = input.split_at(take);
        *input = rest;
        self.offset += take as u64;
        bytes
    }

    /// Reads on in a varint; `None` when the input is used up before its end.
    fn varint(
        &mut self,
        mut varint: Varint,
        input: &mut &[u8],
        suspended: impl FnOnce(Varint) -> State,
    ) -> Result<Option<u64>, DecodeError> {
        while let [byte, rest @ ..] = *input {
            self.check_room(1)?;
            *input = rest;
            self.offset += 1;
            if varint.bytes == 10 {
                return Err(self.malformed("a number of more than ten bytes"));
            }
            varint.value |= u64::from(byte & 0x7f) << (7 * varint.bytes).min(63);
            varint.bytes += 1;
            if byte & 0x80 == 0 {
                return Ok(Some(varint.value));
            }
        }
        self.state = suspended(varint);
        Ok(None)
    }

    fn check_room(&self, bytes: u64) -> Result<(), DecodeError> {
        let end = self.open.last().map_or(0, |(_, end)| *end);
        let fits = self.offset.checked_add(bytes).is_some_and(|to| to <= end);
        if fits { Ok(()) } else { Err(self.malformed("a field that is longer than its message")) }
    }

    fn malformed(&self, what: &'static str) -> DecodeError {
        DecodeError::Protobuf { what, offset: self.offset }
    }
}

/// Room that is kept between elements.
const KEPT_SCRATCH_BYTES: usize = 256 << 10;
