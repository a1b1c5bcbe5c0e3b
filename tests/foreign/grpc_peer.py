"""A server and a client of gRPC, both by grpcio.

    grpc_peer.py serve PORT          until standard input ends
    grpc_peer.py ask PROXY AUTHORITY

Messages are octets as they are: what is tested is how calls travel.
"""
import concurrent.futures
import queue
import sys
import time

import grpc


def unary(request, context):
    context.send_initial_metadata((("x-begun", "yes"),))
    context.set_trailing_metadata((("x-ended", "yes"), ("x-octets-bin", b"\x00\xff")))
    return request


def stream(request, context):
    for number in range(int(request)):
        yield b"%d" % number


def collect(requests, context):
    return b"%d" % sum(len(request) for request in requests)


def chat(requests, context):
    for request in requests:
        yield request[::-1]


def fail(request, context):
    context.set_trailing_metadata((("x-why", "asked-for"),))
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "no: 100 % sure")


def sleep(request, context):
    # What is left of the call's time, as this server was told.
    left = context.time_remaining()
    time.sleep(float(request))
    return b"%f" % (left if left is not None else -1)


METHODS = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Stream": grpc.unary_stream_rpc_method_handler(stream),
    "Collect": grpc.stream_unary_rpc_method_handler(collect),
    "Chat": grpc.stream_stream_rpc_method_handler(chat),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "Sleep": grpc.unary_unary_rpc_method_handler(sleep),
}


def serve(port):
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=8))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Peer", METHODS),))
    assert server.add_insecure_port(f"127.0.0.1:{port}") == int(port)
    server.start()
    print("serving", flush=True)
    sys.stdin.read()
    server.stop(0)


def ask(proxy, authority):
    options = (("grpc.default_authority", authority), ("grpc.max_receive_message_length", 64 << 20))
    channel = grpc.insecure_channel(proxy, options=options)
    assert channel.unary_unary("/test.Peer/Unary")(b"hello", timeout=30) == b"hello"

    answer, call = channel.unary_unary("/test.Peer/Unary").with_call(b"", timeout=30)
    assert answer == b"", "a message without octets"
    assert ("x-begun", "yes") in call.initial_metadata(), call.initial_metadata()
    trailers = dict(call.trailing_metadata())
    assert trailers["x-ended"] == "yes" and trailers["x-octets-bin"] == b"\x00\xff", trailers

    large = bytes(range(256)) * (12 << 10)
    assert channel.unary_unary("/test.Peer/Unary")(large, timeout=60) == large, "3 MiB"
    compressed = channel.unary_unary("/test.Peer/Unary")
    assert compressed(large, timeout=60, compression=grpc.Compression.Gzip) == large, "compressed"

    assert list(channel.unary_stream("/test.Peer/Stream")(b"1000", timeout=60)) == [b"%d" % n for n in range(1000)]
    assert channel.stream_unary("/test.Peer/Collect")((b"x" * 1000 for _ in range(500)), timeout=60) == b"500000"

    # Each message is answered before the next is sent: nothing waits for the end of anything.
    answered = queue.Queue()

    def requests():
        for number in range(50):
            yield b"turn %d" % number
            answered.get(timeout=30)

    heard = 0
    for answer in channel.stream_stream("/test.Peer/Chat")(requests(), timeout=60):
        assert answer == (b"turn %d" % heard)[::-1], answer
        heard += 1
        answered.put(True)
    assert heard == 50, heard

    try:
        channel.unary_unary("/test.Peer/Fail")(b"", timeout=30)
        raise AssertionError("it should fail")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, error
        assert error.details() == "no: 100 % sure", error
        assert ("x-why", "asked-for") in error.trailing_metadata(), error
    try:
        channel.unary_unary("/test.Peer/Unknown")(b"", timeout=30)
        raise AssertionError("nobody knows it")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error

    left = float(channel.unary_unary("/test.Peer/Sleep")(b"0", timeout=25))
    # Both ends round up what is left.
    assert 0 < left <= 26, f"the server was told {left}"
    begun = time.monotonic()
    try:
        channel.unary_unary("/test.Peer/Sleep")(b"6", timeout=1)
        raise AssertionError("its time was over")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
    assert time.monotonic() - begun < 5.5

    # A call that is given up does not disturb the others on its connection.
    call = channel.unary_stream("/test.Peer/Stream")(b"100000000", timeout=60)
    assert next(call) == b"0"
    call.cancel()
    with concurrent.futures.ThreadPoolExecutor(max_workers=16) as pool:
        unary = channel.unary_unary("/test.Peer/Unary")
        messages = [b"%d" % number for number in range(400)]
        assert list(pool.map(lambda message: unary(message, timeout=60), messages)) == messages
    print("good")


if __name__ == "__main__":
    {"serve": serve, "ask": ask}[sys.argv[1]](*sys.argv[2:])
