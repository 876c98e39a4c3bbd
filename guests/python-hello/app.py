"""A component of another language, for the tests: Python, made with componentize-py for the world wasi:http/proxy.

It uses the published interfaces alone and must not know that Roadstead exists: what runs here runs elsewhere too.
"""

from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.imports.streams import StreamError_Closed
from wit_world.imports.types import Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam

# wasi:io takes no more than this in one blocking_write_and_flush.
PIECE_BYTES_MAX = 4096

# Calls that this instance has served. The component holds the interpreter as it was after this line ran, once, when the
# component was made.
calls = 0


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request: IncomingRequest, response_out: ResponseOutparam) -> None:
        global calls
        calls += 1
        path = request.path_with_query() or ""
        match path:
            case "/echo":
                answer(response_out, pieces_of(request))
            case "/count":
                answer(response_out, [f"{calls}\n".encode()])
            case "/raise":
                raise ValueError("raised on request")
            case _:
                answer(response_out, [b"hello from python\n", path.encode() + b"\n"])


def answer(response_out, pieces):
    """Answers 200 with a body of `pieces`, each at most PIECE_BYTES_MAX long, sent as they come."""
    response = OutgoingResponse(Fields.from_list([("content-type", b"text/plain")]))
    body = response.body()
    ResponseOutparam.set(response_out, Ok(response))
    with body.write() as stream:
        for piece in pieces:
            stream.blocking_write_and_flush(piece)
    OutgoingBody.finish(body, None)


def pieces_of(request):
    """The body of the request, as it comes in."""
    with request.consume() as body, body.stream() as stream:
        while True:
            try:
                yield stream.blocking_read(PIECE_BYTES_MAX)
            except Err as error:
                if isinstance(error.value, StreamError_Closed):
                    return
                raise
