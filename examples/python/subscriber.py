"""Receives the pictures of the channel "camera", and computes on them in place, until Ctrl-C.

python subscriber.py            # the ring of the sidecar at FRAMEBUFFER_URL, or http://127.0.0.1:7570
"""

import contextlib
import time

import framebuffer


def main() -> None:
    """Prints a line a second."""
    with framebuffer.connect() as ring, ring.subscribe("camera") as camera, contextlib.suppress(KeyboardInterrupt):
        for frame in camera:
            picture = frame.array()  # numpy, without a copy
            if frame.number % 30 == 0:
                age = (time.time_ns() - frame.time) / 1e6
                print(
                    f"{frame.number}: {picture.shape}, mean {picture.mean():.1f}, {age:.1f} ms old, {camera.lost} lost"
                )


if __name__ == "__main__":
    main()
