"""Seconds of one core that 1,000 images of each drawn set take, and whether they are the same bytes twice."""

import time

from seesay.data.drawn_sets import KINDS, open_drawn_set

if __name__ == "__main__":
    for name in KINDS:
        start = time.process_time()
        found = open_drawn_set(f"limits:{name}:1000")
        seconds = time.process_time() - start
        again = open_drawn_set(f"limits:{name}:1000")
        same = all(found.image(index) == again.image(index) for index in range(1000))
        print(f"{name:10} {seconds:4.1f} s, the same bytes twice: {same}")
