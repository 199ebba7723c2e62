"""Base models from scratch: own tokenizer, packed text, pretraining, an instruct stage. Makes no experts."""
