"""The build cache beyond one machine: `format` (its documents), `sending` (`--cache-to`), `receiving` (`--cache-from`),
`requests` (what was asked for)."""
