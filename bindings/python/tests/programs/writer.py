"""An old-style writer: puts frames into the ring and sends their descriptions to the reader over XML-RPC."""

import sys
import xmlrpc.client

from framebuffer.client import FrameBufferClient


def main():
    """Writes 20 frames, and then one whose description it sends too late."""
    server, reader = xmlrpc.client.ServerProxy(sys.argv[1]), xmlrpc.client.ServerProxy(sys.argv[2])
    key = server.get_key()
    with FrameBufferClient(key) as client:

        def write(data):
            offset = server.allocate(len(data))
            return offset, client.write(offset, data)

        for number in range(20):
            data = bytes([number]) * 100_000
            offset, checksum = write(data)
            print(reader.show(offset, len(data), checksum))
        message = {"key": key, "offset": offset, "size": len(data), "checksum": checksum}
        print(reader.show_message(message))
        for _ in range(20):
            write(data)
        print(reader.show(offset, len(data), checksum))
    server.stop()
    reader.stop()


main()
