package text

import (
	"strings"
	"testing"
	"time"
)

func TestParseUntil(t *testing.T) {
	local := time.Local
	time.Local = time.FixedZone("here", 3600)
	defer func() { time.Local = local }()
	now := time.Date(2030, 1, 31, 12, 0, 0, 5, time.UTC)
	for argument, want := range map[string]string{
		"90s": "2030-01-31T12:01:30.000000005Z", "1h30m": "2030-01-31T13:30:00.000000005Z", "7d": "2030-02-07T12:00:00.000000005Z",
		"2030-02-01": "2030-01-31T23:00:00Z", "2030-02-01 18:00": "2030-02-01T17:00:00Z", "2030-02-01 18:00:01": "2030-02-01T17:00:01Z",
		"2030-02-01T18:00": "2030-02-01T17:00:00Z", "2030-02-01T18:00:01": "2030-02-01T17:00:01Z", "2030-02-01T18:00:01.25Z": "2030-02-01T18:00:01.25Z",
		"9999-12-31": "9999-12-30T23:00:00Z",
	} {
		if got, err := ParseUntil(argument, now); err != nil || FormatUntil(got) != want {
			t.Errorf("%q: %s, %v; want %s", argument, FormatUntil(got), err, want)
		}
	}
	for argument, word := range map[string]string{
		"": "is no time", "soon": "(90s, 10m, 36h, 7d)", "10": "is no time", "-1d": "is no time", "1.5d": "is no time", "2030-02-30": "is no time",
		"0s": "over already", "-5m": "over already", "2030-01-31": "over already", "0d": "over already",
	} {
		if _, err := ParseUntil(argument, now); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%q: got %v, want %q", argument, err, word)
		}
	}
}
