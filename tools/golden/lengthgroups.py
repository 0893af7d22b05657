"""Records the orders in which transformers' Trainer takes rows with group_by_length, in training and
in the evaluations between: python3 lengthgroups.py > algo/train/testdata/lengthgroups.json
(transformers 4.52.4, torch 2.7.1)"""
import json, random, tempfile
import torch
from transformers import Trainer, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.ones(1))
    def forward(self, input_ids, labels=None):
        taken.append(input_ids[:, 0].tolist())
        return {"loss": self.w.sum(), "logits": self.w.expand(len(input_ids), 1)}

def rows(lengths):
    return [{"input_ids": [i] * n, "labels": [0]} for i, n in enumerate(lengths)]

def collate(batch):
    return {"input_ids": torch.tensor([[b["input_ids"][0]] for b in batch]), "labels": torch.tensor([b["labels"] for b in batch])}

def run(per, **arguments):  # per: steps of a pass
    global taken
    trainer = Trainer(Model(), TrainingArguments(tempfile.mkdtemp(), use_cpu=True, group_by_length=True, seed=42, data_seed=5, report_to="none",
        save_strategy="no", disable_tqdm=True, **arguments), collate, rows(train), {n: rows(s) for n, s in zip("ab", sets)})
    trainer.remove_callback(PrinterCallback)
    log = []
    def step(*a, **k):
        global taken
        taken = []
        loss = original(*a, **k)
        if log and log[-1]["set"] == "train" and log[-1]["step"] // per == trainer.state.global_step // per:
            log[-1]["order"] += taken[0]
        else:
            log.append({"step": trainer.state.global_step, "set": "train", "order": taken[0]})
        return loss
    original, trainer.training_step = trainer.training_step, step
    loop = trainer.evaluation_loop
    def evaluate(loader, description, **k):
        global taken
        taken = []
        out = loop(loader, description, **k)
        log.append({"step": trainer.state.global_step, "set": k["metric_key_prefix"], "order": sum(taken, [])})
        return out
    trainer.evaluation_loop = evaluate
    trainer.train()
    trainer.evaluate()
    return log

R = random.Random(1)
train, sets = [R.randint(3, 30) for _ in range(37)], [[R.randint(3, 30) for _ in range(n)] for n in (11, 5)]
arguments = dict(num_train_epochs=3, per_device_train_batch_size=3, gradient_accumulation_steps=2, per_device_eval_batch_size=2,
    eval_strategy="steps", eval_steps=5, eval_on_start=True)
out = {"train": train, "sets": sets, "log": run(7, **arguments), "dropLast": run(6, dataloader_drop_last=True, **arguments)}
print(json.dumps(out, separators=(",", ":")))
