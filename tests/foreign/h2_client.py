"""A client of HTTP/2 by the library h2, and frames by hyperframe that no client may send.

    h2_client.py PORT AUTHORITY      before a task that sends requests' contents back

What is malformed must be answered with an error of RFC 9113: by a stream's reset or by GOAWAY and the end of
the connection; and the proxy must go on for others.
"""
import socket
import sys

import h2.config
import h2.connection
import h2.events
import hyperframe.frame as frames

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PORT, AUTHORITY = int(sys.argv[1]), sys.argv[2]

PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR, COMPRESSION_ERROR = 1, 3, 5, 6, 9


def connect():
    connection = socket.create_connection(("127.0.0.1", PORT), timeout=60)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


class Client:
    def __init__(self):
        self.socket = connect()
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.heads, self.bodies, self.trailers, self.ended = {}, {}, {}, set()
        self.flush()

    def flush(self):
        self.socket.sendall(self.h2.data_to_send())

    def head(self, method="GET", path="/", more=()):
        return [(":method", method), (":scheme", "http"), (":authority", AUTHORITY), (":path", path), *more]

    def step(self):
        octets = self.socket.recv(65536)
        assert octets, "the proxy closed the connection"
        for event in self.h2.receive_data(octets):
            if isinstance(event, h2.events.ResponseReceived):
                self.heads[event.stream_id] = dict(event.headers)
            elif isinstance(event, h2.events.DataReceived):
                self.bodies.setdefault(event.stream_id, bytearray()).extend(event.data)
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.TrailersReceived):
                self.trailers[event.stream_id] = dict(event.headers)
            elif isinstance(event, h2.events.StreamEnded):
                self.ended.add(event.stream_id)
            elif isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)):
                raise AssertionError(f"an error for nothing: {event}")
        self.flush()

    def until_ended(self, streams):
        while not self.ended.issuperset(streams):
            self.step()


def conforming():
    client = Client()
    streams = []
    for number in range(90):
        stream = client.h2.get_next_available_stream_id()
        client.h2.send_headers(stream, client.head(path=f"/{number}"), end_stream=True)
        streams.append(stream)
    client.flush()
    client.until_ended(streams)
    assert all(client.heads[stream][":status"] == "200" for stream in streams), client.heads
    # Contents both ways, within the windows of both ends.
    content = bytes(range(256)) * 2048
    stream = client.h2.get_next_available_stream_id()
    client.h2.send_headers(stream, client.head("POST", more=[("te", "trailers")]))
    rest = memoryview(content)
    while rest:
        room = min(client.h2.local_flow_control_window(stream), client.h2.max_outbound_frame_size, len(rest))
        if room == 0:
            client.step()
            continue
        client.h2.send_data(stream, bytes(rest[:room]))
        rest = rest[room:]
        client.flush()
    client.h2.send_headers(stream, [("x-sum", "1")], end_stream=True)
    client.flush()
    client.until_ended([stream])
    assert bytes(client.bodies[stream]) == content, len(client.bodies[stream])
    client.h2.ping(b"12345678")
    client.flush()
    client.socket.close()


def frame(kind, stream=0, flags=(), **fields):
    made = kind(stream, **fields)
    for flag in flags:
        made.flags.add(flag)
    return made.serialize()


def raw(kind, flags, stream, payload):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def request(stream, more=(), end=True):
    encoder = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True)).encoder
    head = [(":method", "GET"), (":scheme", "http"), (":authority", AUTHORITY), (":path", "/"), *more]
    flags = ["END_HEADERS", "END_STREAM"] if end else ["END_HEADERS"]
    return frame(frames.HeadersFrame, stream, flags, data=encoder.encode(head))


