"""Writes tests/goldens: the results of diffusers for small models, blocks, schedules and samplers.

    python tests/goldens/generate.py [--out tests/goldens]

diffusers' own code computes everything in float64, and the results are stored as f32, so a golden
is exact to half an ulp. Two parts of the library always use float32: the sinusoidal embedding of
the timestep (an angle of 999 rad has an error of 6e-5) and the schedulers' betas. This script
replaces them by the same formula in float64. `out_f32` holds the float32 output of the unmodified
library, and the script prints the difference between the two.

A newly initialized model is a weak reference (norm_eps 1e-5 or 1e-6 changes it by 7e-5), so all
weights are perturbed by 0.05 N(0,1).
"""

import argparse
import copy
import json
import math
import shutil
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMPipeline, DDPMScheduler, DPMSolverMultistepScheduler, UNet2DModel
from diffusers.models.attention_processor import Attention
from diffusers.models.downsampling import Downsample2D
from diffusers.models.embeddings import get_timestep_embedding
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from diffusers.schedulers import scheduling_ddpm
from diffusers.utils import logging
from safetensors.torch import load_file, save_file

logging.set_verbosity_error()
F64 = torch.float64


# ---- helpers -------------------------------------------------------------------------------------

def normal(seed, *shape):
    """N(0,1), representable in f32, independent of torch's generator."""
    return torch.from_numpy(np.random.Generator(np.random.PCG64(seed)).standard_normal(shape).astype(np.float32))


def perturb(module, seed):
    generator = np.random.Generator(np.random.PCG64(seed))
    with torch.no_grad():
        for p in module.parameters():
            p += 0.05 * torch.from_numpy(generator.standard_normal(tuple(p.shape)).astype(np.float32))
    return module


def save(tensors, path):
    out = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach()
        out[name] = (tensor.float() if tensor.is_floating_point() else tensor.int()).contiguous().clone()
        assert not tensor.is_floating_point() or torch.isfinite(out[name]).all(), name
    save_file(out, path, metadata={"format": "pt"})


def write_json(value, path):
    """Spreads two levels over lines and keeps the rest on one line: readable and small."""
    def spread(value, depth):
        if depth and isinstance(value, (dict, list)) and value:
            is_dict = isinstance(value, dict)
            pad = " " * (3 - depth)
            items = [(json.dumps(k) + ": " if is_dict else "") + spread(v, depth - 1) for k, v in
                     (value.items() if is_dict else enumerate(value))]
            return ("{\n" if is_dict else "[\n") + ",\n".join(pad + i for i in items) + "\n" + pad[1:] + ("}" if is_dict else "]")
        return json.dumps(value)
    path.write_text(spread(value, 2) + "\n")


def sinusoid(t, dim, flip, shift):
    """get_timestep_embedding with float64 angles."""
    half = dim // 2
    angle = t.to(F64)[:, None] * torch.exp(-math.log(10000) * torch.arange(half, dtype=F64) / (half - shift))
    parts = [angle.cos(), angle.sin()] if flip else [angle.sin(), angle.cos()]
    return torch.nn.functional.pad(torch.cat(parts, 1), (0, dim % 2))


class Sinusoid(torch.nn.Module):
    def __init__(self, dim, flip, shift):
        super().__init__()
        self.dim, self.flip, self.shift = dim, flip, shift

    def forward(self, t):
        return sinusoid(t, self.dim, self.flip, self.shift)


def in_float64(unet):
    """A float64 copy of a UNet2DModel, time angles included."""
    unet = copy.deepcopy(unet).double()
    c = unet.config
    unet.time_proj = Sinusoid(c.block_out_channels[0], c.flip_sin_to_cos, c.freq_shift)
    return unet


def betas_in_float64(c):
    """The betas of a scheduler's config. `scheduler_in_float64` compares them with the library's."""
    n = c.num_train_timesteps
    if c.beta_schedule == "linear":
        betas = torch.linspace(c.beta_start, c.beta_end, n, dtype=F64)
    elif c.beta_schedule == "scaled_linear":
        betas = torch.linspace(c.beta_start**0.5, c.beta_end**0.5, n, dtype=F64) ** 2
    elif c.beta_schedule == "sigmoid":
        betas = torch.sigmoid(torch.linspace(-6, 6, n, dtype=F64)) * (c.beta_end - c.beta_start) + c.beta_start
    elif c.beta_schedule == "squaredcos_cap_v2":
        f = lambda u: math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2
        betas = torch.tensor([min(1 - f((i + 1) / n) / f(i / n), 0.999) for i in range(n)], dtype=F64)
    else:
        raise ValueError(c.beta_schedule)
    if c.rescale_betas_zero_snr:
        root = (1 - betas).cumprod(0).sqrt()
        root = (root - root[-1]) * (root[0] / (root[0] - root[-1]))
        bar = root**2
        betas = 1 - torch.cat([bar[:1], bar[1:] / bar[:-1]])
    return betas


