"""Writes model/checkpoint/testdata/grouped.json, small matrices in the formats of GPTQ, AWQ, fp8 and compressed-tensors with
the float32 numbers that they stand for, and model/decoder/testdata/grouped: folders of tiny models in those formats with the
loss of fixed ids, which transformers makes of the same folder in numbers, and the SHA-256 of every matrix's float32 numbers.
Scales are made float32 before the libraries multiply by them: in fp16 or bf16 they would round every weight.
The numbers are those of AutoGPTQ 0.7.1's QuantLinear (qlinear_cuda.py, times the identity), AutoAWQ 0.2.9's dequantize_gemm,
compressed-tensors 0.20.1's compressors and transformers 5.24.0's Fp8Dequantize, with torch 2.15.0; but where a line says
"by itself" by numpy's own rules here: GPTQ's second version (the first with zeros less one), weight_g_idx (no longer in
compressed-tensors), blocks that are cut and exponents as scales.
Usage: python tools/golden/quantised_folders.py AUTO_GPTQ_FOLDER AUTOAWQ_FOLDER model/checkpoint/testdata/grouped.json model/decoder/testdata/grouped
(the first two: unpacked auto_gptq-0.7.1 and autoawq-0.2.9, of which two files are read)"""
import base64, hashlib, importlib.util, json, os, sys, tempfile
import torch
from safetensors.torch import load_file, save_file
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM
from transformers.integrations.finegrained_fp8 import Fp8Dequantize
from compressed_tensors.compressors.pack_quantized import PackedQuantizationCompressor
from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
from compressed_tensors.compressors.naive_quantized import NaiveQuantizationCompressor
from compressed_tensors.quantization import QuantizationScheme

def module(path, name):
    spec = importlib.util.spec_from_file_location(name, path)
    m = importlib.util.module_from_spec(spec); spec.loader.exec_module(m); return m
