"""Classifies generated digits: how many show the requested digit?

    python tools/peers/classify.py samples.npz [--labels repeat|block] [--data data/mnist]
        [--cache classifier.pt]

`samples.npz` holds arr_0, u8, [N,H,W,C] or [N,H,W], white digits on black. Its entry `labels` gives
the requested digits. Without it, `--labels repeat` means that sample k is the digit k % 10 (the
default), and `--labels block` that N/10 samples of each digit follow each other. Two small
convolutional networks classify every sample. They are trained on the 60,000 training images with
different seeds, once, and stored in the file --cache.

    python tools/peers/classify.py --real 1000        checks the classifiers on real test images
"""

import argparse
import gzip
import hashlib
import math
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

SEEDS = (1, 2)
RECIPE = "conv32-pool-conv64-pool-fc128, 4 epochs, shifts of 2 pixels, v2"      # a change here retrains


def idx(folder, name):
    for path in (Path(folder) / name, Path(folder) / f"{name}.gz"):
        if path.exists():
            raw = path.read_bytes()
            raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
            shape = [int.from_bytes(raw[4 + 4 * d:8 + 4 * d], "big") for d in range(raw[3])]
            return torch.from_numpy(np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape).copy())
    raise SystemExit(f"{folder} has no {name}[.gz]: pass the folder of the four MNIST files with --data")


def load(folder, part):
    return idx(folder, f"{part}-images-idx3-ubyte"), idx(folder, f"{part}-labels-idx1-ubyte").long()


def scaled(images):
    return images.float()[:, None] / 127.5 - 1


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 32, 3, padding=1), nn.Conv2d(32, 64, 3, padding=1)
        self.linear1, self.linear2 = nn.Linear(64 * 49, 128), nn.Linear(128, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.dropout(F.relu(self.linear1(x.flatten(1))), 0.3, self.training)
        return self.linear2(x)


def read(net, images):
    net.eval()
    with torch.no_grad():
        return torch.cat([net(scaled(part)).argmax(1) for part in images.split(500)])


def train(seed, data, epochs=4, batch=128, peak=2e-3):
    torch.manual_seed(seed)
    images, labels = load(data, "train")
    net = Classifier()
    steps, step = epochs * (len(images) // batch), 0
    optimizer = torch.optim.AdamW(net.parameters(), lr=peak, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, total_steps=steps, pct_start=0.2)
    padded = F.pad(images, (2, 2, 2, 2))
    for epoch in range(epochs):
        net.train()
        start, order = time.time(), torch.randperm(len(images))
        for index in order[:len(order) // batch * batch].split(batch):
            dy, dx = torch.randint(0, 5, (2,)).tolist()
            loss = F.cross_entropy(net(scaled(padded[index, dy:dy + 28, dx:dx + 28])), labels[index], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"classifier {seed}: epoch {epoch + 1}, loss {loss.item():.3f}, {time.time() - start:.0f} s", flush=True)
    return net


def classifiers(cache, data):
    """[(network, accuracy on the 10,000 test images)], trained by the first call."""
    cache = Path(cache)
    if cache.exists():
        kept = torch.load(cache, weights_only=True)
        if kept["recipe"] == RECIPE:
            nets = []
            for weights, accuracy in kept["nets"]:
                net = Classifier()
                net.load_state_dict(weights)
                nets.append((net.eval(), accuracy))
            return nets
    images, labels = load(data, "t10k")
    nets = []
    for seed in SEEDS:
        net = train(seed, data)
        nets.append((net, (read(net, images) == labels).float().mean().item()))
        print(f"classifier {seed}: {100 * nets[-1][1]:.2f} % of the test images", flush=True)
    cache.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(recipe=RECIPE, nets=[(net.state_dict(), accuracy) for net, accuracy in nets]), cache)
    return nets


def wilson(hits, n, z=1.959964):
    """95 % interval of a proportion, valid at 0 and 100 % too."""
    center = (hits + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(hits * (n - hits) / n + z * z / 4)
    return max(0.0, center - half), min(1.0, center + half)


def report(images, labels, nets):
    n = len(images)
    print(f"{n} samples, mean byte {images.float().mean():.2f}, sha256 {hashlib.sha256(images.numpy().tobytes()).hexdigest()[:16]}")
    both = torch.ones(n, dtype=torch.bool)
    for i, (net, accuracy) in enumerate(nets):
        seen = read(net, images)
        right = seen == labels
        both &= right
        low, high = wilson(right.sum().item(), n)
        print(f"\nclassifier {SEEDS[i]} (test accuracy {100 * accuracy:.2f} %): {right.sum()} of {n} classified as requested, "
              f"{100 * right.float().mean():.2f} %, 95 % interval {100 * low:.2f} to {100 * high:.2f}")
        print("  requested " + "".join(f"{d:6}" for d in range(10)))
        print("  samples   " + "".join(f"{(labels == d).sum():6}" for d in range(10)))
        print("  correct   " + "".join(f"{(right & (labels == d)).sum():6}" for d in range(10)))
        print("  predicted " + "".join(f"{(seen == d).sum():6}" for d in range(10)))
        wrong = [f"#{k}: {labels[k]}->{seen[k]}" for k in (~right).nonzero()[:12, 0].tolist()]
        if wrong:
            print("  wrong: " + ", ".join(wrong) + (" ..." if (~right).sum() > 12 else ""))
    print(f"\nrequested digit by both: {both.sum()} of {n}, {100 * both.float().mean():.2f} %")


def samples(path, rule):
    with np.load(path) as archive:
        images = archive["arr_0"]
        labels = archive["labels"].reshape(-1) if "labels" in archive else None
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise SystemExit(f"{path}: arr_0 is {images.dtype} {list(images.shape)}, but must be u8 [N,H,W,C]")
    if images.ndim == 4:
        images = images[..., 0] if images.shape[3] == 1 else images.mean(3).round().astype(np.uint8)
    if images.shape[1:] == (32, 32):
        images = images[:, 2:30, 2:30]
    if images.shape[1:] != (28, 28):
        raise SystemExit(f"{path}: images are {list(images.shape[1:])}, but must be 28 x 28, or 32 x 32 with a border of 2")
    k = np.arange(len(images))
    if labels is None:
        labels = k % 10 if rule == "repeat" else k * 10 // len(images)
    return torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(np.asarray(labels).astype(np.int64))


def real(n, data):
    """n real test images, with digit k % 10 at place k, written to an npz file and read back."""
    images, labels = load(data, "t10k")
    queues = [iter((labels == d).nonzero()[:, 0].tolist()) for d in range(10)]
    order = [next(queues[k % 10]) for k in range(n)]
    with tempfile.TemporaryDirectory() as folder:
        np.savez(f"{folder}/real.npz", images[order].numpy()[..., None])
        return samples(f"{folder}/real.npz", "repeat")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("npz", nargs="?")
    parser.add_argument("--labels", choices=("repeat", "block"), default="repeat")
    parser.add_argument("--data", default="data/mnist")
    parser.add_argument("--cache", default="target/peers/classifier.pt")
    parser.add_argument("--real", type=int, metavar="N")
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    if (args.npz is None) == (args.real is None):
        parser.error("give an npz file or --real N")
    nets = classifiers(args.cache, args.data)
    images, labels = real(args.real, args.data) if args.real else samples(args.npz, args.labels)
    report(images, labels, nets)


if __name__ == "__main__":
    main()
