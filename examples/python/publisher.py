"""Sends a moving picture over the channel "camera", 30 times a second, until Ctrl-C.

python publisher.py             # the ring of the sidecar at FRAMEBUFFER_URL, or http://127.0.0.1:7570
"""

import contextlib
import time

import framebuffer


def main() -> None:
    """Draws straight into the ring."""
    with framebuffer.connect() as ring, ring.publisher("camera") as camera, contextlib.suppress(KeyboardInterrupt):
        column = 0
        while True:
            loan = camera.loan(shape=(480, 640, 3), dtype="uint8")
            picture = loan.array()
            picture[:] = 96
            picture[:, column] = (255, 160, 32)
            # A frame that is sent must not change: drop the array that could still write to it.
            del picture
            sent = loan.send(time=time.time_ns())
            if sent.number % 30 == 0:
                print(f"sent {sent.number}", flush=True)
            column = (column + 1) % 640
            time.sleep(1 / 30)


if __name__ == "__main__":
    main()