def scheduler_in_float64(scheduler):
    library = scheduler.alphas_cumprod.clone()
    scheduler.betas = betas_in_float64(scheduler.config)
    scheduler.alphas = 1 - scheduler.betas
    scheduler.alphas_cumprod = scheduler.alphas.cumprod(0)
    scheduler.one = torch.tensor(1.0, dtype=F64)
    if hasattr(scheduler, "final_alpha_cumprod"):
        scheduler.final_alpha_cumprod = scheduler.one if scheduler.config.set_alpha_to_one else scheduler.alphas_cumprod[0]
    assert (library - scheduler.alphas_cumprod).abs().max() < 1e-5
    return scheduler, library


# ---- whole models --------------------------------------------------------------------------------

DOWN, ADOWN, UP, AUP = "DownBlock2D", "AttnDownBlock2D", "UpBlock2D", "AttnUpBlock2D"
SMALL = dict(sample_size=8, in_channels=1, out_channels=1, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
             down_block_types=(DOWN, ADOWN), up_block_types=(AUP, UP))

MODELS = {
    # as the preset ddpm: classes, three levels, attention in two of them, two heads
    "unet_class": dict(sample_size=28, in_channels=1, out_channels=1, block_out_channels=(8, 16, 16), layers_per_block=1,
                       norm_num_groups=4, attention_head_dim=8, num_class_embeds=11,
                       down_block_types=(DOWN, ADOWN, ADOWN), up_block_types=(AUP, AUP, UP)),
    # the flags of the released ddpm-cifar10-32, where they differ from the defaults
    "unet_plain": dict(sample_size=32, in_channels=3, out_channels=3, block_out_channels=(8, 16, 16), layers_per_block=2,
                       norm_num_groups=4, attention_head_dim=None, downsample_padding=0, flip_sin_to_cos=False, freq_shift=1,
                       norm_eps=1e-6, down_block_types=(DOWN, ADOWN, DOWN), up_block_types=(UP, AUP, UP)),
    # FiLM, heads that do not divide the width (8 = 2 heads of 3, I = 6; 16 = 5 heads of 3, I = 15),
    # scaled mid block without a norm before its attention, separate width of the time embedding
    "unet_scale_shift": dict(SMALL, resnet_time_scale_shift="scale_shift", attention_head_dim=3, mid_block_scale_factor=1.5,
                             down_block_types=(ADOWN, ADOWN), up_block_types=(AUP, AUP), time_embedding_dim=20),
    # the same with a norm before the mid block's attention
    "unet_attn_norm": dict(SMALL, resnet_time_scale_shift="scale_shift", attention_head_dim=8, attn_norm_num_groups=2),
    # stored with the names of the released google/ddpm-* files: query, key, value, proj_attn
    "unet_legacy": dict(SMALL, attention_head_dim=None, downsample_padding=0, flip_sin_to_cos=False, freq_shift=1, norm_eps=1e-6),
    "unet_no_attention": dict(SMALL, add_attention=False, down_block_types=(DOWN, DOWN), up_block_types=(UP, UP)),
    "unet_no_mid": dict(SMALL, mid_block_type=None),
    "unet_center_input": dict(SMALL, center_input_sample=True),
    "unet_relu": dict(SMALL, act_fn="relu"),
}
LEGACY = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
TIMES, OTHER_TIMES = torch.tensor([17, 500, 999]), torch.tensor([0, 999, 0])


