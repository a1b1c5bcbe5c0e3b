//! Decodes one JSON object as it arrives: walks through the objects that [`schema`](super::schema) names, in
//! whatever order their members come, and hands each element to serde_json by itself. Memory is bounded by the
//! largest element that is accepted.
//!
//! Values that are passed over are only followed to their end, not validated; elements are validated by serde_json.

use super::decode::DecodeError;
use super::schema::{Element, Item, Member, Node};

/// Longer names are no names of ours.
const MAX_NAME_BYTES: usize = 64;

/// Room that is kept between elements.
const KEPT_SCRATCH_BYTES: usize = 256 << 10;

/// Walks through one object. Made anew for each.
#[derive(Debug)]
pub struct JsonDecoder {
    open: Vec<Frame>,
    state: State,
    offset: u64,
    scratch: Vec<u8>,
}

/// Something we are inside of.
#[derive(Clone, Copy, Debug)]
enum Frame {
    Object(Node),
    Elements(Element),
    Objects(Node),
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Before the outermost object.
    Start(Node),
    /// After `{`: a name or `}`.
    FirstName,
    /// After `,` in an object: a name.
    NextName,
    /// Inside a name, gathered in `scratch`.
    Name { escaped: bool },
    /// After a name: `:`.
    Colon(Member),
    /// After `:`: a value.
    Value(Member),
    /// After `[`: an element or `]`.
    FirstElement(Element),
    /// After `,` in an array: an element.
    NextElement(Element),
    /// After `[`: an object to walk through, or `]`.
    FirstObject(Node),
    /// After `,` in an array: an object to walk through.
    NextObject(Node),
    /// Inside a value that is taken (`Some`) or passed over as a whole.
    Whole(Option<Element>, Extent),
    /// After a value: `,` or the end of what it stands in.
    AfterValue,
    /// After the outermost object.
    End,
}

/// How far into a value we are.
#[derive(Clone, Copy, Debug, Default)]
struct Extent {
    depth: u32,
    in_string: bool,
    escaped: bool,
    scalar: bool,
    bytes: u64,
}

/// What a byte means for the value it may belong to.
enum Step {
    Inside,
    Last,
    /// The byte before was the last one; this one belongs to what follows.
    After,
}

impl Extent {
    fn step(&mut self, byte: u8) -> Step {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => {
                    self.in_string = false;
                    if self.depth == 0 {
                        return Step::Last;
                    }
                }
                _ => {}
            }
            return Step::Inside;
        }
        match byte {
            b',' | b']' | b'}' | b' ' | b'\t' | b'\r' | b'\n' if self.scalar && self.depth == 0 => return Step::After,
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth = self.depth.saturating_add(1),
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                if self.depth == 0 {
                    return Step::Last;
                }
            }
            _ if self.depth == 0 => self.scalar = true,
            _ => {}
        }
        Step::Inside
    }
}

impl JsonDecoder {
    /// A decoder for one object.
    pub fn new(root: Node) -> Self {
        Self { open: Vec::new(), state: State::Start(root), offset: 0, scratch: Vec::new() }
    }

    /// Takes in more of the object.
    ///
    /// # Errors
    /// The bytes are not a JSON object; the rest of it is of no use.
    pub fn push(&mut self, input: &[u8], items: &mut Vec<Item>) -> Result<(), DecodeError> {
        let mut at = 0;
        while at < input.len() {
            let used = match self.state {
                State::Whole(element, extent) => self.whole(element, extent, &input[at..], items),
                State::Name { escaped } => self.name(escaped, &input[at..]),
                _ => self.structure(input[at], items)?,
            };
            at += used;
            self.offset += used as u64;
        }
        Ok(())
    }

    /// The object is complete.
    ///
    /// # Errors
    /// It ended before its closing brace.
    pub fn finish(&mut self) -> Result<(), DecodeError> {
        if matches!(self.state, State::End) { Ok(()) } else { Err(self.malformed("it ends before its last brace")) }
    }

