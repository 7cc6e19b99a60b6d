"""Speed of the same work in PyTorch and diffusers: training steps, sampling, and single kernels.

    python tools/peers/step.py [--size tiny|small|base] [--batch 64] [--steps 20] [--threads 2]
        [--device cpu|cuda]

A training step includes everything: batch from bytes, noise, forward, backward, clipping at 1.0,
AdamW, EMA. An image-step of sampling is one DDIM step of one image; guidance costs two evaluations
of the model (one batch of twice the size). The script prints medians over the steps and the fastest
step: on a shared machine they differ. All work is float32; --tf32 allows TF32.
"""

import argparse
import resource
import statistics
import sys
import time

import torch
from diffusers import DDIMScheduler, UNet2DModel
from torch.nn import functional as F

DOWN, ADOWN, UP, AUP = "DownBlock2D", "AttnDownBlock2D", "UpBlock2D", "AttnUpBlock2D"
SIZES = {
    # With attention, as in the preset score. The preset ddpm has none at this size.
    "tiny": dict(block_out_channels=(16, 32, 32), layers_per_block=1, norm_num_groups=8,
                 down_block_types=(DOWN, DOWN, ADOWN), up_block_types=(AUP, UP, UP)),
    "small": dict(block_out_channels=(32, 64, 64), layers_per_block=2, norm_num_groups=8,
                  down_block_types=(DOWN, ADOWN, ADOWN), up_block_types=(AUP, AUP, UP)),
    "base": dict(block_out_channels=(64, 128, 128), layers_per_block=2, norm_num_groups=16,
                 down_block_types=(DOWN, ADOWN, ADOWN), up_block_types=(AUP, AUP, UP)),
}
NULL_CLASS = 10


def model_of(size):
    return UNet2DModel(sample_size=28, in_channels=1, out_channels=1, attention_head_dim=8, num_class_embeds=11, **SIZES[size])