def unet_golden(name, seed, root):
    torch.manual_seed(seed)
    unet = perturb(UNet2DModel(**MODELS[name]), seed).eval()
    DDPMPipeline(unet=unet, scheduler=DDPMScheduler()).save_pretrained(root / name)
    if name == "unet_legacy":
        path = root / name / "unet" / "diffusion_pytorch_model.safetensors"
        renamed = {}
        for key, tensor in load_file(path).items():
            for new, old in LEGACY.items():
                key = key.replace(f".{new}.", f".{old}.")
            renamed[key] = tensor
        save(renamed, path)
        again = UNet2DModel.from_pretrained(root / name / "unet").state_dict()
        assert all(torch.equal(again[k], v) for k, v in unet.state_dict().items())

    c = unet.config
    labels = torch.tensor([3, 10, 0]) if c.num_class_embeds else None
    x = normal(seed + 1, 3, c.in_channels, c.sample_size, c.sample_size)
    target = normal(seed + 2, 3, c.out_channels, c.sample_size, c.sample_size)
    exact = in_float64(unet)
    tensors = dict(x=x, timesteps=TIMES, other_timesteps=OTHER_TIMES, target=target)
    if labels is not None:
        tensors["class_labels"] = labels
    xd = x.double().requires_grad_()
    out = exact(xd, TIMES, class_labels=labels).sample
    loss = ((out - target.double()) ** 2).mean()
    loss.backward()
    with torch.no_grad():
        library = unet(x, TIMES, class_labels=labels).sample
        tensors |= dict(out=out, other_out=exact(x.double(), OTHER_TIMES, class_labels=labels).sample, out_f32=library,
                        loss=loss.reshape(1))
    tensors["grad.x"] = xd.grad
    for key, p in exact.named_parameters():
        tensors[f"grad.{key}"] = p.grad
    save(tensors, root / name / "golden.safetensors")
    count = sum(p.numel() for p in unet.parameters())
    print(f"{name:18} {count:7} parameters, |out| {out.abs().max():.3f}, loss {loss:.5f}, "
          f"float32 library differs by {(library - out).abs().max() / out.abs().max():.1e} of it", flush=True)
    return unet


# ---- blocks --------------------------------------------------------------------------------------

class NormSilu(torch.nn.Module):
    def __init__(self, groups, channels, eps):
        super().__init__()
        self.norm = torch.nn.GroupNorm(groups, channels, eps=eps)

    def forward(self, x):
        return torch.nn.functional.silu(self.norm(x))


def blocks_golden(root):
    resnet = dict(temb_channels=12, groups=4, eps=1e-5)
    attention = dict(query_dim=16, norm_num_groups=4, eps=1e-5, bias=True, residual_connection=True, _from_deprecated_attn_block=True)
    temb = dict(temb=normal(7, 2, 12))
    # name: (module, config for the reader, inputs)
    cases = {
        "resnet": (ResnetBlock2D(in_channels=8, out_channels=8, **resnet), dict(groups=4, eps=1e-5), dict(x=normal(10, 2, 8, 7, 6), **temb)),
        "resnet_shortcut": (ResnetBlock2D(in_channels=8, out_channels=12, **resnet), dict(groups=4, eps=1e-5),
                            dict(x=normal(11, 2, 8, 7, 6), **temb)),
        "resnet_scale_shift": (ResnetBlock2D(in_channels=12, out_channels=8, time_embedding_norm="scale_shift", **resnet),
                               dict(groups=4, eps=1e-5), dict(x=normal(12, 2, 12, 7, 6), **temb)),
        "attention_1_head": (Attention(heads=1, dim_head=16, **attention), dict(groups=4, eps=1e-5, head_dim=16),
                             dict(x=normal(13, 2, 16, 7, 7))),
        "attention_8_heads": (Attention(heads=8, dim_head=2, **attention), dict(groups=4, eps=1e-5, head_dim=2),
                              dict(x=normal(14, 2, 16, 7, 7))),
        "attention_5_heads_of_3": (Attention(heads=5, dim_head=3, **attention), dict(groups=4, eps=1e-5, head_dim=3),
                                   dict(x=normal(15, 2, 16, 3, 5))),
        "group_norm": (torch.nn.GroupNorm(3, 12, eps=1e-5), dict(groups=3, eps=1e-5), dict(x=normal(16, 2, 12, 5, 7) + 3)),
        "group_norm_eps": (torch.nn.GroupNorm(3, 12, eps=1e-2), dict(groups=3, eps=1e-2), dict(x=normal(17, 2, 12, 5, 7) * 0.1)),
        "group_norm_silu": (NormSilu(3, 12, 1e-6), dict(groups=3, eps=1e-6), dict(x=normal(18, 2, 12, 5, 7))),
        "down_p1_odd": (Downsample2D(6, use_conv=True, padding=1, name="op"), dict(padding=1), dict(x=normal(19, 2, 6, 7, 7))),
        "down_p1_even": (Downsample2D(6, use_conv=True, padding=1, name="op"), dict(padding=1), dict(x=normal(20, 2, 6, 8, 6))),
        "down_p0_odd": (Downsample2D(6, use_conv=True, padding=0, name="op"), dict(padding=0), dict(x=normal(21, 2, 6, 7, 7))),
        "down_p0_even": (Downsample2D(6, use_conv=True, padding=0, name="op"), dict(padding=0), dict(x=normal(22, 2, 6, 8, 6))),
        "up": (Upsample2D(6, use_conv=True), {}, dict(x=normal(23, 2, 6, 3, 4))),
    }
    tensors, configs = {}, {}
    for i, (name, (module, config, inputs)) in enumerate(cases.items()):
        torch.manual_seed(100 + i)
        for m in module.modules():
            if hasattr(m, "reset_parameters"):
                m.reset_parameters()
        module = perturb(module, 200 + i).double()
        leaves = {k: v.double().requires_grad_() for k, v in inputs.items()}
        out = module(*leaves.values())
        dout = normal(300 + i, *out.shape)
        (out * dout.double()).sum().backward()
        configs[name] = config
        tensors |= {f"{name}.in.{k}": v for k, v in inputs.items()} | {f"{name}.out": out, f"{name}.dout": dout}
        tensors |= {f"{name}.grad.in.{k}": v.grad for k, v in leaves.items()}
        seen = set()
        for key, p in module.named_parameters():
            if id(p) not in seen:
                seen.add(id(p))
                tensors |= {f"{name}.w.{key}": p, f"{name}.grad.w.{key}": p.grad}

    t = torch.tensor([0, 1, 17, 500, 999])
    tensors["embedding.t"] = t
    for dim in (8, 9, 32):
        for flip in (True, False):
            for shift in (0, 1):
                exact = sinusoid(t, dim, flip, shift)
                library = get_timestep_embedding(t, dim, flip_sin_to_cos=flip, downscale_freq_shift=shift)
                assert (exact - library).abs().max() < 1e-4
                name = f"embedding.dim{dim}.{'flip' if flip else 'plain'}.shift{shift}"
                tensors |= {f"{name}.out": exact, f"{name}.out_f32": library}
    save(tensors, root / "blocks.safetensors")
    write_json(configs, root / "blocks.json")


