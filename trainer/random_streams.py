"""The streams of random numbers of a run. Each is a function of the seed and of what it is for, so
a resumed run draws the numbers that it would have drawn.

ORDER         order of the videos in an epoch                    (seed, epoch)
CLIPS         start and stride of the clips of a video           (seed, draw)
SHARD_ORDER   order of the shards in an epoch, when streaming    (seed, epoch)
BUFFER_ORDER  order of the videos in a block of shuffled videos  (seed, rank, block)
AUGMENTATION  crop, flip and colours of a joint batch            (seed, number of the batch)
LAYERS        dropout and other random layers                    (seed, step, rank)

Fine-tuning draws from ORDER, CLIPS, AUGMENTATION and LAYERS in the same way, but its dropout
masks are those of the joint batch, whatever the rank.
"""

import numpy as np

ORDER, CLIPS, SHARD_ORDER, BUFFER_ORDER, AUGMENTATION, LAYERS = range(6)


def generator_of(*numbers: int) -> np.random.Generator:
    """NumPy's generator for a seed, the numbers beside it above, and the stream."""
    return np.random.default_rng(numbers)


def torch_seed(*numbers: int) -> int:
    """A seed for torch's generators from a seed, the number of a step or batch, the stream, and the
    rank where each draws its own."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
