"""Writes tests/goldens/scheduler_classes.json: the betas of diffusers' schedulers with discrete timesteps.

    python tests/goldens/classes.py

For each class: its default config, and the alphas_cumprod of the config as the class saves it.
"""

import json
from pathlib import Path

import diffusers

CLASSES = ["DDPM", "DDIM", "DDPMParallel", "DDIMParallel", "DDIMInverse", "PNDM", "RePaint", "DEISMultistep",
           "DPMSolverMultistep", "DPMSolverMultistepInverse", "DPMSolverSinglestep", "EulerDiscrete",
           "EulerAncestralDiscrete", "LMSDiscrete", "SASolver", "UniPCMultistep", "HeunDiscrete", "KDPM2Discrete",
           "KDPM2AncestralDiscrete"]
INDEX = [0, 1, 10, 19]
CHANGES = {
    "default": {},
    "cosine": dict(beta_schedule="squaredcos_cap_v2", num_train_timesteps=20, prediction_type="v_prediction"),
    "scaled_linear": dict(beta_schedule="scaled_linear", num_train_timesteps=20, prediction_type="sample"),
    "given": dict(trained_betas=[0.01 * (t + 1) for t in range(20)], num_train_timesteps=20),
}


def main():
    cases = []
    for name in CLASSES:
        kind = getattr(diffusers, f"{name}Scheduler")
        for change, config in CHANGES.items():
            if (name, change) == ("RePaint", "given"):
                continue  # this class fails to read its betas from a list
            known = kind().config
            config = {key: value for key, value in config.items() if key in known}
            scheduler = kind(**config)
            saved = scheduler.to_json_string()
            cases.append(dict(change=change, saved=saved, minimal=dict(config, _class_name=f"{name}Scheduler"),
                              alphas_cumprod=[scheduler.alphas_cumprod[i].item() for i in INDEX]))
    path = Path(__file__).resolve().parent / "scheduler_classes.json"
    lines = ",\n".join(json.dumps(case) for case in cases)
    path.write_text(f'{{"index": {json.dumps(INDEX)}, "cases": [\n{lines}\n]}}\n')
    print(f"{len(cases)} cases, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
