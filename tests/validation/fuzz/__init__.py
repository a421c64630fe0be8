"""Mutated commands, read by bash and shfmt, and judged by the validator: no verb may hide from it."""
