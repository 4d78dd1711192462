"""HTTP as uvicorn reads it with httptools, but for one thing: a head without an end is refused.

httptools keeps what it has read of an address or of headers until they end, however long that is: one
connection that sent 150 MB of a header took 150 MB. (h11, which uvicorn takes without it, stops at 64 kB.)
The limit of a body is in `labeling.guard`, which sees a request only when its head is there.
"""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LONGEST_HEAD = 64 * 1024  # bytes before a body, between two parts of one, or behind it


class BoundedHead(HttpToolsProtocol):
    """For `uvicorn.Config(http=...)`."""

    unread = 0  # bytes that have come since the last that were told of

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self.unread += len(data)
        super().data_received(data)
        if self.unread > LONGEST_HEAD and not self.transport.is_closing():
            self.send_400_response(f"The head of a request is longer than {LONGEST_HEAD // 1024} kB.")

    def on_body(self, body: bytes) -> None:
        self.unread = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self.unread = 0
        super().on_message_complete()
