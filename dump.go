package pillion

import "github.com/pillion-proxy/pillion/internal/strictyaml"

// Redacted gives a copy that is safe to show: secrets that are set read "***",
// and passwords within URLs are masked.
func (c Config) Redacted() Config { return strictyaml.Redact(c) }

// YAML writes the configuration as a file that Load reads, its defaults written
// out. It holds the secrets in the clear: call it on Redacted to show it.
func (c Config) YAML() ([]byte, error) { return strictyaml.Encode(c) }
