"""A server and a client of WebSockets, both by the library websockets.

    websockets_peer.py serve PORT          until standard input ends
    websockets_peer.py ask PORT HOST
    websockets_peer.py leave PORT HOST     until the server ends it, going away
"""
import asyncio
import random
import sys

import websockets

LARGE = 4 << 20


async def echo(socket, path):
    if path == "/close":
        await socket.close(4001, "as you wish")
        return
    async for message in socket:
        await socket.send(message)


async def serve(port):
    async with websockets.serve(echo, "127.0.0.1", int(port), max_size=2 * LARGE, subprotocols=["chat", "other"]):
        print("serving", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def ask(port, host):
    def connect(path="/", **more):
        return websockets.connect(f"ws://{host}{path}", host="127.0.0.1", port=int(port), max_size=2 * LARGE, **more)

    # With and without compression (RFC 7692) by agreement of both ends.
    for compression in ["deflate", None]:
        async with connect(compression=compression, subprotocols=["other"]) as socket:
            assert socket.subprotocol == "other", socket.subprotocol
            assert bool(socket.extensions) == (compression is not None), socket.extensions
            for message in ["", "hello", "\u00e4\u20ac\U0001f600" * 1000, b"", bytes(range(256)), random.randbytes(LARGE)]:
                await socket.send(message)
                assert await asyncio.wait_for(socket.recv(), 60) == message
            # In pieces (RFC 6455 section 5.4).
            await socket.send(["one ", "two ", "three"])
            assert await asyncio.wait_for(socket.recv(), 60) == "one two three"
            await asyncio.wait_for(await socket.ping(b"are you there"), 60)
            await asyncio.gather(*(socket.send(f"{number}") for number in range(1000)))
            heard = [await asyncio.wait_for(socket.recv(), 60) for _ in range(1000)]
            assert heard == [f"{number}" for number in range(1000)]
            await socket.close(4000, "that was all")
            assert socket.close_code == 4000, socket.close_code
    async with connect("/close") as socket:
        try:
            await asyncio.wait_for(socket.recv(), 60)
            raise AssertionError("the server closes")
        except websockets.ConnectionClosed as closed:
            assert (closed.code, closed.reason) == (4001, "as you wish"), closed
    # Many at a time, each its own.
    async def one(number):
        async with connect() as socket:
            for turn in range(20):
                await socket.send(f"{number} {turn}")
                assert await asyncio.wait_for(socket.recv(), 60) == f"{number} {turn}"
    await asyncio.gather(*(one(number) for number in range(50)))
    print("good")


async def leave(port, host):
    """Some connections, in use and at rest, each of which has to be told that the server goes away (RFC 6455 7.4.1)."""
    sockets = [
        await websockets.connect(f"ws://{host}/", host="127.0.0.1", port=int(port), compression=compression)
        for compression in ["deflate", None] * 3
    ]
    for number, socket in enumerate(sockets):
        await socket.send(f"{number}")
        assert await asyncio.wait_for(socket.recv(), 60) == f"{number}"
    print("open", flush=True)

    async def end(number, socket):
        try:
            while True:
                if number % 2:
                    await socket.send("more " * 1000)
                await asyncio.wait_for(socket.recv(), 60)
        except websockets.ConnectionClosed as closed:
            assert closed.rcvd is not None and closed.rcvd.code == 1001, closed
            assert closed.rcvd_then_sent, closed

    await asyncio.gather(*(end(number, socket) for number, socket in enumerate(sockets)))
    print("good")


if __name__ == "__main__":
    asyncio.run({"serve": serve, "ask": ask, "leave": leave}[sys.argv[1]](*sys.argv[2:]))
