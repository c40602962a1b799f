"""The training loop against Keras on TensorFlow, on the reference recipe, in the same run.

    python benchmarks/against_keras.py [--keras-python PYTHON] [--batches 32 64 128] [--rounds 3]

Keras trains the published network on arrays in memory, with `model.fit`, as the published code
does; fairfront trains the same recipe in the loop that every trial runs. Both use all cores, one
after the other, in rounds; an epoch that warms up is left out of each. TensorFlow
(``pip install tensorflow-cpu``) may lie in another environment, whose interpreter is given.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

IMAGES, EPOCHS, SIDE = 3_200, 3, 80


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keras-python", default=sys.executable)
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=("keras", "fairfront"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        measure = {"keras": keras_side, "fairfront": our_side}[arguments.side]
        print(json.dumps(measure(arguments.batches[0])))
        return
    print(f"images/s in training, median of {arguments.rounds} rounds of {IMAGES:,} images")
    print("| batch | Keras, TensorFlow | fairfront | ratio, median | ratios |")
    print("|---|---|---|---|---|")
    best: dict[str, float] = {"keras": 0.0, "fairfront": 0.0}
    for batch in arguments.batches:
        rates: dict[str, list[float]] = {"keras": [], "fairfront": []}
        for _ in range(arguments.rounds):
            rates["keras"].append(run(arguments.keras_python, "keras", batch))
            rates["fairfront"].append(run(sys.executable, "fairfront", batch))
        ratios = [ours / theirs for ours, theirs in zip(*reversed(rates.values()), strict=True)]
        middle = {side: statistics.median(values) for side, values in rates.items()}
        best = {side: max(best[side], middle[side]) for side in best}
        shown = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        print(
            f"| {batch} | {middle['keras']:.0f} | {middle['fairfront']:.0f} | "
            f"{statistics.median(ratios):.2f} | {shown} |",
            flush=True,
        )
    print(f"\nEach at its best batch: {best['fairfront'] / best['keras']:.2f} times Keras")


def run(python: str, side: str, batch: int) -> float:
    from orchestrator.base.machine import COMPUTING  # as Ray's workers have it; harmless to Keras

    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    command = [python, __file__, "--side", side, "--batches", str(batch)]
    environment |= COMPUTING if side == "fairfront" else {}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        hint = "pip install tensorflow-cpu" if "No module named" in done.stderr else ""
        sys.exit(f"{python}: {(done.stderr.strip().splitlines() or ['failed'])[-1]} {hint}")
    return float(json.loads(done.stdout.strip().splitlines()[-1]))


def keras_side(batch: int) -> float:
    import keras
    import numpy as np

    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 3)),
            *(
                layer
                for width in (32, 64, 128)
                for layer in (layers.Conv2D(width, 3, activation="relu"), layers.MaxPooling2D(2))
            ),
            layers.Flatten(),
            layers.Dense(512, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.Adam(1e-3),
        loss=keras.losses.BinaryFocalCrossentropy(gamma=5.0, alpha=0.25),
        metrics=["accuracy"],
    )
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (IMAGES, SIDE, SIDE, 3), dtype=np.uint8).astype(np.float32) / 255
    labels = (np.arange(IMAGES) % 5 == 0).astype(np.float32)
    weights = np.where(np.arange(IMAGES) % 2, 0.1, 1.0).astype(np.float32)

    class Clock(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.seconds: list[float] = []

        def on_epoch_begin(self, *_):
            self.begun = time.perf_counter()

        def on_epoch_end(self, *_):
            self.seconds.append(time.perf_counter() - self.begun)

    clock = Clock()
    model.fit(images, labels, sample_weight=weights, batch_size=batch, epochs=EPOCHS, verbose=0,
              callbacks=[clock])  # fmt: skip
    return IMAGES / statistics.median(clock.seconds[1:])


def our_side(batch: int) -> float:
    import torch
    from training import images_per_second

    from orchestrator.config.layers import resolve

    settings = [f"train.batch_size={batch}", f"train.epochs={EPOCHS}", "train.patience=null"]
    config = resolve("reference", settings=[*settings, "balance.policy=none"])
    return images_per_second(config, IMAGES, torch.device("cpu"))


if __name__ == "__main__":
    main()
