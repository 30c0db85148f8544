"""Takes and gives bodies that are much larger than anything that is kept in memory."""
BLOCK = bytes(range(256)) * 256


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/in":
        count = 0
        body = environ["wsgi.input"]
        while piece := body.read(len(BLOCK)):
            if piece != BLOCK[: len(piece)]:
                raise ValueError(f"wrong bytes behind {count}")
            count += len(piece)
        start_response("200 OK", [])
        return [str(count).encode()]
    blocks = int(environ["QUERY_STRING"]) // len(BLOCK)
    fields = [("Content-Length", str(blocks * len(BLOCK)))] if path == "/known" else []
    start_response("200 OK", fields)
    return (BLOCK for _ in range(blocks))