GPTQ = module(sys.argv[1] + "/auto_gptq/nn_modules/qlinear/qlinear_cuda.py", "auto_gptq.nn_modules.qlinear.qlinear_cuda")
AWQ = module(sys.argv[2] + "/awq/utils/packing_utils.py", "packing_utils")
G = torch.Generator().manual_seed(5)
def integers(hi, *shape): return torch.randint(0, hi, shape, generator=G)
def normal(*shape): return torch.randn(shape, generator=G)
def words(codes, bits):  # [n, 32/bits] codes, the first in the low bits
    w = sum(codes[..., j].long() << bits * j for j in range(32 // bits))
    return torch.where(w >= 2**31, w - 2**32, w).to(torch.int32).contiguous()

def gptq(w, bits, group, scale_dtype, v2=False, sym=False, order=False):
    out, inp = w.shape; group = inp if group < 0 else group; n = inp // group; most = 2**bits - 1
    g_idx = torch.arange(inp) // group
    if order: g_idx = g_idx[torch.randperm(inp, generator=G)]
    lo = torch.stack([w[:, g_idx == g].amin(1) for g in range(n)]); hi = torch.stack([w[:, g_idx == g].amax(1) for g in range(n)])
    scales = ((hi - lo) / most).clamp(min=1e-4).to(scale_dtype)
    zeros = torch.full((n, out), 2**(bits - 1)) if sym else (-lo / scales.float()).round().clamp(0, most).long()
    if sym: scales = (2 * torch.maximum(hi, -lo) / most).to(scale_dtype)
    codes = (w.T / scales.float()[g_idx] + zeros[g_idx]).round().clamp(0, most).long()
    each = 32 // bits
    pack = lambda z: words(z.reshape(n, -1, each), bits)
    t = {"qweight": words(codes.reshape(-1, each, out).transpose(1, 2), bits), "scales": scales, "g_idx": g_idx.to(torch.int32)}
    first = pack((zeros - 1) & most)
    t["qzeros"] = pack(zeros) if v2 else first  # by itself
    q = GPTQ.QuantLinear(bits, group, inp, out, False, kernel_switch_threshold=10**9, weight_dtype=torch.float32)
    q.qweight, q.qzeros, q.scales, q.g_idx = t["qweight"], first, scales.float(), t["g_idx"]
    return t, q(torch.eye(inp)).T.contiguous()

def awq(w, group, scale_dtype):
    out, inp = w.shape; group = inp if group < 0 else group
    g = w.reshape(out, -1, group)
    scales = ((g.amax(2) - g.amin(2)) / 15).clamp(min=1e-4).to(scale_dtype).T.contiguous()
    zeros = (-g.amin(2).T / scales.float()).round().clamp(0, 15).long()
    spread = lambda x: x.repeat_interleave(group, 0)
    codes = (w.T / spread(scales.float()) + spread(zeros)).round().clamp(0, 15).long()
    pack = lambda z: words(z.reshape(z.shape[0], -1, 8)[..., AWQ.AWQ_ORDER], 4)
    t = {"qweight": pack(codes), "qzeros": pack(zeros), "scales": scales}
    return t, AWQ.dequantize_gemm(t["qweight"], t["qzeros"], scales.float(), 4, group).T.contiguous()

def fp8(w, block, scale_dtype, codes=None):
    rows, cols = w.shape
    a, b = (rows, cols) if block is None else (1, cols) if block == "row" else block
    down, across = -(-rows // a), -(-cols // b)
    s = torch.stack([torch.stack([w[i*a:(i+1)*a, j*b:(j+1)*b].abs().max() for j in range(across)]) for i in range(down)]) / 448
    s = s.to(scale_dtype)
    if scale_dtype == torch.uint8: s = integers(4, down, across).to(torch.uint8) + 120
    f = torch.exp2(s.float() - 127) if scale_dtype == torch.uint8 else s.float()
    spread = f.repeat_interleave(a, 0)[:rows].repeat_interleave(b, 1)[:, :cols]
    c = codes if codes is not None else (w / spread).clamp(-448, 448).to(torch.float8_e4m3fn)
    if rows % a or cols % b: want = c.float() * spread  # by itself
    else: want = Fp8Dequantize(None)._dequantize_one(c, s if scale_dtype == torch.uint8 else s.float(), torch.float32)
    if block is None: s = s.reshape(())
    return {"weight": c, "weight_scale_inv": s}, want

def compressed(w, weights, form, scale_dtype, order=False):
    scheme = QuantizationScheme(targets=["Linear"], weights=weights); a = scheme.weights
    rows, cols = w.shape
    bh, bw = {"tensor": (rows, cols), "channel": (1, cols), "group": (1, a.group_size), "block": tuple(a.block_structure or ())}[a.strategy]
    down, across = -(-rows // bh), -(-cols // bw)
    tile = lambda f: torch.stack([torch.stack([f(w[i*bh:(i+1)*bh, j*bw:(j+1)*bw]) for j in range(across)]) for i in range(down)])
    lo, hi = tile(torch.min), tile(torch.max)
    zp = None
    if a.type == "float": s = torch.maximum(hi, -lo) / 448
    elif a.symmetric: s = torch.maximum(hi, -lo) / (2**(a.num_bits - 1) - .5)
    else:
        s = (hi - lo) / (2**a.num_bits - 1); zp = (-2**(a.num_bits - 1) - lo / s).round().clamp(-2**(a.num_bits - 1), 2**(a.num_bits - 1) - 1).to(torch.int8)
    s = s.to(scale_dtype)
    if a.strategy == "tensor":
        s = s.reshape(1); zp = None if zp is None else zp.reshape(1)
    state = {"weight": w, "weight_scale": s.float()} | ({} if zp is None else {"weight_zero_point": zp})
    c = PackedQuantizationCompressor if form == "pack-quantized" else NaiveQuantizationCompressor
    t = c.compress(state, scheme)
    want = c.decompress(dict(t), scheme)["weight"].float()
    t["weight_scale"] = s
    if "weight_shape" in t: t["weight_shape"] = t["weight_shape"].to(torch.int64)
    if order:  # by itself: the groups of a permutation
        g = torch.arange(cols)[torch.randperm(cols, generator=G)] // a.group_size
        codes = integers(2**a.num_bits, rows, cols) - 2**(a.num_bits - 1)
        t = {"weight_packed": pack_to_int32(codes.to(torch.int8), a.num_bits), "weight_shape": torch.tensor([rows, cols]), "weight_scale": s, "weight_g_idx": g.to(torch.int32)}
        want = codes.float() * s.float()[:, g]
    return {k: v.contiguous() for k, v in t.items() if v is not None}, want.contiguous()

NAMES = {torch.int32: "I32", torch.int64: "I64", torch.int8: "I8", torch.uint8: "U8", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float8_e4m3fn: "F8_E4M3"}
def raw(t): return t.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if t.numel() else b""
def group(weights, form, **more): return {"quant_method": "compressed-tensors", "format": form, "quantization_status": "compressed", "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights, "input_activations": None}}, "ignore": ["lm_head"]} | more
INT4 = dict(num_bits=4, type="int", symmetric=True, strategy="group", group_size=16)
h, bf, f32 = torch.float16, torch.bfloat16, torch.float32
everything = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).reshape(8, 32)
w = normal(16, 32)
def gptq_config(bits, size, **more): return {"quant_method": "gptq", "bits": bits, "group_size": size} | more
def fp8_config(block): return {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": block}
MATRICES = {
    "gptq-4": (gptq_config(4, 16, sym=False), gptq(w, 4, 16, h)),
    "gptq-4-order": (gptq_config(4, 8, desc_act=True, checkpoint_format="gptq"), gptq(w, 4, 8, bf, order=True)),
    "gptq-4-v2": (gptq_config(4, 16, checkpoint_format="gptq_v2"), gptq(w, 4, 16, h, v2=True)),
    "gptq-8": (gptq_config(8, -1, sym=True), gptq(w, 8, -1, h, sym=True)),
    "gptq-8-v2": (gptq_config(8, 16, format="gptq_v2"), gptq(w, 8, 16, f32, v2=True)),
    "gptq-dynamic": (gptq_config(4, 32, dynamic={"+:.*": {"bits": 8, "group_size": 16}}), gptq(w, 8, 16, h)),
    "awq": ({"quant_method": "awq", "bits": 4, "group_size": 16, "zero_point": True, "version": "GEMM"}, awq(w, 16, h)),
    "awq-row": ({"quant_method": "awq", "w_bit": 4, "q_group_size": -1, "version": "gemm"}, awq(w, -1, bf)),
    "ct-int4": (group(INT4, "pack-quantized"), compressed(w, INT4, "pack-quantized", bf)),
    "ct-int4-zeros": (group(x := INT4 | dict(symmetric=False), "pack-quantized"), compressed(w, x, "pack-quantized", h)),
    "ct-int4-order": (group(INT4 | dict(actorder="group"), "pack-quantized"), compressed(w, INT4, "pack-quantized", h, order=True)),
    "ct-int4-row": (group(x := dict(num_bits=4, type="int", symmetric=False, strategy="channel"), "pack-quantized"), compressed(normal(13, 30), x, "pack-quantized", f32)),
    "ct-int4-tensor": (group(x := dict(num_bits=4, type="int", symmetric=True, strategy="tensor"), "pack-quantized"), compressed(w, x, "pack-quantized", h)),
    "ct-int8-packed": (group(x := INT4 | dict(num_bits=8, symmetric=False), "pack-quantized"), compressed(w, x, "pack-quantized", bf)),
    "ct-int8": (group(x := dict(num_bits=8, type="int", symmetric=True, strategy="channel"), "int-quantized"), compressed(w, x, "int-quantized", bf)),
    "ct-int8-zeros": (group(x := dict(num_bits=8, type="int", symmetric=False, strategy="tensor"), "int-quantized"), compressed(w, x, "int-quantized", f32)),
    "ct-int8-groups": (group(x := dict(num_bits=8, type="int", symmetric=True, strategy="group", group_size=16), "int-quantized"), compressed(w, x, "int-quantized", h)),
    "ct-fp8": (group(x := dict(num_bits=8, type="float", symmetric=True, strategy="channel"), "float-quantized"), compressed(w, x, "float-quantized", bf)),
    "ct-fp8-tensor": (group(x := dict(num_bits=8, type="float", symmetric=True, strategy="tensor"), "naive-quantized"), compressed(w, x, "naive-quantized", f32)),
    "ct-fp8-blocks": (group(x := dict(num_bits=8, type="float", symmetric=True, strategy="block", block_structure=[8, 16]), "float-quantized"), compressed(w, x, "float-quantized", bf)),
    "fp8": (fp8_config([8, 16]), fp8(w, (8, 16), f32)),
    "fp8-cut": (fp8_config([5, 12]), fp8(w, (5, 12), bf)),
    "fp8-tensor": (fp8_config(None), fp8(w, None, f32)),
    "fp8-rows": (fp8_config(None), fp8(w, "row", h)),
    "fp8-exponents": (fp8_config([8, 16]) | {"scale_fmt": "ue8m0"}, fp8(w, (8, 16), torch.uint8)),
    "fp8-every-code": (fp8_config(None), fp8(normal(8, 32), None, f32, codes=everything)),
}
with open(sys.argv[3], "w") as f:
    rows = {n: {"config": c, "parts": {k: [NAMES[v.dtype], list(v.shape), base64.b64encode(raw(v)).decode()] for k, v in t.items()}, "shape": list(x.shape), "want": base64.b64encode(raw(x.float())).decode()} for n, (c, (t, x)) in MATRICES.items()}
    f.write("{\n" + ",\n".join(json.dumps(n) + ": " + json.dumps(r) for n, r in rows.items()) + "\n}\n")

SIZES = dict(vocab_size=48, hidden_size=64, intermediate_size=96, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64, bos_token_id=1, eos_token_id=2, tie_word_embeddings=False)
IDS = torch.tensor([[1, 5, 9, 33, 2, 40, 7, 7, 41, 18, 3, 12, 30, 8, 22, 11]])
INPUTS = {"input_activations": dict(num_bits=8, type="int", symmetric=True, strategy="token", dynamic=True)}
def wide(weights, form): c = group(weights, form); c["config_groups"]["group_0"].update(INPUTS); return c
MODELS = {
    "gptq-int4": ("llama", gptq_config(4, 32, desc_act=True, sym=False), lambda w: gptq(w, 4, 32, h, order=True)),
    "gptq-int8": ("qwen2", gptq_config(8, -1, sym=True, checkpoint_format="gptq_v2"), lambda w: gptq(w, 8, -1, h, v2=True, sym=True)),
    "awq": ("qwen2", {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True, "version": "gemm", "modules_to_not_convert": None}, lambda w: awq(w, 32, h)),
    "ct-int4": ("llama", group(c4 := INT4 | dict(group_size=32), "pack-quantized"), lambda w: compressed(w, c4, "pack-quantized", bf)),
    "ct-int8": ("qwen2", wide(c8 := dict(num_bits=8, type="int", symmetric=True, strategy="channel"), "int-quantized"), lambda w: compressed(w, c8, "int-quantized", bf)),
    "ct-fp8": ("llama", wide(cf := dict(num_bits=8, type="float", symmetric=True, strategy="channel"), "float-quantized"), lambda w: compressed(w, cf, "float-quantized", bf)),
    "fp8-blocks": ("qwen2", fp8_config([32, 32]) | {"modules_to_not_convert": ["lm_head"]}, lambda w: fp8(w, (32, 32), bf)),
    "fp8-tensor": ("llama", fp8_config(None), lambda w: fp8(w, None, f32) ),
}
recorded = {}
for n, (kind, config, quantise) in MODELS.items():
    c = (LlamaConfig if kind == "llama" else Qwen2Config)(**SIZES, dtype="float32")
    m = (LlamaForCausalLM if kind == "llama" else Qwen2ForCausalLM)(c).float().eval()
    tensors, sums = {}, {}
    with torch.no_grad():
        for name, p in sorted(m.named_parameters()):
            p.copy_((normal(*p.shape) * .3 + (p.dim() == 1 and "norm" in name)).to(bf))
            at = name.removesuffix(".weight")
            if p.dim() == 2 and "_proj" in name:
                t, want = quantise(p.data)
                tensors |= {f"{at}.{k}": v for k, v in t.items()}
                sums[name] = hashlib.sha256(raw(want.float())).hexdigest()
                p.copy_(want)
            else: tensors[name] = p.data.to(bf)
        loss = float(m(input_ids=IDS, labels=IDS).loss)
    folder = os.path.join(sys.argv[4], n); os.makedirs(folder, exist_ok=True)
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder + "/model.safetensors", {"format": "pt"})
    with open(folder + "/config.json", "w") as f: json.dump(c.to_dict() | {"architectures": [type(m).__name__], "quantization_config": config}, f, indent=1, sort_keys=True)
    recorded[n] = {"loss": loss, "sha256": sums}
    print(n, loss)
# Experts and compressed projections, each matrix in its own blocks, of which transformers itself makes numbers as it loads them.
EXPERTS = dict(SIZES, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2, moe_intermediate_size=16, n_routed_experts=4, num_experts_per_tok=2, n_shared_experts=1, n_group=2, topk_group=1, first_k_dense_replace=1, q_lora_rank=16, kv_lora_rank=16, qk_rope_head_dim=16, qk_nope_head_dim=16, v_head_dim=16)
with tempfile.TemporaryDirectory() as plain, torch.no_grad():
    m = DeepseekV3ForCausalLM(DeepseekV3Config(**EXPERTS, dtype="float32")).float().eval()
    for name, p in sorted(m.named_parameters()): p.copy_(normal(*p.shape) * .3 + (p.dim() == 1 and "norm" in name))
    m.save_pretrained(plain)
    tensors, sums = {}, {}
    for name, w in load_file(plain + "/model.safetensors").items():
        if w.dim() == 2 and "_proj" in name:
            t, want = fp8(w, (16, 16), f32)
            tensors |= {f"{name.removesuffix('.weight')}.{k}": v for k, v in t.items()}
            sums[name] = hashlib.sha256(raw(want)).hexdigest()
        else: tensors[name] = w
    folder = os.path.join(sys.argv[4], "fp8-experts"); os.makedirs(folder, exist_ok=True)
    save_file(tensors, folder + "/model.safetensors", {"format": "pt"})
    with open(folder + "/config.json", "w") as f: json.dump(m.config.to_dict() | {"architectures": ["DeepseekV3ForCausalLM"], "quantization_config": fp8_config([16, 16])}, f, indent=1, sort_keys=True)
    m = DeepseekV3ForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    recorded["fp8-experts"] = {"loss": float(m(input_ids=IDS, labels=IDS).loss), "sha256": sums}
    print("fp8-experts", recorded["fp8-experts"]["loss"], len(sums))
with open(sys.argv[4] + "/recorded.json", "w") as f: json.dump({"ids": IDS[0].tolist(), "folders": recorded}, f, indent=1, sort_keys=True)
