"""The values and defaults of the evaluation's options. It imports nothing, so that help is fast."""

TASKS = ("retrieval", "linear", "knn", "fewshot", "finetune")
ON_THE_FLY, ATTENTIVE_ON_THE_FLY = "linear-on-the-fly", "attentive-on-the-fly"
ALL = "all"  # for --task, --split and --checkpoint
POOLINGS = ("average", "max")  # average: RSPNet's code; max: its supplement
CROPS = (1, 3)
CENTRINGS = ("none", "own mean", "gallery mean")  # of retrieval and kNN
SEARCH_CENTRINGS = ("gallery mean", "none")
SOLVERS = ("lbfgs", "sgd")  # of the linear probe
HEADS = ("linear", "attentive")  # of classifiers that are trained on clips
ATTENTIVE = HEADS[1]
WHOLE, PART = 0.95, 0.45  # minimum mean cosine of near-duplicate videos, and of shared parts
MOST_BROWSED = 2000  # videos on a page of `ascnet browse`
