"""What a model's weights mean, beside the weights: config, generation config, tokenizer, chat template."""