    /// One byte between names and values. Returns how many bytes were used: none where a whole value begins.
    fn structure(&mut self, byte: u8, items: &mut Vec<Item>) -> Result<usize, DecodeError> {
        if matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
            return Ok(1);
        }
        self.state = match (self.state, byte) {
            (State::Start(node), b'{') => self.enter(Frame::Object(node), State::FirstName),
            (State::FirstName, b'}') => self.leave(items),
            (State::FirstName | State::NextName, b'"') => {
                self.scratch.clear();
                State::Name { escaped: false }
            }
            (State::Colon(member), b':') => State::Value(member),
            (State::Value(Member::Descend(node)), b'{') => {
                if node == Node::Subscribed {
                    items.push(Item::SnapshotStarted);
                }
                self.enter(Frame::Object(node), State::FirstName)
            }
            (State::Value(Member::Each(node)), b'[') => {
                items.extend(node.list_begins());
                self.enter(Frame::Objects(node), State::FirstObject(node))
            }
            (State::FirstObject(node) | State::NextObject(node), b'{') => {
                items.extend(node.begins());
                self.enter(Frame::Object(node), State::FirstName)
            }
            (State::FirstObject(_), b']') => self.leave(items),
            (State::Value(Member::Element(element)), b'[') => {
                items.extend(element.list_begins());
                self.enter(Frame::Elements(element), State::FirstElement(element))
            }
            (State::FirstElement(_), b']') => self.leave(items),
            (
                State::Value(_)
                | State::FirstElement(_)
                | State::NextElement(_)
                | State::FirstObject(_)
                | State::NextObject(_),
                b',' | b']' | b'}' | b':',
            ) => {
                return Err(self.malformed("a value is missing"));
            }
            (State::Value(Member::Each(node)) | State::FirstObject(node) | State::NextObject(node), _) => {
                items.push(node.is_no_object());
                self.state = State::Whole(None, Extent::default());
                return Ok(0);
            }
            (
                State::Value(Member::Element(element)) | State::FirstElement(element) | State::NextElement(element),
                _,
            ) => {
                self.scratch.clear();
                self.state = State::Whole(Some(element), Extent::default());
                return Ok(0);
            }
            (State::Value(_), _) => {
                self.state = State::Whole(None, Extent::default());
                return Ok(0);
            }
            (State::AfterValue, b',') => match self.open.last() {
                Some(Frame::Elements(element)) => State::NextElement(*element),
                Some(Frame::Objects(node)) => State::NextObject(*node),
                _ => State::NextName,
            },
            (State::AfterValue, b'}') if matches!(self.open.last(), Some(Frame::Object(_))) => self.leave(items),
            (State::AfterValue, b']') if matches!(self.open.last(), Some(Frame::Elements(_) | Frame::Objects(_))) => {
                self.leave(items)
            }
            _ => return Err(self.malformed("a character out of place")),
        };
        Ok(1)
    }

    fn enter(&mut self, frame: Frame, state: State) -> State {
        self.open.push(frame);
        state
    }

    fn leave(&mut self, items: &mut Vec<Item>) -> State {
        if let Some(Frame::Object(node)) = self.open.pop() {
            items.extend(node.ends());
        }
        if self.open.is_empty() { State::End } else { State::AfterValue }
    }

    fn name(&mut self, mut escaped: bool, input: &[u8]) -> usize {
        for (at, &byte) in input.iter().enumerate() {
            if byte == b'"' && !escaped {
                self.state = State::Colon(self.member());
                return at + 1;
            }
            escaped = byte == b'\\' && !escaped;
            if self.scratch.len() <= MAX_NAME_BYTES {
                self.scratch.push(byte);
            }
        }
        self.state = State::Name { escaped };
        input.len()
    }

    /// What the name in `scratch` stands for.
    fn member(&self) -> Member {
        let Some(Frame::Object(node)) = self.open.last() else { return Member::Skip };
        if !self.scratch.contains(&b'\\') {
            return node.by_name(&self.scratch);
        }
        let quoted = [b"\"", self.scratch.as_slice(), b"\""].concat();
        let name = serde_json::from_slice::<String>(&quoted);
        name.map_or(Member::Skip, |name| node.by_name(name.as_bytes()))
    }

    fn whole(&mut self, element: Option<Element>, mut extent: Extent, input: &[u8], items: &mut Vec<Item>) -> usize {
        let mut used = 0;
        let mut done = false;
        while used < input.len() && !done {
            if extent.in_string && !extent.escaped {
                // Most bytes lie in strings: jump to what can end them.
                let plain = memchr::memchr2(b'"', b'\\', &input[used..]).unwrap_or(input.len() - used);
                used += plain;
                if used == input.len() {
                    break;
                }
            }
            match extent.step(input[used]) {
                Step::Inside => used += 1,
                Step::Last => {
                    used += 1;
                    done = true;
                }
                Step::After => done = true,
            }
        }
        extent.bytes += used as u64;
        if let Some(element) = element {
            self.gather(element, extent, &input[..used], done, items);
        }
        self.state = if done { State::AfterValue } else { State::Whole(element, extent) };
        used
    }

    fn gather(&mut self, element: Element, extent: Extent, bytes: &[u8], done: bool, items: &mut Vec<Item>) {
        if extent.bytes > element.limit() {
            self.scratch = Vec::new();
            if done {
                items.push(element.too_large(extent.bytes));
            }
            return;
        }
        if done && self.scratch.is_empty() {
            items.push(element.decode_json(bytes));
            return;
        }
        self.scratch.extend_from_slice(bytes);
        if done {
            items.push(element.decode_json(&self.scratch));
            if self.scratch.capacity() > KEPT_SCRATCH_BYTES {
                self.scratch = Vec::new();
            }
        }
    }

    fn malformed(&self, what: &'static str) -> DecodeError {
        DecodeError::Json { what, offset: self.offset }
    }
}
