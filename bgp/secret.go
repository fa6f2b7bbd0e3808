package bgp

import (
	"fmt"
	"log/slog"
)

// Secret is a password. No printer and no log shows it; JSON does, since it travels to the speaker so.
type Secret string

const hidden = "(secret)"

// Format implements fmt.Formatter for every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hidden)) }

// LogValue implements slog.LogValuer.
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }
