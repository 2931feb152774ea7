package text

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Entry is a key with its value.
type Entry struct {
	Key, Value []byte
	Until      time.Time // when the value ends; zero: never
}

// UntilHelp says how a person writes the end of a value.
const UntilHelp = `a time to live like 90s, 10m, 36h or 7d, or a time like 2030-12-31,
"2030-12-31 18:00" (here) or 2030-12-31T18:00:00Z`

// ParseUntil reads the end of a value as a person writes it: how long from now, or when.
func ParseUntil(argument string, now time.Time) (time.Time, error) {
	until, ok := parseMoment(argument, now)
	switch {
	case !ok:
		return until, fmt.Errorf("%q is no time: wanted is a time to live (90s, 10m, 36h, 7d), or a time (2030-12-31, \"2030-12-31 18:00\", 2030-12-31T18:00:00Z)", argument)
	case !until.After(now):
		return until, fmt.Errorf("%q is over already", argument)
	}
	return until, nil
}

func parseMoment(argument string, now time.Time) (time.Time, bool) {
	if days, found := strings.CutSuffix(argument, "d"); found {
		n, err := strconv.ParseUint(days, 10, 16)
		return now.AddDate(0, 0, int(n)), err == nil
	}
	if d, err := time.ParseDuration(argument); err == nil {
		return now.Add(d), true
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, argument, time.Local); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// FormatUntil writes the end of a value as the lines of load and dump have it, to the
// nanosecond.
func FormatUntil(until time.Time) string { return until.UTC().Format(time.RFC3339Nano) }

// parseUntil reverses FormatUntil.
func parseUntil(p []byte) (time.Time, error) {
	until, err := time.Parse(time.RFC3339Nano, string(p))
	if err != nil || until.IsZero() {
		return until, fmt.Errorf("%q is no time like 2030-12-31T18:00:00Z", p)
	}
	return until, nil
}
