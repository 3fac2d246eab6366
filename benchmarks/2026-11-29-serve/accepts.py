"""How many of 50 waiting connections a pass of the event loop accepts. Usage: accepts.py, with uvloop installed."""

import asyncio
import socket

import uvloop

COUNT = 50


async def main():
    accepted, passes = [], 0

    class Protocol(asyncio.Protocol):
        def connection_made(self, transport):
            accepted.append(passes)

    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(COUNT)
    callers = [socket.create_connection(listener.getsockname()) for _ in range(COUNT)]
    loop = asyncio.get_running_loop()
    await loop.create_server(Protocol, sock=listener, backlog=COUNT)
    while len(accepted) < COUNT:
        await asyncio.sleep(0)
        passes += 1
    print(f"{type(loop).__module__}: {len(callers)} connections in {passes} passes")


for make in (uvloop.new_event_loop, asyncio.new_event_loop):
    asyncio.Runner(loop_factory=make).run(main())
