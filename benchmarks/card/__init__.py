"""The figures of the model card, docs/results/model_card.md."""