def flops_of(model):
    """FLOPs per image of a forward pass: convolutions, linear layers and the two products of attention."""
    total = 0

    def layer(module, _, out):
        nonlocal total
        if isinstance(module, torch.nn.Conv2d):
            total += 2 * module.weight.numel() * out.shape[2] * out.shape[3]
        elif isinstance(module, torch.nn.Linear):
            total += 2 * module.weight.numel() * (out.numel() // out.shape[-1])
        else:                                                                   # Attention: q k^T and its product with v
            total += 4 * module.to_q.out_features * (out.shape[2] * out.shape[3]) ** 2

    kinds = (torch.nn.Conv2d, torch.nn.Linear)
    hooks = [m.register_forward_hook(layer) for m in model.modules() if isinstance(m, kinds) or hasattr(m, "to_q")]
    with torch.no_grad():
        model(torch.zeros(1, 1, 28, 28), 0, class_labels=torch.tensor([0]))
    for hook in hooks:
        hook.remove()
    return total


class Bench:
    def __init__(self, args):
        self.device, self.warmup, self.steps = torch.device(args.device), args.warmup, args.steps

    def time(self, work):
        """(median, fastest) seconds per call, after the warm-up."""
        seconds = []
        for _ in range(self.warmup + self.steps):
            self.wait()
            start = time.perf_counter()
            work()
            self.wait()
            seconds.append(time.perf_counter() - start)
        return statistics.median(seconds[self.warmup:]), min(seconds[self.warmup:])

    def wait(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def memory(self):
        """Peak memory in MiB: of the process on a CPU, of the allocator on a GPU."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated() / 2**20
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def training(bench, model, net, batch):
    device = bench.device
    images = torch.randint(0, 256, (10_000, 1, 28, 28), dtype=torch.uint8, device=device)
    classes = torch.randint(0, 10, (10_000,), device=device)
    bar = DDIMScheduler().alphas_cumprod.to(device)
    signal, noise_level = bar.sqrt(), (1 - bar).sqrt()
    parameters = list(model.parameters())
    average = [p.detach().clone() for p in parameters]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, weight_decay=1e-6, fused=True)

    def step():
        index = torch.randint(0, len(images), (batch,), device=device)
        x0 = images[index].float() / 127.5 - 1
        y = torch.where(torch.rand(batch, device=device) < 0.1, NULL_CLASS, classes[index])
        t = torch.randint(0, 1000, (batch,), device=device)
        noise = torch.randn_like(x0)
        xt = signal[t].view(-1, 1, 1, 1) * x0 + noise_level[t].view(-1, 1, 1, 1) * noise
        loss = F.mse_loss(net(xt, t, class_labels=y).sample, noise)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(average, parameters, 1e-3)

    return bench.time(step)


@torch.no_grad()
def sampling(bench, net, batch, guided):
    scheduler = DDIMScheduler()
    scheduler.set_timesteps(50)
    x = torch.randn(batch, 1, 28, 28, device=bench.device)
    y = torch.arange(batch, device=bench.device) % 10
    both = torch.cat([y, torch.full_like(y, NULL_CLASS)])
    state = dict(x=x, k=0)

    def step():
        t = scheduler.timesteps[state["k"] % 50]
        if guided:
            given, blank = net(torch.cat([state["x"]] * 2), t, class_labels=both).sample.chunk(2)
            epsilon = blank + 2 * (given - blank)
        else:
            epsilon = net(state["x"], t, class_labels=y).sample
        state["x"] = scheduler.step(epsilon, t, state["x"]).prev_sample
        state["k"] += 1

    return bench.time(step)


def kernels(bench):
    device = bench.device
    a, b = torch.randn(1024, 1024, device=device), torch.randn(1024, 1024, device=device)
    x, dy = torch.randn(64, 64, 28, 28, device=device), torch.randn(64, 64, 28, 28, device=device)
    w = torch.randn(64, 64, 3, 3, device=device)

    def backward(*mask):
        torch.ops.aten.convolution_backward(dy, x, w, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [*mask, False])

    conv = 2 * 64 * 64 * 28 * 28 * 64 * 9
    with torch.no_grad():
        for name, flops, work in (("matmul 1024^3", 2 * 1024**3, lambda: a @ b),
                                  ("conv2d 3x3 [64,64,28,28] forward", conv, lambda: F.conv2d(x, w, padding=1)),
                                  ("conv2d backward_input", conv, lambda: backward(True, False)),
                                  ("conv2d backward_weight", conv, lambda: backward(False, True))):
            median, fastest = bench.time(work)
            print(f"{name:34} {1e3 * median:9.3f} ms  {flops / median / 1e9:9.1f} GFLOP/s   fastest {flops / fastest / 1e9:9.1f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", choices=("train", "sample", "kernels"))
    parser.add_argument("--compile", action="store_true", help="torch.compile the model")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--tf32", action="store_true")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = args.tf32
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(0)
    bench = Bench(args)
    model = model_of(args.size)
    flops, count = flops_of(model), sum(p.numel() for p in model.parameters())
    model = model.to(bench.device, memory_format=torch.channels_last if args.channels_last else torch.preserve_format)
    net = torch.compile(model) if args.compile else model
    on = torch.cuda.get_device_name() if bench.device.type == "cuda" else f"{torch.get_num_threads()} threads"
    print(f"torch {torch.__version__} on {bench.device} ({on}); {args.size}: {count} parameters, {flops / 1e6:.1f} MFLOP per image (forward); "
          f"batch {args.batch}, {args.steps} steps after {args.warmup}")
    start = bench.memory()

    def row(name, images, seconds, unit, cost):
        median, fastest = seconds
        print(f"{name:34} {1e3 * median:9.1f} ms  {images / median:9.1f} {unit}   fastest {images / fastest:9.1f}   "
              f"{images * cost * flops / median / 1e9:9.1f} GFLOP/s")

    if args.only in (None, "train"):
        row("training step", args.batch, training(bench, model, net, args.batch), "images/s     ", 3)
        print(f"peak memory: {bench.memory():.0f} MiB after training, {start:.0f} MiB before")
    if args.only in (None, "sample"):
        row("DDIM step", args.batch, sampling(bench, net, args.batch, False), "image-steps/s", 1)
        row("DDIM step, guided", args.batch, sampling(bench, net, args.batch, True), "image-steps/s", 2)
        print(f"peak memory: {bench.memory():.0f} MiB after sampling")
    if args.only in (None, "kernels"):
        kernels(bench)


if __name__ == "__main__":
    main()
