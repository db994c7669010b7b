"""Networks with a cache of slots: what a `SlotDecoder` runs to get from tokens to logits."""
