package units

import (
	"testing"
	"time"
)

func TestUnits(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{Count(0), "0"}, {Count(999), "999"}, {Count(1000), "1,000"}, {Count(1234567), "1,234,567"}, {Count(-1234), "-1,234"}, {Count(-123), "-123"},
		{Size(0), "0 B"}, {Size(999), "999 B"}, {Size(1000), "1.00 kB"}, {Size(12_345), "12.3 kB"}, {Size(999_499), "999 kB"}, {Size(999_500), "1.00 MB"},
		{Size(int64(157e6)), "157 MB"}, {Size(int64(2.2e9)), "2.20 GB"}, {Size(uint64(5e15)), "5.00 PB"}, {Size(int64(5e18)), "5000 PB"},
		{Span(0), "0 ns"}, {Span(999), "999 ns"}, {Span(1500), "1.50 µs"}, {Span(999_499), "999 µs"}, {Span(999_500), "1.00 ms"}, {Span(12_340_000), "12.3 ms"},
		{Span(999_600_000), "1.00 s"}, {Span(59 * time.Second), "59.0 s"}, {Span(125 * time.Second), "2m05s"}, {Span(-time.Second), "-1.00 s"},
		{Micros(1234567 * time.Nanosecond), "1,234 µs"}, {Micros(300), "0 µs"},
		{Rate(5e6, 2*time.Second), "2.50 MB/s"}, {Rate(5, 0), "-"},
		{Percent(1, 3), "33 %"}, {Percent(0, 0), "100 %"}, {Percent(-1, 3), "0 %"}, {Percent(4, 3), "100 %"},
		{Plural(1, "entry", "entries"), "1 entry"}, {Plural(0, "entry", "entries"), "0 entries"}, {Plural(2000, "entry", "entries"), "2,000 entries"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}
