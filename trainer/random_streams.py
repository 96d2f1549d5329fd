"""The random streams of a run. Each is seeded by the run's seed and the numbers beside it, so a
resumed run draws the same numbers as an uninterrupted one.

ORDER         order of the videos in an epoch                    (seed, epoch)
CLIPS         start and stride of the clips of a video           (seed, draw)
SHARD_ORDER   order of the shards in an epoch, when streaming    (seed, epoch)
BUFFER_ORDER  order of the videos in a block of shuffled videos  (seed, rank, block)
AUGMENTATION  crop, flip and colours of a joint batch            (seed, number of the batch)
LAYERS        dropout and other random layers                    (seed, step, rank)

Fine-tuning uses ORDER, CLIPS, AUGMENTATION and LAYERS in the same way, but draws its dropout masks
for the joint batch, whatever the rank.
"""

import numpy as np

ORDER, CLIPS, SHARD_ORDER, BUFFER_ORDER, AUGMENTATION, LAYERS = range(6)


def generator_of(*numbers: int) -> np.random.Generator:
    """NumPy's generator for the numbers of a stream, as listed above, and the stream itself."""
    return np.random.default_rng(numbers)


def torch_seed(*numbers: int) -> int:
    """A seed for torch's generators, from (seed, number of the step or batch, stream) and, where
    each rank draws its own numbers, the rank."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
