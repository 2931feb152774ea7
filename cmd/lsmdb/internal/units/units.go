// Package units writes figures as people read them. Byte sizes are decimal: 1 MB is
// 1,000,000 bytes.
package units

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Count writes an integer with thousands separators.
func Count[T int | int64 | uint64](n T) string {
	digits := strconv.FormatInt(int64(n), 10)
	sign := ""
	if digits[0] == '-' {
		sign, digits = "-", digits[1:]
	}
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return sign + b.String()
}

// Size writes a number of bytes with three significant digits.
func Size[T int | int64 | uint64](n T) string {
	units := []string{"B", "kB", "MB", "GB", "TB", "PB"}
	value, unit := float64(n), 0
	for value >= 999.5 && unit < len(units)-1 {
		value /= 1000
		unit++
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", int64(n))
	}
	return Significant(value) + " " + units[unit]
}

// Significant writes a number below 1000 with three digits.
func Significant(value float64) string {
	switch {
	case value >= 99.95:
		return fmt.Sprintf("%.0f", value)
	case value >= 9.995:
		return fmt.Sprintf("%.1f", value)
	}
	return fmt.Sprintf("%.2f", value)
}

// Span writes a duration in the unit that suits it.
func Span(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + Span(-d)
	case d < time.Microsecond:
		return fmt.Sprintf("%d ns", d)
	case d < 999_500: // so that nothing is rounded up to 1000 of a unit
		return Significant(float64(d)/1e3) + " µs"
	case d < 999_500_000:
		return Significant(float64(d)/1e6) + " ms"
	case d < time.Minute:
		return Significant(d.Seconds()) + " s"
	}
	return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
}

// Micros writes a duration in whole microseconds, as the shell shows it.
func Micros(d time.Duration) string { return Count(d.Microseconds()) + " µs" }

// Rate writes bytes per time.
func Rate(bytes int64, d time.Duration) string {
	if d <= 0 {
		return "-"
	}
	return Size(int64(float64(bytes)/d.Seconds())) + "/s"
}

// Percent writes part of whole; an empty whole is complete.
func Percent(part, whole int64) string {
	return fmt.Sprintf("%.0f %%", 100*Fraction(part, whole))
}

// Fraction is part of whole between 0 and 1; an empty whole is complete.
func Fraction(part, whole int64) float64 {
	if whole <= 0 || part >= whole {
		return 1
	}
	return max(0, float64(part)/float64(whole))
}

// Plural writes a count with its noun.
func Plural[T int | int64 | uint64](n T, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return Count(n) + " " + many
}
