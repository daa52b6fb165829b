// Package units holds the quantities that a configuration file writes with a
// unit: sizes and percentages. Durations are time.Duration.
package units

import (
	"fmt"
	"strconv"
	"strings"
)

// Size is a number of bytes. In text it is a whole number with an optional
// unit: B, KB, MB, GB (powers of 1000) or KiB, MiB, GiB (powers of 1024).
type Size int64

// The sizes that have names.
const (
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
)

type sizeUnit struct {
	suffix string
	factor int64
}

// sizeUnits lists the longest suffixes first, so that "MiB" is not read as "B".
func sizeUnits() []sizeUnit {
	return []sizeUnit{
		{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30},
		{"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9},
		{"B", 1},
	}
}

// UnmarshalText reads a size such as "64MiB", "1500KB" or "4096".
func (s *Size) UnmarshalText(text []byte) error {
	num, factor := strings.TrimSpace(string(text)), int64(1)
	for _, u := range sizeUnits() {
		if rest, ok := strings.CutSuffix(num, u.suffix); ok {
			num, factor = strings.TrimSpace(rest), u.factor
			break
		}
	}
	n, err := strconv.ParseInt(num, 10, 64)
	if err != nil || n < 0 || n > (1<<62)/factor {
		return fmt.Errorf("%q is not a size: write a whole number with B, KiB, MiB or GiB, such as 64MiB", text)
	}
	*s = Size(n * factor)
	return nil
}

// MarshalText writes the size with the largest binary unit that divides it.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// String gives the size with the largest binary unit that divides it.
func (s Size) String() string {
	for _, u := range []sizeUnit{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if s != 0 && int64(s)%u.factor == 0 {
			return strconv.FormatInt(int64(s)/u.factor, 10) + u.suffix
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

// Percent is a share between 0 and 100. In text it is a number with a percent
// sign: "10%", "2.5%".
type Percent float64

// UnmarshalText reads a percentage such as "10%".
func (p *Percent) UnmarshalText(text []byte) error {
	num, ok := strings.CutSuffix(strings.TrimSpace(string(text)), "%")
	f, err := strconv.ParseFloat(strings.TrimSpace(num), 64)
	if !ok || err != nil || !(f >= 0 && f <= 100) {
		return fmt.Errorf("%q is not a percentage: write a number from 0 to 100 with a percent sign, such as 10%%", text)
	}
	*p = Percent(f)
	return nil
}

// MarshalText writes the percentage with its sign.
func (p Percent) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// String gives the percentage with its sign.
func (p Percent) String() string { return strconv.FormatFloat(float64(p), 'f', -1, 64) + "%" }

// Fraction gives the share as a number between 0 and 1.
func (p Percent) Fraction() float64 { return float64(p) / 100 }
