"""A Prefect server without its UI, at a free port that it prints when it is ready.

It ends when its standard input does, so that it outlives no test run.
"""

import asyncio
import socket
import sys
import threading

import uvicorn
from prefect.server.api.server import create_app


class Server(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        print(sockets[0].getsockname()[1], flush=True)

    def end_with_input(self):
        sys.stdin.read()
        self.should_exit = True


def retried_soon(app):
    """Have clients wait a moment, instead of two seconds, when the database was locked (503)."""

    async def answer(scope, receive, send):
        async def answered(message):
            if message.get("status") == 503:
                message["headers"].append((b"retry-after", b"0.1"))
            await send(message)

        await app(scope, receive, answered)

    return answer


def main():
    server = Server(uvicorn.Config(retried_soon(create_app()), lifespan="on", log_level="error"))
    threading.Thread(target=server.end_with_input, daemon=True).start()
    # With its protocol named, or each answer waits for the one before to be acknowledged.
    with socket.socket(proto=socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        asyncio.run(server.serve([listener]))


if __name__ == "__main__":
    main()
