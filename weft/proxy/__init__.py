"""Layer 7: one Envoy on the node, only while a rule needs it (docs/decisions/0007)."""
