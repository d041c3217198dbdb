"""A tiny random token classifier of LLMLingua-2's kind (XLM-RoBERTa), and texts that are hard to cut."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny_models import VOCAB_TEXT


def tiny_classifier(directory: Path, *, labels: int = 2) -> Path:
    """Write a random XLM-RoBERTa token classifier (62 positions) with a SentencePiece-like tokenizer."""
    import torch
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaForTokenClassification

    unigram = Tokenizer(models.Unigram())
    unigram.normalizer = normalizers.NFKC()
    unigram.pre_tokenizer = pre_tokenizers.Metaspace()
    unigram.decoder = decoders.Metaspace()
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    unigram.train_from_iterator(
        VOCAB_TEXT.splitlines(),
        trainers.UnigramTrainer(
            vocab_size=300,
            special_tokens=specials,
            unk_token="<unk>",
            initial_alphabet=[chr(code) for code in range(33, 127)],
            show_progress=False,
        ),
    )
    unigram.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=unigram,
        bos_token="<s>",
        cls_token="<s>",
        pad_token="<pad>",
        sep_token="</s>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=62,
    )
    config = XLMRobertaConfig(
        vocab_size=unigram.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,  # RoBERTa's kind cannot use the first two
        pad_token_id=1,
        num_labels=labels,
        initializer_range=0.5,  # the default 0.02 would give every token the same probability
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = XLMRobertaForTokenClassification(config)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def classifier_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_classifier(tmp_path_factory.mktemp("models") / "classifier")


@pytest.fixture(scope="session")
def five_labels_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_classifier(tmp_path_factory.mktemp("models") / "five", labels=5)


@pytest.fixture(scope="session")
def hard_texts() -> list[str]:
    return [
        "",
        " ",
        " \n\t ",
        "a",
        "Norway",
        "The population of Norway is 5,509,733. So the answer is (A).",
        "  It starts late.\n\nAnd goes on\u2014\u201cquoted\u201d, well-known and/or Earth's.  ",
        "光合成は植物が光のエネルギーを使って糖を作る過程である。",
        "प्रकाश संश्लेषण एक प्रक्रिया है।",
        "Фотосинтез превращает свет в сахар.",
        "ต้นไม้ต้องการแสง",
        "👩‍👩‍👧 ½ e\u0301 ﬁ \u200b \ufeff",
        "A turn ends <|im_end|> here </s> or [SEP] there.",
        "x" * 300,
        "The area of Chile is 756,102 square kilometres. " * 30,
    ]
