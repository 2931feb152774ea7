package main

import (
	"testing"
	"time"
)

func TestUnits(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{count(0), "0"}, {count(999), "999"}, {count(1000), "1,000"}, {count(1234567), "1,234,567"}, {count(-1234), "-1,234"}, {count(-123), "-123"},
		{size(0), "0 B"}, {size(999), "999 B"}, {size(1000), "1.00 kB"}, {size(12_345), "12.3 kB"}, {size(999_499), "999 kB"}, {size(999_500), "1.00 MB"},
		{size(int64(157e6)), "157 MB"}, {size(int64(2.2e9)), "2.20 GB"}, {size(uint64(5e15)), "5.00 PB"}, {size(int64(5e18)), "5000 PB"},
		{span(0), "0 ns"}, {span(999), "999 ns"}, {span(1500), "1.50 µs"}, {span(999_499), "999 µs"}, {span(999_500), "1.00 ms"}, {span(12_340_000), "12.3 ms"},
		{span(999_600_000), "1.00 s"}, {span(59 * time.Second), "59.0 s"}, {span(125 * time.Second), "2m05s"}, {span(-time.Second), "-1.00 s"},
		{micros(1234567 * time.Nanosecond), "1,234 µs"}, {micros(300), "0 µs"},
		{rate(5e6, 2*time.Second), "2.50 MB/s"}, {rate(5, 0), "-"},
		{percent(1, 3), "33 %"}, {percent(0, 0), "100 %"}, {percent(-1, 3), "0 %"}, {percent(4, 3), "100 %"},
		{plural(1, "entry", "entries"), "1 entry"}, {plural(0, "entry", "entries"), "0 entries"}, {plural(2000, "entry", "entries"), "2,000 entries"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

func TestTimings(t *testing.T) {
	none := newTimings("none")
	if none.quantile(0.5) != 0 || none.total() != 0 {
		t.Error("no operations took time")
	}
	some := newTimings("some")
	for i := range 100 {
		some.spans = append(some.spans, time.Duration(100-i))
	}
	if some.quantile(0.5) != 51 || some.quantile(0.99) != 100 || some.quantile(1) != 100 || some.quantile(0) != 1 || some.total() != 5050 {
		t.Errorf("median %d, p99 %d, largest %d, smallest %d, total %d", some.quantile(0.5), some.quantile(0.99), some.quantile(1), some.quantile(0), some.total())
	}
	if err := some.time(7, func() error { return errAborted }); err != errAborted || some.bytes != 7 || len(some.spans) != 101 {
		t.Errorf("got %v, %d bytes, %d spans", err, some.bytes, len(some.spans))
	}
}
