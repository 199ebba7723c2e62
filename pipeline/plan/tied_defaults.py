"""Model types whose libraries tie the head to the embedding where config.json is silent. Data only."""

from __future__ import annotations

#: `model_type` of configs whose class has `tie_word_embeddings` set when the file is silent.
TIED_BY_DEFAULT = frozenset(
    (
        *("albert", "aya_vision", "bart", "bert", "bert-generation", "big_bird", "bigbird_pegasus"),
        *("biogpt", "blenderbot", "blenderbot-small", "bloom", "camembert", "cohere", "cohere2"),
        *("cohere2_moe", "cohere2_vision", "convbert", "cpmant", "ctrl", "data2vec-text", "deberta"),
        *("deberta-v2", "distilbert", "electra", "ernie", "ernie4_5", "ernie4_5_moe", "esm"),
        *("falcon", "falcon_mamba", "flaubert", "florence2", "fnet", "funnel", "gemma", "gemma2"),
        *("gemma3", "gemma3_text", "gemma3n", "gemma3n_text", "gemma4", "gemma4_text", "gpt-sw3"),
        *("gpt2", "gpt_bigcode", "gpt_neo", "gpt_neox_japanese", "ibert", "internvl", "janus"),
        *("jetmoe", "kosmos-2", "layoutlm", "led", "lfm2", "lfm2_moe", "lfm2_vl", "longformer"),
        *("longt5", "luke", "lxmert", "m2m_100", "mamba", "marian", "mbart", "megatron-bert"),
        *("minicpm3", "mistral3", "mobilebert", "modernbert", "modernbert-decoder", "moonshine"),
        *("mpnet", "mpt", "mra", "mt5", "mvp", "nllb-moe", "nomic_bert", "nystromformer"),
        *("openai-gpt", "opt", "ovis2", "paligemma", "pegasus", "pegasus_x", "plbart", "pop2piano"),
        *("prophetnet", "recurrent_gemma", "roberta", "roberta-prelayernorm", "roc_bert", "roformer"),
        *("seamless_m4t", "seamless_m4t_v2", "shieldgemma2", "smollm3", "speech_to_text", "speecht5"),
        *("squeezebert", "starcoder2", "switch_transformers", "t5", "t5gemma", "t5gemma2", "tapas"),
        *("trocr", "udop", "umt5", "vaultgemma", "vilt", "visual_bert", "whisper", "xglm", "xlm"),
        *("xlm-roberta", "xlm-roberta-xl", "xlnet", "xmod", "yoso", "zamba", "zamba2"),
    )
)
