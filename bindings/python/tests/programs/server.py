"""An old-style server: owns a ring and hands out its key, over XML-RPC or in lines of JSON."""

import json
import sys
import threading
import xmlrpc.server

from framebuffer.server import FrameBufferServer


def main():
    """Serves until standard input ends."""
    size, messages = int(sys.argv[1]), sys.argv[2]
    with FrameBufferServer(size) as server:
        if messages == "json":
            for line in sys.stdin:
                request = json.loads(line)
                if request["method"] == "get_key":
                    answer = {"key": server.get_key()}
                else:
                    answer = {"offset": server.allocate(request["size"])}
                print(json.dumps(answer), flush=True)
            return
        with xmlrpc.server.SimpleXMLRPCServer(("127.0.0.1", 0), logRequests=False) as rpc:
            rpc.register_function(server.get_key, "get_key")
            # XML-RPC has integers of 32 bits only.
            rpc.register_function(lambda size: str(server.allocate(size)), "allocate")
            rpc.register_function(lambda: threading.Thread(target=rpc.shutdown).start() or True, "stop")
            print(rpc.server_address[1], flush=True)
            rpc.serve_forever()


main()
