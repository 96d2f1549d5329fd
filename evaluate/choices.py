"""What options of an evaluation choose among, and defaults. It imports nothing: help reads it."""

TASKS = ("retrieval", "linear", "knn", "fewshot", "finetune")
ON_THE_FLY, ATTENTIVE_ON_THE_FLY = "linear-on-the-fly", "attentive-on-the-fly"
ALL = "all"  # tasks; every split that can be tested; kept checkpoints
POOLINGS = ("average", "max")  # over the feature map; RSPNet's code, and its supplement
CROPS = (1, 3)
CENTRINGS = ("none", "own mean", "gallery mean")  # of retrieval and kNN
SEARCH_CENTRINGS = ("gallery mean", "none")
SOLVERS = ("lbfgs", "sgd")  # of the linear probe
HEADS = ("linear", "attentive")  # of classifiers that are trained on clips
ATTENTIVE = HEADS[1]
WHOLE, PART = 0.95, 0.45  # mean cosine from which videos, and parts of them, are copies
MOST_BROWSED = 2000  # videos on a page of a store