# What is sent after the preface and SETTINGS, the codes that may answer it, and whether the connection has to end.
MALFORMED = [
    ("section 4.2: a frame above the size that was allowed", raw(0x0, 0, 1, b"x" * 16385), {FRAME_SIZE_ERROR}, True),
    ("section 6.1: DATA on stream 0", raw(0x0, 0, 0, b"x"), {PROTOCOL_ERROR}, True),
    ("section 6.1: more padding than there is room", request(1, end=False) + raw(0x0, 0x8, 1, b"\x05ab"), {PROTOCOL_ERROR}, True),
    ("section 5.1: DATA on a stream that is idle", raw(0x0, 0, 5, b"x"), {PROTOCOL_ERROR, STREAM_CLOSED}, True),
    ("section 6.2: HEADERS on stream 0", raw(0x1, 0x5, 0, b"\x82"), {PROTOCOL_ERROR}, True),
    ("section 5.1.1: a stream of an even number", request(2), {PROTOCOL_ERROR}, True),
    ("section 5.1.1: a stream below one that was opened", request(5) + request(3), {PROTOCOL_ERROR, STREAM_CLOSED}, True),
    ("section 4.3: a block of fields that cannot be decoded", raw(0x1, 0x5, 1, b"\xff\xff\xff\xff\xff\xff"), {COMPRESSION_ERROR}, True),
    ("section 6.4: RST_STREAM on stream 0", raw(0x3, 0, 0, bytes(4)), {PROTOCOL_ERROR}, True),
    ("section 6.4: RST_STREAM on a stream that is idle", raw(0x3, 0, 7, bytes(4)), {PROTOCOL_ERROR}, True),
    ("section 6.4: RST_STREAM of a wrong length", request(1, end=False) + raw(0x3, 0, 1, bytes(3)), {FRAME_SIZE_ERROR}, True),
    ("section 6.5: SETTINGS on a stream", raw(0x4, 0, 1, b""), {PROTOCOL_ERROR}, True),
    ("section 6.5: SETTINGS of a wrong length", raw(0x4, 0, 0, bytes(5)), {FRAME_SIZE_ERROR}, True),
    ("section 6.5: an acknowledgement with content", raw(0x4, 0x1, 0, bytes(6)), {FRAME_SIZE_ERROR}, True),
    ("section 6.5.2: ENABLE_PUSH of 2", frame(frames.SettingsFrame, settings={2: 2}), {PROTOCOL_ERROR}, True),
    ("section 6.5.2: a window above 2^31-1", raw(0x4, 0, 0, b"\x00\x04\x80\x00\x00\x00"), {FLOW_CONTROL_ERROR}, True),
    ("section 6.5.2: MAX_FRAME_SIZE below 16384", frame(frames.SettingsFrame, settings={5: 16383}), {PROTOCOL_ERROR}, True),
    ("section 6.6: PUSH_PROMISE of a client", raw(0x5, 0x4, 1, bytes(4)), {PROTOCOL_ERROR}, True),
    ("section 6.7: PING on a stream", raw(0x6, 0, 1, bytes(8)), {PROTOCOL_ERROR}, True),
    ("section 6.7: PING of a wrong length", raw(0x6, 0, 0, bytes(7)), {FRAME_SIZE_ERROR}, True),
    ("section 6.8: GOAWAY on a stream", raw(0x7, 0, 1, bytes(8)), {PROTOCOL_ERROR}, True),
    ("section 6.9: an increment of 0", raw(0x8, 0, 0, bytes(4)), {PROTOCOL_ERROR}, True),
    ("section 6.9: WINDOW_UPDATE of a wrong length", raw(0x8, 0, 0, bytes(3)), {FRAME_SIZE_ERROR}, True),
    ("section 6.9.1: a window that overflows", frame(frames.WindowUpdateFrame, 0, window_increment=2**31 - 1) * 2, {FLOW_CONTROL_ERROR}, True),
    ("section 6.10: CONTINUATION of nothing", raw(0x9, 0x4, 1, b"\x82"), {PROTOCOL_ERROR}, True),
    ("section 6.10: another frame amid a block of fields", raw(0x1, 0x1, 1, b"\x82") + raw(0x6, 0, 0, bytes(8)), {PROTOCOL_ERROR}, True),
    ("section 8.2.1: a field's name in upper case", request(1, [("X-Upper", "1")]), {PROTOCOL_ERROR}, False),
    ("section 8.2.2: a field of the connection", request(1, [("connection", "keep-alive")]), {PROTOCOL_ERROR}, False),
    ("section 8.2.2: TE of another value", request(1, [("te", "gzip")]), {PROTOCOL_ERROR}, False),
    ("section 8.3: an unknown pseudo-field", request(1, [(":extra", "1")]), {PROTOCOL_ERROR}, False),
    ("section 8.3: a pseudo-field of answers", request(1, [(":status", "200")]), {PROTOCOL_ERROR}, False),
    ("section 8.3.1: a pseudo-field twice", request(1, [(":path", "/b")]), {PROTOCOL_ERROR}, False),
    ("section 8.1.1: less content than was said", request(1, [("content-length", "5")]), {PROTOCOL_ERROR}, False),
]


def answer_to(octets):
    """The codes of RST_STREAM and GOAWAY, statuses that begin with 4, and whether the connection ended."""
    connection = connect()
    connection.sendall(PREFACE + frame(frames.SettingsFrame) + octets)
    # An end of ours, so that what is not closed by the proxy ends too: after its answer.
    connection.settimeout(2)
    codes, heard, has_ended = set(), b"", False
    try:
        while True:
            octets = connection.recv(65536)
            if not octets:
                has_ended = True
                break
            heard += octets
            if any(kind == 0x3 for kind, *_ in split(heard)):
                break
            if any(kind == 0x1 for kind, *_ in split(heard)):
                break
    except ConnectionResetError:
        has_ended = True
    except socket.timeout:
        pass
    refused = False
    for kind, flags, payload in split(heard):
        if kind == 0x3:
            codes.add(int.from_bytes(payload[:4], "big"))
        elif kind == 0x7:
            codes.add(int.from_bytes(payload[4:8], "big"))
        elif kind == 0x1:
            # The static table's entry of 400 (RFC 7541 appendix A).
            refused = payload[:1] == b"\x8c"
    connection.close()
    return codes, refused, has_ended


def split(octets):
    while len(octets) >= 9:
        length = int.from_bytes(octets[:3], "big")
        if len(octets) < 9 + length:
            return
        yield octets[3], octets[4], octets[9 : 9 + length]
        octets = octets[9 + length :]


def main():
    conforming()
    wrong = []
    # Section 5.4: PROTOCOL_ERROR can always be used in place of a more specific code.
    for name, octets, allowed, ends in MALFORMED:
        codes, refused, has_ended = answer_to(octets)
        # A malformed request may be told by 400 as well (section 8.1.1).
        is_right = (refused and not ends) or (codes and codes <= allowed | {PROTOCOL_ERROR})
        if not is_right or (ends and not has_ended):
            wrong.append(f"{name}: codes {codes}, 400: {refused}, ended: {has_ended}")
    assert not wrong, "\n".join(wrong)
    conforming()
    print("good", len(MALFORMED))


main()
