"""Random changes of messages, repeatable by their seed."""

from __future__ import annotations

import os
import random


def mutated(raw: bytes, chance: random.Random) -> bytes:
    """`raw` with a few bytes changed, removed, doubled or put in."""
    data = bytearray(raw)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(data)) if data else 0
        match chance.randrange(4):
            case 0 if data:
                data[place] = chance.randrange(256)
            case 1 if data:
                del data[place : place + chance.randint(1, 8)]
            case 2:
                data[place:place] = data[place : place + chance.randint(1, 16)]
            case _:
                data[place:place] = chance.randbytes(chance.randint(1, 8))
    return bytes(data)


def seeded() -> random.Random:
    """Chance of the seed in `SEED`, or of a fresh one; printed, so that a failure can be repeated."""
    seed = int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(1 << 32)
    print("seed", seed)
    return random.Random(seed)
