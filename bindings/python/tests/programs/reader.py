"""An old-style reader: an XML-RPC server that reads the frames described to it, and returns what they contain."""

import sys
import threading
import xmlrpc.client
import xmlrpc.server

from framebuffer.client import FrameBufferClient, FrameBufferTimeout, read_frame


def main():
    """Serves until it is asked to stop."""
    key = xmlrpc.client.ServerProxy(sys.argv[1]).get_key()
    with (
        FrameBufferClient(key) as client,
        xmlrpc.server.SimpleXMLRPCServer(("127.0.0.1", 0), logRequests=False) as rpc,
    ):

        def show(offset, size, checksum):
            try:
                data = client.read(offset, size, checksum)
            except FrameBufferTimeout:
                return "timeout"
            return f"{len(data)} times {data[0]}"

        rpc.register_function(show, "show")
        rpc.register_function(lambda message: len(read_frame(message)), "show_message")
        rpc.register_function(lambda: threading.Thread(target=rpc.shutdown).start() or True, "stop")
        print(rpc.server_address[1], flush=True)
        rpc.serve_forever()


main()
