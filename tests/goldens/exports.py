"""Writes tests/goldens/exports/*/golden.safetensors: samples of diffusers from checkpoints of degrain.

    python tests/goldens/exports.py

Each folder holds a checkpoint as `train --config tests/goldens/exports/NAME.toml` writes it. The noise is
that of `sample --seed 0`. The network runs in float64. The schedulers of discrete timesteps also run in
float64, and the others in float32, because they convert their input.
"""

import json
from pathlib import Path

import numpy as np
import torch
from diffusers import (DDIMScheduler, DDPMPipeline, DDPMScheduler, EDMEulerScheduler, FlowMatchEulerDiscreteScheduler,
                       UNet2DModel)
from generate import NOISE, in_float64, save, scheduler_in_float64

ROOT = Path(__file__).resolve().parent / "exports"
STEPS = 4
COUNT = 2
# The scheduler's class and the guidance scale of each checkpoint.
CASES = {
    "ddpm": (DDIMScheduler, 2.0),
    "guided": (DDIMScheduler, 3.0),
    "hybrid": (DDPMScheduler, 1.0),
    "flow": (FlowMatchEulerDiscreteScheduler, 1.0),
    "edm": (EDMEulerScheduler, 2.0),
}

# The random streams of src/tape: initial noise, and noise of a sampler's step.
STREAM_SAMPLE, STREAM_SAMPLER = 3, 4


def philox(counter, seed):
    """Philox 4x32-10 (Salmon et al. 2011) of counters [4, n], as in src/rng.rs."""
    a, b, c, d = (word.astype(np.uint64) for word in counter)
    low, key = np.uint64(0xFFFFFFFF), [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(10):
        p, q = np.uint64(0xD2511F53) * a, np.uint64(0xCD9E8D57) * c
        a, b, c, d = (q >> np.uint64(32)) ^ b ^ np.uint64(key[0]), q & low, (p >> np.uint64(32)) ^ d ^ np.uint64(key[1]), p & low
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return a, b, c, d


def device_noise(stream, step, shape):
    """The noise N(0,1) of images 0, 1, .. with seed 0 (Box and Muller 1958), float64."""
    count, size = shape[0], int(np.prod(shape[1:]))
    blocks = -(-size // 4)
    image, block = np.divmod(np.arange(count * blocks), blocks)
    words = philox([np.full_like(image, stream), np.full_like(image, step), image, block], 0)

    def pair(u, v):
        radius = np.sqrt(-2 * np.log(((u >> np.uint64(8)).astype(np.float64) + 1) / 2**24))
        angle = 2 * np.pi * v.astype(np.float64) / 2**32
        return radius * np.cos(angle), radius * np.sin(angle)
    values = np.stack([*pair(words[0], words[1]), *pair(words[2], words[3])], 1)
    return torch.from_numpy(values.reshape(count, 4 * blocks)[:, :size].reshape(shape))


def golden(name, kind, scale):
    folder = ROOT / name
    unet = in_float64(UNet2DModel.from_pretrained(folder, subfolder="unet"))
    scheduler = kind.from_pretrained(folder, subfolder="scheduler")
    written = json.loads((folder / "scheduler/scheduler_config.json").read_text())["_class_name"]
    assert written == kind.__name__, written
    shape = (COUNT, unet.config.in_channels, unet.config.sample_size, unet.config.sample_size)
    x = device_noise(STREAM_SAMPLE, 0, shape)
    if kind in (DDPMScheduler, DDIMScheduler):
        scheduler_in_float64(scheduler)
    if kind is FlowMatchEulerDiscreteScheduler:
        scheduler.set_timesteps(sigmas=[1 - k / STEPS for k in range(STEPS)])
    else:
        scheduler.set_timesteps(STEPS)
    if kind is EDMEulerScheduler:
        x = x * scheduler.config.sigma_max

    labels = torch.tensor([3, 8]) if unet.config.num_class_embeds else None
    null = torch.full_like(labels, unet.config.num_class_embeds - 1) if labels is not None else None
    tensors = dict(class_labels=labels) if labels is not None else {}
    for k, t in enumerate(scheduler.timesteps):
        with torch.no_grad():
            # EDMEulerScheduler multiplies log(sigma) by 1/4, and the network was trained with 250 log(sigma).
            scaled, time = (scheduler.scale_model_input(x, t), 1000 * t) if kind is EDMEulerScheduler else (x, t)
            output = unet(scaled, time, class_labels=labels).sample
            if scale != 1.0:
                u = unet(scaled, time, class_labels=null).sample
                output = u + scale * (output - u)
        NOISE.next = device_noise(STREAM_SAMPLER, k, shape)
        extra = dict(use_clipped_model_output=True) if kind is DDIMScheduler else {}
        x = scheduler.step(output, t, x, **extra).prev_sample.double()
        if k in (0, STEPS - 1):
            tensors[f"state{k}"] = x
    save(tensors, folder / "golden.safetensors")
    print(f"{name}: {kind.__name__}, timesteps {[round(float(t), 3) for t in scheduler.timesteps]}, "
          f"std {x.std().item():.3f}")


def pipelines():
    """diffusers' own pipeline samples the checkpoints without classes."""
    for name in CASES:
        folder = ROOT / name
        if not (folder / "model_index.json").exists():
            continue
        pipe = DDPMPipeline.from_pretrained(folder)
        pipe.set_progress_bar_config(disable=True)
        if pipe.unet.config.num_class_embeds is None:
            image = pipe(batch_size=1, num_inference_steps=STEPS, output_type="np").images
            assert image.shape == (1, 28, 28, 1), image.shape
            print(f"{name}: {type(pipe).__name__} with {type(pipe.scheduler).__name__} samples")


def main():
    torch.set_num_threads(1)
    for name, (kind, scale) in CASES.items():
        golden(name, kind, scale)
    pipelines()


if __name__ == "__main__":
    main()
