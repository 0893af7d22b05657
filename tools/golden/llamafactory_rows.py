"""The rows that LLaMA-Factory 0.9.4 (transformers 4.52.4) makes of a configuration, in this process: for odd_files.py and random_datasets.py."""
import copy, logging, os, warnings
os.environ["DISABLE_VERSION_CHECK"] = "1"; os.environ["HF_DATASETS_OFFLINE"] = "1"; os.environ["HF_HUB_OFFLINE"] = "1"
warnings.filterwarnings("ignore")
import datasets
from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
from llamafactory.data import template as templates
from llamafactory.hparams import DataArguments, FinetuningArguments, ModelArguments
from llamafactory.model import load_tokenizer
from transformers import Seq2SeqTrainingArguments, set_seed
datasets.disable_progress_bars(); logging.disable(logging.CRITICAL)
PRISTINE = copy.deepcopy(templates.TEMPLATES)  # a run's options are written into them
def upstream(c):
    """[(input_ids, labels)] of the training rows of configuration c; raises where LLaMA-Factory, or training on its rows, fails"""
    templates.TEMPLATES.clear(); templates.TEMPLATES.update(copy.deepcopy(PRISTINE))
    keys = lambda t: {k: v for k, v in c.items() if k in t.__dataclass_fields__}
    m = ModelArguments(**keys(ModelArguments)); FinetuningArguments(**keys(FinetuningArguments))
    da = DataArguments(**keys(DataArguments) | {"overwrite_cache": True})
    if c["stage"] == "pt" and "packing" not in c: da.packing = True
    if da.neat_packing: da.packing = True
    t = Seq2SeqTrainingArguments(output_dir=c["output_dir"], do_train=True, report_to=[], use_cpu=True)
    set_seed(t.seed)  # num_samples draws from NumPy's stream
    tok = load_tokenizer(m); template = get_template_and_fix_tokenizer(tok["tokenizer"], da)
    ds = get_dataset(template, m, da, t, stage=c["stage"], **tok)["train_dataset"]
    rows = [(list(x["input_ids"]), list(x.get("labels", x["input_ids"]))) for x in ds]
    if any(len(i) != len(l) for i, l in rows): raise ValueError("labels of another length, with which training fails")
    return rows
