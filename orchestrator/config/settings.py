"""The one configuration of a run: typed, strict, and written whole into the run directory."""

from typing import Literal

from pydantic import Field, model_validator

from models.config import LossConfig, MethodConfig, ModelConfig
from orchestrator.base.strict import Strict

Precision = Literal["auto", "fp32", "bf16"]
Monitor = Literal["val_loss", "fair", "worst_gender", "worst_group"]


class DataConfig(Strict):
    """How a run reads its data."""

    residence: Literal["auto", "resident", "stream"] = "auto"
    """resident: once in each node's shared memory; stream: from disk, every epoch; auto: resident
    if it fits. The result is the same."""
    folds: int | None = Field(default=None, ge=2, le=100)
    """Cut train and val together into so many folds for cross-validation; null: as prepared."""
    fold: int = Field(default=0, ge=0)
    """The fold that validates, from 0; the others train. Test stays as it is."""

    @model_validator(mode="after")
    def _fold_exists(self) -> "DataConfig":
        if self.fold >= (self.folds or 1):
            raise ValueError(f"there is no such fold; data.folds is {self.folds}")
        return self


class BalanceConfig(Strict):
    """A balance policy and the weights of the genders."""

    policy: Literal["none", "undersample", "oversample", "weights"] = "none"
    """A key of `orchestrator.data.balance.POLICIES`."""
    over: Literal["gender", "gender_class"] = "gender"
    """The groups that the policy makes equal, or weighs: the genders, or the four strata."""
    redraw: bool = True
    """Draw others each epoch where not all fit, until all have had their turn; else the same."""
    tau: float = Field(default=0.5, ge=0, le=2)
    """The exponent of policy ``weights``: a face of a group of n weighs ``n ** -tau``."""
    weight_women: float = Field(default=1.0, gt=0)
    weight_men: float = Field(default=1.0, gt=0)


class AugmentConfig(Strict):
    """How training faces are changed, each anew in every epoch."""

    flip: bool = True
    """Mirror half of them."""
    shift: int = Field(default=0, ge=0)
    """Move them by up to so many pixels each way; edges are repeated."""
    brightness: float = Field(default=0.0, ge=0, le=1)
    """Scale their values by a factor within 1 - x and 1 + x; likewise, about their mean grey, their
    contrast, and, about their own grey, their saturation: as torchvision's ColorJitter does."""
    contrast: float = Field(default=0.0, ge=0, le=1)
    saturation: float = Field(default=0.0, ge=0, le=1)
    erase: float = Field(default=0.0, ge=0, le=1)
    """The share of them that lose a rectangle to grey (Zhong et al., Random Erasing Data
    Augmentation, AAAI 2020)."""


class TrainConfig(Strict):
    """How a network is trained. The defaults are the sweep's recipe."""

    epochs: int = Field(default=10, ge=1)
    batch_size: int = Field(default=32, ge=1)
    """Images a step, over all workers."""
    optimiser: Literal["adam", "lbfgs"] = "adam"
    """lbfgs: the head of a frozen network, which must have no hidden layer, is fitted to the cached
    features of all faces together, as `fit` says, and judged on each by a head that was not fitted
    to it. There are no epochs then, and nothing is augmented."""
    lr: float = Field(default=1e-3, gt=0)
    """Adam's peak learning rate."""
    weight_decay: float = Field(default=0.0, ge=0)
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup: float = Field(default=0.05, ge=0, lt=1)
    """The share of the cosine schedule's steps in which the learning rate rises."""
    clip_norm: float | None = Field(default=None, gt=0)
    """Scale a gradient of a larger norm down to this; null: never."""
    ema: float | None = Field(default=None, gt=0, lt=1)
    """Judge and keep an exponential moving average of the weights, of this decay a step, and of
    less in the first steps; null: none."""
    monitor: Monitor = "fair"
    """What early stopping and the kept epoch are judged by, on validation data."""
    patience: int | None = Field(default=None, ge=1)
    """Stop after this many epochs in a row without improvement (Keras's rule); null: never."""
    keep: Literal["best", "last"] = "best"
    precision: Precision = "auto"
    """auto: bf16 autocast where the device computes in it."""
    compile: bool = False
    """Compile the network with `torch.compile`: slow to start, perhaps faster on a GPU."""
    checkpoint_seconds: float = Field(default=60.0, ge=0)
    """The most training that a killed run loses, but for the epoch that it was in."""
    max_failures: int = Field(default=3, ge=0)
    """How often a trial goes on after losing a process."""


class FitConfig(Strict):
    """How the head of a frozen network is fitted, with ``train.optimiser=lbfgs``."""

    l2: float = Field(default=0.03, gt=0)
    """The weight of half the squared norm of its weights, of standardised features."""
    folds: int = Field(default=5, ge=2, le=100)
    """Train and val are cut into so many, and each is judged by a head fitted to the others."""


class LastLayerConfig(Strict):
    """Whether the last layer is retrained once the network is."""

    held_out: float = Field(default=0.0, ge=0, lt=1)
    """The share of each gender and class of train that is kept for it; 0: it is not retrained."""
    l2: float = Field(default=1e-3, gt=0)
    """The weight of half the squared norm of its weights, of standardised features."""