# ---- schedules -----------------------------------------------------------------------------------

SCHEDULES = {
    "linear_1000": dict(beta_schedule="linear"),
    "linear_200": dict(beta_schedule="linear", num_train_timesteps=200),
    "linear_200_rescaled": dict(beta_schedule="linear", num_train_timesteps=200, beta_start=5e-4, beta_end=0.1),
    "scaled_linear_1000": dict(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012),
    "scaled_linear_200": dict(beta_schedule="scaled_linear", num_train_timesteps=200),
    "cosine_1000": dict(beta_schedule="squaredcos_cap_v2"),
    "cosine_200": dict(beta_schedule="squaredcos_cap_v2", num_train_timesteps=200),
    "sigmoid_1000": dict(beta_schedule="sigmoid"),
    "linear_1000_zero_snr": dict(beta_schedule="linear", rescale_betas_zero_snr=True),
}


def schedules_golden(root):
    schedules, lists = {}, []
    for name, config in SCHEDULES.items():
        scheduler, library = scheduler_in_float64(DDPMScheduler(**config))
        n = scheduler.config.num_train_timesteps
        index = sorted({0, 1, 2, n // 8, n // 4, n // 2, 3 * n // 4, n - 2, n - 1})
        schedules[name] = dict(config=config, index=index, alphas_cumprod=[scheduler.alphas_cumprod[i].item() for i in index],
                               alphas_cumprod_f32=[library[i].item() for i in index],
                               betas=[scheduler.betas[i].item() for i in index])
    for train in (1000, 200):
        for n in (7, 10, 50, 250):
            if n > train:
                continue
            for spacing in ("leading", "trailing", "linspace"):
                for offset in ((0, 1) if spacing == "leading" else (0,)):
                    config = dict(num_train_timesteps=train, timestep_spacing=spacing, steps_offset=offset)
                    ddpm, ddim = DDPMScheduler(**config), DDIMScheduler(**config)
                    ddpm.set_timesteps(n)
                    ddim.set_timesteps(n)
                    steps = ddpm.timesteps.tolist()
                    assert steps == ddim.timesteps.tolist()
                    lists.append(dict(config, num_inference_steps=n, timesteps=steps,
                                      ddpm_previous=[int(ddpm.previous_timestep(t)) for t in steps],
                                      ddim_previous=[t - train // n for t in steps]))
    write_json(dict(alphas_cumprod=schedules, timesteps=lists), root / "schedules.json")


# ---- single steps --------------------------------------------------------------------------------

class Noise:
    """Replaces the random generator of DDPMScheduler.step, which takes no noise."""
    def __init__(self):
        self.next, self.used = None, False

    def __call__(self, shape, **_):
        assert tuple(shape) == tuple(self.next.shape)
        self.used = True
        return self.next


NOISE = Noise()
scheduling_ddpm.randn_tensor = NOISE


def steps_golden(root):
    sample, output, noise = (normal(s, 2, 2, 3, 3) for s in (40, 41, 42))
    learned = torch.cat([output, normal(43, 2, 2, 3, 3).clamp(-1, 1)], 1)
    cases, previous, original = [], [], []

    def record(kind, config, n, t, eta=None, clipped=False):
        scheduler, _ = scheduler_in_float64((DDPMScheduler if kind == "ddpm" else DDIMScheduler)(**config))
        scheduler.set_timesteps(n)
        steps = scheduler.timesteps.tolist()
        t = steps[t]
        if kind == "ddpm":
            is_learned = config.get("variance_type", "").startswith("learned")
            NOISE.next, NOISE.used = noise.double(), False
            result = scheduler.step((learned if is_learned else output).double(), t, sample.double())
            extra = dict(previous=int(scheduler.previous_timestep(t)), noise_used=NOISE.used)
        else:
            result = scheduler.step(output.double(), t, sample.double(), eta=eta, use_clipped_model_output=clipped,
                                    variance_noise=noise.double() if eta else None)
            extra = dict(previous=t - scheduler.config.num_train_timesteps // n, eta=eta, use_clipped_model_output=clipped)
        assert result.prev_sample.dtype == F64
        cases.append(dict(scheduler=kind, config=config, num_inference_steps=n, timestep=t, **extra))
        previous.append(result.prev_sample)
        original.append(result.pred_original_sample)

    predictions, spacings = ("epsilon", "sample", "v_prediction"), ("leading", "trailing", "linspace")
    for prediction in predictions:
        for clip in (True, False):
            for variance in ("fixed_small", "fixed_large"):
                for n, t in ((1000, 0), (1000, 499), (1000, 999), (50, 0), (50, 25), (50, 49)):
                    record("ddpm", dict(prediction_type=prediction, clip_sample=clip, variance_type=variance), n, t)
    for spacing in ("trailing", "linspace"):
        for t in (0, 3, 6):
            record("ddpm", dict(timestep_spacing=spacing, beta_schedule="squaredcos_cap_v2"), 7, t)
    for t in (0, 500, 998, 999):
        record("ddpm", dict(variance_type="learned_range"), 1000, t)
        record("ddpm", dict(variance_type="fixed_small_log"), 1000, t)
        record("ddpm", dict(thresholding=True, sample_max_value=1.5), 1000, t)
    record("ddpm", dict(clip_sample_range=2.5, prediction_type="sample"), 50, 10)

    for prediction in predictions:
        for spacing in spacings:
            for clip in (True, False):
                for eta in (0.0, 0.5, 1.0):
                    for t in (0, 25, 49):
                        if spacing == "trailing" and t == 49 and prediction == "epsilon" and eta == 0.5:
                            record("ddim", dict(timestep_spacing=spacing, set_alpha_to_one=False), 50, t, eta)
                        record("ddim", dict(prediction_type=prediction, timestep_spacing=spacing, clip_sample=clip), 50, t, eta)
    for spacing in spacings:                                    # 7 does not divide 1000
        for t in (0, 3, 6):
            record("ddim", dict(timestep_spacing=spacing, beta_schedule="squaredcos_cap_v2"), 7, t, 0.5)
    for t in (0, 25, 49):
        record("ddim", {}, 50, t, 0.0, clipped=True)
        record("ddim", {}, 50, t, 1.0, clipped=True)
        record("ddim", dict(set_alpha_to_one=False), 50, t, 0.0)
        record("ddim", dict(prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing"), 50, t, 0.0)

    tensors = dict(sample=sample, model_output=output, model_output_learned=learned, noise=noise,
                   prev_sample=torch.stack(previous), pred_original_sample=torch.stack(original))
    save(tensors, root / "steps.safetensors")
    write_json(dict(cases=cases), root / "steps.json")
    print(f"steps: {len(cases)} cases")


# ---- multistep -----------------------------------------------------------------------------------

def multistep_golden(root):
    """DPM-Solver++(2M). `step` computes in float32, so its parts are called here in its order."""
    steps, cases = 12, []
    start, outputs, noise = normal(60, 4).double(), normal(61, steps, 4).double(), normal(62, steps, 4).double()
    for algorithm in ("dpmsolver++", "sde-dpmsolver++"):
        for betas in ("linear", "squaredcos_cap_v2"):
            for prediction in ("epsilon", "v_prediction"):
                config = dict(beta_schedule=betas, prediction_type=prediction, timestep_spacing="trailing")
                solver = DPMSolverMultistepScheduler(**config, algorithm_type=algorithm, final_sigmas_type="zero")
                solver.set_timesteps(steps)
                alpha_bar = (1 - betas_in_float64(solver.config)).cumprod(0)[solver.timesteps]
                solver.sigmas = torch.cat([((1 - alpha_bar) / alpha_bar).sqrt(), torch.zeros(1, dtype=F64)])
                x, images, states = start, [], []
                for k in range(steps):
                    solver._step_index = k
                    images.append(solver.convert_model_output(outputs[k], sample=x))
                    if k in (0, steps - 1):
                        x = solver.dpm_solver_first_order_update(images[-1], sample=x, noise=noise[k])
                    else:
                        x = solver.multistep_dpm_solver_second_order_update(images[-2:], sample=x, noise=noise[k])
                    states.append(x.tolist())
                cases.append(dict(algorithm=algorithm, config=config, timesteps=solver.timesteps.tolist(), states=states))
    write_json(dict(start=start.tolist(), outputs=outputs.tolist(), noise=noise.tolist(), cases=cases), root / "multistep.json")


# ---- trajectories --------------------------------------------------------------------------------

def trajectories_golden(unet, root):
    x0, labels = normal(50, 3, 1, 28, 28), torch.tensor([7, 0, 4])
    null = torch.full_like(labels, 10)
    ddpm_noise = normal(51, 5, 3, 1, 28, 28)
    tensors = dict(noise=x0, class_labels=labels, ddpm5_noise=ddpm_noise)
    runs = {"ddim10": ("ddim", 10, 1.0), "ddim10_guidance2": ("ddim", 10, 2.0), "ddpm5": ("ddpm", 5, 1.0)}
    info = {}
    for name, (kind, n, weight) in runs.items():
        finals = []
        for exact in (True, False):
            scheduler = DDIMScheduler() if kind == "ddim" else DDPMScheduler()
            model, x = (in_float64(unet), x0.double()) if exact else (unet, x0)
            if exact:
                scheduler_in_float64(scheduler)
            scheduler.set_timesteps(n)
            states = []
            for k, t in enumerate(scheduler.timesteps):
                with torch.no_grad():
                    eps = model(x, t, class_labels=labels).sample
                    if weight != 1.0:
                        blank = model(x, t, class_labels=null).sample
                        eps = blank + weight * (eps - blank)
                NOISE.next = ddpm_noise[k].to(x.dtype) if kind == "ddpm" else None
                x = scheduler.step(eps, t, x).prev_sample
                assert x.dtype == eps.dtype == (F64 if exact else torch.float32)
                states.append(x)
            finals.append(x)
            if exact:
                tensors[f"{name}.states"] = torch.stack(states)
                info[name] = dict(model="unet_class", scheduler=kind, num_inference_steps=n, guidance=weight, null_class=10,
                                  timesteps=scheduler.timesteps.tolist(), config=dict(clip_sample=True, timestep_spacing="leading"))
        info[name]["float32_library_differs_by"] = float(f"{(finals[0] - finals[1]).abs().max():.1e}")
        print(f"{name}: float32 library differs by {(finals[0] - finals[1]).abs().max():.1e}")
    save(tensors, root / "trajectories.safetensors")
    write_json(info, root / "trajectories.json")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent)
    root = parser.parse_args().out
    torch.set_num_threads(1)
    for name in MODELS:
        shutil.rmtree(root / name, ignore_errors=True)
    root.mkdir(parents=True, exist_ok=True)
    unets = {name: unet_golden(name, 1000 + 10 * i, root) for i, name in enumerate(MODELS)}
    blocks_golden(root)
    schedules_golden(root)
    steps_golden(root)
    multistep_golden(root)
    trajectories_golden(unets["unet_class"], root)
    size = sum(p.stat().st_size for kind in ("json", "safetensors") for p in root.rglob(f"*.{kind}"))
    print(f"{root}: {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
