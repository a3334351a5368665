"""The figures of the model card, docs/model_card.md."""