class SweepConfig(Strict):
    """What `fairfront sweep` searches, and how long."""

    space: str = "focal_gender"
    trials: int = Field(default=20, ge=1)
    """In all, the two baselines included, however they end."""
    objective: Literal["fair", "pareto"] = "fair"
    """fair: the fair metric alone; pareto: mean accuracy and gap, the whole front."""
    sampler: Literal["tpe", "gp", "cmaes", "nsga2", "random"] = "tpe"
    """Who suggests settings; cmaes has one objective only."""
    startup_trials: int = Field(default=8, ge=1)
    """Random trials before tpe, gp or cmaes model the objective."""
    halving: bool = True
    """Stop trials that are worse than most at the same epoch; the baselines are never stopped."""
    grace: int = Field(default=2, ge=1)
    """The first epoch after which a trial may be stopped."""
    reduction: int = Field(default=3, ge=2)
    """Of so many trials one goes on, at `grace` epochs and so many times as many each time."""
    concurrent: int | None = Field(default=None, ge=1)
    """Trials at a time; null: as many as the cluster's devices serve well."""
    hours: float | None = Field(default=None, gt=0)
    """Stop after so long; trials that still run can be gone on with."""
    epoch_budget: int | None = Field(default=None, ge=1)
    """Begin no more trials once so many epochs are trained."""
    patience: int | None = Field(default=None, ge=1)
    """Begin no more trials when the front's hypervolume has stood still for so many."""
    max_failed: int | None = Field(default=10, ge=1)
    """Begin no more trials when so many have failed: something else is wrong."""
    price_per_hour: float | None = Field(default=None, ge=0)
    """What all machines cost together, for the run to say what it will cost and did."""
    plain_share: float = Field(default=0.2, ge=0, le=1)
    """The share of the trials that tune plain cross-entropy: they have the space's recipe part
    (rate, epochs, augmentation, decay), and of the rest what stands for plain. A gain over the best
    of them is none of tuning. 0: none does."""
    finalists: int = Field(default=8, ge=0)
    """In the end retrain so many, the best by score, and the baselines, and choose among them by
    what they get right of faces that they were not trained on; 0: the search's best it is."""
    may_lose: float = Field(default=0.005, ge=0, le=1)
    """How much less accurate than by plain the worse-served gender may be in what is recommended,
    for a higher fair metric; 1: by as much as it takes."""
    confirm: int = Field(default=1, ge=0)
    """Each on so many new seeds; 0: none is retrained."""
    confirm_folds: int | None = Field(default=4, ge=2, le=100)
    """And on every one of so many folds of train and val; null: on train, and judged by val."""

    @model_validator(mode="after")
    def _one_objective(self) -> "SweepConfig":
        if self.sampler == "cmaes" and self.objective == "pareto":
            raise ValueError("cmaes has one objective only; use tpe, gp or nsga2 for pareto")
        return self


class ResourcesConfig(Strict):
    """What a training process reserves of a Ray cluster; each worker of a trial is one."""

    gpus: float | None = Field(default=None, ge=0, le=1)
    """1, or a part of a GPU; 0: it trains on CPUs; null: on GPUs where there are some. For a number
    Ray's autoscaler is asked for nodes that are not there yet."""
    cpus: int | None = Field(default=None, ge=1)
    """null: its part of a node's."""
    accelerator_type: str | None = Field(default=None, min_length=1)
    """Of the nodes it may run on, by Ray's name, as ``A100`` or ``H100``; null: any."""

    @property
    def asked(self) -> bool:
        """Whether there is anything that a node must have."""
        return self != ResourcesConfig()


class Config(Strict):
    """Everything that decides a run's result, given the data."""

    recipe: str = "default"
    seed: int = Field(default=0, ge=0, lt=2**32)
    fair_lambda: float = Field(default=2.0, ge=0)
    """The weight of the gap in ``fair = mean accuracy - lambda * gap``."""
    workers: int = Field(default=1, ge=1)
    """Training processes a trial, each with its own device."""
    min_workers: int | None = Field(default=None, ge=1)
    """Go on with so few of them where nodes come and go; null: only with all of them."""
    resources: ResourcesConfig = ResourcesConfig()
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    method: MethodConfig = MethodConfig()
    balance: BalanceConfig = BalanceConfig()
    augment: AugmentConfig = AugmentConfig()
    train: TrainConfig = TrainConfig()
    fit: FitConfig = FitConfig()
    last_layer: LastLayerConfig = LastLayerConfig()
    sweep: SweepConfig = SweepConfig()

    @model_validator(mode="after")
    def _range_of_workers(self) -> "Config":
        if self.min_workers is not None and self.min_workers > self.workers:
            raise ValueError(f"min_workers is {self.min_workers}, more than workers={self.workers}")
        if self.workers > 1 and self.train.optimiser == "lbfgs":
            raise ValueError("train.optimiser=lbfgs fits a head in one process; give workers=1")
        if self.loss.teacher and self.train.optimiser == "lbfgs":
            raise ValueError("loss.teacher: train.optimiser=lbfgs fits heads to labels alone")
        if self.workers > 1 and 0 < (self.resources.gpus or 0) < 1:
            raise ValueError(
                f"resources.gpus is {self.resources.gpus:g}: the workers of a trial cannot share a "
                "GPU; give 1, or workers=1"
            )
        return self
